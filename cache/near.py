"""The near cache: copies, in the process, of what a server has, dropped when the server says so.

It knows no server. Whoever fetches tells it of every fetch and every write; a listener (see
`tracking`) tells it which keys were written by anyone, and until when it may be trusted. What makes
it coherent, and which interleavings the rules are for, stands in DESIGN.md under "The near cache".
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
    """The fetches of one key that are under way, and what became known since they began."""

    __slots__ = ("count", "epoch", "stored")

    def __init__(self) -> None:
        self.count = 0
        self.epoch = 0  # goes up with each write, invalidation and fetch that ends
        # What the near entry was made from, by one of these, if there still is one.
        self.stored: bytes | None = None


class Token(NamedTuple):
    """One fetch: which key, what was known when it began, and when that was."""

    key: str
    fetches: _Fetches
    epoch: int
    began: float


class Bell:
    """Rings when a key is invalidated."""

    def __init__(self, forget: Callable[["Bell"], None]) -> None:
        # A bare lock, held while all is quiet; not an Event, which has a lock inside: a finalizer
        # in the middle of a wait may be who rings.
        self._quiet = threading.Lock()
        self._quiet.acquire()
        self._forget = forget

    def ring(self, rung_already: type[Exception] = RuntimeError) -> None:
        """Wake who waits, or who will."""
        try:  # noqa: SIM105 - no global, which may be gone at the interpreter's exit
            self._quiet.release()
        except rung_already:
            pass

    def wait(self, seconds: float) -> None:
        """Return when the bell rings, when it has rung since the last wait, or after `seconds`."""
        self._quiet.acquire(timeout=seconds)

    def close(self) -> None:
        """Wait no more."""
        self._forget(self)


class Near(DistributedCache[V]):
    """An LRU cache of up to `max_size` copies, each for `bound` seconds at most.

    A `DistributedCache` whose entries come from fetches only: `token = begin(key)` before one, and
    after it exactly one of `store`, `drop` and `abandon`. `read` answers while the entries are
    trusted; `get` answers always, for those times when a stale value is better than none.

    A subclass, and not a class that has a cache, because a hit may cost no further call, and
    because a store and what decides on it must be one step under one lock.
    """

    def __init__(self, max_size: int, bound: float | timedelta) -> None:
        self._bound = arguments.seconds(bound, "the bound on staleness")
        if self._bound == math.inf:
            raise ValueError("the bound on staleness must be finite")
        self._trusted = _NEVER  # a reading of the monotonic clock
        self._fetches: dict[str, _Fetches] = {}  # guarded by _lock; keys that are being fetched
        self._bells: dict[str, list[Bell]] = {}  # guarded by _lock
        super().__init__(max_size)

    # -- reading ---------------------------------------------------------------------------------

    def read(self, key: str) -> V:
        """Return the value at `key`. Raises KeyError where there is none, or none to be trusted.

        Counts a hit, and no miss.
        """
        # Flat and without the lock, as `DistributedCache.get` is. An invalidation that comes in
        # between comes after this read: no other read that saw its effect has returned before.
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
        """Return a function `get(key, default=None)` that reads here, or else by `fetch`.

        What `read` does, over again: a method around it would double what the near cache adds to a
        hit (DESIGN.md, "The near cache").
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
        """Return the values at all of `keys`, or None where one is missing or none is trusted.

        All are what the server had at one moment: that up to which it has told of its writes.
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
        """Return the lock that guards all this, for what its owner has besides."""
        return self._lock

    def trusted(self) -> bool:
        """Tell whether `read` answers now."""
        return self._trusted > monotonic()

    # -- fetches ---------------------------------------------------------------------------------

    def begin(self, key: str) -> Token:
        """Note that the value at `key` is going to be asked for; call it before the request."""
        with self._lock:
            fetches = self._fetches.get(key) or self._fetches.setdefault(key, _Fetches())
            fetches.count += 1
            return Token(key, fetches, fetches.epoch, monotonic())

    def store(self, token: Token, raw: bytes, value: V, ttl: float) -> None:
        """End a fetch that gave `value`, made from the bytes `raw`, with `ttl` seconds to live.

        The value stays, for that time or the bound, where nothing has become known of the key
        since the fetch began. Else it may be older or newer than what is here, and nobody can say
        which: both are let go of, unless they are the same.
        """
        key, fetches, epoch, began = token
        gone: list[Entry] = []
        with self._lock:
            now = monotonic()
            life = began + min(ttl, self._bound) - now
            if epoch == fetches.epoch and life > 0 and self._trusted > now:
                self._store_locked(key, value, life, gone)
                fetches.stored = raw
                if epoch != fetches.epoch:  # pragma: no cover - a call from inside wrote the key
                    self._let_go_locked(key, gone)
            elif fetches.stored != raw:
                self._let_go_locked(key, gone)
            # Another fetch under way may have an older value, or a newer one: not to be stored.
            fetches.epoch += 1
            # Last: `invalidate` looks without the lock, and finds the fetch or its entry.
            self._ended_locked(token)

    def drop(self, token: Token) -> None:
        """End a fetch that found no value, or none that may be kept: nothing stays at its key."""
        gone: list[Entry] = []
        with self._lock:
            self._ended_locked(token)
            self._forget_locked(token.key, gone)

    def abandon(self, token: Token) -> None:
        """End a fetch that failed, by which nothing has become known."""
        with self._lock:
            self._ended_locked(token)

    @contextlib.contextmanager
    def fetching(self, keys: Iterable[str]) -> Iterator[dict[str, Token]]:
        """Begin a fetch of each key, for a `with` block that takes out the tokens it has ended.

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
        # By operators: a call from inside may begin a fetch of the key, and end it.
        if not fetches.count and key in self._fetches and self._fetches[key] is fetches:
            del self._fetches[key]

    def _forget_locked(self, key: str, gone: list[Entry]) -> None:
        """Let go of what is at `key`, and of what the fetches under way bring."""
        fetches = self._fetches.get(key)
        if fetches is not None:
            fetches.epoch += 1
        self._let_go_locked(key, gone)

    def _let_go_locked(self, key: str, gone: list[Entry]) -> None:
        """Remove what is at `key`, whatever it is."""
        entry = self._entries.get(key)
        while entry is not None and not self._remove_locked(key, entry, gone):
            entry = self._entries.get(key)  # pragma: no cover - a call from inside

    # -- writes ----------------------------------------------------------------------------------

    def wrote(self, keys: Iterable[str]) -> None:
        """Note that this process wrote `keys`, or tried to: after the answer, before the caller's.

        So the next read, by whichever thread, goes to the server, and no fetch from before stays.
        """
        gone: list[Entry] = []
        with self._lock:
            for key in keys:
                self._forget_locked(key, gone)

    def wrote_matching(self, glob: Glob, pattern: str) -> None:
        """Note that this process removed all keys that match `pattern`, of which `glob` is made."""
        with self._lock:
            fetched = list(self._fetches)
        # A fetch that begins from now on finds what the server has now.
        self.wrote(glob.select(fetched))
        self.delete_pattern(pattern)

    # -- what the listener calls -----------------------------------------------------------------

    def trust(self, until: float) -> None:
        """Let `read` answer until the monotonic clock says `until`."""
        self._trusted = until

    def distrust(self) -> None:
        """Let `read` answer no more: writes may go unnoticed from now on."""
        with self._lock:  # a store under way ends first
            self._trusted = _NEVER
            bells = [bell for bells in list(self._bells.values()) for bell in bells]
        for bell in bells:
            bell.ring()

    def invalidate(self, keys: Sequence[str]) -> None:
        """Let go of `keys`, as one step: somebody wrote them."""
        # Of a million keys few are here, and the lock is held for those. Fetches are asked first:
        # one that ends between the two questions has made an entry, which the second one finds.
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
        """Let go of everything, also of what the fetches under way bring."""
        with self._lock:
            for fetches in list(self._fetches.values()):
                fetches.epoch += 1
            bells = [bell for bells in list(self._bells.values()) for bell in bells]
        # What a fetch that begins here stores until the next line goes too, which does no harm.
        self.clear()
        for bell in bells:
            bell.ring()

    # -- waiting ---------------------------------------------------------------------------------

    def bell(self, key: str) -> Bell:
        """Return a bell that rings at each invalidation of `key` until it is closed."""

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
        """Begin empty and untrusted: the connection that kept the entries true is the parent's."""
        self._trusted = _NEVER
        self._fetches.clear()
        self._bells.clear()
        self.clear()
        super()._after_fork_in_child()


if not _LOCK_FREE:  # pragma: no cover - free-threaded builds only
    Near.read = Near._read_locking  # type: ignore[method-assign]
    Near.reader = Near._reader_locking  # type: ignore[method-assign]
