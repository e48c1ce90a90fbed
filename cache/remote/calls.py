"""How the server is called: through the breaker, with retries, pending invalidations first.

A pending invalidation is a key whose write or removal failed, in a cache that goes on without its
server. The value that the server has there is outdated, so it is removed before anything else is
asked.
"""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from threading import get_ident
from time import monotonic
from typing import TypeVar, TypeVarTuple

from ..breaker import Breaker, retrying
from ..errors import CacheUnavailable
from .link import Link, Refused, ServerError, failure

T = TypeVar("T")
Key = TypeVar("Key", bytes, str)
Given = TypeVarTuple("Given")

_MOST_DEBTS = 10_000  # names; beyond that the whole namespace is invalidated
_BATCH = 500  # names that one command removes


class Calls:
    """The calls to one server, and its pending invalidations."""

    def __init__(
        self,
        link: Link,
        breaker: Breaker,
        attempts: int,
        deadline: float,
        everything: str,
        lock: "threading.RLock",
    ) -> None:
        """Try idempotent calls up to `attempts` times in `deadline` seconds.

        `everything` is a glob that matches all keys of the namespace; `lock` is the cache's own.
        """
        self._link = link
        self.breaker = breaker
        self._attempts = attempts
        self._deadline = deadline
        self._everything = everything
        self._lock = lock
        self._has_lock: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
        # Each with an object that tells it from an earlier pending invalidation of the same key.
        self._names: dict[bytes, object] = {}  # guarded by _lock
        self._patterns: dict[str, object] = {}  # guarded by _lock
        self._begin()

    def _begin(self) -> None:
        # Held while pending invalidations are sent: no call may read before that.
        self._settling = threading.RLock()
        self._settles: Callable[[], bool] = self._settling._is_owned  # type: ignore[attr-defined]
        self._asking: set[int] = set()  # threads inside a call to the server

    def after_fork_in_child(self) -> None:
        """Forget the calls of the parent's threads; keep its pending invalidations."""
        self._begin()
        self._link.after_fork_in_child()
        self.breaker.reset()

    def inside(self) -> bool:
        """Tell whether this call is re-entrant: its thread is inside another call.

        A finalizer runs wherever the garbage collector starts. The calls that it makes must not
        wait for another thread, which may wait for a lock that this thread holds.
        """
        return self._apart() or self._settles()

    def _apart(self) -> bool:
        """Tell whether this thread must not use the client: it may hold its or the cache's lock."""
        return get_ident() in self._asking or self._has_lock()  # `_attempt` tests the same

    def make(self, step: Callable[[*Given], T], *given: *Given) -> T:
        """Return `step(*given)`, retried if it fails; for idempotent steps only.

        All failures of the server become CacheUnavailable.
        """
        # Flat for speed, since every read comes here: the retry is set up only after a failure.
        began = monotonic()
        try:
            return self._attempt(step, *given)
        except CacheUnavailable as error:
            if self._apart():  # others may wait meanwhile
                raise
            failed = error
        return retrying(
            partial(self._attempt, step, *given),
            self._attempts,
            self._deadline - (monotonic() - began),
            failed=failed,
            longest=self._link.patience,
        )

    def make_once(self, step: Callable[[*Given], T], *given: *Given) -> T:
        """Return `step(*given)`; failures as in `make`.

        Only a refused command is tried once more: the server has not executed it.
        """
        try:
            return self._attempt(step, *given)
        except Refused:
            return self._attempt(step, *given)

    def _attempt(self, step: Callable[[*Given], T], *given: *Given) -> T:
        ticket = self.breaker.allow()
        me, asking = get_ident(), self._asking
        if me in asking or self._has_lock():
            return self._attempt_apart(ticket, step, *given)
        try:
            asking.add(me)
            result = step(*given)
        except ServerError as error:
            unavailable = self._failed(ticket, error)
            # A silent primary may come back after another one has replaced it.
            if isinstance(unavailable, Refused) or self._link.moves:
                self._link.drop_connections()
            raise unavailable from error
        finally:
            asking.discard(me)
        self.breaker.succeeded(ticket)
        return result

    def _attempt_apart(self, ticket: int, step: Callable[[*Given], T], *given: *Given) -> T:
        try:
            with self._link.apart():
                result = step(*given)
        except ServerError as error:
            raise self._failed(ticket, error) from error
        self.breaker.succeeded(ticket)
        return result

    def _failed(self, ticket: int, error: Exception) -> CacheUnavailable:
        """Record a failure and return the exception to raise; an error of the caller is raised."""
        unavailable = failure(error)
        if unavailable is None:
            self.breaker.succeeded(ticket)
            raise error
        self.breaker.failed(ticket)
        return unavailable

    # -- pending invalidations -------------------------------------------------------------------

    def owe(self, names: Iterable[bytes]) -> None:
        """Record that the writes to `names` failed."""
        with self._lock:
            self._names.update(dict.fromkeys(names, object()))
            if len(self._names) > _MOST_DEBTS:
                # In this order, as `settle` looks without the lock.
                self._patterns[self._everything] = object()
                self._names.clear()

    def owe_matching(self, pattern: str) -> None:
        """Record that the removal of all keys that match `pattern` failed."""
        with self._lock:
            self._patterns[pattern] = object()

    @property
    def owed(self) -> int:
        """Return how many invalidations are pending."""
        return len(self._names) + len(self._patterns)

    def settle(self, remove_matching: Callable[[str], object]) -> None:
        """Send all pending invalidations; if that fails they stay, with CacheUnavailable."""
        if not self._names and not self._patterns:  # without the lock
            return
        settling = self._settling
        if self._settles() or not settling.acquire(blocking=not self._apart()):
            raise CacheUnavailable("invalidations are being sent; a re-entrant call cannot wait")
        try:
            for pattern, debt in list(self._patterns.items()):
                remove_matching(pattern)
                self._paid(self._patterns, [(pattern, debt)])
            while debts := list(self._names.items())[:_BATCH]:
                self.make(self._link.unlink, [name for name, _ in debts])
                self._paid(self._names, debts)
        finally:
            settling.release()

    def _paid(self, owed: dict[Key, object], debts: Iterable[tuple[Key, object]]) -> None:
        """Forget these, except those whose key had another failed write meanwhile."""
        with self._lock:
            for key, debt in debts:
                if owed.get(key) is debt:
                    del owed[key]
