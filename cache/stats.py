"""The counters of a cache, as an immutable record."""

from typing import NamedTuple


class CacheStats(NamedTuple):
    """Counters and sizes of a cache at one moment.

    `hits` and `misses` count reads; `evictions` live entries that made room for a new key;
    `expirations` expired entries that were removed; `size` and `max_size` count entries, those
    expired but not removed yet included.
    """

    hits: int
    misses: int
    evictions: int
    expirations: int
    size: int
    max_size: int

    @property
    def hit_rate(self) -> float:
        """The share of reads that were hits, from 0.0 to 1.0; 0.0 before the first read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0
