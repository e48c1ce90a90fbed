"""Who is compared, and how each is spoken to: statements as a user of that library writes them.

A statement is pasted into the measured loop (`loops.py`), not called through an adapter. It may use
the names that `make` returns, `key`, and `item`, the value to store; a read binds `value`, which is
true where the key was found. A statement that is missing means that the library has no such verb.
"""

import fnmatch
import functools
import os
import pickle
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib import metadata
from typing import Any

from cache import DistributedCache

from .baseline import Baseline

TTL = 1000  # seconds, where a statement sets one
REDIS_PORT = "BENCHMARK_REDIS_PORT"  # of the environment, while there is a server

Names = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """A cache to measure: `make(size, ttl)` gives the names that its statements use."""

    name: str
    make: Callable[[int, float | None], Names]
    get: str
    set: str | None = None
    set_ttl: str | None = None
    fill: str | None = None  # stores the dict `pairs`, where one by one takes minutes
    increment: str | None = None
    package: str | None = None  # the distribution that must be installed
    exact: bool = False  # an exact LRU, by its own word
    bounded: bool = True  # keeps to `size` entries
    largest: int = 1_000_000  # entries; beyond, filling it takes minutes
    largest_ttl: int = 1_000_000  # the same for entries with a ttl, where it is less
    big: Mapping[str, str] = field(default_factory=dict)  # statements of work on all entries
    stampede: str | None = None  # gets `key`, or makes it with `factory`
    memoize: Callable[[Names, Callable], Callable] | None = None  # binds `memoized` for it
    counts: Callable[[Any], dict[str, int]] | None = None  # its own statistics
    in_process: bool = True

    def store(self, ttl: bool) -> str | None:
        return self.set_ttl if ttl else self.set

    def fits(self, size: int, ttl: bool) -> bool:
        """Tell whether it can be filled with so many entries, with a ttl or without."""
        if self.store(ttl) is None and (ttl or self.set_ttl is not None):
            return False  # a floor without `set` is filled by its reads
        return size <= min(self.largest, self.largest_ttl if ttl else self.largest)

    def absence(self) -> str | None:
        """Say why it can't be measured here, None where it can."""
        if self.package is not None:
            try:
                metadata.version(self.package)
            except metadata.PackageNotFoundError:
                return "not installed"
        if self.name == "redis-py" and REDIS_PORT not in os.environ:
            return "no redis-server here"
        return None


def _ours(size, ttl):
    return {"cache": DistributedCache(size), "ttl": ttl}


def _baseline(size, ttl):
    return {"cache": Baseline(size), "ttl": ttl}


def _cachetools_lru(size, ttl):
    import cachetools

    return {"cache": cachetools.LRUCache(size), "lock": threading.RLock()}


def _cachetools_ttl(size, ttl):
    import cachetools

    return {"cache": cachetools.TTLCache(size, ttl or TTL), "lock": threading.RLock()}


def _cacheout(size, ttl):
    import cacheout

    return {"cache": cacheout.LRUCache(maxsize=size), "ttl": ttl}


def _cachetools_memoize(names, factory):
    import cachetools

    condition = threading.Condition(names["lock"])
    return cachetools.cached(names["cache"], condition=condition)(factory)


def _cachebox_lru(size, ttl):
    import cachebox

    return {"cache": cachebox.LRUCache(size)}


def _cachebox_memoize(names, factory):
    import cachebox

    return cachebox.cached(names["cache"])(factory)


def _cachebox_vttl(size, ttl):
    import cachebox

    return {"cache": cachebox.VTTLCache(size), "ttl": ttl}


def _moka(size, ttl):
    import moka_py

    return {"cache": moka_py.Moka(size, policy="lru"), "ttl": ttl}


def _theine(size, ttl):
    import theine

    return {"cache": theine.Cache(size), "ttl": ttl and timedelta(seconds=ttl)}


def _theine_memoize(names, factory):
    import theine

    memoized = theine.Memoize(1_000, None)(factory)
    memoized.key(lambda key: key)
    return memoized


def _lru_dict(size, ttl):
    import lru

    return {"cache": lru.LRU(size)}


def _diskcache(size, ttl):
    import diskcache

    folder = tempfile.TemporaryDirectory()
    return {"cache": diskcache.Cache(folder.name), "ttl": ttl, "folder": folder}


def _locmem(size, ttl):
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    from django.core.cache.backends.locmem import LocMemCache

    # It culls a third when it is full, before an overwrite too: one more, so that all fit.
    cache = LocMemCache(f"benchmark {os.urandom(8)!r}", {"OPTIONS": {"MAX_ENTRIES": size + 1}})
    return {"cache": cache, "ttl": ttl}


def _dogpile(size, ttl):
    from dogpile.cache import make_region

    cache = make_region().configure("dogpile.cache.memory", expiration_time=ttl)
    return {"cache": cache}


def _redis(size, ttl):
    import redis

    cache = redis.Redis(port=int(os.environ[REDIS_PORT]))
    cache.flushall()
    return {"cache": cache, "ttl": ttl and int(ttl)}


def _lru_cache(size, ttl):
    return {"cache": functools.lru_cache(size)(lambda key: 1)}


def _dict(size, ttl):
    return {"cache": {}}


def _matching(keys, pattern):
    """Return those of `keys` that match, as somebody does whose cache has no globs."""
    return [key for key in keys if fnmatch.fnmatchcase(key, pattern)]


def _delete_keys(cache, keys):
    for key in keys:
        del cache[key]


HELPERS: Names = {"matching": _matching, "delete_keys": _delete_keys, "pickle": pickle}

_OURS_BIG = {
    "cleanup": "cache.cleanup()",
    "keys": "cache.keys(pattern)",
    "delete_pattern": "cache.delete_pattern(pattern)",
    "save": "cache.save(path)",
    "load": "cache.load(path)",
}
_DUMP = "with lock, open(path, 'wb') as file: pickle.dump(cache, file)"

BASELINE = Contestant(
    "baseline",
    _baseline,
    get="value = cache.get(key)",
    set="cache.set(key, item)",
    set_ttl="cache.set(key, item, ttl)",
    increment="cache.increment(key)",
    exact=True,
    big=_OURS_BIG,
    stampede="value = cache.get_or_set(key, factory)",
    counts=lambda cache: {"misses": cache.misses, "evictions": cache.evictions},
)

OURS = replace(
    BASELINE,
    name="DistributedCache",
    make=_ours,
    counts=lambda cache: {"misses": cache.stats().misses, "evictions": cache.stats().evictions},
)

PEERS = (
    Contestant(
        "cachetools LRUCache",
        _cachetools_lru,
        package="cachetools",
        get="with lock: value = cache.get(key)",
        set="with lock: cache[key] = item",
        increment="with lock: cache[key] += 1",
        exact=True,
        stampede="value = memoized(key)",
        memoize=_cachetools_memoize,
    ),
    Contestant(
        "cachetools TTLCache",
        _cachetools_ttl,
        package="cachetools",
        get="with lock: value = cache.get(key)",
        set_ttl="with lock: cache[key] = item",
        increment="with lock: cache[key] += 1",
        exact=True,
        big={
            "cleanup": "with lock: cache.expire()",
            "keys": "with lock: matching(cache, pattern)",
            "delete_pattern": "with lock: delete_keys(cache, matching(cache, pattern))",
            "save": _DUMP,
            "load": "with lock, open(path, 'rb') as file: value = pickle.load(file)",
        },
    ),
    Contestant(
        "cacheout",
        _cacheout,
        package="cacheout",
        get="value = cache.get(key)",
        set="cache.set(key, item)",
        set_ttl="cache.set(key, item, ttl)",
        exact=True,
        largest_ttl=10_000,
        big={
            "cleanup": "cache.delete_expired()",
            "keys": "cache.get_many(pattern)",
            "delete_pattern": "cache.delete_many(pattern)",
        },
    ),
    Contestant(
        "cachebox LRUCache",
        _cachebox_lru,
        package="cachebox",
        get="value = cache.get(key)",
        set="cache[key] = item",
        exact=True,
        stampede="value = memoized(key)",
        memoize=_cachebox_memoize,
    ),
    Contestant(
        "cachebox VTTLCache",
        _cachebox_vttl,
        package="cachebox",
        get="value = cache.get(key)",
        set_ttl="cache.insert(key, item, ttl)",
        big={
            "cleanup": "cache.expire()",
            "keys": "matching(cache.keys(), pattern)",
            "save": "with open(path, 'wb') as file: pickle.dump(cache, file)",
            "load": "with open(path, 'rb') as file: value = pickle.load(file)",
        },
    ),
    Contestant(
        "moka-py",
        _moka,
        package="moka-py",
        get="value = cache.get(key)",
        set="cache.set(key, item)",
        set_ttl="cache.set(key, item, ttl)",
        big={"cleanup": "cache.run_pending_tasks()"},
        stampede="value = cache.get_with(key, factory)",
    ),
    Contestant(
        "theine",
        _theine,
        package="theine",
        get="value, _ = cache.get(key)",
        set="cache.set(key, item)",
        set_ttl="cache.set(key, item, ttl)",
        stampede="value = memoized(key)",
        memoize=_theine_memoize,
    ),
    Contestant(
        "lru-dict",
        _lru_dict,
        package="lru-dict",
        get="value = cache.get(key)",
        set="cache[key] = item",
        exact=True,
        big={
            "keys": "matching(cache.keys(), pattern)",
            "delete_pattern": "delete_keys(cache, matching(cache.keys(), pattern))",
        },
    ),
    Contestant(
        "diskcache",
        _diskcache,
        package="diskcache",
        get="value = cache.get(key)",
        set="cache.set(key, item)",
        set_ttl="cache.set(key, item, ttl)",
        increment="cache.incr(key)",
        bounded=False,
        largest=10_000,
        in_process=False,
        stampede="value = memoized(key)",
        memoize=lambda names, factory: names["cache"].memoize()(factory),
    ),
    Contestant(
        "Django locmem",
        _locmem,
        package="django",
        get="value = cache.get(key)",
        set="cache.set(key, item, None)",
        set_ttl="cache.set(key, item, ttl)",
        increment="cache.incr(key)",
        stampede="value = cache.get_or_set(key, factory)",
    ),
    Contestant(
        "dogpile memory",
        _dogpile,
        package="dogpile.cache",
        get="value = cache.get(key)",
        set="cache.set(key, item)",
        set_ttl="cache.set(key, item)",
        bounded=False,
        stampede="value = cache.get_or_create(key, factory)",
    ),
    Contestant(
        "redis-py",
        _redis,
        package="redis",
        get="value = cache.get(key)",
        set="cache.set(key, item)",
        set_ttl="cache.set(key, item, ttl)",
        increment="cache.incr(key)",
        bounded=False,
        in_process=False,
        fill="""\
with cache.pipeline(transaction=False) as pipe:
    for key, item in pairs.items():
        pipe.set(key, item, ttl)
    pipe.execute()""",
        big={"keys": "cache.keys(pattern)"},
    ),
)

FLOORS = (
    Contestant(
        "functools.lru_cache",
        _lru_cache,
        get="value = cache(key)",
        exact=True,
        stampede="value = memoized(key)",
        memoize=lambda names, factory: functools.lru_cache(1_000)(factory),
        counts=lambda cache: {"hits": cache.cache_info().hits, "misses": cache.cache_info().misses},
    ),
    Contestant(
        "plain dict",
        _dict,
        get="value = cache.get(key)",
        set="cache[key] = item",
        increment="cache[key] += 1",
        bounded=False,
    ),
)

ALL = (OURS, BASELINE, *PEERS, *FLOORS)
BY_NAME = {contestant.name: contestant for contestant in ALL}
