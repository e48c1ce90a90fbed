"""Caches whose counters do not add up."""

from math import inf
from typing import Any

from .deviation import Deviations, breaks

CACHE = "core.DistributedCache"
MIXIN = "mixin.CacheMixin"
INCREMENT = f"{CACHE}.increment"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R3.1",
        "increment reads and writes in two steps",
        (
            INCREMENT,
            "self._acquire()",
            "while self.exists(key):\n    total = self.get(key) + step"
            "\n    time.sleep(0)"  # part of the defect: hands the interpreter over
            "\n    self.set(key, total)\n    return total\nself._acquire()",
        ),
    ),
    breaks(
        "R3.2",
        "a missing key becomes one more than the amount",
        (
            INCREMENT,
            "self._store_locked(key, step, life, gone, None)",
            "self._store_locked(key, step + 1, life, gone, None)",
        ),
    ),
    breaks(
        "R3.2",
        "a new counter has no default ttl",
        (INCREMENT, "self._default_life", "inf"),
    ),
    breaks(
        "R3.2",
        "an expired counter goes on",
        (INCREMENT, "entry = self._live_locked(key, gone)", "entry = self._entries.get(key)"),
    ),
    breaks(
        "R3.4",
        "a bool can be counted",
        (
            "arguments.number",
            "isinstance(value, int) and (not isinstance(value, bool))",
            "isinstance(value, int)",
        ),
    ),
    breaks(
        "R3.4",
        "a str of digits can be counted",
        (
            "arguments.number",
            "if isinstance(value, int) and (not isinstance(value, bool)):"
            "\n    return int.__index__(value)",
            "if isinstance(value, int) and (not isinstance(value, bool)):"
            "\n    return int.__index__(value)\nif isinstance(value, str):"
            "\n    return float(value)",
        ),
    ),
    breaks(
        "R3.4",
        "sums are ints",
        (
            INCREMENT,
            "total = number + step",
            "total = int(number + step)",
        ),
    ),
    breaks(
        "R3.5",
        "a bool is an amount",
        (
            "arguments.amount",
            "isinstance(value, int) and (not isinstance(value, bool))",
            "isinstance(value, int)",
        ),
    ),
    breaks(
        "R3.5",
        "an amount that is no number is a ValueError, None is one",
        (
            "arguments.amount",
            "raise TypeError(f'amount must be an int or float, not {type(value).__name__}')",
            "if value is None:\n    return 1"
            "\nraise TypeError(f'amount must be an int or float, not {type(value).__name__}')",
        ),
    ),
    breaks(
        "R3.2",
        "an increment takes its ttl for milliseconds",
        (f"{CACHE}.increment", "arguments.seconds(ttl)", "(arguments.seconds(ttl) / 1000)"),
    ),
    breaks(
        "R3.2",
        "an increment forgets its ttl",
        (f"{CACHE}.increment", "arguments.seconds(ttl)", "self._default_life"),
    ),
    breaks(
        "R3.2",
        "a decrement forgets its ttl",
        (
            f"{MIXIN}.decrement",
            "self.increment(key, -arguments.amount(amount), create=create, ttl=ttl)",
            "self.increment(key, -arguments.amount(amount), create=create)",
        ),
    ),
    breaks(
        "R3.3",
        "the ttl of an increment moves the deadline of a live key",
        (
            f"{CACHE}.increment",
            "return total",
            "(ttl is None or self.touch(key, ttl)); return total",
        ),
    ),
]


@DEVIATIONS.wrap("R3.4", "the error does not name the key", "increment")
def _(increment: Any, self: Any, key: str, amount: Any = 1, **options: Any) -> Any:
    try:
        return increment(self, key, amount, **options)
    except ValueError:
        raise ValueError("the value is not a number") from None


@DEVIATIONS.wrap("R3.2", "create=False makes the key all the same", "increment")
def _(increment: Any, self: Any, key: str, amount: Any = 1, **options: Any) -> Any:
    return increment(self, key, amount, **{**options, "create": True})


@DEVIATIONS.wrap("R3.3", "increment begins the life of a counter anew", "increment")
def _(increment: Any, self: Any, key: str, amount: Any = 1, **options: Any) -> Any:
    total = increment(self, key, amount, **options)
    self.touch(key)
    return total


@DEVIATIONS.wrap("R3.3", "increment removes the deadline", "increment")
def _(increment: Any, self: Any, key: str, amount: Any = 1, **options: Any) -> Any:
    there = self.exists(key)
    total = increment(self, key, amount, **options)
    if there:
        self.touch(key, inf)
    return total


@DEVIATIONS.wrap("R3.4", "what cannot be counted is removed", "increment")
def _(increment: Any, self: Any, key: str, amount: Any = 1, **options: Any) -> Any:
    try:
        return increment(self, key, amount, **options)
    except ValueError:
        self.delete(key)
        raise


@DEVIATIONS.wrap("R3.6", "decrement adds", "decrement")
def _(decrement: Any, self: Any, key: str, amount: Any = 1, **options: Any) -> Any:
    return self.increment(key, amount, **options)


@DEVIATIONS.wrap("R3.6", "decrement stops at zero", "decrement")
def _(decrement: Any, self: Any, key: str, amount: Any = 1, **options: Any) -> Any:
    return max(decrement(self, key, amount, **options), 0)
