"""The near cache: in-process copies of a server's entries, removed when the server reports a write.

It does not know the server. The caller reports every fetch and every write. A listener (see
`tracking`) reports which keys were written by anyone, and until when the copies may be trusted. The
section "The near cache" of DESIGN.md explains the interleavings that the rules are for.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Generic, NamedTuple, Self

from . import arguments, forks, sweeper
from .memory.store import Store
from .patterns import Glob
from .protocol import V
from .stats import CacheStats

_NEVER = -math.inf
_CLEANUP_INTERVAL = 60.0  # seconds
_MISSING: Any = object()


class _Fetches:
    """The fetches of one key that are under way, and what has become known since they began."""

    __slots__ = ("count", "epoch", "stored")

    def __init__(self) -> None:
        self.count = 0
        self.epoch = 0  # increases with each write, each invalidation and each fetch that ends
        # The bytes of the near entry, if one of these fetches stored it and it is still there.
        self.stored: bytes | None = None


class Token(NamedTuple):
    """One fetch: its key, the epoch when it began, and the time when it began."""

    key: str
    fetches: _Fetches
    epoch: int
    began: float


class Bell:
    """A latch that opens when a key is invalidated."""

    def __init__(self, forget: Callable[["Bell"], None]) -> None:
        # A plain lock, held while the latch is closed. Not an Event, which has a lock inside: the
        # latch may be opened by a finalizer in the middle of a wait.
        self._quiet = threading.Lock()
        self._quiet.acquire()
        self._forget = forget

    def ring(self, rung_already: type[Exception] = RuntimeError) -> None:
        """Open the latch: wake the present waiter, or the next one."""
        try:  # noqa: SIM105 - no global, which may be gone at the interpreter's exit
            self._quiet.release()
        except rung_already:
            pass

    def wait(self, seconds: float) -> None:
        """Return when the latch opens, if it was opened since the last wait, or after `seconds`."""
        self._quiet.acquire(timeout=seconds)

    def close(self) -> None:
        """Stop waiting for invalidations."""
        self._forget(self)


class Near(Generic[V]):
    """An LRU cache of up to `max_size` copies, each kept for `bound` seconds at most.

    Call `token = begin(key)` before a fetch, and exactly one of `store`, `drop` and `abandon` after
    it. `read` answers while the entries are trusted. `get` always answers, for cases where a stale
    value is better than none. A daemon thread removes expired entries.

    The entries are in a store, and each read is one step of it. What has to be one step together
    with the state here (to store a value if nothing has become known since its fetch began) holds
    the lock. Removed values are let go of after it, since a finalizer may wait for a thread that
    needs it.
    """

    def __init__(self, max_size: int, bound: float | timedelta) -> None:
        self._bound = arguments.seconds(bound, "the bound on staleness")
        if self._bound == math.inf:
            raise ValueError("the bound on staleness must be finite")
        self._max_size = max_size
        self._lock = threading.RLock()
        self._fetches: dict[str, _Fetches] = {}  # guarded by _lock; the fetches under way, by key
        self._bells: dict[str, list[Bell]] = {}  # guarded by _lock
        self._store: Store[V] = Store(max_size, lock=self._lock)
        self._store._trust(_NEVER)
        self._closed = False  # guarded by _lock
        self._end_cleanup, _ = sweeper.start(self, _CLEANUP_INTERVAL)
        forks.follow(self)

    # -- reading ---------------------------------------------------------------------------------

    def read(self, key: str) -> V:
        """Return the value at `key`. Raises KeyError if there is none, or it is not trusted.

        Counts a hit, but no miss.
        """
        # Without the lock. An invalidation that arrives in between counts as later than this read:
        # no read that saw its effect has returned yet.
        key = arguments.plain_key(key)
        value: V = self._store._read(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def reader(self, fetch: Callable[[str, Any], Any]) -> Callable[..., Any]:
        """Return a function `get(key, default=None)` that reads here, or else calls `fetch`."""
        read = self._store._read  # looked up once, so that a hit is one call and a comparison

        def get(key: str, default: Any = None) -> Any:
            value = read(key, _MISSING)
            return fetch(key, default) if value is _MISSING else value

        return get

    def read_many(self, keys: Sequence[str]) -> dict[str, V] | None:
        """Return the values at all of `keys`, or None if one is missing or none is trusted.

        They are the server's values of one moment: that up to which it has reported its writes.
        """
        return self._store._read_many(keys)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at `key`, trusted or not, or `default`. Counts a hit or a miss."""
        return self._store.get(key, default)

    @property
    def lock(self) -> "threading.RLock":
        """Return the lock of this object; it also guards the state of its owner."""
        return self._lock

    def trusted(self) -> bool:
        """Tell whether the entries are trusted now, so that `read` answers."""
        return self._store._read_many([]) is not None

    def stats(self) -> CacheStats:
        """Return the counters and sizes of one moment."""
        return CacheStats(*self._store._counters(), self._max_size)

    def reset_stats(self) -> None:
        """Set the counters to zero."""
        self._store._set_counters(0, 0, 0, 0)

    # -- fetches ---------------------------------------------------------------------------------

    def begin(self, key: str) -> Token:
        """Record that a fetch of `key` begins; to be called before the request."""
        with self._lock:
            fetches = self._fetches.get(key) or self._fetches.setdefault(key, _Fetches())
            fetches.count += 1
            return Token(key, fetches, fetches.epoch, monotonic())

    def store(self, token: Token, raw: bytes, value: V, ttl: float) -> None:
        """End a fetch that returned `value`, decoded from the bytes `raw`, with `ttl` seconds left.

        The value is stored, for that time or the bound, if nothing has become known about the key
        since the fetch began. Otherwise it may be older or newer than the present entry, and nobody
        can say which: both are dropped, unless their bytes are equal.
        """
        key, fetches, epoch, began = token
        gone: list[Any] = []
        with self._lock:
            life = began + min(ttl, self._bound) - monotonic()
            if life > 0 and self.trusted() and epoch == fetches.epoch:
                gone = self._store._put(key, value, life)
                fetches.stored = raw
                if epoch != fetches.epoch:  # pragma: no cover - a re-entrant call wrote the key
                    gone += self._store._take([key])
            elif fetches.stored != raw:
                gone = self._store._take([key])
            # Another fetch under way may have an older or a newer value: it must not be stored.
            fetches.epoch += 1
            # Last: `invalidate` looks without the lock, and must find the fetch or its entry.
            self._ended_locked(token)
        del gone  # here, for a finalizer may wait for a thread that needs the lock

    def drop(self, token: Token) -> None:
        """End a fetch that found no value, or none to be kept; remove the entry at its key."""
        with self._lock:
            self._ended_locked(token)
            gone = self._forget_locked([token.key])
        del gone

    def abandon(self, token: Token) -> None:
        """End a fetch that failed: nothing has become known."""
        with self._lock:
            self._ended_locked(token)

    @contextlib.contextmanager
    def fetching(self, keys: Iterable[str]) -> Iterator[dict[str, Token]]:
        """Begin a fetch of each key for a `with` block, which removes the tokens that it has ended.

        The others are abandoned at its end.
        """
        tokens = {key: self.begin(key) for key in dict.fromkeys(keys)}
        try:
            yield tokens
        finally:
            for token in tokens.values():
                self.abandon(token)

    def _ended_locked(self, token: Token) -> None:
        key, fetches, _, _ = token
        fetches.count -= 1
        # By operators: a re-entrant call may begin a fetch of the key, and end it.
        if not fetches.count and key in self._fetches and self._fetches[key] is fetches:
            del self._fetches[key]

    def _forget_locked(self, keys: Sequence[str]) -> list[Any]:
        """Remove the entries at `keys`, and let no fetch under way store one.

        Returns what has to be let go of without the lock.
        """
        for key in keys:
            fetches = self._fetches.get(key)
            if fetches is not None:
                fetches.epoch += 1
        return self._store._take(keys)

    # -- writes ----------------------------------------------------------------------------------

    def wrote(self, keys: Iterable[str]) -> None:
        """Record that this process wrote `keys`, or tried to; before the write returns.

        So the next read by any thread asks the server, and no earlier fetch stores a value.
        """
        written = list(keys)
        with self._lock:
            gone = self._forget_locked(written)
        del gone

    def wrote_matching(self, glob: Glob) -> None:
        """Record that this process removed all keys that match `glob`."""
        with self._lock:
            fetched = list(self._fetches)
        # A fetch that begins from now on gets the server's present value.
        self.wrote(glob.select(fetched))
        walk = self._store._walk(True)
        try:
            while part := walk.slice():  # None where everything has been removed meanwhile
                walk.delete(glob.select(part))
        finally:
            walk.close()

    # -- called by the listener ------------------------------------------------------------------

    def trust(self, until: float) -> None:
        """Trust the entries until the monotonic clock reads `until`."""
        self._store._trust(until)

    def distrust(self) -> None:
        """Trust the entries no longer: writes may go unnoticed from now on."""
        with self._lock:  # waits for a store under way
            self._store._trust(_NEVER)
            bells = [bell for bells in list(self._bells.values()) for bell in bells]
        for bell in bells:
            bell.ring()

    def invalidate(self, keys: Sequence[str]) -> None:
        """Remove the entries at `keys`, which somebody wrote, in one step."""
        # Of a million keys few are here, and the lock is taken for those only. Fetches are checked
        # first: one that ends between the two checks has stored an entry, which the second finds.
        peek = self._store.peek
        here = [
            key
            for key in keys
            if key in self._fetches or peek(key, _MISSING) is not _MISSING or key in self._bells
        ]
        if not here:
            return
        with self._lock:
            gone = self._forget_locked(here)
            bells = [bell for key in here for bell in self._bells.get(key, ())]
        for bell in bells:
            bell.ring()
        del gone

    def reset(self) -> None:
        """Remove everything, and let no fetch under way store anything."""
        with self._lock:
            for fetches in list(self._fetches.values()):
                fetches.epoch += 1
            bells = [bell for bells in list(self._bells.values()) for bell in bells]
        # A fetch that begins here may store an entry before the next line removes it: harmless.
        self._clear()
        for bell in bells:
            bell.ring()

    # -- waiting ---------------------------------------------------------------------------------

    def bell(self, key: str) -> Bell:
        """Return a latch that each invalidation of `key` opens, until it is closed."""

        def forget(bell: Bell) -> None:
            with self._lock:
                bells = self._bells.get(key, [])
                with contextlib.suppress(ValueError):  # closed before, or in a forked child
                    bells.remove(bell)
                if key in self._bells and not self._bells[key]:
                    del self._bells[key]

        bell = Bell(forget)
        with self._lock:
            self._bells.setdefault(key, []).append(bell)
        return bell

    # -- the near cache as a whole ---------------------------------------------------------------

    def cleanup(self) -> int:
        """Remove every entry that has expired by now and return how many that were."""
        removed = 0
        while swept := self._store._sweep():
            removed += swept
        return removed

    def close(self) -> None:
        """End the cleanup thread."""
        with self._lock:
            self._closed = True
        self._end_cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _clear(self) -> None:
        former = type(self._store)(self._max_size)
        self._store._swap(former, False)
        while former._release():
            pass

    def _after_fork_in_child(self) -> None:  # pragma: no cover - in children
        """Start empty and untrusted: the connection that reports writes is the parent's."""
        self._store._trust(_NEVER)
        self._fetches.clear()
        self._bells.clear()
        self._clear()
        if not self._closed:
            self._end_cleanup, _ = sweeper.start(self, _CLEANUP_INTERVAL)
