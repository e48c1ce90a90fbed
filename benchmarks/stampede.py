"""Sixty-four threads want one value that nobody has made yet."""

import statistics
import time
from functools import partial
from typing import Any

from .contestants import BY_NAME
from .loops import compiled, together

THREADS = 64
WORK = 0.05  # seconds that making the value takes
ROUNDS = 5


def rush(name: str) -> dict[str, Any]:
    """Return how often the value was made, and the seconds until the last thread had it."""
    contestant = BY_NAME[name]
    calls, seconds = [], []
    for number in range(ROUNDS):
        made: list[int] = []

        def factory(*_: object, made: list[int] = made) -> int:
            made.append(1)
            time.sleep(WORK)
            return 1

        names = contestant.make(1_000, None)
        if contestant.memoize is not None:
            names["memoized"] = contestant.memoize(names, factory)
        call = compiled({**names, "factory": factory}, "key", "", contestant.stampede or "")
        seconds.append(together([partial(call, f"stampede:{number}")] * THREADS))
        calls.append(len(made))
    return {"name": name, "calls": statistics.median(calls), "seconds": statistics.median(seconds)}
