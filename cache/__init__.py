"""A thread-safe in-process cache with Redis-style commands; the same API on Redis and Valkey.

`RedisCache` is here too. It is imported when it is first asked for, as it needs the extra `redis`:
see `help("cache.RedisCache")`.
"""

from typing import Any

from .connect import connect, with_redis
from .core import DistributedCache
from .errors import CacheError, CacheUnavailable, SnapshotError
from .fingerprint import fingerprint
from .health import Health
from .patterns import escape
from .portable import Portable
from .protocol import Cache
from .stats import CacheStats

__version__ = "0.1.0"  # setup.cfg reads it here

__all__ = [
    "Cache",
    "CacheError",
    "CacheStats",
    "CacheUnavailable",
    "DistributedCache",
    "Health",
    "Portable",
    "SnapshotError",
    "connect",
    "escape",
    "fingerprint",
]


def __getattr__(name: str) -> Any:
    if name != "RedisCache":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return with_redis("redis_cache", "RedisCache").RedisCache
