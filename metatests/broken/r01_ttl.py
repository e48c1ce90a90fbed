"""Caches that are wrong about how long an entry lives."""

from math import inf
from typing import Any

from .deviation import Deviations, breaks

CACHE = "core.DistributedCache"
LIVE = f"{CACHE}._live_locked"
STORE = f"{CACHE}._store_locked"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R1.1",
        "get gives an entry that expires just now",
        (f"{CACHE}.get", "deadline > monotonic()", "deadline >= monotonic()"),
    ),
    breaks(
        "R1.1",
        "what takes the lock finds an entry that expires just now",
        (LIVE, "entry[1] > monotonic()", "entry[1] >= monotonic()"),
    ),
    breaks(
        "R1.1",
        "keys lists what expires just now",
        ("core._live_keys", "entry[1] > now", "entry[1] >= now"),
    ),
    breaks(
        "R1.1",
        "ttl tells of what expires just now",
        (f"{CACHE}.ttl", "left > 0", "left >= 0"),
    ),
    breaks(
        "R1.2",
        "an expired entry that is met stays in storage",
        (LIVE, "removed = self._remove_locked(key, entry, gone)", "removed = 0"),
    ),
    breaks(
        "R1.3",
        "set without a ttl forgets the default",
        (f"{CACHE}.__init__", "(None, self._default_life)", "(None, inf)"),
    ),
    breaks(
        "R1.4",
        "overwriting soon keeps the deadline",
        (
            f"{CACHE}.set",
            "if old[2] == slot and old[1] > now:\n    entries[key] = fresh"
            "\n    entries.move_to_end(key)\n    return",
            "fresh = (value, old[1], slot)\nif old[2] == slot and old[1] > now:"
            "\n    entries[key] = fresh\n    entries.move_to_end(key)\n    return",
        ),
    ),
    breaks(
        "R1.5",
        "every key has the ttl that was given first",
        (
            f"{CACHE}.set",
            "if ttl is checked[0]:",
            "if ttl is checked[0] or checked[0] is not None:",
        ),
    ),
    breaks(
        "R1.6",
        "deadlines are rounded to whole seconds",
        (STORE, "deadline = now + life", "deadline = now + max(round(life), 1)"),
    ),
    breaks(
        "R1.7",
        "a bool is a ttl",
        (
            "arguments.seconds",
            "isinstance(value, (int, float)) and (not isinstance(value, bool))",
            "isinstance(value, (int, float))",
        ),
    ),
    breaks(
        "R1.7",
        "a ttl of zero is taken",
        ("arguments.seconds", "if not length > 0:", "if not length >= 0:"),
    ),
    breaks(
        "R1.7",
        "NaN is a ttl",
        ("arguments.seconds", "if not length > 0:", "if length <= 0:"),
    ),
    breaks(
        "R1.7",
        "an int too large for a float is a second",
        (
            "arguments.seconds",
            "math.inf if value > 0 else -math.inf",
            "1.0 if value > 0 else -math.inf",
        ),
    ),
    breaks(
        "R1.7",
        "the days of a timedelta are left out",
        ("arguments.seconds", "value.total_seconds()", "float(value.seconds)"),
    ),
    breaks(
        "R1.7",
        "a bad ttl in set_many is found when the first entry is stored",
        (
            f"{CACHE}.set_many",
            "for key, value in pairs:\n    self._store_locked(key, value, life, gone)",
            "for key, value in pairs:\n    self._store_locked(key, value, inf, gone)"
            "\nlife = self._life(ttl)\nfor key, value in pairs:"
            "\n    self._store_locked(key, value, life, gone)",
        ),
        (
            f"{CACHE}.set_many",
            "life = self._life(ttl)\npairs = arguments.pairs(mapping)",
            "pairs = arguments.pairs(mapping)",
        ),
    ),
    breaks(
        "R1.7",
        "cleanup_interval is not checked",
        (f"{CACHE}.__init__", "arguments.seconds(cleanup_interval, 'cleanup_interval')", "60.0"),
    ),
    breaks(
        "R1.8",
        "deadlines go by the wall clock",
        ("core", "from time import monotonic", "from time import time as monotonic"),
    ),
]


@DEVIATIONS.wrap("R1.1", "entries live a millisecond less", "set", "add", "replace", "touch")
def _(verb: Any, self: Any, key: str, *given: Any, ttl: Any = None, **options: Any) -> Any:
    if isinstance(given[-1:] and given[-1], (int, float)) and len(given) > (
        verb.__name__ != "touch"
    ):
        given, ttl = given[:-1], given[-1]
    if isinstance(ttl, (int, float)) and 0.001 < ttl < inf:
        ttl -= 0.001
    return verb(self, key, *given, ttl=ttl, **options)


@DEVIATIONS.wrap("R1.2", "exists leaves an expired entry in storage", "exists")
def _(exists: Any, self: Any, key: str) -> bool:
    return self.ttl(key) is not None


@DEVIATIONS.wrap("R1.3", "set_many without a ttl forgets the default", "set_many")
def _(set_many: Any, self: Any, mapping: Any, ttl: Any = None, **options: Any) -> None:
    set_many(self, mapping, inf if ttl is None else ttl, **options)


@DEVIATIONS.wrap(
    "R1.3", "infinity means the default", "set", "add", "set_many", "touch", "get_or_set"
)
def _(verb: Any, self: Any, first: Any, *given: Any, ttl: Any = None, **options: Any) -> Any:
    given = tuple(None if each == inf else each for each in given)
    return verb(self, first, *given, **options, **({} if ttl in (None, inf) else {"ttl": ttl}))


@DEVIATIONS.wrap("R1.4", "an entry that is overwritten keeps its deadline", "set")
def _(set_: Any, self: Any, key: Any, value: Any, ttl: Any = None, **options: Any) -> None:
    left = self.ttl(key)
    set_(self, key, value, ttl if left in (None, inf) else left, **options)


@DEVIATIONS.wrap("R1.4", "an entry that is overwritten without a ttl keeps its deadline", "set")
def _(set_: Any, self: Any, key: Any, value: Any, ttl: Any = None, **options: Any) -> None:
    left = self.ttl(key) if ttl is None else None
    set_(self, key, value, ttl if left is None else left, **options)


@DEVIATIONS.wrap("R1.7", "touch with a bad ttl says nothing where the key is missing", "touch")
def _(touch: Any, self: Any, key: str, ttl: Any = None) -> bool:
    return bool(self.exists(key) and touch(self, key, ttl))
