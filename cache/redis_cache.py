"""`RedisCache`: the contract on a Redis or Valkey server, shared by a fleet of processes."""

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from math import inf
from typing import (
    Any,
    Literal,
    TypeVar,
    overload,
)

from . import arguments, forks, results, snapshot
from .breaker import Breaker
from .errors import CacheUnavailable, SnapshotError
from .flights import Flights
from .health import Health
from .mixin import CacheMixin
from .near import Bell as NearBell
from .near import Near, Token
from .patterns import compile_glob
from .plain import Codec
from .protocol import Cache, V
from .remote import lives, scripts
from .remote.calls import Calls
from .remote.dial import followed
from .remote.leases import Leases
from .remote.link import Bell, link_to
from .remote.names import Names
from .remote.scripts import Script
from .remote.spool import Spool
from .remote.values import Values
from .stats import CacheStats
from .tracking import Tracking
from .trust import Trusted

D = TypeVar("D")
T = TypeVar("T")

logger = logging.getLogger("cache")

_MISSING: Any = object()
_ABSENT = -2  # the server's answer to the ttl of a missing key
_UNBOUNDED = 2**63 - 1  # `max_size` in the statistics
_GLANCE = 0.25  # seconds between two checks for a value that another process is making
_BATCH = 500  # entries that one command of `save` or `load` carries
_MOST_KINDS = 100  # of unreadable values that are logged


class RedisCache(CacheMixin[V]):
    """A cache whose entries are on a Redis (6.2 or newer) or Valkey server.

    `client` is a client of redis-py; the cache opens connections through it as threads need them.
    The entries are those whose names begin with `namespace`; two namespaces never meet. `trust`
    and `secret` are as in `DistributedCache`, and hold for what comes from the server as well: a
    pickle runs no code, and with a `secret` it must be sealed.

    These clauses of the contract it cannot keep. What holds instead:

    - R1.2, R4.2, R4.3, R8: the server removes expired entries and evicts by its own settings, and
      neither is counted here; `INFO` has both numbers for the whole server. No verb sees an expired
      entry, and `size` does not count it. `cleanup` returns 0, and there is no cleanup thread.
    - R1.8: deadlines follow the server's wall clock. Stepping that clock moves them.
    - R2: the number of entries has no bound, and there is no order of use. The server's `maxmemory`
      and `maxmemory-policy` decide what is evicted. `stats().max_size` is 2**63 - 1.
    - R6.3, R6.6: `save` walks over the keys. The snapshot is in no order and of no one moment; an
      entry that is there all the time is in it once.
    - R6.7: `save` holds no lock and makes no second copy of all values in memory. But a hit that is
      not near is a round trip, whether or not a save runs.
    - R7.1, R7.4: `load` checks the whole snapshot, then removes, then writes, and other clients see
      it happen. All entries of the snapshot come back, as there is no `max_size`.
    - R10.1: what is stored is a copy, and so is what comes back. Values are plain data and
      instances of trusted classes; another value is a SnapshotError that names the key.

    These clauses it keeps, with a restriction:

    - R1.1, R1.6: deadlines are whole milliseconds of the server's clock. A life of more than
      140,000 years is kept to twelve digits.
    - R4.1, R4.4: hits and misses are those of this object. A value that cannot be read (its class
      is not trusted, or no longer there) is a miss; `exists`, `keys` and `len` do not look at
      values.
    - R4.5: the counters are of one moment. `size` comes from a walk over the keys.
    - R5.3, R5.4, R5.7: `keys`, `delete_pattern` and `clear` walk over the keys of the server. What
      is set or removed during a walk may be found or not; what is there all the time is found.
    - R6.5: `save` leaves out a value that cannot be read, and logs it.
    - R9.1: no lock is held across a round trip. A verb on one key is one atomic step on the server,
      except `get_or_set` and an `increment` beyond 64 bits, which take several. A re-entrant call
      (from a finalizer, for example) is tried once, over a connection of its own.
    - R9.3: one factory runs in the fleet for as long as its process renews the lease on the key. In
      other processes the waiters do not get its exception: one of them runs its own factory.
    - R10.4: a call that raises CacheUnavailable may have changed what it was to change, a `load`
      also a part of it.
    """

    _ticks = 1000  # of the server's clock in a second

    def __init__(
        self,
        client: Any,
        *,
        namespace: str = "cache",
        default_ttl: float | timedelta | None = None,
        trust: Iterable[Trusted] = (),
        secret: bytes | None = None,
        near: int | None = None,
        staleness: float | timedelta = 60.0,
        heartbeat: float | timedelta = 1.0,
        lease: float | timedelta = 10.0,
        on_error: Literal["raise", "miss"] = "raise",
        attempts: int = 3,
        deadline: float | timedelta = 2.0,
        threshold: int = 5,
        cooldown: float | timedelta = 1.0,
        one_slot: bool = False,
    ) -> None:
        self._default_life = inf
        if default_ttl is not None:
            self._default_life = arguments.seconds(default_ttl, "default_ttl")
        self._codec = Codec(trust)
        self._secret = snapshot.checked_secret(secret)
        if on_error not in ("raise", "miss"):
            raise ValueError(f"on_error must be 'raise' or 'miss', not {on_error!r}")
        self._lenient = on_error == "miss"
        self._names = Names(namespace, one_slot)
        self._name = self._names.name
        self._values = Values(self._codec, self._secret)
        self._near: Near[V] | None = None
        if near is not None:
            self._near = Near(arguments.count(near, "near"), staleness)
        # One lock for the whole cache: with two, each of two threads could hold one and run a
        # finalizer that waits for the other.
        self._lock = threading.RLock() if self._near is None else self._near.lock
        self._link = link_to(client)
        breaker = Breaker(
            arguments.count(threshold, "threshold"),
            arguments.seconds(cooldown, "cooldown"),
            lock=self._lock,
        )
        self._calls = Calls(
            self._link,
            breaker,
            arguments.count(attempts, "attempts"),
            arguments.seconds(deadline, "deadline"),
            "*",
            self._lock,
        )
        self._flights: Flights[V] = Flights(self._lock)
        self._leases = Leases(arguments.seconds(lease, "lease"), self._renew, self._lock)
        self._hits = 0  # guarded by _lock
        self._misses = 0  # guarded by _lock
        self._evictions = 0  # guarded by _lock; from a loaded snapshot
        self._expirations = 0  # guarded by _lock; likewise
        self._unreadable = 0  # guarded by _lock
        self._logged: set[str] = set()  # guarded by _lock; the errors of unreadable values
        self._tracking: Tracking | None = None
        if self._near is not None:
            beat = arguments.seconds(heartbeat, "heartbeat")
            whom = followed(self._link, beat)
            self._tracking = Tracking(
                self._near,
                whom.servers,
                self._names.prefix,
                self._names.key,
                beat,
                whom.question,
                whom.changed,
                lock=self._lock,
            )
            self._tracking.start()
            self.get = self._near.reader(self.get)  # type: ignore[method-assign]
        forks.follow(self)

    # -- reading ---------------------------------------------------------------------------------

    @overload
    def get(self, key: str) -> V | None: ...
    @overload
    def get(self, key: str, default: D) -> V | D: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at `key`, or `default` where there is no live entry."""
        key = arguments.plain_key(key)
        return self._read(key, self._name(key), default)

    def exists(self, key: str) -> bool:
        """Tell whether there is a live entry at `key`, even one that cannot be read."""
        key = arguments.plain_key(key)
        name = self._name(key)

        def step() -> bool:
            found = self._link.exists(name)
            if not found:
                self._outdated(key)
            return found

        return self._ask(step, False)

    def ttl(self, key: str) -> float | None:
        """Return the seconds that `key` has left, `math.inf` for ever, None where it isn't live."""
        key = arguments.plain_key(key)
        name = self._name(key)

        def step() -> int:
            left: int = self._link.run(scripts.TTL, (name,))
            self._outdated(key)
            return left

        left = self._ask(step, _ABSENT)
        return None if left == _ABSENT else self._seconds(left)

    def get_many(self, keys: Iterable[str]) -> dict[str, V]:
        """Return the live ones of `keys` with their values, as they stood at one moment.

        Each key counts as a read.
        """
        wanted = arguments.plain_keys(keys)
        if not wanted:
            return {}
        if self._near is not None:
            found = self._near.read_many(wanted)
            if found is not None:
                return found
        try:
            found = self._fetched_many(wanted)
        except CacheUnavailable:
            found = {}
            if self._lenient and self._near is not None:
                found = {key: self._near.get(key, _MISSING) for key in dict.fromkeys(wanted)}
                found = {key: value for key, value in found.items() if value is not _MISSING}
            self._count(0, sum(key not in found for key in wanted))
            if not self._lenient:
                raise
            return found
        hits = len(found)
        if hits < len(wanted):  # a key may be asked for twice
            hits = sum(key in found for key in wanted)
        self._count(hits, len(wanted) - hits)
        return found

    def keys(self, pattern: str = "*") -> list[str]:
        """Return the live keys that match the glob `pattern`, in no promised order.

        The dialect is that of Redis, over characters. Walks over all keys of the server, whatever
        their namespace, some thousands in a step.
        """
        glob = compile_glob(arguments.pattern(pattern))

        def walk() -> list[str]:
            found: dict[str, None] = {}  # a name may come twice
            for names in self._scan(self._names.scan_pattern(glob), "string"):
                found.update((key, None) for _, key in self._names.matching(names, glob))
            return list(found)

        return self._settled(walk, [])

    def stats(self) -> CacheStats:
        """Return the counters of this object, and how many entries the namespace has."""
        size = len(self)
        return CacheStats(*self._counted(), size, _UNBOUNDED)

    def _counted(self) -> tuple[int, int, int, int]:
        """Return hits, misses, evictions and expirations, of one moment."""
        while True:
            near = self._near_hits()
            with self._lock:
                counted = self._misses, self._evictions, self._expirations
                hits = self._hits + near
            # Near hits take no lock: what is read between two equal readings is of one moment.
            if near == self._near_hits():
                return hits, *counted

    def _near_hits(self) -> int:
        return 0 if self._near is None else self._near.stats().hits

    def __len__(self) -> int:
        """Return how many entries the namespace has; walks as `keys` does."""
        return len(self.keys())

    def __repr__(self) -> str:
        """Name the class and the namespace; no key, no value; does not ask the server."""
        return f"<{type(self).__name__} of the namespace {self._names.namespace!r}>"

    # -- writing ---------------------------------------------------------------------------------

    def set(self, key: str, value: V, ttl: float | timedelta | None = None) -> None:
        """Store `value` at `key` for `ttl` seconds, in place of whatever was there.

        `ttl=None` means the cache's `default_ttl`; `math.inf` never expires.
        """
        key = arguments.plain_key(key)
        ms = self._ms(ttl)
        name = self._name(key)
        text = self._values.encode(value, key, name)
        self._write((key,), lambda: self._link.set(name, text, ms), None)

    def add(self, key: str, value: V, ttl: float | timedelta | None = None) -> bool:
        """Store `value` where there is no live entry at `key`, and tell whether it did."""
        return self._put_if(key, value, ttl, b"0")

    def replace(self, key: str, value: V, ttl: float | timedelta | None = None) -> bool:
        """Store `value` where there is a live entry at `key`, and tell whether it did."""
        return self._put_if(key, value, ttl, b"1")

    def _put_if(self, key: str, value: V, ttl: float | timedelta | None, live: bytes) -> bool:
        key = arguments.plain_key(key)
        ms = self._ms(ttl)
        name = self._name(key)
        text = self._values.encode(value, key, name)

        def step() -> bool:
            return bool(self._link.run(scripts.PUT_IF, (name,), text, ms, live))

        return self._write((key,), step, False, idempotent=False)

    def set_many(self, mapping: Mapping[str, V], ttl: float | timedelta | None = None) -> None:
        """Store every value of `mapping` at its key, as one step. `ttl` as in `set`."""
        ms = self._ms(ttl)
        pairs = arguments.pairs(mapping)
        entries = []
        for key, value in pairs:
            name = self._name(key)
            entries.append((name, self._values.encode(value, key, name), ms))
        if entries:
            keys = [key for key, _ in pairs]
            self._write(keys, lambda: self._link.set_many(entries), None)

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
        with `create=False`; a live one keeps its deadline, whatever `ttl` says. Raises ValueError,
        changing nothing, when the value is no int or float. One round trip, except for an int of
        more than 64 bits.
        """
        key = arguments.plain_key(key)
        step = arguments.amount(amount)
        name = self._name(key)
        fresh = self._values.encode(step, key, name)
        native = fresh if fresh[:1] not in (b"\x80", b"\x00") else b""
        kind, ms, may = b"%d" % isinstance(step, int), self._ms(ttl), b"%d" % bool(create)

        def add() -> Any:
            return self._link.run(scripts.INCREMENT, (name,), native, kind, fresh, ms, may)

        def exchange() -> Any:
            return self._link.run(scripts.EXCHANGE, (name,), rest[0], text)

        dropped: list[Any] = [1, fresh] if create else [0]  # without the server
        while True:
            outcome, *rest = self._write((key,), add, dropped, idempotent=False)
            if outcome == 0:
                raise KeyError(key)
            if outcome == 1:
                return self._values.decode(rest[0], name)
            try:
                present = self._values.decode(rest[0], name)
            except SnapshotError as error:
                raise ValueError(f"the value at {key!r} cannot be read: {error}") from error
            total = arguments.number(present, key) + step
            text = self._values.encode(total, key, name)
            if self._write((key,), exchange, True, idempotent=False):
                return total

    def touch(self, key: str, ttl: float | timedelta | None = None) -> bool:
        """Give the live entry at `key` a new deadline, and tell whether there was one."""
        key = arguments.plain_key(key)
        name, ms = self._name(key), self._ms(ttl)
        step = partial(self._link.run, scripts.TOUCH, (name,), ms)
        return bool(self._write((key,), step, False))

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
        name = self._name(key)
        text = None
        try:
            step = partial(self._link.run, scripts.POP, (name,))
            text = self._write((key,), step, None, idempotent=False)
        finally:
            value = _MISSING if text is None else self._decoded(text, name)
            self._count(*((0, 1) if value is _MISSING else (1, 0)))
        return default if value is _MISSING else value

    def delete(self, key: str) -> bool:
        """Remove the entry at `key` and tell whether there was a live one."""
        return self.delete_many((key,)) == 1

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove the entries at `keys` in one step and return how many live ones went."""
        unwanted = arguments.plain_keys(keys)
        if not unwanted:
            return 0
        names = [self._name(key) for key in unwanted]
        return self._write(unwanted, lambda: self._link.remove(names), 0, idempotent=False)

    def delete_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match the glob `pattern`; return how many live ones went.

        Walks over all keys of the server, whatever their namespace, some thousands in a step.
        """
        return self._removed_matching(arguments.pattern(pattern))

    def clear(self) -> None:
        """Remove every entry of the namespace. The counters stay."""
        self._removed_matching("*")

    def _removed_matching(self, pattern: str) -> int:
        try:
            self._calls.settle(self._remove_matching)
            return self._remove_matching(pattern)
        except CacheUnavailable:
            if not self._lenient:
                raise
            self._calls.owe_matching(pattern)
            return 0
        finally:
            if self._near is not None:
                self._near.wrote_matching(compile_glob(pattern), pattern)

    def _remove_matching(self, pattern: str) -> int:
        glob = compile_glob(pattern)
        scanned = self._names.scan_pattern(glob)
        removed = 0
        # Leases first, so that a factory that is running now does not store its value.
        for kind in ("hash", "string"):
            for names in self._scan(scanned, kind):
                unwanted = self._names.selected(names, glob)
                if unwanted:
                    went = self._calls.make_once(self._link.unlink, unwanted)
                    removed += went if kind == "string" else 0
        return removed

    def cleanup(self) -> int:
        """Return 0: the server removes what has expired."""
        return 0

    def reset_stats(self) -> None:
        """Set hits, misses, evictions and expirations to zero."""
        self._count_from(0, 0, 0, 0)

    def close(self) -> None:
        """Close the connections. The cache still works, over new ones and without near copies."""
        if self._near is not None and self._tracking is not None:
            self._tracking.close()
            self._near.close()
        self._link.close()

    def health(self) -> Health:
        """Ask the server once, and return the state of the connection to it.

        A server that does not answer is a reason for "failing", or with `on_error="miss"` for
        "degraded". Other reasons for "degraded" are a near cache that is not told of writes and
        failed writes whose keys are still to be removed.
        """
        version = None
        with contextlib.suppress(CacheUnavailable):
            version = self._calls.make_once(self._link.version)
        tracking, owed = self._tracking, self._calls.owed
        tracks = tracking is not None and tracking.connected
        away = ["the server does not answer"] if version is None else []
        degraded = away if self._lenient else []
        if tracking is not None and not tracks:
            degraded.append("the near cache is not told of writes, and is not read")
        if owed:
            degraded.append("invalidations of failed writes are pending")
        return Health.of(
            [] if self._lenient else away,
            degraded,
            connected=version is not None,
            server=version,
            breaker=self._calls.breaker.state,
            tracking=tracks,
            lag=None if tracking is None else tracking.lag,
            pending_invalidations=owed,
            unreadable=self._unreadable,
        )

    # -- snapshots -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot to the file at `path`, whole or not at all, as `DistributedCache` does.

        The entries are first copied to a temporary file. Unreadable values are left out and logged.
        """
        target = os.fspath(path)
        names = ("hits", "misses", "evictions", "expirations")
        header: dict[str, Any] = dict(zip(names, self._counted(), strict=True))
        header["saved_at"] = time.time()
        self._calls.settle(self._remove_matching)
        with Spool() as spool:
            for part in self._rows():
                spool.put(part)
            header["entries"] = spool.size
            rows = iter(spool)

            def decoded(most: int) -> list[snapshot.Row]:
                return [
                    (key, self._values.decode(text, self._name(key)), end)
                    for key, text, end in islice(rows, most)
                ]

            snapshot.write(target, header, decoded, self._codec, self._secret)

    def _rows(self) -> Iterator[list[tuple[str, bytes, float | None]]]:
        """Yield key, text and expiry of all readable entries, some at a time, each once."""
        seen: set[bytes] = set()
        for names in self._scan(self._names.scan_pattern(compile_glob("*")), "string"):
            fresh = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(fresh)
            for start in range(0, len(fresh), _BATCH):
                rows = []
                for name, text, ms in self._calls.make(self._link.rows, fresh[start:][:_BATCH]):
                    if self._decoded(text, name) is not _MISSING:
                        life = self._seconds(ms)
                        ends = None if life == inf else time.time() + life
                        rows.append((self._names.key(name), text, ends))
                yield rows

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace content and counters by those of the snapshot at `path`.

        The file may come from a `DistributedCache`. Raises as there, before anything has changed.
        """
        source = os.fspath(path)
        header, slices = snapshot.read(source, self._codec, self._secret)
        with Spool() as spool:
            for columns in slices:
                rows = []
                for key, value, end in zip(*columns, strict=True):
                    name = self._name(key)
                    rows.append((name, self._values.encode(value, key, name), end))
                spool.put(rows)
            self._calls.settle(self._remove_matching)
            try:
                self._remove_matching("*")
                self._set_all(iter(spool))
            finally:  # also after a failure, since nobody knows how far it came
                if self._near is not None:
                    self._near.reset()
        self._count_from(
            header["hits"], header["misses"], header["evictions"], header["expirations"]
        )

    def _set_all(self, texts: Iterator[tuple[Any, ...]]) -> None:
        """Write names, texts and expiries to the server, some at a time, without expired ones."""
        while part := list(islice(texts, _BATCH)):
            wall = time.time()
            entries = [
                (name, text, self._milliseconds(inf if end is None else end - wall))
                for name, text, end in part
                if end is None or end > wall
            ]
            if entries:
                self._calls.make(self._link.set_many, entries)

    # -- single flight in the fleet --------------------------------------------------------------

    def get_or_set(
        self,
        key: str,
        factory: Callable[[], V],
        ttl: float | timedelta | None = None,
        *,
        store_if: Callable[[V], object] | None = None,
    ) -> V:
        """Return the value at `key`; if there is none, call `factory()` and store its result.

        One factory runs in the whole fleet, under a lease that its process renews, and the others
        wait for its value. In this process they get its exception too; other processes then run
        their own factory. If the owner dies, its lease passes on when it has expired. The value is
        stored for `ttl` seconds from the factory's return. It is returned but not stored if the key
        was written or removed meanwhile, or if `store_if(value)` is false; other processes then run
        their own factory. Raises RuntimeError in a factory that needs its own key, and TypeError
        for a result that is awaitable, a generator or an iterator. Counts a hit, or a miss if it
        called the factory or waited.
        """
        key = arguments.plain_key(key)
        self._ms(ttl)
        if not callable(factory):
            raise TypeError(f"factory must be callable, not {type(factory).__name__}")
        results.checked_store_if(store_if)
        name = self._name(key)
        if self._near is not None:
            with contextlib.suppress(KeyError):
                return self._near.read(key)
        value = self._read(key, name, _MISSING)
        if value is not _MISSING:
            return value  # type: ignore[no-any-return]
        return self._missed(key, factory, ttl, store_if)

    def _missed(
        self,
        key: str,
        factory: Callable[[], V],
        ttl: float | timedelta | None,
        store_if: Callable[[V], object] | None,
    ) -> V:
        """Do the rest of `get_or_set` after its read was a miss."""
        make = partial(results.make, key, factory, store_if)
        if self._calls.inside() or self._flights.inside():
            value, keep = make()
            if keep:  # pragma: no branch - a re-entrant call with a store_if
                self.add(key, value, ttl)
            return value
        flight, leading = self._flights.join(key)
        if not leading:
            return self._flights.wait(flight)
        try:
            value = self._lead(key, partial(self._flights.call, flight, make), self._ms(ttl))
        except BaseException as error:
            self._flights.fail(flight, error)
            raise
        self._flights.land(flight, value)
        return value

    def _lead(self, key: str, make: Callable[[], tuple[V, bool]], ms: bytes) -> V:
        """Return another process's value, or run the factory."""
        name = self._name(key)
        token = secrets.token_bytes(16)
        try:
            found = self._lease(key, name, token)
        except CacheUnavailable:
            if not self._lenient:
                raise
            return make()[0]
        if found is not _MISSING:
            return found  # type: ignore[no-any-return]
        keep = False
        try:
            with self._leases.holding(name, token):
                value, keep = make()
            if keep:
                fresh = self._values.encode(value, key, name)
        except BaseException:
            keep = False
            raise
        finally:
            if not keep:
                with contextlib.suppress(CacheUnavailable):
                    self._script(scripts.FREE, name, token)
        if not keep:
            return value
        try:
            self._script(scripts.LAND, name, token, fresh, ms)
        except CacheUnavailable:
            if not self._lenient:
                raise
        finally:
            self._outdated(key)
        return value

    def _renew(self, name: bytes, token: bytes) -> None:
        self._script(scripts.RENEW, name, token, self._leases.ms)

    def _lease(self, key: str, name: bytes, token: bytes) -> Any:
        """Take the lease on `name`, or wait for the value of its owner and return it."""
        bell: Bell | NearBell | None = None
        unreadable: tuple[bytes, ...] = ()
        try:
            while True:
                outcome, *rest = self._script(
                    scripts.LEASE, name, token, self._leases.ms, *unreadable
                )
                if outcome == 0:
                    return _MISSING
                if outcome == 1:
                    value = self._decoded(rest[0], name)
                    self._outdated(key)
                    if value is not _MISSING:
                        return value
                    unreadable = (rest[0],)
                elif bell is None:
                    if self._near is not None and self._near.trusted():
                        bell = self._near.bell(key)
                    else:
                        bell = self._calls.make(self._link.bell, name)
                else:
                    seconds = min(rest[0] / 1000, _GLANCE)
                    self._calls.make(bell.wait, seconds)
        finally:
            if bell is not None:
                bell.close()

    # -- steps -----------------------------------------------------------------------------------

    def _ask(self, step: Callable[[], T], fallback: T) -> T:
        """Make a step that only reads; with on_error="miss", `fallback` replaces a failed one."""
        return self._settled(partial(self._calls.make, step), fallback)

    def _settled(self, calls: Callable[[], T], fallback: T) -> T:
        """Send pending invalidations and return `calls()`, or `fallback` as `_ask` does."""
        try:
            self._calls.settle(self._remove_matching)
            return calls()
        except CacheUnavailable:
            if not self._lenient:
                raise
            return fallback

    def _write(
        self, keys: Sequence[str], step: Callable[[], T], fallback: T, idempotent: bool = True
    ) -> T:
        """Make a step that writes `keys`; with on_error="miss" a failure is invalidated later."""
        try:
            self._calls.settle(self._remove_matching)
            return (self._calls.make if idempotent else self._calls.make_once)(step)
        except CacheUnavailable:
            if not self._lenient:
                raise
            self._calls.owe(map(self._name, keys))
            return fallback
        finally:
            if self._near is not None:
                self._near.wrote(keys)

    def _script(self, script: Script, name: bytes, *given: Any) -> Any:
        return self._calls.make(self._link.run, script, (name,), *given)

    def _scan(self, pattern: bytes, kind: str | None = None) -> Iterator[list[bytes]]:
        """Yield the names that match, some at a time."""
        cursor = None
        while True:
            cursor, names = self._calls.make(self._link.scan, cursor, pattern, kind)
            yield names
            if cursor is None:
                return

    def _read(self, key: str, name: bytes, default: Any) -> Any:
        """Return the value at `key`, from the server if it answers, and count the read."""
        try:
            self._calls.settle(self._remove_matching)
            value = self._fetched(key, name)
        except CacheUnavailable:
            value = _MISSING
            if self._lenient and self._near is not None:
                value = self._near.get(key, _MISSING)  # it counts its hits itself
                if value is not _MISSING:
                    return value
            self._count(0, 1)
            if not self._lenient:
                raise
            return default
        if value is _MISSING:
            self._count(0, 1)
            return default
        with self._lock:  # like `_count`, without the call
            self._hits += 1
        return value

    def _fetched(self, key: str, name: bytes) -> Any:
        """Return the server's value at `key`, or `_MISSING`; keep a near copy if allowed."""
        near = self._near
        if near is None:
            text = self._calls.make(self._link.get, name)
            return _MISSING if text is None else self._decoded(text, name)
        with near.fetching((key,)) as tokens:
            row = self._calls.make(self._link.row, name)
            return self._kept(near, tokens, key, row, name)

    def _fetched_many(self, keys: list[str]) -> dict[str, V]:
        """Return the server's values at `keys`, all of one moment."""
        self._calls.settle(self._remove_matching)
        names = self._names.name_all(keys)
        near = self._near
        found = {}
        if near is None:
            decode = self._values.decode
            texts = self._calls.make(self._link.get_many, names)
            for key, name, text in zip(keys, names, texts, strict=True):
                if text is not None:
                    try:
                        found[key] = decode(text, name)
                    except SnapshotError as error:
                        self._cannot_read(error)
            return found
        with near.fetching(keys) as tokens:
            asked = dict(zip(keys, names, strict=True))  # a key may be asked for twice
            answer = self._calls.make(self._link.rows, list(asked.values()))
            rows = {name: row for name, *row in answer}
            for key, name in asked.items():
                value = self._kept(near, tokens, key, rows.get(name), name)
                if value is not _MISSING:
                    found[key] = value
        return found

    def _kept(
        self,
        near: Near[V],
        tokens: dict[str, Token],
        key: str,
        row: Sequence[Any] | None,
        name: bytes,
    ) -> Any:
        """End a fetch: return the value or `_MISSING`, and keep a near copy if allowed."""
        if row is None:
            near.drop(tokens.pop(key))
            return _MISSING
        text, ms = row
        value = self._decoded(text, name)
        if value is _MISSING:
            near.drop(tokens.pop(key))
        else:
            near.store(tokens.pop(key), text, value, self._seconds(ms))
        return value

    def _outdated(self, key: str) -> None:
        """Drop a near copy, so that this caller cannot read an older value next."""
        if self._near is not None:
            self._near.wrote((key,))

    def _count(self, hits: int, misses: int) -> None:
        with self._lock:
            self._hits += hits
            self._misses += misses

    def _decoded(self, text: bytes, name: bytes) -> Any:
        """Return the value; `_MISSING` for one that cannot be read, which is counted."""
        try:
            return self._values.decode(text, name)
        except SnapshotError as error:
            self._cannot_read(error)
            return _MISSING

    def _cannot_read(self, error: SnapshotError) -> None:
        """Count a value that cannot be read, and log each error once."""
        said = str(error)
        with self._lock:
            self._unreadable += 1
            new = said not in self._logged and len(self._logged) < _MOST_KINDS
            if new:
                self._logged.add(said)
        if new:
            logger.warning("a value cannot be read and is a miss: %s", said)

    def _ms(self, ttl: float | timedelta | None) -> bytes:
        """Return a caller's `ttl` in milliseconds, in the server's form; b"" means for ever."""
        return self._milliseconds(self._default_life if ttl is None else arguments.seconds(ttl))

    def _milliseconds(self, life: float) -> bytes:
        """Return `life` seconds in the server's form."""
        return lives.ticks(life, self._ticks)

    def _seconds(self, ms: int) -> float:
        """Return the server's milliseconds as seconds; -1 means for ever."""
        return lives.seconds(ms, self._ticks)

    def _count_from(self, hits: int, misses: int, evictions: int, expirations: int) -> None:
        with self._lock:
            if self._near is not None:
                self._near.reset_stats()
            self._hits, self._misses = hits, misses
            self._evictions, self._expirations = evictions, expirations

    # -- fork ------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:  # pragma: no cover - in children
        """Forget what the parent's other threads were doing."""
        self._flights.reset()
        self._leases.reset()
        self._calls.after_fork_in_child()
        if self._tracking is not None:
            self._tracking.after_fork_in_child()
            self._tracking.start()


def cache_over(client: Any, **options: Any) -> Cache[Any]:
    """Return a `RedisCache`, as the type that all engines have."""
    return RedisCache(client, **options)
