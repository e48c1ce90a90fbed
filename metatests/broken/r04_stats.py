"""Caches that miscount."""

import time
from math import inf
from typing import Any

from .altering import MISSING, recount
from .deviation import Deviations, breaks

CACHE = "memory/cache.DistributedCache"
STORE = "memory/_store_py.Store"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R4.1",
        "a caller that waits for another's factory is a hit",
        (
            f"{CACHE}._missed",
            "return self._flights.wait(flight)",
            "value = self._flights.wait(flight)\nhits, misses, *rest = self._counters()[:4]"
            "\nself._set_counters(hits + 1, misses - 1, *rest)\nreturn value",
        ),
    ),
    breaks(
        "R4.1",
        "a get_or_set whose factory fails counts nothing",
        (
            f"{CACHE}._missed",
            "raise",
            "hits, misses, *rest = self._counters()[:4]"
            "\nself._set_counters(hits, misses - 1, *rest)\nraise",
        ),
    ),
    breaks(
        "R4.2",
        "an expiry counts as an eviction too",
        (
            f"{STORE}._live",
            "self._expire(key, entry, gone)",
            "self._expire(key, entry, gone); self._evictions += 1",
        ),
    ),
    breaks(
        "R4.2",
        "an expired entry that is overwritten is not counted",
        (f"{STORE}._store", "self._expirations += 1", "pass"),
    ),
]


@DEVIATIONS.wrap("R4.1", "a hit of get is not counted", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    value = get(self, key, MISSING)
    if value is MISSING:
        return default
    recount(self, hits=-1)
    return value


@DEVIATIONS.wrap("R4.1", "a miss of get is not counted", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    value = get(self, key, MISSING)
    if value is not MISSING:
        return value
    recount(self, misses=-1)
    return default


@DEVIATIONS.wrap("R4.1", "an expired entry is a hit", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    before = self.stats().expirations
    value = get(self, key, default)
    if self.stats().expirations > before:
        recount(self, hits=1, misses=-1)
    return value


@DEVIATIONS.wrap("R4.1", "get_many is one read", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> Any:
    before = self.stats()
    found = get_many(self, keys)
    after = self.stats()
    if after.hits > before.hits:
        recount(self, before.hits + 1 - after.hits, before.misses - after.misses)
    elif after.misses > before.misses:
        recount(self, misses=before.misses + 1 - after.misses)
    return found


@DEVIATIONS.wrap("R4.1", "pop counts no read", "pop")
def _(pop: Any, self: Any, key: Any, default: Any = None) -> Any:
    value = pop(self, key, MISSING)
    if value is MISSING:
        recount(self, misses=-1)
        return default
    recount(self, hits=-1)
    return value


@DEVIATIONS.wrap("R4.1", "get_many counts the keys before a bad one", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> Any:
    keys = list(keys)
    try:
        return get_many(self, keys)
    except TypeError:
        for key in keys:
            self.get(key)
        raise


@DEVIATIONS.wrap("R4.1", "a failing cache[key] counts no miss", "__getitem__")
def _(getitem: Any, self: Any, key: Any) -> Any:
    try:
        return getitem(self, key)
    except KeyError:
        recount(self, misses=-1)
        raise


@DEVIATIONS.wrap("R4.1", "reset_stats keeps the evictions", "reset_stats")
def _(reset_stats: Any, self: Any) -> None:
    evictions = self.stats().evictions
    reset_stats(self)
    recount(self, evictions=evictions)


@DEVIATIONS.wrap("R4.2", "cleanup counts evictions", "cleanup")
def _(cleanup: Any, self: Any) -> Any:
    removed = cleanup(self)
    recount(self, evictions=removed, expirations=-removed)
    return removed


@DEVIATIONS.wrap("R4.2", "delete counts an eviction", "delete")
def _(delete: Any, self: Any, key: Any) -> Any:
    removed = delete(self, key)
    recount(self, evictions=int(removed))
    return removed


@DEVIATIONS.wrap("R4.2", "overwriting counts an eviction", "set")
def _(set_: Any, self: Any, key: Any, *given: Any, **options: Any) -> None:
    there = self.exists(key)
    set_(self, key, *given, **options)
    recount(self, evictions=int(there))


@DEVIATIONS.wrap("R4.2", "clear counts evictions", "clear")
def _(clear: Any, self: Any) -> None:
    size = len(self)
    clear(self)
    recount(self, evictions=size)


@DEVIATIONS.wrap("R4.2", "an expired entry that is deleted is not counted", "delete")
def _(delete: Any, self: Any, key: Any) -> Any:
    before = self.stats().expirations
    removed = delete(self, key)
    recount(self, expirations=before - self.stats().expirations)
    return removed


@DEVIATIONS.wrap("R4.2", "overwriting a live entry that has a ttl counts an expiration", "set")
def _(set_: Any, self: Any, key: Any, *given: Any, **options: Any) -> None:
    ends = self.ttl(key) not in (None, inf)
    set_(self, key, *given, **options)
    recount(self, expirations=int(ends))


@DEVIATIONS.wrap("R4.4", "hits are counted in two steps without the lock", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    value = get(self, key, MISSING)
    if value is MISSING:
        return default
    hits = self.stats().hits
    # Lets another thread count in between, or the defect would show by chance.
    time.sleep(0)  # part of the defect: hands the interpreter over
    recount(self, hits=hits - self.stats().hits)
    return value


@DEVIATIONS.wrap("R4.1", "exists counts a read", "exists")
def _(exists: Any, self: Any, key: str) -> bool:
    return bool(exists(self, key) and self.get(key, self) is not None)


@DEVIATIONS.wrap("R4.1", "a get_or_set with a bad factory was a read", "get_or_set")
def _(get_or_set: Any, self: Any, key: str, factory: Any, *given: Any, **options: Any) -> Any:
    if not callable(factory):
        self.get(key)
    return get_or_set(self, key, factory, *given, **options)


@DEVIATIONS.wrap("R4.1", "ttl is a read", "ttl")
def _(ttl: Any, self: Any, key: str) -> Any:
    self.get(key)
    return ttl(self, key)


@DEVIATIONS.wrap("R4.1", "a touch is a read", "touch")
def _(touch: Any, self: Any, key: str, *given: Any, **options: Any) -> Any:
    self.get(key)
    return touch(self, key, *given, **options)


@DEVIATIONS.wrap("R4.1", "an add that fails is a hit", "add")
def _(add: Any, self: Any, key: str, *given: Any, **options: Any) -> Any:
    return add(self, key, *given, **options) or self.get(key) is self


@DEVIATIONS.wrap("R4.2", "clear resets the counters", "clear")
def _(clear: Any, self: Any) -> None:
    clear(self)
    self.reset_stats()


@DEVIATIONS.wrap("R4.2", "clear counts expirations", "clear")
def _(clear: Any, self: Any) -> None:
    self.cleanup()
    clear(self)


@DEVIATIONS.wrap("R4.3", "size counts live entries only", "stats")
def _(stats: Any, self: Any) -> Any:
    return stats(self)._replace(size=len(self.keys()))


@DEVIATIONS.wrap("R4.3", "len counts live entries only", "__len__")
def _(length: Any, self: Any) -> int:
    return len(self.keys())


@DEVIATIONS.wrap("R4.5", "stats reads hits at one moment and misses at another", "stats")
def _(stats: Any, self: Any) -> Any:
    first = stats(self)
    # Lets another thread read in between, or the defect would show by chance only.
    time.sleep(0)  # part of the defect: hands the interpreter over
    return first._replace(misses=stats(self).misses)


@DEVIATIONS.patch("R4.6", "hit_rate is NaN before the first read")
def _(cache: Any) -> None:
    true = cache.CacheStats.hit_rate.fget
    broken = property(lambda self: true(self) if self.hits + self.misses else float("nan"))
    cache.CacheStats.hit_rate = broken


@DEVIATIONS.patch("R4.6", "hit_rate is the ratio of hits to misses")
def _(cache: Any) -> None:
    cache.CacheStats.hit_rate = property(lambda self: self.hits / (self.misses or 1))
