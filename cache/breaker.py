"""A circuit breaker, and repeating a call: what a caller does about a server that does not answer.

After Nygard's "Release It!". Closed, the breaker lets every call through and counts the failures in
a row; at `threshold` it opens, and refuses at once for `cooldown` seconds; then it is half open and
lets one call at a time through as a probe, whose outcome closes it or opens it again. Nothing is
locked while a call runs.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import CacheUnavailable

T = TypeVar("T")


class BreakerOpen(CacheUnavailable):
    """The breaker let no call through: there was no attempt to reach the server."""


class Breaker:
    """Counts the failures of calls in a row and refuses calls for a while after too many.

    Each call is `ticket = breaker.allow()` and then `succeeded(ticket)` or `failed(ticket)`. The
    ticket tells which state of the breaker it comes from, for a call may end long after that state
    did: its outcome then says nothing about the server of now and is ignored. A probe whose
    outcome nobody reports (an interrupt, say) is given up after another `cooldown`.
    """

    def __init__(
        self,
        threshold: int,
        cooldown: float,
        *,
        lock: "threading.RLock | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self._clock = clock
        # Reentrant: a finalizer may make a call of its own in the middle of any of these methods.
        self._lock = lock or threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Close, with nothing counted."""
        self._failures = 0  # guarded by _lock; in a row, up to when it closes
        self._until: float | None = None  # guarded by _lock; refused before that; None: closed
        self._probing = False  # guarded by _lock; then `_until` is when the probe is given up
        self._ticket = 0  # guarded by _lock; changes with each opening and probe

    def allow(self) -> int:
        """Return the ticket for one call. Raises CacheUnavailable at once while open."""
        # Closed, as it is nearly always, it takes no lock. The ticket is read first: where it opens
        # in between it is a former one's, and its outcome counts for nothing.
        ticket, until = self._ticket, self._until
        if until is None:
            return ticket
        now = self._clock()
        with self._lock:
            if self._until is None:
                return self._ticket
            left = self._until - now
            if left <= 0:
                self._probing = True
                self._until = now + self._cooldown
                self._ticket += 1
                return self._ticket
            probing = self._probing
        if probing:
            raise BreakerOpen("the server is not asked: a probe of it is under way")
        raise BreakerOpen(f"the server failed too often; it is not asked for {left:.2f} s")

    def succeeded(self, ticket: int) -> None:
        """Note that the server answered the call: failures in a row begin anew."""
        if not self._failures:  # closed, and nothing to change: no lock for it
            return
        with self._lock:
            if ticket != self._ticket:
                return
            self._failures, self._until = 0, None

    def failed(self, ticket: int) -> None:
        """Note that the server did not answer the call."""
        now = self._clock()
        with self._lock:
            if ticket != self._ticket:
                return
            self._failures += 1
            if self._failures >= self._threshold:
                self._until, self._probing = now + self._cooldown, False
                self._ticket += 1

    @property
    def state(self) -> str:
        """Return "closed", "open", or "half-open": a probe runs, or the next call is one."""
        now = self._clock()
        with self._lock:
            if self._until is None:
                return "closed"
            return "half-open" if self._probing or self._until <= now else "open"


def retrying(
    call: Callable[[], T],
    attempts: int,
    deadline: float,
    *,
    failed: CacheUnavailable | None = None,
    longest: float = 0.0,
    base: float = 0.02,
    cap: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Return `call()`, made again where it raises CacheUnavailable; for idempotent calls only.

    At most `attempts` times, and within `deadline` seconds: no attempt begins that could outlast
    it, `longest` being the seconds that one may take. The pauses are random, up to `base` seconds,
    then twice as much each time, up to `cap`: clients that failed together come back apart ("full
    jitter"). What the breaker refuses is not tried again, and other exceptions are not either.
    A first attempt that the caller has made, and that `failed`, is one of them.
    """
    end = clock() + deadline
    attempt = 0
    while True:
        attempt += 1
        try:
            if failed is not None:
                raise failed
            return call()
        except BreakerOpen:
            raise
        except CacheUnavailable:
            pause = jitter() * min(cap, base * 2 ** (attempt - 1))
            if attempt == attempts or clock() + pause + longest > end:
                raise
        failed = None
        sleep(pause)
