"""Redis's verbs inside a threaded Python process, with no server."""

from .connect import connect
from .core import DistributedCache
from .errors import CacheError, CacheUnavailable, SnapshotError
from .patterns import escape
from .protocol import Cache
from .stats import CacheStats

__all__ = [
    "Cache",
    "CacheError",
    "CacheStats",
    "CacheUnavailable",
    "DistributedCache",
    "SnapshotError",
    "connect",
    "escape",
]
