"""The store in plain Python: a bounded LRU map with deadlines and exact counters.

`docs/store.md` is its contract and `_store.c` its compiled twin; one suite runs on both. This one
is the reference and serves where nothing was compiled. One `RLock` guards everything. The lock is
reentrant, and code of the same thread may run in the middle of a step: a finalizer, wherever the
garbage collector starts. CPython runs such code only in an allocation and after a call. So an entry
is replaced or removed only if it is still the one that was looked at (`_store`, `_remove`), with no
call between the comparison and the change. Removed entries are kept alive in `gone` until the step
is over.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar

from .. import arguments
from ..protocol import V

Entry = tuple[Any, float]  # value and deadline; the deadline is inf where there is none
Row = tuple[str, Any, float | None]

KIND = "py"
_MISSING: Any = object()
_ANY: Any = object()
_BATCH = 2_000  # entries that one hold of the lock removes
_SLACK = 64  # records of deadlines that may be invalid, besides half of all


S = TypeVar("S", bound=type)


def specialize(cls: S) -> S:
    """Return a subclass of `Store` as it is: only the compiled store can make it faster."""
    return cls


class Store(Generic[V]):
    """A bounded LRU map with deadlines and exact counters."""

    def __init__(
        self, max_size: int = 1000, default_life: float = inf, lock: "threading.RLock | None" = None
    ) -> None:
        if max_size < 1:
            raise ValueError(f"max_size must be at least 1, not {max_size}")
        if not default_life > 0:
            raise ValueError("a life must be above zero")
        self._bound = max_size
        self._default_life = default_life
        self._lock = threading.RLock() if lock is None else lock
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # guarded by _lock; LRU first
        # A record for each deadline that was set, earliest first; guarded by _lock. A record is
        # valid while its entry has that deadline; the others go when they may be half of all.
        self._deadlines: list[tuple[float, str]] = []
        self._filed = 0  # guarded by _lock; goes up with each record, and where all are replaced
        self._hits = self._misses = self._evictions = self._expirations = 0  # guarded by _lock
        self._trusted = inf  # up to when `_read` answers
        self._changed: dict[str, bool] = {}  # guarded by _lock; watched keys

    # -- reading ---------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at `key`, or `default` where there is no live entry.

        A hit makes the key most recently used. An expired entry is removed, and is a miss.
        """
        if type(key) is not str:
            key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            return self._count_read(key, default, gone)

    def __getitem__(self, key: str) -> Any:
        key = arguments.plain_key(key)
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def get_many(self, keys: Iterable[str], /) -> dict[str, Any]:
        """Return the live ones of `keys` with their values, as they stood at one moment.

        Each key counts as a read, and a hit as a use, in the order given.
        """
        wanted = arguments.plain_keys(keys)
        gone: list[Entry] = []
        found = {}
        with self._lock:
            for key in wanted:
                value = self._count_read(key, _MISSING, gone)
                if value is not _MISSING:
                    found[key] = value
        return found

    def exists(self, key: str, /) -> bool:
        """Tell whether there is a live entry at `key`, even one that holds None.

        Counts no read and is no use of the key. An expired entry is removed.
        """
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            return self._live(key, gone) is not None

    __contains__ = exists

    def ttl(self, key: str, /) -> float | None:
        """Return the seconds that `key` has left, `math.inf` for ever, None where it isn't live.

        Counts no read and is no use of the key.
        """
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            entry = self._live(key, gone)
        if entry is None:
            return None
        left = entry[1] if entry[1] == inf else entry[1] - monotonic()
        return left if left > 0 else None

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, key: str, default: Any = None) -> Any:
        """Return the value at `key`, or `default`, without counting a read or changing recency."""
        entry = self._entries.get(arguments.plain_key(key))
        return default if entry is None or entry[1] <= monotonic() else entry[0]

    def _read(self, key: str, default: Any) -> Any:
        """Get what is there and trusted; else, and for a key that is no plain str, `default`."""
        found = self._read_many([key]) if type(key) is str else None
        return default if found is None else found[key]

    def _read_many(self, keys: Iterable[str]) -> dict[str, Any] | None:
        """Get the values at all of `keys`, or None where one is missing or not trusted."""
        wanted = arguments.plain_keys(keys)
        gone: list[Entry] = []
        with self._lock:
            now = monotonic()
            if self._trusted <= now:
                return None
            for key in wanted:
                entry = self._entries.get(key)
                if entry is None or entry[1] <= now:
                    return None
            return {key: self._count_read(key, None, gone) for key in wanted}

    def _trust(self, until: float) -> None:
        """Let `_read` answer up to a moment of the clock."""
        self._trusted = until

    # -- writing ---------------------------------------------------------------------------------

    def set(self, key: str, value: Any, ttl: Any = None) -> None:
        """Store `value` at `key` for `ttl` seconds, in place of whatever was there.

        `ttl=None` means the cache's `default_ttl`; `math.inf` never expires. Makes the key most
        recently used. A new key in a full cache makes room: expired entries go first, then the
        least recently used one.
        """
        if type(key) is not str:
            key = arguments.plain_key(key)
        life = self._default_life if ttl is None else arguments.seconds(ttl)
        gone: list[Entry] = []
        with self._lock:
            self._store(key, value, life, gone)

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def add(self, key: str, value: Any, ttl: Any = None) -> bool:
        """Store `value` where there is no live entry at `key`, and tell whether it did.

        `ttl` as in `set`. Follows memcached's add; Redis calls it SET NX.
        """
        return self._store_where(False, key, value, ttl)

    def replace(self, key: str, value: Any, ttl: Any = None) -> bool:
        """Store `value` where there is a live entry at `key`, and tell whether it did.

        `ttl` as in `set`: the former deadline goes. Redis calls it SET XX.
        """
        return self._store_where(True, key, value, ttl)

    def set_many(self, mapping: Mapping[str, Any], ttl: Any = None) -> None:
        """Store every value of `mapping` at its key, in its order, as one step.

        `ttl` as in `set`. No `get_many`, `save` or `delete_pattern` sees a part of it.
        """
        life = self._default_life if ttl is None else arguments.seconds(ttl)
        pairs = arguments.pairs(mapping)
        gone: list[Entry] = []
        with self._lock:
            for key, value in pairs:
                self._store(key, value, life, gone)

    def touch(self, key: str, ttl: Any = None) -> bool:
        """Give the live entry at `key` a new deadline, and tell whether there was one.

        `ttl` as in `set`. Makes the key most recently used and counts no read.
        """
        key = arguments.plain_key(key)
        life = self._default_life if ttl is None else arguments.seconds(ttl)
        gone: list[Entry] = []
        with self._lock:
            while (entry := self._live(key, gone)) is not None:
                if self._store(key, entry[0], life, gone, entry):
                    return True
            return False

    def increment(
        self, key: str, amount: float = 1, *, create: bool = True, ttl: Any = None
    ) -> Any:
        """Add `amount` to the number at `key` in one step and return the sum.

        A missing or expired key becomes `amount`, with `ttl` or else `default_ttl`, or is a
        KeyError with `create=False`; a live one keeps its deadline. Makes the key most recently
        used. Raises ValueError, changing nothing, when the value is no int or float. Follows
        Redis INCRBY, but unbounded.
        """
        key = arguments.plain_key(key)
        step = arguments.amount(amount)
        life = self._default_life if ttl is None else arguments.seconds(ttl)
        gone: list[Entry] = []
        with self._lock:
            while True:
                entry = self._live(key, gone)
                if entry is None:
                    if not create:
                        raise KeyError(key)
                    if self._store(key, step, life, gone, None):
                        return step
                    continue
                total = arguments.number(entry[0], key) + step
                fresh = (total, entry[1])
                entries = self._entries
                if key in entries and entries[key] is entry:
                    entries[key] = fresh
                    entries.move_to_end(key)
                    self._note(key)
                    return total

    def decrement(
        self, key: str, amount: float = 1, *, create: bool = True, ttl: Any = None
    ) -> Any:
        """Subtract `amount` from the number at `key`: `increment(key, -amount)`."""
        return self.increment(key, -arguments.amount(amount), create=create, ttl=ttl)

    # -- removing --------------------------------------------------------------------------------

    def pop(self, key: str, default: Any = None) -> Any:
        """Remove the entry at `key` and return its value, or `default` where none is live.

        Counts as a read.
        """
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            self._note(key)
            while (entry := self._live(key, gone)) is not None:
                if self._remove(key, entry, gone):
                    self._hits += 1
                    return entry[0]
            self._misses += 1
            return default

    def delete(self, key: str, /) -> bool:
        """Remove the entry at `key` and tell whether there was a live one."""
        return self.delete_many((key,)) == 1

    def __delitem__(self, key: str) -> None:
        key = arguments.plain_key(key)
        if not self.delete(key):
            raise KeyError(key)

    def delete_many(self, keys: Iterable[str], /) -> int:
        """Remove the entries at `keys` in one step and return how many live ones went."""
        unwanted = arguments.plain_keys(keys)
        gone: list[Entry] = []
        with self._lock:
            return sum(self._delete(key, gone) for key in unwanted)

    # -- for a caller that holds a lock and lets go of values after it -----------------------------

    def _put(self, key: str, value: Any, life: float) -> list[Any]:
        """Store `value`, and return a list of what has to be let go of."""
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            self._store(key, value, life, gone)
        return gone

    def _take(self, keys: Iterable[str]) -> list[Any]:
        """Remove the entries at `keys` in one step; return a list of what has to be let go of."""
        unwanted = arguments.plain_keys(keys)
        gone: list[Entry] = []
        with self._lock:
            for key in unwanted:
                self._delete(key, gone)
        return gone

    # -- single flight ---------------------------------------------------------------------------

    def get_or_set(
        self, key: str, factory: Callable[[], Any], *arguments: Any, **options: Any
    ) -> Any:
        return self._get_or_set_missing(key, factory, *arguments, **options)  # type: ignore[attr-defined]

    def _watch(self, key: str) -> None:
        """Note from now on whether `key` is changed."""
        with self._lock:
            self._changed[key] = False

    def _unwatch(self, key: str) -> bool:
        """End a watch; tell whether the key is unchanged."""
        with self._lock:
            return not self._changed.pop(key, True)

    def _land(self, key: str, value: Any, life: float) -> bool:
        """End a watch, and store the value if the key is unchanged; tell whether it is."""
        gone: list[Entry] = []
        with self._lock:
            while True:
                entry = self._live(key, gone)
                if self._changed.get(key, True):
                    self._unwatch(key)
                    return False
                if self._store(key, value, life, gone, entry):
                    self._unwatch(key)
                    return True

    def _watched(self) -> list[str]:
        """Return the keys that are watched."""
        with self._lock:
            return list(self._changed)

    def _forget(self, keys: Iterable[str]) -> None:
        """Take those of `keys` that are watched for changed."""
        with self._lock:
            for key in keys:
                self._note(key)

    # -- content as a whole ----------------------------------------------------------------------

    def _sweep(self) -> int:
        """Remove some of the expired entries; return how many, 0 where there is none."""
        now = monotonic()
        gone: list[Entry] = []
        with self._lock:
            while len(gone) < _BATCH and (found := self._first_expired(now)) is not None:
                self._expire(*found, gone)
        return len(gone)

    def _release(self) -> int:
        """Let go of some of the entries, counted as nothing; return 0 at the end."""
        gone: list[Any] = []
        with self._lock:
            self._deadlines = []
            while self._entries and len(gone) < _BATCH:
                gone.append(self._entries.popitem())
            return len(self._entries)

    def _swap(self, other: "Store", counters: bool) -> None:
        """Exchange the content, and perhaps the counters, with a store that nobody else uses."""
        with self._lock:
            theirs, ours = other._counters(), self._counters()
            self._filed += 1
            # Both, with no call in between.
            mine = self._entries, self._deadlines
            self._entries, self._deadlines = other._entries, other._deadlines
            other._entries, other._deadlines = mine
            if counters:
                self._set_counters(*theirs[:4])
                other._set_counters(*ours[:4])
            self._forget(list(self._changed))

    def _reserve(self, size: int) -> None:
        """Prepare an empty store for so many entries: nothing to do here."""

    def _fill(
        self,
        keys: list[str],
        values: list[Any],
        ends: list[float | None],
        offset: float,
        now: float,
    ) -> None:
        """Store what is live, counted as nothing; `ends` plus `offset` are the deadlines."""
        gone: list[Entry] = []
        counted = self._counters()
        with self._lock:
            for key, value, end in zip(keys, values, ends, strict=True):
                if end is None:
                    self._store(key, value, inf, gone)
                elif end + offset > now:
                    self._store(key, value, inf, gone)
                    self._entries[key] = (value, end + offset)
                    self._file(key, end + offset)
            self._set_counters(*counted[:4])

    def _walk(self, note: bool) -> "Walk":
        """Begin a walk over the keys; with True it can delete what nobody has written since."""
        with self._lock:
            return Walk(self, self._entries, list(dict.items(self._entries)))

    def _snapshot(self) -> tuple["Snapshot", float, int, int, int, int, int]:
        """Return a snapshot, its moment, how many rows it has, and four counters."""
        with self._lock:
            now = monotonic()
            items = [item for item in self._entries.items() if item[1][1] > now]
            counted = self._counters()[:4]
        items.reverse()
        return Snapshot(items), now, len(items), *counted

    # -- counters --------------------------------------------------------------------------------

    def _counters(self) -> tuple[int, int, int, int, int]:
        """Return hits, misses, evictions, expirations and size of one moment."""
        with self._lock:
            size = len(self._entries)
            return self._hits, self._misses, self._evictions, self._expirations, size

    def _set_counters(self, hits: int, misses: int, evictions: int, expirations: int) -> None:
        """Set the four counters."""
        with self._lock:
            self._hits, self._misses = hits, misses
            self._evictions, self._expirations = evictions, expirations

    def _now(self) -> float:
        """Return the time by the clock of the deadlines."""
        return monotonic()

    def _check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests."""
        with self._lock:
            entries = self._entries
            assert len(entries) <= self._bound
            filed = set(self._deadlines)
            for key, entry in list(entries.items()):
                assert type(key) is str
                assert entry[1] == inf or (entry[1], key) in filed
            assert len(self._deadlines) <= 2 * len(entries) + _SLACK + 1
            for at, record in enumerate(self._deadlines):
                assert self._deadlines[(at - 1) // 2] <= record or at == 0

    def _sizes(self) -> dict[str, int]:
        """Return how many there are of each thing that the store has memory for; for tests."""
        with self._lock:
            counted = len(self._entries), len(self._deadlines), len(self._changed)
            return dict(zip(("entries", "heap", "watched"), counted, strict=True))

    # -- steps, with the lock held ---------------------------------------------------------------

    def _live(self, key: str, gone: list[Entry]) -> Entry | None:
        """Return the live entry at `key`; an expired one is removed. The one rule of expiry."""
        while True:
            entry = self._entries.get(key)
            if entry is None or entry[1] == inf or entry[1] > monotonic():
                return entry
            self._expire(key, entry, gone)

    def _count_read(self, key: str, default: Any, gone: list[Entry]) -> Any:
        """Return the value at `key` and count the read."""
        entry = self._entries.get(key)
        if entry is not None and entry[1] != inf:
            entry = self._live(key, gone)
        if entry is None:
            self._misses += 1
            return default
        entries = self._entries
        if key in entries:
            entries.move_to_end(key)
        self._hits += 1
        return entry[0]

    def _store_where(self, live: bool, key: str, value: Any, ttl: Any) -> bool:
        """Store `value` if there is a live entry at `key` or, for False, if there is none."""
        key = arguments.plain_key(key)
        life = self._default_life if ttl is None else arguments.seconds(ttl)
        gone: list[Entry] = []
        with self._lock:
            while True:
                entry = self._live(key, gone)
                if (entry is not None) != live:
                    return False
                if self._store(key, value, life, gone, entry):
                    return True

    def _store(
        self, key: str, value: Any, life: float, gone: list[Entry], expected: Entry | None = _ANY
    ) -> bool:
        """Put `value` at `key`, as the most recently used, with `life` seconds to live.

        Only in place of the entry that is `expected`, None where there should be none; tell
        whether it was.
        """
        now = monotonic()
        fresh: Entry = (value, now + life)
        while len(self._entries) >= self._bound and key not in self._entries:
            self._make_room(gone)
        entries = self._entries
        old = entries[key] if key in entries else None  # noqa: SIM401 - `get` is a call
        if expected is not _ANY and old is not expected:
            return False
        entries[key] = fresh
        if key in entries:
            entries.move_to_end(key)
        if old is not None:
            gone.append(old)
            if old[1] <= now:
                self._expirations += 1
        while len(self._entries) > self._bound:  # a call from inside has stored one more
            self._make_room(gone)
        if life != inf:
            # After the entry: `_tidy` in a call from inside drops records without one.
            self._file(key, fresh[1])
        self._note(key)
        return True

    def _remove(self, key: str, entry: Entry, gone: list[Entry]) -> int:
        """Remove `entry` if it is still the one at `key`, and return how many that were."""
        entries = self._entries
        if key not in entries or entries[key] is not entry:
            return 0
        del entries[key]
        gone.append(entry)
        self._tidy()
        return 1

    def _expire(self, key: str, entry: Entry, gone: list[Entry]) -> None:
        removed = self._remove(key, entry, gone)
        self._expirations += removed

    def _delete(self, key: str, gone: list[Entry]) -> int:
        self._note(key)
        while (entry := self._live(key, gone)) is not None:
            if self._remove(key, entry, gone):
                return 1
        return 0

    def _make_room(self, gone: list[Entry]) -> None:
        """Remove one entry: an expired one, or else the least recently used one."""
        expired = self._first_expired(monotonic()) if self._deadlines else None
        if expired is not None:
            self._expire(*expired, gone)
        elif self._entries:
            evicted = self._entries.popitem(last=False)
            self._evictions += 1
            gone.append(evicted[1])

    def _first_expired(self, now: float) -> tuple[str, Entry] | None:
        """Return an entry that has expired, with its key, or None."""
        while self._deadlines and self._deadlines[0][0] <= now:
            record = self._deadlines[0]
            deadline, key = record
            entry = self._entries.get(key)
            if entry is not None and entry[1] == deadline:
                return key, entry
            if self._deadlines and self._deadlines[0] is record:
                heappop(self._deadlines)
        return None

    def _file(self, key: str, deadline: float) -> None:
        """Make a record of a deadline."""
        self._filed += 1
        heappush(self._deadlines, (deadline, key))
        self._tidy()

    def _tidy(self) -> None:
        """Drop the records of former deadlines where they may be half of all."""
        while len(self._deadlines) > 2 * len(self._entries) + _SLACK:
            filed = self._filed
            valid = [
                (entry[1], key) for key, entry in list(self._entries.items()) if entry[1] != inf
            ]
            heapify(valid)
            if self._filed == filed:  # else a call from inside has filed one that is not among them
                self._deadlines = valid
                return

    def _note(self, key: str) -> None:
        if key in self._changed:
            self._changed[key] = True


class Walk:
    """A walk over the keys of a store; it can delete what nobody has written since."""

    def __init__(
        self, store: Store, entries: OrderedDict[str, Entry], items: list[tuple[str, Entry]]
    ) -> None:
        self._store = store
        self._entries = entries
        self._items = dict(items)
        self._keys = list(self._items)

    def slice(self) -> list[str] | None:
        """Return some further live keys, [] at the end, None where the content was replaced."""
        if self._store._entries is not self._entries:
            return None
        now = monotonic()
        found: list[str] = []
        while self._keys and not found:
            part = self._keys[-_BATCH:]
            del self._keys[-_BATCH:]
            found = [key for key in part if self._items[key][1] > now]
        return found

    def delete(self, keys: list[str]) -> int:
        """Remove those of `keys` that nobody has written since; return how many live ones went."""
        gone: list[Entry] = []
        removed = 0
        store = self._store
        with store._lock:
            for key in keys:
                entry = self._items.get(key)
                if entry is None:
                    continue
                if entry[1] <= monotonic():
                    store._expire(key, entry, gone)
                elif store._remove(key, entry, gone):
                    store._note(key)
                    removed += 1
        return removed

    def close(self) -> None:
        """End the walk."""
        self._items = {}
        self._keys = []


class Snapshot:
    """One moment of a store, read in slices."""

    def __init__(self, items: list[tuple[str, Entry]]) -> None:
        self._items = items  # in reverse

    def rows(self, most: int) -> list[Row]:
        """Return up to `most` further rows (key, value, deadline or None), [] at the end."""
        if most < 1:
            return []
        part = self._items[: -most - 1 : -1]
        del self._items[-most:]
        return [(key, value, None if end == inf else end) for key, (value, end) in part]

    def close(self) -> None:
        """End the snapshot."""
        self._items = []
