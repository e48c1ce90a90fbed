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
from typing import Any, NamedTuple

from . import arguments
from .core import _LOCK_FREE, DistributedCache
from .expiry import Entry
from .patterns import Glob
from .protocol import V

_NEVER = -math.inf


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


class Near(DistributedCache[V]):
    """An LRU cache of up to `max_size` copies, each kept for `bound` seconds at most.

    A `DistributedCache` whose entries come from fetches only. Call `token = begin(key)` before a
    fetch, and exactly one of `store`, `drop` and `abandon` after it. `read` answers while the
    entries are trusted. `get` always answers, for cases where a stale value is better than none.

    It is a subclass of the cache, not a user of one, because a hit must not cost a further call,
    and because a store and the decision on it must be one step under one lock.
    """

    def __init__(self, max_size: int, bound: float | timedelta) -> None:
        self._bound = arguments.seconds(bound, "the bound on staleness")
        if self._bound == math.inf:
            raise ValueError("the bound on staleness must be finite")
        self._trusted = _NEVER  # a reading of the monotonic clock
        self._fetches: dict[str, _Fetches] = {}  # guarded by _lock; the fetches under way, by key
        self._bells: dict[str, list[Bell]] = {}  # guarded by _lock
        super().__init__(max_size)

    # -- reading ---------------------------------------------------------------------------------

    def read(self, key: str) -> V:
        """Return the value at `key`. Raises KeyError if there is none, or it is not trusted.

        Counts a hit, but no miss.
        """
        # Flat and without the lock, like `DistributedCache.get`. An invalidation that arrives in
        # between counts as later than this read: no read that saw its effect has returned yet.
        if type(key) is not str:
            key = arguments.plain_key(key)
        value, deadline, _ = self._entries[key]
        if deadline > monotonic() < self._trusted:
            self._touch(key)
            next(self._hits)
            return value  # type: ignore[no-any-return]
        raise KeyError(key)

    def _read_locking(self, key: str) -> V:  # pragma: no cover - free-threaded builds only
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            if self._trusted > monotonic() and self._live_locked(key, gone) is not None:
                return self._read_locked(key, None, gone)  # type: ignore[no-any-return]
        raise KeyError(key)

    def reader(self, fetch: Callable[[str, Any], Any]) -> Callable[..., Any]:
        """Return a function `get(key, default=None)` that reads here, or else calls `fetch`.

        It repeats the code of `read`: a method that calls it would double what the near cache adds
        to a hit (DESIGN.md, "The near cache").
        """

        def get(key: str, default: Any = None) -> Any:
            if type(key) is str:
                try:
                    value, deadline, _ = self._entries[key]
                    if deadline > monotonic() < self._trusted:
                        self._touch(key)
                        next(self._hits)
                        return value
                except KeyError:
                    pass
            return fetch(key, default)

        return get

    def _reader_locking(
        self, fetch: Callable[[str, Any], Any]
    ) -> Callable[..., Any]:  # pragma: no cover - free-threaded builds only
        def get(key: str, default: Any = None) -> Any:
            try:
                return self._read_locking(key)
            except KeyError:
                return fetch(key, default)

        return get

    def read_many(self, keys: Sequence[str]) -> dict[str, V] | None:
        """Return the values at all of `keys`, or None if one is missing or none is trusted.

        They are the server's values of one moment: that up to which it has reported its writes.
        """
        gone: list[Entry] = []
        with self._lock:
            if not self._trusted > monotonic():
                return None
            for key in keys:
                if self._live_locked(key, gone) is None:
                    return None
            return {key: self._read_locked(key, None, gone) for key in keys}

    @property
    def lock(self) -> "threading.RLock":
        """Return the lock of this object; it also guards the state of its owner."""
        return self._lock

    def trusted(self) -> bool:
        """Tell whether the entries are trusted now, so that `read` answers."""
        return self._trusted > monotonic()

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
        gone: list[Entry] = []
        with self._lock:
            now = monotonic()
            life = began + min(ttl, self._bound) - now
            if epoch == fetches.epoch and life > 0 and self._trusted > now:
                self._store_locked(key, value, life, gone)
                fetches.stored = raw
                if epoch != fetches.epoch:  # pragma: no cover - a re-entrant call wrote the key
                    self._let_go_locked(key, gone)
            elif fetches.stored != raw:
                self._let_go_locked(key, gone)
            # Another fetch under way may have an older or a newer value: it must not be stored.
            fetches.epoch += 1
            # Last: `invalidate` looks without the lock, and must find the fetch or its entry.
            self._ended_locked(token)

    def drop(self, token: Token) -> None:
        """End a fetch that found no value, or none to be kept; remove the entry at its key."""
        gone: list[Entry] = []
        with self._lock:
            self._ended_locked(token)
            self._forget_locked(token.key, gone)

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

    def _forget_locked(self, key: str, gone: list[Entry]) -> None:
        """Remove the entry at `key`, and let no fetch under way store one."""
        fetches = self._fetches.get(key)
        if fetches is not None:
            fetches.epoch += 1
        self._let_go_locked(key, gone)

    def _let_go_locked(self, key: str, gone: list[Entry]) -> None:
        """Remove the entry at `key`, if any."""
        entry = self._entries.get(key)
        while entry is not None and not self._remove_locked(key, entry, gone):
            entry = self._entries.get(key)  # pragma: no cover - a re-entrant call

    # -- writes ----------------------------------------------------------------------------------

    def wrote(self, keys: Iterable[str]) -> None:
        """Record that this process wrote `keys`, or tried to; before the write returns.

        So the next read by any thread asks the server, and no earlier fetch stores a value.
        """
        gone: list[Entry] = []
        with self._lock:
            for key in keys:
                self._forget_locked(key, gone)

    def wrote_matching(self, glob: Glob, pattern: str) -> None:
        """Record that this process removed all keys that match `pattern`, compiled as `glob`."""
        with self._lock:
            fetched = list(self._fetches)
        # A fetch that begins from now on gets the server's present value.
        self.wrote(glob.select(fetched))
        self.delete_pattern(pattern)

    # -- called by the listener ------------------------------------------------------------------

    def trust(self, until: float) -> None:
        """Trust the entries until the monotonic clock reads `until`."""
        self._trusted = until

    def distrust(self) -> None:
        """Trust the entries no longer: writes may go unnoticed from now on."""
        with self._lock:  # waits for a store under way
            self._trusted = _NEVER
            bells = [bell for bells in list(self._bells.values()) for bell in bells]
        for bell in bells:
            bell.ring()

    def invalidate(self, keys: Sequence[str]) -> None:
        """Remove the entries at `keys`, which somebody wrote, in one step."""
        # Of a million keys few are here, and the lock is taken for those only. Fetches are checked
        # first: one that ends between the two checks has stored an entry, which the second finds.
        here = [
            key
            for key in keys
            if key in self._fetches or key in self._entries or key in self._bells
        ]
        gone: list[Entry] = []
        bells: list[Bell] = []
        with self._lock:
            for key in here:
                self._forget_locked(key, gone)
                bells += self._bells.get(key, ())
        for bell in bells:
            bell.ring()

    def reset(self) -> None:
        """Remove everything, and let no fetch under way store anything."""
        with self._lock:
            for fetches in list(self._fetches.values()):
                fetches.epoch += 1
            bells = [bell for bells in list(self._bells.values()) for bell in bells]
        # A fetch that begins here may store an entry before the next line removes it: harmless.
        self.clear()
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

    # -- fork ------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:  # pragma: no cover - in children
        """Start empty and untrusted: the connection that reports writes is the parent's."""
        self._trusted = _NEVER
        self._fetches.clear()
        self._bells.clear()
        self.clear()
        super()._after_fork_in_child()


if not _LOCK_FREE:  # pragma: no cover - free-threaded builds only
    Near.read = Near._read_locking  # type: ignore[method-assign]
    Near.reader = Near._reader_locking  # type: ignore[method-assign]
