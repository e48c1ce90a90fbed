"""`DistributedCache`: an LRU cache with ttls, exact statistics and snapshots, safe among threads.

The verbs on single keys are the store's own (`docs/store.md`): the class inherits them. Here is
what needs more than one step of the store: single flight, patterns, snapshots, and the cleanup
thread.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from math import inf
from typing import Any

from .. import arguments, forks, results, snapshot, sweeper
from ..flights import Flights
from ..health import Health
from ..mixin import CacheMixin
from ..patterns import compile_glob
from ..plain import Codec
from ..protocol import V
from ..stats import CacheStats
from ..trust import Trusted
from .store import KIND, Store, specialize

_MISSING: Any = object()


class DistributedCache(Store[V], CacheMixin[V]):
    """A cache of up to `max_size` entries that the threads of one process share.

    Full, it evicts the least recently used entry. `default_ttl` is the life of entries that are
    set without one, in seconds or as a `timedelta`; None is for ever. A daemon thread removes
    expired entries every `cleanup_interval` seconds, a millisecond at the least. `trust` lists what
    may be in snapshots beside plain data: classes, names of modules whose classes are trusted, and
    a `Portable` for each class that is saved as plain data, such as a NumPy array. `secret` seals
    snapshots.

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
        life = inf if default_ttl is None else arguments.seconds(default_ttl, "default_ttl")
        self._cleanup_interval = arguments.seconds(cleanup_interval, "cleanup_interval")
        self._codec = Codec(trust)
        self._secret = snapshot.checked_secret(secret)
        # Guards the flights, and in the Python store everything.
        self._lock = threading.RLock()
        super().__init__(self._max_size, float(life), self._lock)
        self._closed = False  # guarded by _lock
        self._flights: Flights[V] = Flights(self._lock)
        self._end_cleanup, self._cleans = sweeper.start(self, self._cleanup_interval)
        forks.follow(self)

    @property
    def store(self) -> str:
        """Which store serves: "c" or "py"."""
        return KIND

    # -- patterns --------------------------------------------------------------------------------

    def keys(self, pattern: str = "*") -> list[str]:
        """Return the live keys that match the glob `pattern`, in no promised order.

        The dialect is that of Redis: `*`, `?`, `[abc]`, `[^a-z]`, `\\`. Takes time in proportion to
        the number of keys, in slices between which other threads run. Counts no read and is no
        use of the keys.
        """
        glob = compile_glob(arguments.pattern(pattern))
        while True:
            walk = self._walk(False)
            matching: list[str] = []
            while part := walk.slice():
                matching += glob.select(part)
            if part is not None:  # else the content was replaced: its keys are other ones
                return matching

    def delete_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match the glob `pattern`; return how many live ones went.

        Those that are there at one moment: what is set while it runs stays. Takes time in
        proportion to the number of keys, in slices between which other threads run.
        """
        glob = compile_glob(arguments.pattern(pattern))
        walk = self._walk(True)
        try:
            self._forget(glob.select(self._watched()))
            removed = 0
            while part := walk.slice():
                if doomed := glob.select(part):
                    removed += walk.delete(doomed)
            return removed
        finally:
            walk.close()

    def clear(self) -> None:
        """Remove every entry. The counters stay: nothing was evicted and nothing expired."""
        former: Store[V] = Store(self._max_size)
        self._swap(former, False)
        while former._release():
            pass

    def cleanup(self) -> int:
        """Remove every entry that has expired by now and return how many that were.

        The cost is proportional to their number, not to the cache's size. Works in slices between
        which other threads run. The cleanup thread calls it every `cleanup_interval` seconds.
        """
        removed = 0
        while swept := self._sweep():
            removed += swept
        return removed

    # -- single flight ---------------------------------------------------------------------------

    def _get_or_set_missing(
        self,
        key: str,
        factory: Callable[[], V],
        ttl: float | timedelta | None = None,
        *,
        store_if: Callable[[V], object] | None = None,
    ) -> V:
        """Do what the store's `get_or_set` leaves: all but a hit with plain arguments."""
        key = arguments.plain_key(key)
        if ttl is not None:
            arguments.seconds(ttl)
        if not callable(factory):
            raise TypeError(f"factory must be callable, not {type(factory).__name__}")
        results.checked_store_if(store_if)
        value: V = self.get(key, _MISSING)
        if value is not _MISSING:
            return value
        return self._missed(key, factory, ttl, store_if)

    def _missed(
        self,
        key: str,
        factory: Callable[[], V],
        ttl: float | timedelta | None,
        store_if: Callable[[V], object] | None,
    ) -> V:
        """Do what is left of `get_or_set` once its read was a miss."""
        life = self._default_life if ttl is None else arguments.seconds(ttl)
        make = partial(results.make, key, factory, store_if)
        if self._lock._is_owned() or self._flights.inside():  # type: ignore[attr-defined]
            # A re-entrant call holds the lock, or others wait for its thread. If it waited for
            # another thread's factory, both could wait for ever.
            value, keep = make()
            if keep:
                self.add(key, value, life)
            return value
        flight, leading = self._flights.join(key)
        if not leading:
            return self._flights.wait(flight)
        self._watch(key)
        try:
            # Another leader may have stored a value since the miss. Only now, with the watch
            # begun, is it certain that a later write will be noticed.
            value, keep = self.peek(key, _MISSING), False
            if value is _MISSING:
                value, keep = self._flights.call(flight, make)
            if keep:
                self._land(key, value, life)
            else:
                self._unwatch(key)
        except BaseException as error:
            self._unwatch(key)
            self._flights.fail(flight, error)
            raise
        self._flights.land(flight, value)
        return value

    # -- snapshots -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot of this moment to the file at `path`, whole or not at all.

        The file is a pickle of plain data with mode 0600: entries from least to most recently used,
        each with its wall-clock `expires_at`. Other threads continue meanwhile. Raises OSError if
        the file cannot be written, and SnapshotError that names the key for a value that is neither
        plain data nor trusted; then the cache and the old file are unchanged. A container that
        other threads change meanwhile is saved as it was at one moment. While one large value is
        pickled, no other thread runs.
        """
        target = os.fspath(path)
        moment, now, size, *counted = self._snapshot()
        try:
            epoch = self._epoch()
            names = ("hits", "misses", "evictions", "expirations")
            header = {"saved_at": now + epoch, **dict(zip(names, counted, strict=True))}
            header["entries"] = size

            def rows(most: int) -> list[snapshot.Row]:
                return [
                    (key, value, None if deadline is None else deadline + epoch)
                    for key, value, deadline in moment.rows(most)
                ]

            snapshot.write(target, header, rows, self._codec, self._secret)
        finally:
            moment.close()

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace content and counters by those of the snapshot at `path`, in one step.

        Entries come back in their order of use, each with its remaining life by the wall clock.
        Expired ones are dropped, and so are the least recently used ones beyond `max_size`. Raises
        FileNotFoundError. Raises SnapshotError for a file that is not a whole snapshot, is sealed
        with another secret, or holds anything that is neither plain data nor trusted. After an
        error nothing has changed.
        """
        header, slices = snapshot.read(os.fspath(path), self._codec, self._secret)
        epoch, now = self._epoch(), self._now()
        fresh: Store[V] = Store(self._max_size)
        fresh._reserve(min(header["entries"], self._max_size))
        for keys, values, ends in slices:
            fresh._fill(keys, values, ends, -epoch, now)
        fresh._set_counters(
            header["hits"], header["misses"], header["evictions"], header["expirations"]
        )
        self._swap(fresh, True)
        while fresh._release():
            pass

    def _epoch(self) -> float:
        """Return what turns a deadline into seconds since the epoch."""
        while True:
            before = self._now()
            wall = time.time()
            after = self._now()
            if after - before < 0.001:  # else another thread ran in between
                return wall - after

    # -- the cache as a whole --------------------------------------------------------------------

    def stats(self) -> CacheStats:
        """Return the counters and sizes of one moment."""
        return CacheStats(*self._counters(), self._max_size)

    def reset_stats(self) -> None:
        """Set hits, misses, evictions and expirations to zero."""
        self._set_counters(0, 0, 0, 0)

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

    def __repr__(self) -> str:
        """Name the class and how full the cache is; no key, no value."""
        return f"<{type(self).__name__} with {len(self)} of {self._max_size} entries>"

    def _after_fork_in_child(self) -> None:  # pragma: no cover - in children
        """Forget what the parent's other threads were doing: it does not continue here."""
        self._flights.reset()
        running = set(self._flights.keys())
        for key in self._watched():
            if key not in running:
                self._unwatch(key)
        if not self._closed:
            self._end_cleanup, self._cleans = sweeper.start(self, self._cleanup_interval)


specialize(DistributedCache)
