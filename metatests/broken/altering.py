"""What broken caches do to a true one, whichever store serves: recount, reorder, reread."""

from collections.abc import Callable, Iterable
from typing import Any

MISSING: Any = object()


def recount(
    cache: Any, hits: int = 0, misses: int = 0, evictions: int = 0, expirations: int = 0
) -> None:
    """Add to the counters."""
    counted = cache._counters()
    changes = (hits, misses, evictions, expirations)
    cache._set_counters(*(count + change for count, change in zip(counted, changes, strict=False)))


def use(cache: Any, key: str) -> None:
    """Make a live key most recently used; nothing else changes."""
    store: Any = next(each for each in type(cache).__mro__ if each.__name__ == "Store")
    left = store.ttl(cache, key)
    if left is not None:
        store.touch(cache, key, left)


def order(cache: Any) -> list[str]:
    """Return the live keys from least to most recently used."""
    moment, _, rows, *_ = cache._snapshot()
    keys = [key for key, _, _ in moment.rows(rows)]
    moment.close()
    return keys


def reorder(cache: Any, keys: Iterable[str]) -> None:
    """Put the live ones of `keys` in this order, and behind them what else there is."""
    for key in dict.fromkeys([*keys, *order(cache)]):
        use(cache, key)


def in_place(cache: Any, call: Callable[[], Any]) -> Any:
    """Return what `call` returns; keys that were there before keep their places."""
    former = order(cache)
    result = call()
    reorder(cache, former)
    return result
