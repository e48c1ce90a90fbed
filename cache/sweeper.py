"""The daemon thread that calls a cache's `cleanup` every so often, and never keeps it alive."""

import contextlib
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("cache")

_SHORTEST = 0.001  # seconds between two cleanups; without end they would take all of a processor


class _Cleanable(Protocol):
    def cleanup(self) -> int: ...


def start(cache: _Cleanable, interval: float) -> tuple[Callable[[], None], Callable[[], bool]]:
    """Start the thread for `cache`; return how to end it, twice if need be, and how to see it run.

    The thread holds the cache weakly and ends at once when the cache is collected. Where the
    interpreter starts no thread any more, on its way out, there is none.
    """
    # A bare lock, not an Event: it is released by a weakref callback, which may run in any thread
    # at any allocation, also inside an Event's own critical section.
    ended = threading.Lock()
    ended.acquire()

    def end(_: object = None) -> None:
        with contextlib.suppress(RuntimeError):  # the thread has been told already
            ended.release()

    reference = weakref.ref(cache, end)
    wait = min(max(interval, _SHORTEST), threading.TIMEOUT_MAX)
    thread = threading.Thread(
        target=_run, args=(reference, ended, wait), name="cache-cleanup", daemon=True
    )
    try:
        if not sys.is_finalizing():  # Python 3.11 would wait for a thread that cannot begin
            thread.start()
    except RuntimeError:
        logger.debug("no cleanup thread: the interpreter starts none any more")
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
        del cache  # or this thread would keep it alive while it waits
