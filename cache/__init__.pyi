# For type checkers, which else would not know RedisCache: it is imported when it is asked for.
from .connect import connect as connect
from .core import DistributedCache as DistributedCache
from .errors import CacheError as CacheError
from .errors import CacheUnavailable as CacheUnavailable
from .errors import SnapshotError as SnapshotError
from .fingerprint import fingerprint as fingerprint
from .health import Health as Health
from .patterns import escape as escape
from .portable import Portable as Portable
from .protocol import Cache as Cache
from .redis_cache import RedisCache as RedisCache
from .stats import CacheStats as CacheStats

__version__: str
