"""Single flight: of all threads that want the same key made, one makes it and the others wait.

After groupcache's singleflight. A flight is one run of a factory; its leader is the thread that
runs it. The table keeps no value longer than the flight lasts.
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
        # One for each waiter, shut until the flight has landed. Bare locks, not an Event, which has
        # a lock inside: its waiter may be in the middle of it, in a finalizer that wants the
        # cache's lock, which the leader holds as it lands.
        self.gates: list[threading.Lock] = []
        self.value: Any  # once it has landed well
        self.error: BaseException | None = None
        self.traceback: TracebackType | None = None  # the error's, as the leader has failed


class Flights(Generic[V]):
    """The flights under way, by key, and which thread waits for which of them.

    `lock` is the cache's own: a finalizer may call the cache in the middle of any of these methods,
    and with a second lock two of them could wait for each other.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self.running: dict[str, Flight[V]] = {}  # guarded by _lock; empty while nothing runs
        self._waiting: dict[int, Flight[V]] = {}  # thread to what it waits for

    def inside(self) -> bool:
        """Tell whether the caller is in the middle of leading a flight, or of waiting for one.

        A finalizer is, or else a factory, which does not count: it may lead others, and wait.
        """
        me = threading.get_ident()
        return me in self._waiting or any(
            flight.leader == me and not flight.called and not flight.landed
            for flight in list(self.running.values())
        )

    def call(self, flight: Flight[V], make: Callable[[], T]) -> T:
        """Return what `make` returns, which runs the factory for the flight's leader."""
        flight.called = True
        try:
            return make()
        finally:
            flight.called = False

    def join(self, key: str) -> tuple[Flight[V], bool]:
        """Return the flight for `key` and whether the caller leads it, and so must land it.

        A caller that does not lead is noted as waiting and must call `wait`. Raises RuntimeError
        where that would be to wait for itself: the leader of the flight is the caller, or waits,
        directly or over others, for a flight that the caller leads. Not to be called `inside`.
        """
        me = threading.get_ident()
        with self._lock:
            flight = self.running.get(key)
            if flight is None:
                flight = self.running[key] = Flight(key, me)
                return flight, True
            ahead: Flight[V] | None = flight
            # Who waits for a flight that has landed is about to wake: nothing hangs on its leader.
            while ahead is not None and not ahead.landed:
                if ahead.leader == me:
                    raise RuntimeError(f"the factory of {key!r} needs {key!r} itself to finish")
                ahead = self._waiting.get(ahead.leader)
            self._waiting[me] = flight
            return flight, False

    def wait(self, flight: Flight[V]) -> V:
        """Return the value that the flight lands with, or raise what it fails with."""
        gate = threading.Lock()
        gate.acquire()
        flight.gates.append(gate)
        try:
            if not flight.landed:  # else perhaps before the gate was there to be opened
                gate.acquire()
        finally:
            self._waiting.pop(threading.get_ident(), None)
        if flight.error is not None:
            # Each waiter begins at the leader's frames. Without that the traceback would grow with
            # every waiter; without the frames neither a waiter's log nor the leader's own would
            # say where the factory has failed, for all of them have this one exception.
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
        """Note that `key` was written or removed: the flight's value is not to be stored."""
        flight = self.running.get(key)
        if flight is not None:
            flight.store = False

    def forget_all(self) -> None:
        """Note that every key was removed."""
        for flight in list(self.running.values()):
            flight.store = False

    def reset(self) -> None:
        """Begin anew in a forked child, where the other leaders and the waiters are gone.

        A factory that forks goes on in the child, too.
        """
        me = threading.get_ident()
        for key, flight in self.running.copy().items():
            if flight.leader != me:
                del self.running[key]
        self._waiting.clear()
