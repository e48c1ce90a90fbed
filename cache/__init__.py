"""A thread-safe in-process cache with Redis-style commands; the same API on Redis and Valkey."""

from .connect import connect
from .core import DistributedCache
from .errors import CacheError, CacheUnavailable, SnapshotError
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
    "Portable",
    "SnapshotError",
    "connect",
    "escape",
]
