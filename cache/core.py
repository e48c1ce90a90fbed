"""`DistributedCache`: a thread-safe LRU cache with TTLs, exact statistics and snapshots.

DESIGN.md explains how the parts work together, and the order of the steps.
"""

import gc
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from datetime import timedelta
from functools import partial
from itertools import count, islice, repeat, starmap
from math import inf
from time import monotonic
from typing import Any, TypeVar, overload

from . import arguments, forks, results, room, snapshot, sweeper
from .expiry import FULL, Entry, ExpiryIndex
from .flights import Flights
from .health import Health
from .mixin import CacheMixin
from .patterns import compile_glob
from .plain import Codec
from .protocol import V
from .stats import CacheStats
from .trust import Trusted

D = TypeVar("D")
T = TypeVar("T")


class _Journal(set[str]):
    """The keys that were written while a `delete_pattern` ran, and the thread that runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()


_MISSING: Any = object()
_ANY: Any = object()  # expected at a key that is written unconditionally
_SLICE = 2_000  # entries that are removed under one hold of the lock, or in one C call
_SWEEP = 10_000  # expired entries that are removed under one hold of the lock: about 3 ms
_WALK = 50_000  # keys of one step of a save's walk: about 15 ms in which no other thread runs
_REPLAY = 50_000  # recorded hits that are replayed at once: about 8 ms
_FEW_USES = 5_000
_MOST_REPLAYS = 200
_YIELD = 0.0001  # seconds; long enough for a waiting thread to wake and take the lock

# With the GIL, a hit is a few atomic steps and needs no lock. Without it, every read takes it.
_LOCK_FREE = getattr(sys, "_is_gil_enabled", lambda: True)()


class DistributedCache(CacheMixin[V]):
    """A cache of up to `max_size` entries that the threads of one process share.

    It shares nothing with other processes. A full cache evicts the least recently used entry.
    `default_ttl` is the ttl of entries that are set without one, in seconds or as a `timedelta`;
    None means that they never expire. A daemon thread removes expired entries every
    `cleanup_interval` seconds, a millisecond at the least. `trust` lists what
    may be in snapshots beside plain data: classes, names of modules whose classes are trusted, and
    a `Portable` for each class that is saved as plain data. "numpy" and "pandas" there stand for
    arrays, frames, series, indexes and scalars, and for nothing else of these libraries. `secret`
    seals snapshots.

    Keys are str, values anything; values are handed out as they are, not copied. Bad arguments
    are a TypeError or ValueError before anything changes.
    """

    def __init__(
        self,
        max_size: int = 1000,
        *,
        default_ttl: float | timedelta | None = None,
        cleanup_interval: float | timedelta = 60.0,
        trust: Iterable[Trusted] = (),
        secret: bytes | None = None,
    ) -> None:
        self._max_size = arguments.size(max_size)
        self._default_life = inf
        if default_ttl is not None:
            self._default_life = arguments.seconds(default_ttl, "default_ttl")
        # The last ttl that `set` checked, and its seconds.
        self._checked: tuple[object, float] = None, self._default_life
        self._cleanup_interval = arguments.seconds(cleanup_interval, "cleanup_interval")
        self._codec = Codec(trust)
        self._secret = snapshot.checked_secret(secret)
        self._lock = threading.RLock()
        self._acquire = self._lock.acquire  # half the price of `with` on a hot path
        self._release = self._lock.release
        self._closed = False  # guarded by _lock
        self._evictions = 0  # guarded by _lock
        self._expirations = 0  # guarded by _lock
        # Each `next` counts one read in one atomic step; `_counted` reads the counters.
        self._hits = count()
        self._misses = count()
        # Changed under _lock only, except that a hit moves its key to the end without it.
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # from least to most recently used
        self._touch: Callable[[str], None] = self._entries.move_to_end
        self._expiry = ExpiryIndex()  # guarded by _lock
        self._flights: Flights[V] = Flights(self._lock)
        self._running = self._flights.running  # empty while no factory runs
        # For each delete_pattern under way, the keys written since it began, by the identity of
        # that journal; guarded by _lock.
        self._journals: dict[int, _Journal] = {}
        self._noting = False  # guarded by _lock
        self._uses: deque[str] = deque()  # hits during the walk of a save, to be replayed
        self._end_cleanup, self._cleans = sweeper.start(self, self._cleanup_interval)
        forks.follow(self)

    # -- reading ---------------------------------------------------------------------------------

    @overload
    def get(self, key: str) -> V | None: ...
    @overload
    def get(self, key: str, default: D) -> V | D: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at `key`, or `default` where there is no live entry.

        A hit makes the key most recently used. An expired entry is removed, and is a miss.
        """
        # Flat and without the lock, for speed. Look-up, move to the end and count are one atomic
        # step each; other threads may run between any two of them (DESIGN.md, "A hit").
        if type(key) is not str:
            key = arguments.plain_key(key)
        entries = self._entries
        if key in entries:
            try:
                value, deadline, _ = entries[key]
                if deadline is None or deadline > monotonic():
                    self._touch(key)
                    next(self._hits)
                    return value
            except KeyError:  # pragma: no cover - another thread has removed it
                pass  # decided again below
        elif entries is self._entries:  # pragma: no branch - else load has replaced it
            next(self._misses)
            return default
        return self._get_locking(key, default)

    def _get_locking(self, key: str, default: Any = None) -> Any:
        """Do what `get` does under the lock: to remove an expired entry; without GIL, always."""
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            return self._read_locked(key, default, gone)

    def _read_locked(self, key: str, default: Any, gone: list[Entry]) -> Any:
        """Return the value at `key` and count the read; a removed entry goes to `gone`."""
        entry = self._live_locked(key, gone)
        if entry is None:
            next(self._misses)
            return default
        if key in self._entries:  # pragma: no branch - a re-entrant call
            self._entries.move_to_end(key)
        next(self._hits)
        return entry[0]

    def exists(self, key: str) -> bool:
        """Tell whether there is a live entry at `key`, even one that holds None.

        Counts no read and is no use of the key. An expired entry is removed.
        """
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            return self._live_locked(key, gone) is not None

    def ttl(self, key: str) -> float | None:
        """Return the seconds that `key` has left, `math.inf` for ever, None where it isn't live.

        Counts no read and is no use of the key.
        """
        key = arguments.plain_key(key)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry[1] is None:
                return inf
            left: float = entry[1] - monotonic()
            return left if left > 0 else None

    def get_many(self, keys: Iterable[str]) -> dict[str, V]:
        """Return the live ones of `keys` with their values, as they stood at one moment.

        Each key counts as a read, and a hit as a use, in the order given.
        """
        wanted = arguments.plain_keys(keys)
        gone: list[Entry] = []
        found = {}
        with self._lock:
            for key in wanted:
                value = self._read_locked(key, _MISSING, gone)
                if value is not _MISSING:
                    found[key] = value
        return found

    def keys(self, pattern: str = "*") -> list[str]:
        """Return the live keys that match the glob `pattern`, in no promised order.

        The dialect is that of Redis: `*`, `?`, `[abc]`, `[^a-z]`, `\\`. Takes time proportional
        to the number of keys, in slices between which other threads run. Counts no read and is no
        use of the keys.
        """
        glob = compile_glob(arguments.pattern(pattern))
        with self._lock:
            # The order of recency would take 25 times as long as the order of the inner dict.
            entries, keys = self._entries, list(dict.keys(self._entries))
            all_live = not self._expiry.heap
        now = monotonic()
        matching: list[str] = []
        for part in _slices_of(keys):
            found = glob.select(part)
            matching += found if all_live else _live_keys(found, entries, now)
        return matching

    def stats(self) -> CacheStats:
        """Return the counters and sizes of one moment."""
        with self._lock:
            hits, misses = self._counted_locked()
            size = len(self._entries)
            return CacheStats(
                hits, misses, self._evictions, self._expirations, size, self._max_size
            )

    def __len__(self) -> int:
        """Return how many entries are stored, expired ones that nothing has removed included."""
        return len(self._entries)

    def __repr__(self) -> str:
        """Name the class and how full the cache is; no key, no value."""
        return f"<{type(self).__name__} with {len(self)} of {self._max_size} entries>"

    # -- writing ---------------------------------------------------------------------------------

    def set(self, key: str, value: V, ttl: float | timedelta | None = None) -> None:
        """Store `value` at `key` for `ttl` seconds, in place of whatever was there.

        `ttl=None` means the cache's `default_ttl`; `math.inf` never expires. Makes the key most
        recently used. A new key in a full cache makes room: expired entries go first, then the
        least recently used one.
        """
        # Flat for speed in the commonest cases: nothing in the cache expires; or the deadline is in
        # the current slot, and nothing has expired. The removed value is kept in `old`, which this
        # frame releases after the lock.
        if type(key) is not str:
            key = arguments.plain_key(key)
        checked = self._checked
        if ttl is checked[0]:
            life = checked[1]
        else:
            life = self._life(ttl)
            self._checked = ttl, life
        self._acquire()
        try:
            entries, expiry = self._entries, self._expiry
            if self._running or self._journals:
                pass
            elif life != inf:
                now = monotonic()
                deadline = now + life
                if life == expiry.life and expiry.floor <= deadline < expiry.end:
                    slot = expiry.slot
                    fresh: Entry = (value, deadline, slot)
                    if key in entries:
                        old = entries[key]
                        if old[2] == slot and old[1] > now:
                            entries[key] = fresh
                            entries.move_to_end(key)
                            return
                    else:
                        if (
                            len(entries) >= self._max_size
                            and expiry.heap
                            and expiry.heap[0][0] > now
                            and entries
                        ):
                            evicted, old = entries.popitem(last=False)
                            self._evictions += 1
                            if old[2] is not None:
                                expiry.discard(evicted, old[2], entries)
                        if (  # pragma: no branch - a re-entrant call
                            len(entries) < self._max_size
                            and key not in entries
                            and slot in expiry.buckets
                        ):
                            bucket = expiry.buckets[slot]
                            entries[key] = fresh
                            bucket[key] = key
                            if len(bucket) >= FULL:
                                expiry.life = 0.0  # the next entry gets another slot
                            if len(entries) <= self._max_size:  # pragma: no branch - as above
                                return
            elif not expiry.heap:
                fresh = (value, None, None)
                if key in entries:
                    old = entries[key]
                    entries[key] = fresh
                    entries.move_to_end(key)
                    return
                if len(entries) >= self._max_size and entries:
                    _, old = entries.popitem(last=False)
                    self._evictions += 1
                if (  # pragma: no branch - a re-entrant call
                    len(entries) < self._max_size and key not in entries
                ):
                    entries[key] = fresh
                    if len(entries) <= self._max_size:  # pragma: no branch - as above
                        return
            gone: list[Entry] = []
            self._store_locked(key, value, life, gone)
        finally:
            self._release()

    def add(self, key: str, value: V, ttl: float | timedelta | None = None) -> bool:
        """Store `value` where there is no live entry at `key`, and tell whether it did.

        `ttl` as in `set`. Follows memcached's add; Redis calls it SET NX.
        """
        key = arguments.plain_key(key)
        life = self._life(ttl)
        gone: list[Entry] = []
        with self._lock:
            while True:
                if self._live_locked(key, gone) is not None:
                    return False
                if self._store_locked(key, value, life, gone, None):  # pragma: no branch
                    return True

    def replace(self, key: str, value: V, ttl: float | timedelta | None = None) -> bool:
        """Store `value` where there is a live entry at `key`, and tell whether it did.

        `ttl` as in `set`: it replaces the former deadline. Redis calls it SET XX.
        """
        key = arguments.plain_key(key)
        life = self._life(ttl)
        gone: list[Entry] = []
        with self._lock:
            while True:
                entry = self._live_locked(key, gone)
                if entry is None:
                    return False
                if self._store_locked(key, value, life, gone, entry):  # pragma: no branch
                    return True

    def set_many(self, mapping: Mapping[str, V], ttl: float | timedelta | None = None) -> None:
        """Store every value of `mapping` at its key, in its order, as one step.

        `ttl` as in `set`. No `get_many`, `save` or `delete_pattern` sees a part of it.
        """
        life = self._life(ttl)
        pairs = arguments.pairs(mapping)
        gone: list[Entry] = []
        with self._lock:
            for key, value in pairs:
                self._store_locked(key, value, life, gone)

    def increment(
        self,
        key: str,
        amount: float = 1,
        *,
        create: bool = True,
        ttl: float | timedelta | None = None,
    ) -> Any:
        """Add `amount` to the number at `key` in one step and return the sum.

        A missing or expired key becomes `amount`, for `ttl` seconds as in `set`, or is a KeyError
        with `create=False`; a live one keeps its deadline, whatever `ttl` says. Makes the key most
        recently used. Raises ValueError, changing nothing, when the value is no int or float.
        Follows Redis INCRBY, but unbounded.
        """
        # Flat for speed, as `set` is.
        if type(key) is not str:
            key = arguments.plain_key(key)
        step = amount if type(amount) is int else arguments.amount(amount)
        life = self._default_life if ttl is None else arguments.seconds(ttl)
        gone: list[Entry] = []
        self._acquire()
        try:
            while True:
                entry = self._live_locked(key, gone)
                if entry is None:
                    if not create:
                        raise KeyError(key)
                    if self._store_locked(key, step, life, gone, None):  # pragma: no branch
                        return step
                    continue
                value, deadline, slot = entry
                number = value if type(value) is int else arguments.number(value, key)
                total = number + step
                fresh = (total, deadline, slot)
                entries = self._entries
                # A re-entrant call may have written the key: then try again.
                if key in entries and entries[key] is entry:  # pragma: no branch
                    entries[key] = fresh
                    entries.move_to_end(key)
                    if self._running or self._journals:
                        self._note_write_locked(key)
                    return total
        finally:
            self._release()

    def touch(self, key: str, ttl: float | timedelta | None = None) -> bool:
        """Give the live entry at `key` a new deadline, and tell whether there was one.

        `ttl` as in `set`. Makes the key most recently used and counts no read.
        """
        key = arguments.plain_key(key)
        life = self._life(ttl)
        gone: list[Entry] = []
        with self._lock:
            while True:
                entry = self._live_locked(key, gone)
                if entry is None:
                    return False
                if self._store_locked(key, entry[0], life, gone, entry):  # pragma: no branch
                    return True

    def get_or_set(
        self,
        key: str,
        factory: Callable[[], V],
        ttl: float | timedelta | None = None,
        *,
        store_if: Callable[[V], object] | None = None,
    ) -> V:
        """Return the value at `key`; if there is none, call `factory()` and store its result.

        Single flight: of all threads that ask at once, one runs its factory, without any lock, and
        the others wait for its value or its exception. The value is stored for `ttl` seconds from
        the factory's return. It is returned but not stored if the key was written or removed
        meanwhile, or if `store_if(value)` is false. Raises RuntimeError in a factory that needs its
        own key, directly or through another one that waits for it. Raises TypeError for a result
        that is awaitable, a generator or an iterator, which could be used only once. Counts a hit,
        or a miss if it called the factory or waited.
        """
        key = arguments.plain_key(key)
        life = self._life(ttl)
        if not callable(factory):
            raise TypeError(f"factory must be callable, not {type(factory).__name__}")
        results.checked_store_if(store_if)
        value: V = self.get(key, _MISSING)
        if value is not _MISSING:
            return value
        return self._missed(key, factory, life, store_if)

    def _missed(
        self,
        key: str,
        factory: Callable[[], V],
        ttl: float | timedelta | None,
        store_if: Callable[[V], object] | None,
    ) -> V:
        """Do the rest of `get_or_set` after its read was a miss."""
        life = self._life(ttl)
        make = partial(results.make, key, factory, store_if)
        if self._lock._is_owned() or self._flights.inside():  # type: ignore[attr-defined]
            # A re-entrant call: the outer call holds the lock, or other threads wait for it.
            # Waiting for another thread's factory could deadlock.
            value, keep = make()
            if keep:
                self.add(key, value, life)
            return value
        flight, leading = self._flights.join(key)
        if not leading:
            return self._flights.wait(flight)
        gone: list[Entry] = []
        try:
            with self._lock:  # another flight may have ended since the miss
                entry = self._live_locked(key, gone)
            value, keep = self._flights.call(flight, make) if entry is None else (entry[0], False)
        except BaseException as error:
            self._flights.fail(flight, error)
            raise
        with self._lock:
            if keep and flight.store:
                self._store_locked(key, value, life, gone, None)
            self._flights.land(flight, value)
        return value

    def _life(self, ttl: float | timedelta | None) -> float:
        """Return a caller's `ttl` in seconds."""
        return self._default_life if ttl is None else arguments.seconds(ttl)

    # -- removing --------------------------------------------------------------------------------

    @overload
    def pop(self, key: str) -> V | None: ...
    @overload
    def pop(self, key: str, default: D) -> V | D: ...
    def pop(self, key: str, default: Any = None) -> Any:
        """Remove the entry at `key` and return its value, or `default` where none is live.

        Counts as a read.
        """
        key = arguments.plain_key(key)
        gone: list[Entry] = []
        with self._lock:
            self._flights.forget(key)
            entry = self._take_locked(key, gone)
            if entry is None:
                next(self._misses)
                return default
            next(self._hits)
            return entry[0]

    def delete(self, key: str) -> bool:
        """Remove the entry at `key` and tell whether there was a live one."""
        return self.delete_many((key,)) == 1

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove the entries at `keys` in one step and return how many live ones went."""
        unwanted = arguments.plain_keys(keys)
        gone: list[Entry] = []
        removed = 0
        with self._lock:
            for key in unwanted:
                self._flights.forget(key)
                if self._take_locked(key, gone) is not None:
                    removed += 1
        return removed

    def delete_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match the glob `pattern`; return how many live ones went.

        Removes what is stored at one moment; what is set while it runs stays. Takes time
        proportional to the number of keys, in slices between which other threads run.
        """
        glob = compile_glob(arguments.pattern(pattern))
        in_flight: dict[str, bool] = {}  # key of a running factory to whether it matches
        written = _Journal()
        while True:
            with self._lock:
                running = self._flights.keys()
                if all(key in in_flight for key in running):
                    for key in running:
                        if in_flight[key]:
                            self._flights.forget(key)
                    self._journals[id(written)] = written  # first: a re-entrant call may write
                    now = monotonic()
                    entries, keys = self._entries, list(dict.keys(self._entries))
                    break
            for key in running:
                in_flight[key] = glob.matches(key)
        try:
            doomed: list[str] = []
            for part in _slices_of(keys):
                doomed += glob.select(part)
            removed = 0
            for part in _slices_of(doomed):
                removed += self._delete_unwritten(part, written, entries, now)
                _let_a_waiter_in()
            return removed
        finally:
            with self._lock:
                # One step: a re-entrant call may begin and end another.
                self._journals.pop(id(written), None)

    def _delete_unwritten(
        self, keys: list[str], written: _Journal, entries: OrderedDict[str, Entry], now: float
    ) -> int:
        """Remove the entries at `keys` that were live at `now`, except those `written` since."""
        gone: list[Entry] = []
        removed = 0
        with self._lock:
            if self._entries is entries:  # otherwise clear or load has removed everything
                for key in keys:
                    entry = entries.get(key)
                    if entry is None or key in written:
                        continue
                    if entry[1] is None or entry[1] > now:
                        removed += self._remove_locked(key, entry, gone)
        return removed

    def clear(self) -> None:
        """Remove every entry. The counters stay: removals by `clear` are not counted."""
        with self._lock:
            former = self._install_locked(OrderedDict(), ExpiryIndex())
        _let_go(*former)

    def cleanup(self) -> int:
        """Remove every entry that has expired by now and return how many that were.

        The cost is proportional to their number, not to the cache's size. Works in slices between
        which other threads run. The cleanup thread calls it every `cleanup_interval` seconds.
        """
        now = monotonic()
        removed = 0
        while True:
            with self._lock:
                gone = self._expiry.sweep(self._entries, now, _SWEEP)
                swept = len(gone)  # first: a re-entrant call may count one, too
                self._expirations += swept
                more = self._expiry.due(now)
            removed += swept
            del gone
            if not more:
                return removed
            _let_a_waiter_in()

    def reset_stats(self) -> None:
        """Set hits, misses, evictions and expirations to zero."""
        with self._lock:
            self._count_from_locked(0, 0, 0, 0)

    def health(self) -> Health:
        """Return the state of the cache: "degraded" if its cleanup thread does not run, else "ok".

        After `close` no thread is expected.
        """
        runs = self._closed or self._cleans()
        return Health.of([], [] if runs else ["the cleanup thread does not run"])

    def close(self) -> None:
        """End the cleanup thread. The cache still works and removes expired entries on access."""
        with self._lock:
            self._closed = True
        self._end_cleanup()

    # -- snapshots -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot of this moment to the file at `path`, whole or not at all.

        The file is a pickle of plain data with mode 0600: entries from least to most recently used,
        each with its wall-clock `expires_at`. Other threads continue: hits throughout, writes after
        the keys have been read in order of use. Raises OSError if the file cannot be written, and
        SnapshotError that names the key for a value that is neither plain data nor trusted; then
        the cache and the old file are unchanged. A container that other threads change meanwhile is
        saved as it was at one moment. While one large value is pickled, no other thread runs.
        """
        target = os.fspath(path)
        with self._lock:
            header = self._header_locked()
            # Deadlines are monotonic; this turns them into seconds since the epoch.
            now = monotonic()
            epoch = header["saved_at"] - now
            keys, entries = self._walk_locked()
            expired = self._expiry.due(now)
        if expired:
            keys, entries = _live_of(keys, entries, now)
        else:
            keys.reverse()
            entries.reverse()
        header["entries"] = len(keys)

        def rows(most: int) -> list[snapshot.Row]:
            # Taken from the end: freeing the whole lists at once would stop every thread.
            part, held = keys[: -most - 1 : -1], entries[: -most - 1 : -1]
            del keys[-most:], entries[-most:]
            values, deadlines = [entry[0] for entry in held], [entry[1] for entry in held]
            if deadlines.count(None) < len(deadlines):
                deadlines = [None if end is None else end + epoch for end in deadlines]
            return list(zip(part, values, deadlines, strict=True))

        snapshot.write(target, header, rows, self._codec, self._secret)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace content and counters by those of the snapshot at `path`, in one step.

        Entries come back in their order of use, each with its remaining life by the wall clock.
        Expired ones are dropped, and so are the least recently used ones beyond `max_size`. Raises
        FileNotFoundError. Raises SnapshotError for a file that is not a whole snapshot, is sealed
        with another secret, or holds anything that is neither plain data nor trusted. After an
        error nothing has changed.
        """
        header, slices = snapshot.read(os.fspath(path), self._codec, self._secret)
        now, wall = monotonic(), time.time()
        kept: deque[snapshot.Row] = deque(maxlen=self._max_size)
        entries = room.ordered_dict(min(header["entries"], self._max_size))
        expiry = ExpiryIndex()
        if header["entries"] > self._max_size:
            rows = (row for columns in slices for row in zip(*columns, strict=True))
            kept.extend(row for row in rows if row[2] is None or row[2] > wall)
            slices = _columns_of(kept)
        for keys, values, ends in slices:
            if ends.count(None) == len(ends):
                entries.update(zip(keys, zip(values, repeat(None), repeat(None)), strict=True))
                continue
            for key, value, end in zip(keys, values, ends, strict=True):
                if end is None:
                    entries[key] = (value, None, None)
                elif end > wall:
                    life = end - wall
                    deadline = now + life
                    slot = expiry.slot_for(deadline, life)
                    entries[key] = (value, deadline, slot)
                    expiry.buckets[slot][key] = key
        with self._lock:
            former = self._install_locked(entries, expiry)
            self._count_from_locked(
                header["hits"], header["misses"], header["evictions"], header["expirations"]
            )
        _let_go(*former)

    def _header_locked(self) -> dict[str, Any]:
        """Return the header of a snapshot of this moment, without the number of entries."""
        hits, misses = self._counted_locked()
        return {
            "saved_at": time.time(),
            "hits": hits,
            "misses": misses,
            "evictions": self._evictions,
            "expirations": self._expirations,
        }

    def _walk_locked(self) -> tuple[list[str], list[Entry]]:
        """Return all keys, from least to most recently used, and their entries.

        The order can only be read by walking the OrderedDict, which takes 0.3 s at a million
        entries and must not see a change. So writers wait for the lock meanwhile. Hits, which need
        no lock, record their key in a queue instead of moving it; the queue is replayed afterwards.
        """
        entries = self._entries
        self._noting = True
        self._touch = self._note
        try:
            while True:
                keys: list[str] = []
                found: list[Entry] = []
                order = iter(entries)
                try:
                    while part := list(islice(order, _WALK)):
                        keys += part
                        found += map(entries.__getitem__, part)
                        if gc.isenabled():
                            # Ages the lists while they are short. Otherwise the next collection
                            # would traverse them all: 50 ms in which no other thread runs.
                            gc.collect(1)
                    return keys, found
                except (RuntimeError, KeyError):  # pragma: no cover - a hit began before the walk
                    continue  # a hit that began before the walk has moved its key just now
        finally:
            # Meanwhile hits fill the queue. One call empties it faster than the hits of a switch
            # interval fill it, so it gets shorter; then new hits wait until the last are replayed.
            for _ in range(_MOST_REPLAYS):
                if len(self._uses) > _FEW_USES:
                    self._replay_locked()
            self._touch = self._touch_waiting
            self._noting = False
            while self._uses:
                self._replay_locked()
            self._touch = self._entries.move_to_end

    def _note(self, key: str) -> None:
        """Replace `_touch` during a walk."""
        self._uses.append(key)
        if not self._noting:  # pragma: no cover - the walk has just ended
            with self._lock:
                while self._uses:
                    self._replay_locked()

    def _touch_waiting(self, key: str) -> None:  # pragma: no cover - another thread's turn
        """Replace `_touch` while the last part of the queue is replayed."""
        with self._lock:
            self._entries.move_to_end(key)

    def _replay_locked(self) -> None:
        """Replay the first hits in the queue in one C call."""
        entries, uses = self._entries, self._uses
        keys = starmap(uses.popleft, repeat((), min(len(uses), _REPLAY)))
        deque(map(entries.move_to_end, filter(entries.__contains__, keys)), maxlen=0)

    # -- steps under the lock --------------------------------------------------------------------
    # Code of the same thread may run at any call in here (a finalizer, a signal handler) and may
    # call the cache. So state is checked again right before it is changed, by operators, between
    # which CPython runs nothing else. Removed entries go to `gone`, which the caller releases after
    # the lock.

    def _live_locked(self, key: str, gone: list[Entry]) -> Entry | None:
        """Return the live entry at `key`; an expired one is removed. The only test of expiry."""
        entry = self._entries.get(key)
        if entry is None or entry[1] is None or entry[1] > monotonic():
            return entry
        removed = self._remove_locked(
            key, entry, gone
        )  # first: a re-entrant call may count one, too
        self._expirations += removed
        return None

    def _take_locked(self, key: str, gone: list[Entry]) -> Entry | None:
        """Remove the live entry at `key`, if any, and return it."""
        while True:
            entry = self._live_locked(key, gone)
            if entry is None or self._remove_locked(key, entry, gone):  # pragma: no branch
                return entry

    def _remove_locked(self, key: str, entry: Entry, gone: list[Entry]) -> int:
        """Remove `entry` if it is still at `key`; return how many entries were removed."""
        entries = self._entries
        if key not in entries or entries[key] is not entry:
            return 0  # a re-entrant call has removed it, or written another
        del entries[key]
        gone.append(entry)
        if entry[2] is not None:
            self._expiry.discard(key, entry[2], self._entries)
        return 1

    def _store_locked(
        self,
        key: str,
        value: Any,
        life: float,
        gone: list[Entry],
        expected: Entry | None = _ANY,
    ) -> bool:
        """Store `value` at `key` as the most recently used, for `life` seconds.

        Does nothing and returns False if the entry there (None: no entry) is not the `expected`
        one.
        """
        entries, expiry = self._entries, self._expiry
        now = monotonic()
        deadline = now + life
        if key in entries:
            key = expiry.filed(key, entries[key][2])
        elif len(entries) >= self._max_size:
            self._make_room_locked(self._max_size - 1, now, gone)
        slot = None
        fresh: Entry = (value, None, None)
        while deadline != inf and slot not in expiry.buckets:
            slot = expiry.slot_for(deadline, life)
            fresh = (value, deadline, slot)
        # An entry is stored together with its record: there is no call in between.
        if key in entries:
            old = entries[key]
            if expected is not _ANY and old is not expected:
                return False
            entries[key] = fresh
            if slot is not None:
                expiry.buckets[slot][key] = key
            entries.move_to_end(key)
            gone.append(old)
            if old[1] is not None:
                if old[1] <= now:
                    self._expirations += 1
                if old[2] != slot:
                    expiry.discard(key, old[2], entries)
        elif expected is not _ANY and expected is not None:
            return False
        else:
            entries[key] = fresh
            if slot is not None:
                expiry.buckets[slot][key] = key
        if len(entries) > self._max_size:  # a re-entrant call took the room
            self._make_room_locked(self._max_size, now, gone)
        self._note_write_locked(key)
        return True

    def _note_write_locked(self, key: str) -> None:
        """Tell running flights and pattern deletions that `key` was written."""
        if self._running:
            self._flights.forget(key)
        if self._journals:
            for written in list(self._journals.values()):
                written.add(key)

    def _make_room_locked(self, size: int, now: float, gone: list[Entry]) -> None:
        """Remove entries until `size` are left: expired ones first, then by recency."""
        entries, expiry = self._entries, self._expiry
        while len(entries) > size:
            if expiry.heap and expiry.heap[0][0] <= now and expiry.due(now):
                expired = expiry.sweep(entries, now, _SLICE)
                removed = len(expired)
                self._expirations += removed
                gone += expired
            elif entries:  # pragma: no branch - a re-entrant call may have cleared it
                key, entry = entries.popitem(last=False)
                self._evictions += 1
                gone.append(entry)
                if entry[2] is not None:
                    expiry.discard(key, entry[2], entries)

    def _install_locked(
        self, entries: OrderedDict[str, Entry], expiry: ExpiryIndex
    ) -> tuple[OrderedDict[str, Entry], ExpiryIndex]:
        """Replace the content in one step for every reader; return the former content."""
        former = self._entries, self._expiry
        self._flights.forget_all()
        self._expiry = expiry
        self._entries = entries
        self._touch = entries.move_to_end
        return former

    def _count_from_locked(self, hits: int, misses: int, evictions: int, expirations: int) -> None:
        self._hits, self._misses = count(hits), count(misses)
        self._evictions, self._expirations = evictions, expirations

    def _counted_locked(self) -> tuple[int, int]:
        """Return hits and misses of one moment.

        They are counted by `next`, without the lock. Only the text of a count can be read without
        counting, and `repr` of both is one atomic step.
        """
        hits, misses = repr((self._hits, self._misses))[1:-1].split(", ")
        return int(hits[len("count(") : -1]), int(misses[len("count(") : -1])

    # -- fork ------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:  # pragma: no cover - in children
        """Forget what the parent's other threads were doing: it does not continue here."""
        me = threading.get_ident()
        self._flights.reset()
        for written in list(self._journals.values()):
            if written.thread != me:
                self._journals.pop(id(written))
        if not self._noting:
            # A hit of another thread had recorded its key, and was about to replay it.
            with self._lock:
                while self._uses:
                    self._replay_locked()
        if not self._closed:
            self._end_cleanup, self._cleans = sweeper.start(self, self._cleanup_interval)


if not _LOCK_FREE:  # pragma: no cover - free-threaded builds only
    DistributedCache.get = DistributedCache._get_locking  # type: ignore[method-assign]


# Freeing a million references takes 20 ms or more in which no other thread runs; copying them, 12
# ms. So large containers are copied once at most, and processed and released in slices.


def _let_a_waiter_in() -> None:
    """Pause between two holds of the lock, as the lock is not fair."""
    time.sleep(_YIELD)  # otherwise this thread would take the lock again before a waiter has woken


def _taken(take: Callable[[], T], rest: Sized) -> list[T]:
    """Call `take` once for each remaining item, up to a slice; return the results."""
    return list(starmap(take, repeat((), min(len(rest), _SLICE))))


def _slices_of(items: list[T]) -> Iterator[list[T]]:
    """Yield slices from the end of a list until it is empty."""
    while items:
        part = items[-_SLICE:]
        del items[-_SLICE:]
        yield part


def _live_of(keys: list[str], entries: list[Entry], now: float) -> tuple[list[str], list[Entry]]:
    """Empty both lists; return the entries that are live at `now`, last ones first."""
    live_keys: list[str] = []
    live_entries: list[Entry] = []
    for part, held in zip(_slices_of(keys), _slices_of(entries), strict=True):
        for key, entry in zip(reversed(part), reversed(held), strict=True):
            if entry[1] is None or entry[1] > now:
                live_keys.append(key)
                live_entries.append(entry)
    return live_keys, live_entries


def _live_keys(keys: list[str], entries: OrderedDict[str, Entry], now: float) -> list[str]:
    """Return those of `keys` whose entries are live at `now`."""
    return [
        key
        for key in keys
        if (entry := entries.get(key)) is not None and (entry[1] is None or entry[1] > now)
    ]


def _columns_of(rows: deque[snapshot.Row]) -> Iterator[snapshot.Columns]:
    """Yield rows from the beginning of a queue until it is empty, some at a time, as columns."""
    while rows:
        yield snapshot.columns_of(_taken(rows.popleft, rows))


def _let_go(entries: OrderedDict[str, Entry], expiry: ExpiryIndex) -> None:
    """Release former content in slices."""
    expiry.release()
    while entries:
        _taken(entries.popitem, entries)
