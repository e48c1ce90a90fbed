"""Caches that evict the wrong entry, or too many."""

from typing import Any

from .deviation import Deviations, breaks

CACHE = "core.DistributedCache"
ROOM = f"{CACHE}._make_room_locked"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R2.1",
        "a hit of get is no use",
        (f"{CACHE}.get", "self._touch(key)", "pass"),
    ),
    breaks(
        "R2.1",
        "a hit of get_many is no use",
        (f"{CACHE}._read_locked", "self._entries.move_to_end(key)", "pass"),
    ),
    breaks(
        "R2.1",
        "overwriting without a ttl is no use",
        (
            f"{CACHE}.set",
            "if key in entries:\n    old = entries[key]\n    entries[key] = fresh"
            "\n    entries.move_to_end(key)\n    return",
            "if key in entries:\n    old = entries[key]\n    entries[key] = fresh\n    return",
        ),
    ),
    breaks(
        "R2.1",
        "overwriting with the same ttl is no use",
        (
            f"{CACHE}.set",
            "if old[2] == slot and old[1] > now:\n    entries[key] = fresh"
            "\n    entries.move_to_end(key)\n    return",
            "if old[2] == slot and old[1] > now:\n    entries[key] = fresh\n    return",
        ),
    ),
    breaks(
        "R2.1",
        "replace, touch and set_many are no use",
        (f"{CACHE}._store_locked", "entries.move_to_end(key)", "pass"),
    ),
    breaks(
        "R2.1",
        "increment is no use",
        (f"{CACHE}.increment", "entries.move_to_end(key)", "pass"),
    ),
    breaks(
        "R2.1",
        "saving turns the order around",
        (
            f"{CACHE}.save",
            "expired = self._expiry.due(now)",
            "for key in reversed(keys):\n    self._entries.move_to_end(key)"
            "\nexpired = self._expiry.due(now)",
        ),
    ),
    breaks(
        "R2.2",
        "the most recently used entry is evicted",
        (f"{CACHE}.set", "_, old = entries.popitem(last=False)", "_, old = entries.popitem()"),
    ),
    breaks(
        "R2.2",
        "where entries have deadlines the most recently used one is evicted",
        (ROOM, "entries.popitem(last=False)", "entries.popitem()"),
    ),
    breaks(
        "R2.2",
        "two entries are evicted for one",
        (f"{CACHE}._store_locked", "self._max_size - 1", "max(self._max_size - 2, 0)"),
    ),
    breaks(
        "R2.2",
        "an eviction is not counted",
        (
            f"{CACHE}.set",
            "_, old = entries.popitem(last=False)\nself._evictions += 1",
            "_, old = entries.popitem(last=False)",
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
            f"{CACHE}._store_locked",
            "if key in entries:\n    key = expiry.filed(key, entries[key][2])"
            "\nelif len(entries) >= self._max_size:"
            "\n    self._make_room_locked(self._max_size - 1, now, gone)",
            "if key in entries:\n    key = expiry.filed(key, entries[key][2])"
            "\nif len(entries) >= self._max_size:"
            "\n    self._make_room_locked(self._max_size - 1, now, gone)",
        ),
    ),
    breaks(
        "R2.3",
        "overwriting in a full cache evicts",
        (
            f"{CACHE}.set",
            "if key in entries:\n    old = entries[key]\n    entries[key] = fresh"
            "\n    entries.move_to_end(key)\n    return",
            "if key in entries:\n    old = entries[key]\n    entries[key] = fresh"
            "\n    len(entries) == self._max_size and entries.popitem(last=False)\n    return",
        ),
    ),
    breaks(
        "R2.4",
        "the least recently used entry goes, whatever has expired",
        (ROOM, "if expiry.heap and expiry.heap[0][0] <= now and expiry.due(now):", "if False:"),
    ),
    breaks(
        "R2.4",
        "what expired and made room counts as evicted",
        (ROOM, "self._expirations += removed", "self._evictions += removed"),
    ),
    breaks(
        "R2.4",
        "only the least recently used entry is looked at for having expired",
        (
            ROOM,
            "expiry.heap and expiry.heap[0][0] <= now and expiry.due(now)",
            "expiry.heap and expiry.heap[0][0] <= now and"
            " (next(iter(entries.values()))[1] is not None) and expiry.due(now)",
        ),
    ),
    breaks(
        "R2.5",
        "a max_size of zero is taken",
        ("arguments.count", "if value < 1:", "if value < 0:"),
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
    breaks(
        "R2.5",
        "a cache of one entry keeps none",
        (
            f"{CACHE}.set",
            "if len(entries) < self._max_size and key not in entries:\n",
            "if len(entries) < self._max_size > 1 or self._max_size == 1 > self._evictions:\n",
        ),
        (
            f"{CACHE}.set",
            "gone: list[Entry] = []",
            "gone = []\nif self._max_size == 1 and self._evictions:\n    return",
        ),
    ),
]


def use(cache: Any, key: str) -> None:
    """Make a live key most recently used; nothing else changes."""
    cache.touch(key, cache.ttl(key))


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
