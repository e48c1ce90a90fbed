"""`save` and `load` beside a plain `pickle.dump` and `pickle.load` of an equal dict, in turns."""

import gc
import pickle
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from .contestants import BY_NAME, TTL
from .loops import filler, once


def race(name: str, size: int, ttl: bool, rounds: int) -> dict[str, Any]:
    """Return the median seconds of each, and the median ratios to plain pickle of the round."""
    contestant = BY_NAME[name]
    names = contestant.make(size + 10, TTL if ttl else None)
    filler(contestant, names, ttl)(range(size))
    plain = {f"user:{number}": number + 1 for number in range(size)}
    taken: dict[str, list[float]] = {"dump": [], "save": [], "pickle.load": [], "load": []}
    with tempfile.TemporaryDirectory() as folder:
        pickled, snapshot = Path(folder, "pickle"), Path(folder, "snapshot")
        works = {
            "dump": lambda: _dump(plain, pickled),
            "save": once(names, contestant.big["save"], path=snapshot),
            "pickle.load": lambda: _load(pickled),
            "load": once(names, contestant.big["load"], path=snapshot),
        }
        for _ in range(rounds):
            for work, times in zip(works.values(), taken.values(), strict=True):
                times.append(_timed(work))
    seconds = {f"{work}_seconds": statistics.median(times) for work, times in taken.items()}
    return {
        "name": name,
        "ttl": ttl,
        "save": ratio(taken["save"], taken["dump"]),
        "load": ratio(taken["load"], taken["pickle.load"]),
        "rounds": rounds,
        **seconds,
    }


def ratio(times: list[float], plain: list[float]) -> float:
    """Return the median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(times, plain, strict=True))


def _dump(plain: dict[str, int], path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(plain, file, pickle.HIGHEST_PROTOCOL)


def _load(path: Path) -> None:
    with path.open("rb") as file:
        pickle.load(file)


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    began = perf_counter()
    work()
    return perf_counter() - began
