"""Loops with a contestant's statement pasted into them, so that no adapter is measured."""

import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from .contestants import HELPERS, Contestant, Names

BLOCK = 1_000


def compiled(names: Names, parameters: str, head: str, statement: str, tail: str = "") -> Callable:
    """Return a function of `parameters` that runs `statement` below `head`.

    What `names` holds is local there, as it is where somebody writes code for speed. `item` is the
    value to store unless a parameter has that name.
    """
    names = {"item": 1, **HELPERS, **names}
    given = [parameter for parameter in parameters.split(", ") if parameter]
    given += [f"{name}={name}" for name in names if name not in given]
    depth = " " * 4 * (1 + sum(line.rstrip().endswith(":") for line in head.splitlines()))
    body = textwrap.indent(head, " " * 4) + "\n" if head else ""
    source = f"def loop({', '.join(given)}):\n{body}{textwrap.indent(statement, depth)}\n"
    if tail:
        source += textwrap.indent(tail, " " * 4) + "\n"
    scope = dict(names)
    exec(compile(source, f"<{statement}>", "exec"), scope)
    return scope["loop"]


def each(names: Names, statement: str) -> Callable[[list[str]], None]:
    """Return a function that runs `statement` for each key of a list."""
    return compiled(names, "keys", "for key in keys:", statement)


def once(names: Names, statement: str, **more: Any) -> Callable[[], Any]:
    """Return a function that runs `statement` once."""
    return compiled({**names, **more}, "", "", statement)


def found(contestant: Contestant, names: Names, keys: list[str]) -> int:
    """Return how many of `keys` a read finds."""
    statement = contestant.get + "\nif value: seen += 1"
    loop = compiled(names, "keys", "seen = 0\nfor key in keys:", statement, "return seen")
    return loop(keys)


def filler(contestant: Contestant, names: Names, ttl: bool) -> Callable[[range], None]:
    """Return a function that stores `user:n` for each n of a range, each key a string of its own.

    The values are n + 1: small integers, true.
    """
    if contestant.fill is not None:
        store = compiled(names, "pairs", "", contestant.fill)

        def fill(numbers):
            rest = iter(numbers)
            while block := {f"user:{number}": number + 1 for number in islice(rest, BLOCK)}:
                store(block)

        return fill
    statement = contestant.store(ttl) or contestant.get
    head = "for number in numbers:"
    body = f'key = f"user:{{number}}"\nitem = number + 1\n{statement}'
    return compiled(names, "numbers", head, body)


def fill_in_turns(fillers: list[Callable[[range], None]], size: int) -> None:
    """Fill several caches block by block, so that none has the better place in memory."""
    for start in range(0, size, BLOCK):
        for fill in fillers:
            fill(range(start, min(start + BLOCK, size)))


def together(calls: Sequence[Callable[[], object]]) -> float:
    """Return the seconds that `calls` take, each in a thread of its own, all begun at once."""
    start = threading.Barrier(len(calls) + 1)

    def run(call: Callable[[], object]) -> None:
        start.wait(60)
        call()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    start.wait(60)
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
