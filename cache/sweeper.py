"""The daemon thread that calls a cache's `cleanup` at intervals and does not keep it alive."""

import logging
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("cache")

_SHORTEST = 0.001  # seconds between two cleanups; without a pause they would fill a processor


class _Cleanable(Protocol):
    def cleanup(self) -> int: ...


def start(cache: _Cleanable, interval: float) -> tuple[Callable[[], None], Callable[[], bool]]:
    """Start the thread for `cache`; return how to end it, twice if need be, and how to see it run.

    The thread holds the cache weakly and ends at once when the cache is collected. An interpreter
    that is shutting down starts no thread; then there is none.
    """
    # A plain lock, not an Event: a weakref callback releases it, which may run in any thread at any
    # allocation, even inside an Event's own critical section.
    ended = threading.Lock()
    ended.acquire()

    def end(
        _: object = None,
        release: Callable[[], None] = ended.release,
        told_already: type[Exception] = RuntimeError,
    ) -> None:
        # A cache may outlive the globals of this module, at the interpreter's exit. So what this
        # needs is bound here, and no `contextlib` is looked up.
        try:  # noqa: SIM105
            release()
        except told_already:
            pass

    reference = weakref.ref(cache, end)
    wait = min(max(interval, _SHORTEST), threading.TIMEOUT_MAX)
    thread = threading.Thread(
        target=_run, args=(reference, ended, wait), name="cache-cleanup", daemon=True
    )
    try:
        if not sys.is_finalizing():  # Python 3.11 would wait for a thread that cannot start
            thread.start()
    except RuntimeError:
        logger.debug("no cleanup thread: the interpreter is shutting down")
    return end, thread.is_alive


def _run(reference: "weakref.ref[_Cleanable]", ended: threading.Lock, wait: float) -> None:
    while not ended.acquire(timeout=wait):
        cache = reference()
        if cache is None:
            return
        try:
            cache.cleanup()
        except Exception:
            logger.exception("cleanup failed; the next one is due in %s s", wait)
        del cache  # otherwise this thread would keep it alive while it waits
