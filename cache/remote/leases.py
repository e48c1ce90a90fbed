"""Leases on keys whose factories run in this process: they expire unless they are renewed."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from ..errors import CacheUnavailable

logger = logging.getLogger("cache")


class Leases:
    """The leases that this process holds, and the thread that renews them while it holds any."""

    def __init__(
        self, life: float, renew: Callable[[bytes, bytes], object], lock: "threading.RLock"
    ) -> None:
        """Renew the lease of each name, by its token, three times in `life` seconds."""
        self.ms = b"%d" % max(round(life * 1000), 1)
        self._pause = min(life / 3, threading.TIMEOUT_MAX)
        self._renew = renew
        self._lock = lock
        self.reset()

    def reset(self) -> None:
        """Forget all leases, in a forked child: they are its parent's."""
        self._held: dict[bytes, bytes] = {}  # guarded by _lock; token to name
        self._renewing = False  # guarded by _lock

    @contextlib.contextmanager
    def holding(self, name: bytes, token: bytes) -> Iterator[None]:
        """Renew the lease during a `with` block."""
        with self._lock:
            self._held[token] = name
            start = not self._renewing
            self._renewing = True
        try:
            if start:
                self._start()
            yield
        finally:
            with self._lock:
                self._held.pop(token, None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="cache-leases", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # an interpreter that is shutting down starts none
            with self._lock:
                self._renewing = False

    def _run(self) -> None:
        while True:
            threading.Event().wait(self._pause)
            with self._lock:
                held = self._held.copy()
                if not held:
                    self._renewing = False
                    return
            for token, name in held.items():
                try:
                    self._renew(name, token)
                except CacheUnavailable:
                    pass  # tried again after a third of the life
                except Exception:
                    logger.exception("a lease was not renewed")
