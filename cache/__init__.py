"""Redis's verbs inside a threaded Python process, with no server."""

from .core import DistributedCache
from .errors import CacheError, SnapshotError
from .patterns import escape
from .stats import CacheStats

__all__ = ["CacheError", "CacheStats", "DistributedCache", "SnapshotError", "escape"]
