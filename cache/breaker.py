"""A circuit breaker, and retries: how a caller treats a server that does not answer.

After Nygard's "Release It!". A closed breaker lets every call through and counts consecutive
failures. At `threshold` failures it opens and refuses calls at once for `cooldown` seconds. Then it
is half open: it lets one call at a time through as a probe, whose outcome closes it or opens it
again. No lock is held while a call runs.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import CacheUnavailable

T = TypeVar("T")


class BreakerOpen(CacheUnavailable):
    """The breaker refused the call: there was no attempt to reach the server."""


class Breaker:
    """Counts consecutive failures of calls, and refuses calls for a while after too many.

    Each call is `ticket = breaker.allow()` and then `succeeded(ticket)` or `failed(ticket)`. The
    ticket identifies the state of the breaker in which the call began. A call may end long after
    that state; its outcome then says nothing about the server's present state and is ignored. A
    probe without a reported outcome (after an interrupt, say) is given up after another `cooldown`.
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
        # Re-entrant: a finalizer may make a call in the middle of any of these methods.
        self._lock = lock or threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Close the breaker and forget all failures."""
        self._failures = 0  # guarded by _lock; consecutive, until it closes
        self._until: float | None = None  # guarded by _lock; calls are refused before; None: closed
        self._probing = False  # guarded by _lock; then the probe is given up at `_until`
        self._ticket = 0  # guarded by _lock; changes at each opening and each probe

    def allow(self) -> int:
        """Return the ticket for one call. Raises CacheUnavailable at once while open."""
        # No lock while it is closed, which is nearly always. The ticket is read first: if the
        # breaker opens in between, the ticket is outdated and the outcome is ignored.
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
            raise BreakerOpen("the server is not asked: a probe is under way")
        raise BreakerOpen(f"the server failed too often; it is not asked for {left:.2f} s")

    def succeeded(self, ticket: int) -> None:
        """Record that the server answered the call: consecutive failures start at zero again."""
        if not self._failures:  # closed and nothing to change: needs no lock
            return
        with self._lock:
            if ticket != self._ticket:
                return
            self._failures, self._until = 0, None

    def failed(self, ticket: int) -> None:
        """Record that the server did not answer the call."""
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
    """Return `call()`, retried if it raises CacheUnavailable; for idempotent calls only.

    There are at most `attempts` attempts, and none starts that could end later than `deadline`
    seconds from now; `longest` is the seconds that one may take. The pauses are random, up to
    `base` seconds, then up to twice as much each time, at most `cap`, so that clients that failed
    together do not return together ("full jitter"). A call that the breaker refuses is not retried,
    nor is one with another exception. `failed` is the exception of a first attempt that the caller
    has made; it counts as one of the attempts.
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
