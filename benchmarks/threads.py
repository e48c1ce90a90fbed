"""Four threads at once: nine reads to a write, keys as unequal as in life (Zipf's law).

A round is some turns of the contestant and of the baseline; the ratio is the median over all turns.
Beside it stands the worst round as a part of the median one: a lock that is held when the
interpreter switches threads makes a convoy, and such a cache has rounds that collapse.
"""

import gc
import itertools
import random
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from .contestants import BASELINE, BY_NAME, Contestant, Names
from .loops import compiled, fill_in_turns, filler, together

THREADS = 4
WRITES = 0.1
SIZE = 10_000  # entries that fit
TURNS = 5  # in a round
TURN = 0.05  # seconds; ten times the interval at which the interpreter switches threads
MOST = 60_000  # operations of a thread in a turn


def race(name: str, universe: int, rounds: int) -> dict[str, Any]:
    """Return operations per second and the ratio to the baseline's, over `universe` keys."""
    contestants = (BASELINE, BY_NAME[name])
    names = [contestant.make(SIZE, None) for contestant in contestants]
    fills = [filler(*both, False) for both in zip(contestants, names, strict=True)]
    fill_in_turns(fills, min(SIZE, universe))
    loops = [_loop(*both) for both in zip(contestants, names, strict=True)]
    scripts = _scripts(universe)
    shares = []
    for loop in loops:
        _turn(loop, scripts, 500)
        rate = _turn(loop, scripts, 2_000)
        shares.append(max(500, min(MOST, int(rate * TURN / THREADS))))
    rates: tuple[list[float], list[float]] = [], []
    gc.collect()
    for number in range(rounds * TURNS):
        for side in (0, 1) if number % 2 else (1, 0):
            rates[side].append(_turn(loops[side], scripts, shares[side]))
    base, own = rates
    ratios = [mine / theirs for mine, theirs in zip(own, base, strict=True)]
    return {
        "name": name,
        "universe": universe,
        "ratio": statistics.median(ratios),
        "per_second": statistics.median(own),
        "worst": _worst(own),
        "baseline_worst": _worst(base),
        "rounds": rounds,
    }


def _worst(rates: list[float]) -> float:
    """Return the rate of the worst round as a part of the median one."""
    rounds = [
        statistics.harmonic_mean(rates[start : start + TURNS])
        for start in range(0, len(rates), TURNS)
    ]
    return min(rounds) / statistics.median(rounds)


def _loop(contestant: Contestant, names: Names) -> Callable:
    store = contestant.store(False) or contestant.store(True)
    body = f"if write:\n    {store}\nelse:\n    {contestant.get}"
    return compiled(names, "keys, writes", "for key, write in zip(keys, writes):", body)


def _scripts(universe: int) -> list[tuple[list[str], list[bool]]]:
    """Return for each thread its keys, strings of its own, and which of them it writes."""
    dice = random.Random(universe)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, universe + 1)))
    numbers = list(range(universe))
    dice.shuffle(numbers)
    scripts = []
    for _ in range(THREADS):
        chosen = dice.choices(numbers, cum_weights=weights, k=MOST)
        writes = [dice.random() < WRITES for _ in chosen]
        scripts.append(([f"user:{number}" for number in chosen], writes))
    return scripts


def _turn(loop: Callable, scripts: list[tuple[list[str], list[bool]]], share: int) -> float:
    """Run `share` operations in each thread, and return how many a second all did."""
    calls = [partial(loop, keys[:share], writes[:share]) for keys, writes in scripts]
    return share * THREADS / together(calls)
