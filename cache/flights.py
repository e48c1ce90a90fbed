"""Single flight: of all threads that want the same key made, one makes it and the others wait.

After groupcache's singleflight. A flight is one run of a factory; its leader is the thread that
runs it. The table keeps no value longer than the flight lasts.
"""

import threading
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Flight(Generic[V]):
    """One run of a factory for one key."""

    __slots__ = ("done", "error", "key", "leader", "store", "value")

    def __init__(self, key: str, leader: int) -> None:
        self.key = key
        self.leader = leader  # thread identifier
        self.store = True  # False once the key was written or removed while the factory ran
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None


class Flights(Generic[V]):
    """The flights under way, by key, and which thread waits for which of them."""

    def __init__(self) -> None:
        # Reentrant: a finalizer may call the cache in the middle of any of these methods.
        self._lock = threading.RLock()
        self.running: dict[str, Flight[V]] = {}  # guarded by _lock; empty while nothing runs
        self._waiting: dict[int, Flight[V]] = {}  # guarded by _lock; thread to what it waits for

    def join(self, key: str) -> tuple[Flight[V], bool]:
        """Return the flight for `key` and whether the caller leads it, and so must land it.

        A caller that does not lead is noted as waiting and must call `wait`. Raises RuntimeError
        where that would be to wait for itself: the leader of the flight is the caller, or waits,
        directly or over others, for a flight that the caller leads.
        """
        me = threading.get_ident()
        with self._lock:
            flight = self.running.get(key)
            if flight is None:
                flight = self.running[key] = Flight(key, me)
                return flight, True
            ahead: Flight[V] | None = flight
            # Who waits for a flight that has landed is about to wake: nothing hangs on its leader.
            while ahead is not None and not ahead.done.is_set():
                if ahead.leader == me:
                    raise RuntimeError(f"the factory of {key!r} needs {key!r} itself to finish")
                ahead = self._waiting.get(ahead.leader)
            self._waiting[me] = flight
            return flight, False

    def wait(self, flight: Flight[V]) -> V:
        """Return the value that the flight lands with, or raise what it fails with."""
        try:
            flight.done.wait()
        finally:
            with self._lock:
                self._waiting.pop(threading.get_ident(), None)
        if flight.error is not None:
            # Each waiter drops what the others have added, or the traceback would grow with them.
            raise flight.error.with_traceback(None)
        return flight.value  # type: ignore[no-any-return]

    def land(self, flight: Flight[V], value: V) -> None:
        """End the flight: its waiters get `value`."""
        flight.value = value
        self._end(flight)

    def fail(self, flight: Flight[V], error: BaseException) -> None:
        """End the flight: its waiters get `error` raised."""
        flight.error = error
        self._end(flight)

    def _end(self, flight: Flight[V]) -> None:
        # Without the lock, which only its leader could need here: a cache lands flights under its
        # own, and a finalizer in the middle of `join` may wait for that one.
        if self.running.get(flight.key) is flight:
            del self.running[flight.key]
        flight.done.set()

    def keys(self) -> list[str]:
        """Return the keys whose factories run now."""
        return list(self.running)

    def forget(self, key: str) -> None:
        """Note that `key` was written or removed: the flight's value is not to be stored."""
        flight = self.running.get(key)
        if flight is not None:
            flight.store = False

    def forget_all(self) -> None:
        """Note that every key was removed."""
        for flight in list(self.running.values()):
            flight.store = False

    def reset(self) -> None:
        """Begin anew in a forked child, where the leaders and the waiters are gone."""
        self._lock = threading.RLock()
        self.running.clear()
        self._waiting.clear()
