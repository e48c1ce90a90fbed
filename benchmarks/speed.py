"""What a verb costs: each contestant takes turns with the baseline, in a process of its own.

Machines change speed by 1.75 times within milliseconds, so nothing is compared that did not run in
neighbouring slices of about 2,000 operations; the figure is the median of the paired ratios. Pairs
are added until the 95 % interval of that median is narrow, or time is up: a rule that looks at the
width alone, and is the same for all.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from .contestants import BASELINE, BY_NAME, TTL, Contestant, Names
from .loops import each, fill_in_turns, filler, found

SLICE = 2_000  # operations
LONGEST_SLICE = 0.01  # seconds; where one of the two needs longer, both get fewer operations
FEWEST = 100  # operations
FEWEST_PAIRS = 60
NARROW = 0.01  # half of the 95 % interval, of the median
OPERATIONS = ("hit", "miss", "overwrite", "increment", "evicting set")


def race(name: str, size: int, ttl: bool, seconds: float) -> list[dict[str, Any]]:
    """Return a record for each operation that `name` has, after at most `seconds` for each."""
    contestants = (BASELINE, BY_NAME[name])
    names = [contestant.make(size, TTL if ttl else None) for contestant in contestants]
    fills = [filler(*both, ttl) for both in zip(contestants, names, strict=True)]
    fill_in_turns(fills, size)
    sample = [f"user:{number}" for number in random.Random(0).choices(range(size), k=SLICE)]
    seen = [found(*both, sample) for both in zip(contestants, names, strict=True)]
    records = []
    for operation in OPERATIONS:
        loops = [_loop(operation, *both, ttl) for both in zip(contestants, names, strict=True)]
        if None not in loops:
            record = _compare(operation, size, loops, seconds)
            records.append({"operation": operation, "size": size, "ttl": ttl, **record})
    return [{"name": name, "found": seen[1] / SLICE, **record} for record in records]


def _loop(operation: str, contestant: Contestant, names: Names, ttl: bool) -> Callable | None:
    if operation in ("hit", "miss"):
        if operation == "miss" and contestant.store(ttl) is None:
            return None  # a decorator: its miss is a call of the function
        return each(names, contestant.get)
    if operation == "increment":
        return contestant.increment and each(names, contestant.increment)
    if operation == "evicting set" and not contestant.bounded:
        return None
    statement = contestant.store(ttl)
    return statement and each(names, statement)


def _key_lists(operation: str, size: int) -> Iterator[list[str]]:
    """Yield lists of keys whose hash is known, equal to the stored keys but not identical."""
    if operation == "evicting set":
        start = 0
        while True:
            yield _hashed([f"new:{number}" for number in range(start, start + SLICE)])
            start += SLICE
    dice = random.Random(size)
    kind = "none" if operation == "miss" else "user"
    # At a million entries enough keys that they can't all stay in the processor's cache.
    pool = [
        _hashed([f"{kind}:{dice.randrange(size)}" for _ in range(SLICE)])
        for _ in range(32 if size > 100_000 else 4)
    ]
    while True:
        yield from pool


def _hashed(keys: list[str]) -> list[str]:
    for key in keys:
        hash(key)
    return keys


def _compare(operation: str, size: int, loops: list[Callable], seconds: float) -> dict[str, Any]:
    """Run pairs of slices, the first of each pair by lot; return what they tell."""
    lists = [_key_lists(operation, size) for _ in loops]
    share = _share(loops, [next(keys) for keys in lists])
    dice = random.Random(size)
    taken: tuple[list[float], list[float]] = [], []
    gc.collect()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[0]) < 5:
        for turn in (0, 1) if dice.random() < 0.5 else (1, 0):
            keys = next(lists[turn])[:share]
            began = time.perf_counter()
            loops[turn](keys)
            taken[turn].append((time.perf_counter() - began) / len(keys))
        if len(taken[0]) % FEWEST_PAIRS == 0 and _spread(ratios(taken)) < NARROW:
            break
    found = ratios(taken)
    low, high = interval(found)
    return {
        "ratio": statistics.median(found),
        "low": low,
        "high": high,
        "ns": statistics.median(taken[1]) * 1e9,
        "baseline_ns": statistics.median(taken[0]) * 1e9,
        "pairs": len(found),
        "slice": share,
    }


def _share(loops: list[Callable], lists: list[list[str]]) -> int:
    """Return how many operations make a slice; warms the loops up, too.

    As many for both, from the start: an OrderedDict that evicts gets slower until it makes itself
    anew, and two that are out of step in this differ by 5 % though they are alike.
    """
    slowest = 0.0
    for loop, keys in zip(loops, lists, strict=True):
        times = []
        for _ in range(3):
            began = time.perf_counter()
            loop(keys[:FEWEST])
            times.append((time.perf_counter() - began) / FEWEST)
        slowest = max(slowest, min(times))
    share = max(FEWEST, min(SLICE, int(LONGEST_SLICE / slowest)))
    for loop, keys in zip(loops, lists, strict=True):
        loop(keys[:share])
    return share


def ratios(taken: tuple[list[float], list[float]]) -> list[float]:
    """Return, in order of size, by how much the second of each pair was faster."""
    return sorted(base / other for base, other in zip(*taken, strict=True))


def interval(ordered: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by the ranks of a sorted list."""
    count = len(ordered)
    reach = 0.98 * count**0.5
    return ordered[max(0, int(count / 2 - reach))], ordered[min(count - 1, int(count / 2 + reach))]


def _spread(ordered: list[float]) -> float:
    low, high = interval(ordered)
    return (high - low) / 2 / statistics.median(ordered)
