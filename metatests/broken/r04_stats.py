"""Caches that miscount."""

import time
from typing import Any

from .deviation import Deviations, breaks

CACHE = "core.DistributedCache"
MIXIN = "mixin.CacheMixin"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R4.1",
        "a hit of get is not counted",
        (f"{CACHE}.get", "next(self._hits)", "pass"),
    ),
    breaks(
        "R4.1",
        "a miss of get is not counted",
        (f"{CACHE}.get", "next(self._misses)", "pass"),
    ),
    breaks(
        "R4.1",
        "an expired entry is a hit",
        (
            f"{CACHE}._read_locked",
            "entry = self._live_locked(key, gone)",
            "entry = self._live_locked(key, gone)\nif entry is None and gone:"
            "\n    next(self._hits)\n    return default",
        ),
    ),
    breaks(
        "R4.1",
        "get_many is one read",
        (
            f"{CACHE}.get_many",
            "for key in wanted:\n    value = self._read_locked(key, _MISSING, gone)"
            "\n    if value is not _MISSING:\n        found[key] = value",
            "for key in wanted:\n    value = self._read_locked(key, _MISSING, gone)"
            "\n    if value is not _MISSING:\n        found[key] = value\nif wanted:"
            "\n    hits, misses = self._counted_locked()"
            "\n    self._hits = count(hits - max(len(wanted) - 1, 0))",
        ),
    ),
    breaks(
        "R4.1",
        "pop counts no read",
        (f"{CACHE}.pop", "next(self._hits)", "pass"),
        (f"{CACHE}.pop", "next(self._misses)", "pass"),
    ),
    breaks(
        "R4.1",
        "a caller that waits for another's factory is a hit",
        (
            f"{CACHE}._missed",
            "return self._flights.wait(flight)",
            "value = self._flights.wait(flight)\nwith self._lock:"
            "\n    hits, misses = self._counted_locked()"
            "\n    self._count_from_locked(hits + 1, misses - 1, self._evictions,"
            " self._expirations)"
            "\nreturn value",
        ),
    ),
    breaks(
        "R4.1",
        "a get_or_set whose factory fails counts nothing",
        (
            f"{CACHE}._missed",
            "raise",
            "self._misses = count(self._counted_locked()[1] - 1)\nraise",
        ),
    ),
    breaks(
        "R4.1",
        "get_many counts the keys before a bad one",
        (
            f"{CACHE}.get_many",
            "arguments.plain_keys(keys)",
            "[(arguments.plain_key(key), self.get(key))[0] for key in keys]",
        ),
    ),
    breaks(
        "R4.1",
        "a failing cache[key] counts no miss",
        (
            f"{MIXIN}.__getitem__",
            "raise KeyError(arguments.plain_key(key))",
            "self._misses = type(self._misses)(self._counted_locked()[1] - 1); raise KeyError(key)",
        ),
    ),
    breaks(
        "R4.1",
        "reset_stats keeps the evictions",
        (
            f"{CACHE}.reset_stats",
            "self._count_from_locked(0, 0, 0, 0)",
            "self._count_from_locked(0, 0, self._evictions, 0)",
        ),
    ),
    breaks(
        "R4.2",
        "what clear removes counts as evicted",
        (
            f"{CACHE}.clear",
            "_let_go(*former)",
            "self._evictions += len(former[0]); _let_go(*former)",
        ),
    ),
    breaks(
        "R4.2",
        "an expiry counts as an eviction too",
        (
            f"{CACHE}._live_locked",
            "self._expirations += removed",
            "self._expirations += removed; self._evictions += 1",
        ),
    ),
    breaks(
        "R4.2",
        "cleanup counts evictions",
        (f"{CACHE}.cleanup", "self._expirations += swept", "self._evictions += swept"),
    ),
    breaks(
        "R4.2",
        "delete counts an eviction",
        (
            f"{CACHE}.delete_many",
            "removed += 1",
            "removed += 1; self._evictions += 1",
        ),
    ),
    breaks(
        "R4.2",
        "clear counts evictions",
        (
            f"{CACHE}.clear",
            "former = self._install_locked(OrderedDict(), ExpiryIndex())",
            "self._evictions += len(self._entries)"
            "\nformer = self._install_locked(OrderedDict(), ExpiryIndex())",
        ),
    ),
    breaks(
        "R4.2",
        "an expired entry that is overwritten is not counted",
        (f"{CACHE}._store_locked", "if old[1] <= now:", "if False:"),
    ),
    breaks(
        "R4.2",
        "an expired entry that is deleted is not counted",
        (
            f"{CACHE}.delete_many",
            "if self._take_locked(key, gone) is not None:",
            "if (lambda live, entry: entry and self._remove_locked(key, entry, gone) and live)("
            "self.ttl(key), self._entries.get(key)):",
        ),
    ),
    breaks(
        "R4.2",
        "overwriting a live entry that has a ttl counts an expiration",
        (f"{CACHE}._store_locked", "if old[1] <= now:", "if True:"),
    ),
    breaks(
        "R4.4",
        "hits are counted in two steps without the lock",
        (
            f"{CACHE}.get",
            "next(self._hits)",
            "hits = self._counted_locked()[0];"
            # The sleep lets another thread count in between, or the defect would show by chance.
            " time.sleep(0);"  # part of the defect: hands the interpreter over
            " self._hits = count(hits + 1)",
        ),
    ),
]


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
