"""Single flight: of all threads that need the same key, one runs the factory and the others wait.

After groupcache's singleflight. A flight is one run of a factory. The leader is the thread that
runs it; the others are its waiters. No value is kept here after the end of its flight.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

V = TypeVar("V")
T = TypeVar("T")


class Flight(Generic[V]):
    """One run of a factory for one key."""

    __slots__ = (
        *("called", "error", "gates", "key", "landed", "leader", "store", "traceback", "value"),
    )

    def __init__(self, key: str, leader: int) -> None:
        self.key = key
        self.leader = leader  # thread identifier
        self.called = False  # while the factory runs
        self.store = True  # False once the key was written or removed while the factory ran
        self.landed = False
        # One latch for each waiter, closed until the flight has ended. Plain locks, not an Event,
        # which has a lock inside: a waiter may hold it in a finalizer that needs the cache's lock,
        # while the leader holds the cache's lock and needs the Event's.
        self.gates: list[threading.Lock] = []
        self.value: Any  # after the flight has ended with a value
        self.error: BaseException | None = None
        self.traceback: TracebackType | None = None  # the error's, where the leader failed


class Flights(Generic[V]):
    """The flights under way, by key, and which thread waits for which of them.

    `lock` is the cache's own. A finalizer may call the cache in the middle of any of these methods,
    and with a second lock two threads could deadlock.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self.running: dict[str, Flight[V]] = {}  # guarded by _lock; empty while nothing runs
        self._waiting: dict[int, Flight[V]] = {}  # thread to the flight that it waits for

    def inside(self) -> bool:
        """Tell whether the call is re-entrant: its thread leads a flight or waits for one.

        A call from the factory itself does not count: it may lead other flights, and wait.
        """
        me = threading.get_ident()
        return me in self._waiting or any(
            flight.leader == me and not flight.called and not flight.landed
            for flight in list(self.running.values())
        )

    def call(self, flight: Flight[V], make: Callable[[], T]) -> T:
        """Return `make()`, which runs the factory for the leader of the flight."""
        flight.called = True
        try:
            return make()
        finally:
            flight.called = False

    def join(self, key: str) -> tuple[Flight[V], bool]:
        """Return the flight for `key` and whether the caller leads it, and so must end it.

        A caller that does not lead is recorded as a waiter and must call `wait`. Raises
        RuntimeError if it would wait for itself: the leader of the flight is the caller, or waits,
        directly or through others, for a flight that the caller leads. Must not be called `inside`.
        """
        me = threading.get_ident()
        with self._lock:
            flight = self.running.get(key)
            if flight is None:
                flight = self.running[key] = Flight(key, me)
                return flight, True
            ahead: Flight[V] | None = flight
            # A waiter of a flight that has ended is about to wake; it does not depend on the
            # leader.
            while ahead is not None and not ahead.landed:
                if ahead.leader == me:
                    raise RuntimeError(f"the factory of {key!r} needs {key!r} itself to finish")
                ahead = self._waiting.get(ahead.leader)
            self._waiting[me] = flight
            return flight, False

    def wait(self, flight: Flight[V]) -> V:
        """Return the value of the flight, or raise its exception."""
        gate = threading.Lock()
        gate.acquire()
        flight.gates.append(gate)
        try:
            if not flight.landed:  # otherwise the latch may have been added too late to be opened
                gate.acquire()
        finally:
            self._waiting.pop(threading.get_ident(), None)
        if flight.error is not None:
            # All waiters raise this one exception, each with the leader's traceback. Otherwise the
            # traceback would grow with every waiter; and without the leader's frames no log would
            # say where the factory failed.
            raise flight.error.with_traceback(flight.traceback)
        return flight.value  # type: ignore[no-any-return]

    def land(self, flight: Flight[V], value: V) -> None:
        """End the flight: its waiters get `value`."""
        flight.value = value
        self._end(flight)

    def fail(self, flight: Flight[V], error: BaseException) -> None:
        """End the flight: its waiters get `error` raised."""
        flight.error = error
        flight.traceback = error.__traceback__
        self._end(flight)

    def _end(self, flight: Flight[V]) -> None:
        with self._lock:
            if flight.key in self.running and self.running[flight.key] is flight:
                del self.running[flight.key]
        flight.landed = True
        for gate in flight.gates:
            gate.release()

    def keys(self) -> list[str]:
        """Return the keys whose factories run now."""
        return list(self.running)

    def forget(self, key: str) -> None:
        """Record that `key` was written or removed: the value of its flight must not be stored."""
        flight = self.running.get(key)
        if flight is not None:
            flight.store = False

    def forget_all(self) -> None:
        """Record that every key was removed."""
        for flight in list(self.running.values()):
            flight.store = False

    def reset(self) -> None:
        """Forget, in a forked child, the other threads' flights and all waiters.

        A factory that forks goes on in the child, too.
        """
        me = threading.get_ident()
        for key, flight in self.running.copy().items():
            if flight.leader != me:
                del self.running[key]
        self._waiting.clear()
