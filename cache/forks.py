"""Fork safety: the locks of all caches are held during a fork and released in both processes.

So no other thread is in the middle of a change, and the child gets unlocked, consistent caches.
"""

import os
import threading
import weakref
from typing import Protocol


class Forked(Protocol):
    """A cache as a fork sees it."""

    _lock: "threading.RLock"

    def _after_fork_in_child(self) -> None: ...


# By identity: a subclass of a cache may define another equality.
_caches: "weakref.WeakValueDictionary[int, Forked]" = weakref.WeakValueDictionary()
_forking = threading.Lock()
_held: list[Forked] = []  # guarded by _forking


def follow(cache: Forked) -> None:
    """Hold the lock of `cache` during each fork, and notify it in the child; held weakly."""
    _caches[id(cache)] = cache


def _before_fork() -> None:
    _forking.acquire()
    for reference in _caches.valuerefs():
        cache = reference()
        if cache is not None:  # pragma: no branch - collected just now
            cache._lock.acquire()
            _held.append(cache)


def _after_fork_in_parent() -> None:
    held = _held[:]
    _held.clear()
    for cache in held:
        cache._lock.release()
    _forking.release()


def _after_fork_in_child() -> None:  # pragma: no cover - in children
    held = _held[:]
    _after_fork_in_parent()
    for cache in held:
        cache._after_fork_in_child()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
