"""Caches that are wrong about how long an entry lives."""

import sys
import time
from math import inf
from typing import Any

from .deviation import Deviations, breaks

CACHE = "memory/cache.DistributedCache"
STORE = "memory/_store_py.Store"
WALK = "memory/_store_py.Walk"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R1.1",
        "get gives an entry that expires just now",
        (
            f"{STORE}._count_read",
            "entry is not None and entry[1] != inf",
            "entry is not None and entry[1] not in (inf, monotonic())",
        ),
    ),
    breaks(
        "R1.1",
        "what takes the lock finds an entry that expires just now",
        (f"{STORE}._live", "entry[1] > monotonic()", "entry[1] >= monotonic()"),
    ),
    breaks(
        "R1.1",
        "keys lists what expires just now",
        (f"{WALK}.slice", "self._items[key][1] > now", "self._items[key][1] >= now"),
    ),
    breaks(
        "R1.1",
        "ttl tells of what expires just now",
        (f"{STORE}.ttl", "self._live(key, gone)", "self._entries.get(key)"),
        (f"{STORE}.ttl", "left > 0", "left >= 0"),
    ),
    breaks(
        "R1.2",
        "an expired entry that is met stays in storage",
        (f"{STORE}._live", "self._expire(key, entry, gone)", "return None"),
    ),
    breaks(
        "R1.6",
        "deadlines are rounded to whole seconds",
        (f"{STORE}._store", "now + life", "now + (life if life == inf else max(round(life), 1))"),
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
        "cleanup_interval is not checked",
        (f"{CACHE}.__init__", "arguments.seconds(cleanup_interval, 'cleanup_interval')", "60.0"),
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
    return key in self.keys()


@DEVIATIONS.wrap("R1.3", "set without a ttl forgets the default", "set")
def _(set_: Any, self: Any, key: str, value: Any, ttl: Any = None, **options: Any) -> None:
    set_(self, key, value, inf if ttl is None else ttl, **options)


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


@DEVIATIONS.wrap("R1.4", "overwriting soon keeps the deadline", "set")
def _(set_: Any, self: Any, key: Any, value: Any, ttl: Any = None, **options: Any) -> None:
    left = self.ttl(key)
    set_(self, key, value, ttl, **options)
    if left not in (None, inf) and left < self.ttl(key) < left + 0.1:
        self.touch(key, left)


@DEVIATIONS.wrap("R1.5", "every key has the ttl that was given first", "set")
def _(set_: Any, self: Any, key: Any, value: Any, ttl: Any = None, **options: Any) -> None:
    first = None if ttl is None else vars(self).setdefault("_first_ttl", ttl)
    set_(self, key, value, first, **options)


@DEVIATIONS.wrap(
    "R1.7", "a bad ttl in set_many is found when the first entry is stored", "set_many"
)
def _(set_many: Any, self: Any, mapping: Any, ttl: Any = None, **options: Any) -> None:
    set_many(self, mapping, inf, **options)
    set_many(self, mapping, ttl, **options)


@DEVIATIONS.wrap("R1.7", "touch with a bad ttl says nothing where the key is missing", "touch")
def _(touch: Any, self: Any, key: str, ttl: Any = None) -> bool:
    return bool(self.exists(key) and touch(self, key, ttl))


@DEVIATIONS.patch("R1.8", "deadlines go by the wall clock")
def _(cache: Any) -> None:
    sys.modules[cache.memory.store.Store.__module__].monotonic = time.time
