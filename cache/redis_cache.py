"""`RedisCache`: the contract on a Redis or Valkey server, shared by a fleet of processes."""

import contextlib
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from math import inf
from types import TracebackType
from typing import Any, Generic, NoReturn, ParamSpec, Self, SupportsIndex, TypeVar, overload

from . import arguments, snapshot
from .errors import CacheUnavailable, SnapshotError
from .flights import Flights
from .memoize import Memoized
from .memoize import memoize as memoize_in
from .patterns import compile_glob
from .plain import Codec
from .remote import lives, scripts
from .remote.leases import Leases
from .remote.link import Bell, Link, ServerError, failure
from .remote.names import Names
from .remote.scripts import Script
from .remote.spool import Spool
from .remote.values import Values
from .stats import CacheStats

V = TypeVar("V")
D = TypeVar("D")
T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("cache")

_MISSING: Any = object()
_UNBOUNDED = 2**63 - 1  # `max_size` in the statistics
_GLANCE = 0.25  # seconds between two looks for a value that another process makes
_BATCH = 500  # entries that one command of `save` or `load` carries
_MOST_KINDS = 100  # of unreadable values that are logged


class RedisCache(Generic[V]):
    """A cache whose entries are on a Redis (6.2 or newer) or Valkey server.

    `client` is a client of redis-py; the cache opens connections through it as threads need them.
    The entries are those whose names begin with `namespace`; two namespaces never meet. `trust`
    and `secret` are as in `DistributedCache`, and hold for what comes from the server as well: a
    pickle runs no code, and with a secret it must be sealed.

    The contract holds, but for these clauses:

    - R1.1, R1.6, R1.8: deadlines are the server's, in milliseconds of its wall clock. Stepping that
      clock moves them.
    - R1.2, R8: the server removes what has expired. `cleanup` has nothing to do; there is no thread
      for it.
    - R2: the number of entries has no bound, and there is no order of use. The server's `maxmemory`
      and `maxmemory-policy` decide what goes. `stats().max_size` is 2**63 - 1.
    - R4.1, R4.4: hits and misses are those of this object. An unreadable value (its class is not
      trusted, or not there any more) is a miss; `exists`, `keys` and `len` do not look at values.
    - R4.2: evictions and expirations are not counted here; `INFO` has them for the whole server.
    - R4.3, R4.5: `len` and `stats().size` walk over the keys of the server, and are of no one
      moment.
    - R5.3, R5.4, R5.7: `keys`, `delete_pattern` and `clear` walk too. What is set or removed
      meanwhile may be found or not; what is there all the time is found.
    - R6.3, R6.6, R6.7: a snapshot is in no order and of no one moment.
    - R7.1, R7.9: `load` removes, then writes; others see it happen. A snapshot is checked whole
      before the first change. R7.4: all its entries come back.
    - R9.1: no lock is held across a round trip; the steps of a verb are one step on the server.
      `get_or_set` runs one factory in the fleet, for as long as its process renews a lease.
    - R10.1: what is stored is a copy, and so is what comes back. A value that is neither plain data
      nor trusted is a SnapshotError that names the key. Numbers come back as int or float.
    """

    _ticks = 1000  # of the server's clock in a second

    def __init__(
        self,
        client: Any,
        *,
        namespace: str = "cache",
        default_ttl: float | timedelta | None = None,
        trust: Iterable[type | str] = (),
        secret: bytes | None = None,
        lease: float | timedelta = 10.0,
    ) -> None:
        self._default_life = inf
        if default_ttl is not None:
            self._default_life = arguments.seconds(default_ttl, "default_ttl")
        self._codec = Codec(trust)
        self._secret = snapshot.checked_secret(secret)
        self._names = Names(namespace)
        self._name = self._names.name
        self._values = Values(self._codec, self._secret)
        self._link = Link(client)
        self._flights: Flights[V] = Flights()
        self._leases = Leases(arguments.seconds(lease, "lease"), self._renew)
        self._lock = threading.RLock()
        self._hits = 0  # guarded by _lock
        self._misses = 0  # guarded by _lock
        self._evictions = 0  # guarded by _lock; what a loaded snapshot had counted
        self._expirations = 0  # guarded by _lock; likewise
        self._unreadable = 0  # guarded by _lock
        self._logged: set[str] = set()  # guarded by _lock; what was said of unreadable values
        _caches.add(self)

    # -- reading ---------------------------------------------------------------------------------

    @overload
    def get(self, key: str) -> V | None: ...
    @overload
    def get(self, key: str, default: D) -> V | D: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at `key`, or `default` where there is no live entry."""
        name = self._name(arguments.plain_key(key))
        return self._read(self._call(lambda: self._link.get(name)), name, default)

    def exists(self, key: str) -> bool:
        """Tell whether there is a live entry at `key`, even one that cannot be read."""
        name = self._name(arguments.plain_key(key))
        return self._call(lambda: self._link.exists(name))

    def ttl(self, key: str) -> float | None:
        """Return the seconds that `key` has left, `math.inf` for ever, None where it isn't live."""
        name = self._name(arguments.plain_key(key))
        left = self._script(scripts.TTL, name)
        return None if left == -2 else self._seconds(left)

    def get_many(self, keys: Iterable[str]) -> dict[str, V]:
        """Return the live ones of `keys` with their values, as they stood at one moment.

        Each key counts as a read.
        """
        wanted = [arguments.plain_key(key) for key in keys]
        if not wanted:
            return {}
        names = [self._name(key) for key in wanted]
        found = {}
        texts = self._call(lambda: self._link.get_many(names))
        for key, name, text in zip(wanted, names, texts, strict=True):
            value = self._read(text, name, _MISSING)
            if value is not _MISSING:
                found[key] = value
        return found

    def keys(self, pattern: str = "*") -> list[str]:
        """Return the live keys that match the glob `pattern`, in no promised order.

        The dialect is that of Redis, over characters. Walks over all keys of the server, whatever
        their namespace, some thousands in a step.
        """
        found: dict[str, None] = {}  # a name may come twice
        glob = compile_glob(arguments.pattern(pattern))
        for names in self._scan(self._names.scan_pattern(glob), "string"):
            found.update((key, None) for _, key in self._names.matching(names, glob))
        return list(found)

    def stats(self) -> CacheStats:
        """Return the counters of this object, and how many entries the namespace has."""
        size = len(self)
        with self._lock:
            return CacheStats(
                self._hits, self._misses, self._evictions, self._expirations, size, _UNBOUNDED
            )

    # -- writing ---------------------------------------------------------------------------------

    def set(self, key: str, value: V, ttl: float | timedelta | None = None) -> None:
        """Store `value` at `key` for `ttl` seconds, in place of whatever was there.

        `ttl=None` means the cache's `default_ttl`; `math.inf` never expires.
        """
        key = arguments.plain_key(key)
        ms = self._ms(ttl)
        name = self._name(key)
        text = self._values.encode(value, key, name)
        self._call(lambda: self._link.set(name, text, ms))

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
        return bool(self._script(scripts.PUT_IF, name, text, ms, live, idempotent=False))

    def set_many(self, mapping: Mapping[str, V], ttl: float | timedelta | None = None) -> None:
        """Store every value of `mapping` at its key, as one step. `ttl` as in `set`."""
        ms = self._ms(ttl)
        entries = []
        for given, value in mapping.items():
            key = arguments.plain_key(given)
            name = self._name(key)
            entries.append((name, self._values.encode(value, key, name), ms))
        if entries:
            self._call(lambda: self._link.set_many(entries))

    def increment(self, key: str, amount: float = 1, *, create: bool = True) -> Any:
        """Add `amount` to the number at `key` in one step and return the sum.

        A missing or expired key becomes `amount`, with `default_ttl`, or is a KeyError with
        `create=False`; a live one keeps its deadline. Raises ValueError, changing nothing, when
        the value is no int or float. One round trip, but for an int of more than 64 bits.
        """
        key = arguments.plain_key(key)
        step = arguments.amount(amount)
        name = self._name(key)
        fresh = self._values.encode(step, key, name)
        native = fresh if fresh[:1] not in (b"\x80", b"\x00") else b""
        kind, ms, may = b"%d" % isinstance(step, int), self._ms(None), b"%d" % bool(create)
        while True:
            outcome, *rest = self._script(
                scripts.INCREMENT, name, native, kind, fresh, ms, may, idempotent=False
            )
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
            if self._script(scripts.EXCHANGE, name, rest[0], text, idempotent=False):
                return total

    def decrement(self, key: str, amount: float = 1, *, create: bool = True) -> Any:
        """Subtract `amount` from the number at `key`, as `increment` adds it."""
        return self.increment(key, -arguments.amount(amount), create=create)

    def touch(self, key: str, ttl: float | timedelta | None = None) -> bool:
        """Give the live entry at `key` a new deadline, and tell whether there was one."""
        key = arguments.plain_key(key)
        return bool(self._script(scripts.TOUCH, self._name(key), self._ms(ttl)))

    def memoize(
        self,
        ttl: float | timedelta | None = None,
        key: Callable[..., str] | None = None,
    ) -> Callable[[Callable[P, R]], Memoized[P, R]]:
        """Return a decorator that caches what a function returns, by its arguments.

        `ttl` as in `set`; `key` makes the key from the call's arguments where the default cannot.
        The decorated function has `.key_for(...)`, `.invalidate(...)` and `.invalidate_all()`.
        """
        life = None if ttl is None else arguments.seconds(ttl)
        return memoize_in(self, life, key)

    # -- removing --------------------------------------------------------------------------------

    @overload
    def pop(self, key: str) -> V | None: ...
    @overload
    def pop(self, key: str, default: D) -> V | D: ...
    def pop(self, key: str, default: Any = None) -> Any:
        """Remove the entry at `key` and return its value, or `default` where none is live.

        Counts as a read.
        """
        name = self._name(arguments.plain_key(key))
        return self._read(self._script(scripts.POP, name, idempotent=False), name, default)

    def delete(self, key: str) -> bool:
        """Remove the entry at `key` and tell whether there was a live one."""
        return self.delete_many((key,)) == 1

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove the entries at `keys` in one step and return how many live ones went."""
        names = [self._name(arguments.plain_key(key)) for key in keys]
        if not names:
            return 0
        return self._call(lambda: self._link.remove(names), idempotent=False)

    def delete_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match the glob `pattern`; return how many live ones went.

        Walks over all keys of the server, whatever their namespace, some thousands in a step.
        """
        glob = compile_glob(arguments.pattern(pattern))
        scanned = self._names.scan_pattern(glob)
        removed = 0
        # First the leases, lest a factory that runs now stores what it began before this.
        for kind in ("hash", "string"):
            for names in self._scan(scanned, kind):
                unwanted = [name for name, _ in self._names.matching(names, glob)]
                went = self._unlink(unwanted)
                removed += went if kind == "string" else 0
        return removed

    def clear(self) -> None:
        """Remove every entry of the namespace. The counters stay."""
        for names in self._scan(self._names.scan_pattern(compile_glob("*"))):
            self._unlink(names)

    def _unlink(self, names: Sequence[bytes]) -> int:
        if not names:
            return 0
        return self._call(lambda: self._link.unlink(names), idempotent=False)

    def cleanup(self) -> int:
        """Return 0: the server removes what has expired."""
        return 0

    def reset_stats(self) -> None:
        """Set hits, misses, evictions and expirations to zero."""
        self._count_from(0, 0, 0, 0)

    def close(self) -> None:
        """Close the connections. The cache still serves, over others."""
        self._link.close()

    # -- snapshots -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot to the file at `path`, whole or not at all, as `DistributedCache` does.

        What the server has is first copied to a temporary file. What cannot be read is left out,
        and logged.
        """
        target = os.fspath(path)
        with self._lock:
            header: dict[str, Any] = {
                "saved_at": time.time(),
                "hits": self._hits,
                "misses": self._misses,
                "evictions": self._evictions,
                "expirations": self._expirations,
            }
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
        """Give key, text and expiry of all that can be read, some at a time, each once."""
        seen: set[bytes] = set()
        for names in self._scan(self._names.scan_pattern(compile_glob("*")), "string"):
            fresh = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(fresh)
            for start in range(0, len(fresh), _BATCH):
                rows = []
                for name, text, ms in self._call(partial(self._link.rows, fresh[start:][:_BATCH])):
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
            self.clear()
            texts = iter(spool)
            while part := list(islice(texts, _BATCH)):
                wall = time.time()
                entries = [
                    (name, text, self._milliseconds(inf if end is None else end - wall))
                    for name, text, end in part
                    if end is None or end > wall
                ]
                if entries:
                    self._call(partial(self._link.set_many, entries))
        self._count_from(
            header["hits"], header["misses"], header["evictions"], header["expirations"]
        )

    # -- single flight in the fleet --------------------------------------------------------------

    def get_or_set(
        self, key: str, factory: Callable[[], V], ttl: float | timedelta | None = None
    ) -> V:
        """Return the value at `key`, calling `factory()` for it where there is no live entry.

        One factory runs in the whole fleet, by a lease that its process renews, and the others
        wait for its value. In this process they get its exception too; other processes then run
        their own. Where the owner dies, its lease passes on once it has expired. The value is
        stored for `ttl` seconds, from when the factory returned, unless the key was written or
        removed meanwhile; it is returned all the same. Raises RuntimeError in a factory that needs
        its own key. Counts a hit, or a miss where it called or waited.
        """
        key = arguments.plain_key(key)
        ms = self._ms(ttl)
        if not callable(factory):
            raise TypeError(f"factory must be callable, not {type(factory).__name__}")
        name = self._name(key)
        text = self._call(lambda: self._link.get(name))
        value: V = self._read(text, name, _MISSING)
        if value is not _MISSING:
            return value
        flight, leading = self._flights.join(key)
        if not leading:
            return self._flights.wait(flight)
        try:
            value = self._lead(key, name, factory, ms, text)
        except BaseException as error:
            self._flights.fail(flight, error)
            raise
        self._flights.land(flight, value)
        return value

    def _lead(
        self, key: str, name: bytes, factory: Callable[[], V], ms: bytes, text: bytes | None
    ) -> V:
        """Return another process's value, or run the factory; `text` is what cannot be read."""
        token = secrets.token_bytes(16)
        found = self._lease(name, token, text)
        if found is not _MISSING:
            return found  # type: ignore[no-any-return]
        try:
            with self._leases.holding(name, token):
                value = factory()
            fresh = self._values.encode(value, key, name)
        except BaseException:
            with contextlib.suppress(CacheUnavailable):
                self._script(scripts.FREE, name, token)
            raise
        self._script(scripts.LAND, name, token, fresh, ms)
        return value

    def _renew(self, name: bytes, token: bytes) -> None:
        self._script(scripts.RENEW, name, token, self._leases.ms)

    def _lease(self, name: bytes, token: bytes, text: bytes | None) -> Any:
        """Take the lease on `name`, or wait for the value of whoever has it, and return that."""
        bell: Bell | None = None
        try:
            while True:
                outcome, *rest = self._script(
                    scripts.LEASE, name, token, self._leases.ms, text or b""
                )
                if outcome == 0:
                    return _MISSING
                if outcome == 1:
                    value = self._decoded(rest[0], name)
                    if value is not _MISSING:
                        return value
                    text = rest[0]
                elif bell is None:
                    bell = self._call(lambda: self._link.bell(name))
                else:
                    seconds = min(rest[0] / 1000, _GLANCE)
                    self._call(partial(bell.wait, seconds))
        finally:
            if bell is not None:
                bell.close()

    # -- steps -----------------------------------------------------------------------------------

    def _call(self, step: Callable[[], T], idempotent: bool = True) -> T:
        """Make one round trip: where all failures of the server become CacheUnavailable.

        An idempotent step may be made again.
        """
        try:
            return step()
        except ServerError as error:
            unavailable = failure(error)
            if unavailable is None:
                raise
            raise unavailable from error

    def _script(self, script: Script, name: bytes, *given: Any, idempotent: bool = True) -> Any:
        return self._call(lambda: self._link.run(script, (name,), *given), idempotent)

    def _scan(self, pattern: bytes, kind: str | None = None) -> Iterator[list[bytes]]:
        """Give the names that match, some at a time."""
        cursor = None
        while True:
            cursor, names = self._call(partial(self._link.scan, cursor, pattern, kind))
            yield names
            if cursor is None:
                return

    def _read(self, text: bytes | None, name: bytes, default: Any) -> Any:
        """Return the value that a text stands for, and count the read."""
        value = _MISSING if text is None else self._decoded(text, name)
        with self._lock:
            if value is _MISSING:
                self._misses += 1
                return default
            self._hits += 1
            return value

    def _decoded(self, text: bytes, name: bytes) -> Any:
        """Return the value, or `_MISSING` for one that cannot be read, which is counted."""
        try:
            return self._values.decode(text, name)
        except SnapshotError as error:
            said = str(error)
            with self._lock:
                self._unreadable += 1
                new = said not in self._logged and len(self._logged) < _MOST_KINDS
                if new:
                    self._logged.add(said)
            if new:
                logger.warning("a value cannot be read and is a miss: %s", said)
            return _MISSING

    def _ms(self, ttl: float | timedelta | None) -> bytes:
        """Return the milliseconds to live that a caller's `ttl` stands for, b"" for ever."""
        return self._milliseconds(self._default_life if ttl is None else arguments.seconds(ttl))

    def _milliseconds(self, life: float) -> bytes:
        """Return `life` seconds as the server takes them."""
        return lives.ticks(life, self._ticks)

    def _seconds(self, ms: int) -> float:
        """Return the seconds that the server's milliseconds are, -1 being for ever."""
        return lives.seconds(ms, self._ticks)

    def _count_from(self, hits: int, misses: int, evictions: int, expirations: int) -> None:
        with self._lock:
            self._hits, self._misses = hits, misses
            self._evictions, self._expirations = evictions, expirations

    # -- the mapping's face ----------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many entries the namespace has; walks as `keys` does."""
        return len(self.keys())

    def __bool__(self) -> bool:
        """Return True: an empty cache is a cache."""
        return True

    def __contains__(self, key: str) -> bool:
        """Tell whether there is a live entry at `key`, as `exists` does."""
        return self.exists(key)

    def __getitem__(self, key: str) -> V:
        """Return the value at `key` as `get` does; KeyError where there is no live entry."""
        value: V = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: V) -> None:
        """Store `value` at `key` with the cache's `default_ttl`."""
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        """Remove the entry at `key`; KeyError where there is no live one."""
        if not self.delete(key):
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that are live now; changes meanwhile do not disturb it."""
        return iter(self.keys())

    def __enter__(self) -> Self:
        """Return the cache; leaving the `with` block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the cache."""
        self.close()

    def __repr__(self) -> str:
        """Name the class and the namespace; no key, no value, and nothing is asked."""
        return f"<{type(self).__name__} of the namespace {self._names.namespace!r}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: a cache is neither pickled nor copied."""
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied; use save(path) and load(path)"
        )

    # -- fork ------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:  # pragma: no cover - in children
        """Begin anew with what the parent's other threads did."""
        self._lock = threading.RLock()
        self._flights.reset()
        self._leases.reset()


_caches: "weakref.WeakSet[RedisCache[Any]]" = weakref.WeakSet()


def _after_fork_in_child() -> None:  # pragma: no cover - in children
    for cache in list(_caches):
        cache._after_fork_in_child()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
