"""Caches of which one lock is held for too long, whichever store serves.

A verb of the compiled store waits for no lock. So the verbs that are to notice that the cache's
lock is held are made to wait for it.
"""

import threading
from collections.abc import Callable
from typing import Any

from .deviation import Deviation, wrap


class Once:
    """A lock that its holder cannot take again: that is an error, where a plain lock would hang."""

    def __init__(self) -> None:
        self._lock, self._holder = threading.Lock(), 0

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        if self._holder == threading.get_ident():
            raise RuntimeError("its holder takes the lock again")
        self._lock.acquire()
        self._holder = threading.get_ident()
        return True

    def release(self) -> None:
        """Let go of the lock."""
        self._holder = 0
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def waits(kind: Any, *verbs: str) -> None:
    """Let the verbs of the class wait until no other thread holds the lock."""

    def waiting(verb: Any, self: Any, *given: Any, **options: Any) -> Any:
        with self._lock:
            pass
        return verb(self, *given, **options)

    for verb in verbs:
        wrap(kind, verb, waiting)


def holds(
    kind: Any, *verbs: str, when: Callable[..., object] = lambda self, *given, **options: True
) -> None:
    """Let the verbs of the class hold the lock from end to end in calls for which `when` is true.

    What they remove is released under it then, too.
    """

    def holding(verb: Any, self: Any, *given: Any, **options: Any) -> Any:
        if not when(self, *given, **options):
            return verb(self, *given, **options)
        with self._lock:
            return verb(self, *given, **options)

    for verb in verbs:
        wrap(kind, verb, holding)


def held(
    clause: str,
    name: str,
    *verbs: str,
    when: Callable[..., object] = lambda self, *given, **options: True,
    waiting: tuple[str, ...] = ("set",),
) -> Deviation:
    """Return the deviation whose `verbs` hold the lock, and whose verbs `waiting` wait for it."""

    def install(package: Any) -> None:
        holds(package.DistributedCache, *verbs, when=when)
        waits(package.DistributedCache, *waiting)

    return Deviation(clause, name, install=install)
