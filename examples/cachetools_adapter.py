"""cachetools' TTLCache under the verbs of the contract, for the conformance kit to judge.

    pytest tests --cache-impl=examples.cachetools_adapter:TTLAdapter

The adapter translates names, takes a lock around each call and counts. It mends nothing: what a
TTLCache has no notion of (a ttl for an entry, snapshots, a cleanup thread) is missing here too.
What it keeps is told in docs/conformance.md.
"""

import fnmatch
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cachetools

from cache import CacheStats


class _Counted(cachetools.TTLCache):  # type: ignore[type-arg]
    """A TTLCache that counts what it removes by itself."""

    evictions = expirations = 0

    def expire(self, time: float | None = None) -> list[tuple[Any, Any]]:
        expired: list[tuple[Any, Any]] = super().expire(time)
        self.expirations += len(expired)
        return expired

    def popitem(self) -> tuple[Any, Any]:
        item: tuple[Any, Any] = super().popitem()
        self.evictions += 1
        return item


class TTLAdapter:
    """A TTLCache whose one ttl is `default_ttl`, with Redis's verbs."""

    def __init__(self, max_size: int = 1000, *, default_ttl: float | None = None) -> None:
        self._lock = threading.RLock()
        # The clock is looked up at each call, since freezegun puts another one in its place.
        self._entries = _Counted(
            max_size, math.inf if default_ttl is None else default_ttl, lambda: time.monotonic()
        )
        self._hits = self._misses = 0

    def get(self, key: str, default: Any = None) -> Any:
        with self._lock:
            try:
                value = self._entries[key]
            except KeyError:
                self._misses += 1
                return default
            self._hits += 1
            return value

    def set(self, key: str, value: Any, ttl: object = None) -> None:
        _refuse(ttl)
        with self._lock:
            self._entries[key] = value

    def add(self, key: str, value: Any, ttl: object = None) -> bool:
        with self._lock:
            free = key not in self._entries
            if free:
                self.set(key, value, ttl)
            return free

    def replace(self, key: str, value: Any, ttl: object = None) -> bool:
        with self._lock:
            live = key in self._entries
            if live:
                self.set(key, value, ttl)
            return live

    def get_or_set(self, key: str, factory: Callable[[], Any], ttl: object = None) -> Any:
        # As cachetools.cached does it: the function runs without the lock, once for each caller.
        missing = object()
        value = self.get(key, missing)
        if value is missing:
            value = factory()
            self.add(key, value, ttl)
        return value

    def pop(self, key: str, default: Any = None) -> Any:
        with self._lock:
            live = key in self._entries
            self._hits += live
            self._misses += not live
            return self._entries.pop(key, default)

    def delete(self, key: str) -> bool:
        missing = object()
        with self._lock:
            return self._entries.pop(key, missing) is not missing

    def exists(self, key: str) -> bool:
        with self._lock:
            return key in self._entries

    def increment(self, key: str, amount: float = 1, *, create: bool = True) -> Any:
        with self._lock:
            if not create and key not in self._entries:
                raise KeyError(key)
            self._entries[key] = total = self._entries.get(key, 0) + amount
            return total

    def decrement(self, key: str, amount: float = 1, *, create: bool = True) -> Any:
        return self.increment(key, -amount, create=create)

    def keys(self, pattern: str = "*") -> list[str]:
        with self._lock:
            return [key for key in self._entries if fnmatch.fnmatchcase(key, pattern)]

    def delete_pattern(self, pattern: str) -> int:
        with self._lock:
            return self.delete_many(self.keys(pattern))

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        missing = object()
        with self._lock:
            found = {key: self.get(key, missing) for key in keys}
        return {key: value for key, value in found.items() if value is not missing}

    def set_many(self, mapping: Mapping[str, Any], ttl: object = None) -> None:
        _refuse(ttl)
        with self._lock:
            self._entries.update(mapping)

    def delete_many(self, keys: Iterable[str]) -> int:
        with self._lock:
            return sum(self.delete(key) for key in keys)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def cleanup(self) -> int:
        with self._lock:
            return len(self._entries.expire())

    def stats(self) -> CacheStats:
        with self._lock:
            size, entries = len(self._entries), self._entries
            return CacheStats(
                self._hits,
                self._misses,
                entries.evictions,
                entries.expirations,
                size,
                int(entries.maxsize),
            )

    def reset_stats(self) -> None:
        with self._lock:
            self._hits = self._misses = self._entries.evictions = self._entries.expirations = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return self.exists(key)

    def __getitem__(self, key: str) -> Any:
        missing = object()
        value = self.get(key, missing)
        if value is missing:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        with self._lock:
            del self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


def _refuse(ttl: object) -> None:
    if ttl is not None:
        raise NotImplementedError("a TTLCache has one ttl for all of its entries")
