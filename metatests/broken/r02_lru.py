"""Caches that evict the wrong entry, or too many."""

from typing import Any

from .altering import in_place, order, recount, reorder, use
from .deviation import Deviations, breaks

CACHE = "memory/cache.DistributedCache"
STORE = "memory/_store_py.Store"
ROOM = f"{STORE}._make_room"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R2.2",
        "the most recently used entry is evicted",
        (ROOM, "self._entries.popitem(last=False)", "self._entries.popitem()"),
    ),
    breaks(
        "R2.2",
        "where entries have deadlines the most recently used one is evicted",
        (
            ROOM,
            "self._entries.popitem(last=False)",
            "self._entries.popitem(last=bool(self._deadlines))",
        ),
    ),
    breaks(
        "R2.2",
        "two entries are evicted for one",
        (
            ROOM,
            "evicted = self._entries.popitem(last=False)\nself._evictions += 1"
            "\ngone.append(evicted[1])",
            "for _ in range(min(len(self._entries), 2)):"
            "\n    evicted = self._entries.popitem(last=False)\n    self._evictions += 1"
            "\n    gone.append(evicted[1])",
        ),
    ),
    breaks(
        "R2.2",
        "a cache holds one entry more than max_size",
        (f"{CACHE}.__init__", "arguments.size(max_size)", "arguments.size(max_size) + 1"),
    ),
    breaks(
        "R2.3",
        "overwriting makes room for one more",
        (
            f"{STORE}._store",
            "while len(self._entries) >= self._bound and key not in self._entries:",
            "while len(self._entries) >= self._bound:",
        ),
    ),
    breaks(
        "R2.4",
        "the least recently used entry goes, whatever has expired",
        (ROOM, "self._first_expired(...) if self._deadlines else None", "None"),
    ),
    breaks(
        "R2.4",
        "what expired and made room counts as evicted",
        (ROOM, "self._expire(*expired, gone)", "self._evictions += self._remove(*expired, gone)"),
    ),
    breaks(
        "R2.4",
        "only the least recently used entry is looked at for having expired",
        (
            ROOM,
            "if expired is not None:",
            "if expired is not None and"
            " self._entries[next(iter(self._entries))][1] <= monotonic():",
        ),
    ),
    breaks(
        "R2.5",
        "a max_size of zero is taken",
        ("arguments.count", "if value < 1:", "if value < 0:"),
        (f"{CACHE}.__init__", "super().__init__(self._max_size, ...)", "super().__init__(1, ...)"),
    ),
    breaks(
        "R2.5",
        "a bool is a max_size",
        (
            "arguments.count",
            "not isinstance(value, int) or isinstance(value, bool)",
            "not isinstance(value, int)",
        ),
    ),
]


@DEVIATIONS.wrap("R2.1", "a hit of get is no use", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    return in_place(self, lambda: get(self, key, default))


@DEVIATIONS.wrap("R2.1", "a hit of get_many is no use", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> Any:
    return in_place(self, lambda: get_many(self, keys))


@DEVIATIONS.wrap("R2.1", "overwriting without a ttl is no use", "set")
def _(set_: Any, self: Any, key: Any, value: Any, ttl: Any = None) -> None:
    if ttl is not None:
        set_(self, key, value, ttl)
    else:
        in_place(self, lambda: set_(self, key, value))


@DEVIATIONS.wrap("R2.1", "overwriting with the same ttl is no use", "set")
def _(set_: Any, self: Any, key: Any, value: Any, ttl: Any = None) -> None:
    if ttl is None or self.ttl(key) != ttl:
        set_(self, key, value, ttl)
    else:
        in_place(self, lambda: set_(self, key, value, ttl))


@DEVIATIONS.wrap("R2.1", "replace, touch and set_many are no use", "replace", "touch", "set_many")
def _(verb: Any, self: Any, *given: Any, **options: Any) -> Any:
    return in_place(self, lambda: verb(self, *given, **options))


@DEVIATIONS.wrap("R2.1", "increment is no use", "increment")
def _(increment: Any, self: Any, *given: Any, **options: Any) -> Any:
    return in_place(self, lambda: increment(self, *given, **options))


@DEVIATIONS.wrap("R2.1", "saving turns the order around", "save")
def _(save: Any, self: Any, path: Any) -> None:
    save(self, path)
    reorder(self, reversed(order(self)))


@DEVIATIONS.wrap("R2.1", "exists is a use", "exists")
def _(exists: Any, self: Any, key: str) -> bool:
    found: bool = exists(self, key)
    if found:
        use(self, key)
    return found


@DEVIATIONS.wrap("R2.1", "ttl is a use", "ttl")
def _(ttl: Any, self: Any, key: str) -> Any:
    left = ttl(self, key)
    if left is not None:
        self.touch(key, left)
    return left


@DEVIATIONS.wrap("R2.1", "an add that fails is a use", "add")
def _(add: Any, self: Any, key: str, *given: Any, **options: Any) -> bool:
    free: bool = add(self, key, *given, **options)
    if not free:
        use(self, key)
    return free


@DEVIATIONS.wrap("R2.1", "keys are listed by using them", "keys")
def _(keys: Any, self: Any, pattern: str = "*") -> list[str]:
    found: list[str] = keys(self, pattern)
    for key in found:
        use(self, key)
    return found


@DEVIATIONS.wrap("R2.2", "an eviction is not counted", "set")
def _(set_: Any, self: Any, *given: Any, **options: Any) -> None:
    evictions = self.stats().evictions
    set_(self, *given, **options)
    recount(self, evictions=evictions - self.stats().evictions)


@DEVIATIONS.wrap("R2.3", "overwriting in a full cache evicts", "set")
def _(set_: Any, self: Any, key: Any, *given: Any, **options: Any) -> None:
    full = self.exists(key) and len(self) == self._max_size
    set_(self, key, *given, **options)
    if full and self.delete(order(self)[0]):
        recount(self, evictions=1)


@DEVIATIONS.wrap("R2.5", "a cache of one entry keeps none", "set")
def _(set_: Any, self: Any, key: Any, *given: Any, **options: Any) -> None:
    set_(self, key, *given, **options)
    if self._max_size == 1:
        self.delete(key)
