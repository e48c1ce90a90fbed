"""Sixty-four threads want one value that nobody has made yet."""

import statistics
import threading
import time
from typing import Any

from .contestants import BY_NAME
from .loops import compiled

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
        seconds.append(_rush(call, f"stampede:{number}"))
        calls.append(len(made))
    return {"name": name, "calls": statistics.median(calls), "seconds": statistics.median(seconds)}


def _rush(call: Any, key: str) -> float:
    start = threading.Barrier(THREADS + 1)

    def run() -> None:
        start.wait(60)
        call(key)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait(60)
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
