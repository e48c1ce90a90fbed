"""Caches that stumble over what is rare."""

import copy
from math import inf
from typing import Any

from .altering import MISSING, use
from .deviation import Deviations, breaks

CACHE = "memory/cache.DistributedCache"
STORE = "memory/_store_py.Store"
KEY = "arguments.plain_key"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R10.1",
        "any key will do",
        (f"{STORE}.get", "if type(key) is not str:", "if False:"),
        (f"{STORE}.set", "if type(key) is not str:", "if False:"),
    ),
    breaks(
        "R10.1",
        "bytes are keys",
        (KEY, "isinstance(key, str)", "isinstance(key, (str, bytes))"),
        (KEY, "str.__str__(key)", "key.decode()"),
    ),
    breaks("R10.1", "a bad key is a ValueError", (KEY, "TypeError", "ValueError")),
    breaks(
        "R10.1",
        "keys are made texts",
        (
            KEY,
            "raise TypeError(f'a key must be a str, not {type(key).__name__}')",
            "key = str(key)",
        ),
    ),
    breaks(
        "R10.1",
        "a str subclass is kept",
        (f"{STORE}.get", "key = arguments.plain_key(key)", "arguments.plain_key(key)"),
        (f"{STORE}.set", "key = arguments.plain_key(key)", "arguments.plain_key(key)"),
    ),
    breaks("R10.1", "a str subclass is asked for its text", (KEY, "str.__str__(key)", "str(key)")),
    breaks(
        "R10.1",
        "a str is taken for its characters",
        ("arguments.plain_keys", "isinstance(keys, (str, bytes, bytearray))", "False"),
    ),
    breaks(
        "R10.1",
        "bytes without any are taken for no keys",
        ("arguments.plain_keys", "(str, bytes, bytearray)", "str"),
    ),
    breaks(
        "R10.3",
        "no reads divide by zero",
        ("stats.CacheStats.hit_rate", "self.hits / reads if reads else 0.0", "self.hits / reads"),
    ),
    breaks(
        "R10.3",
        "there is no smallest deadline to clean up by",
        (f"{STORE}._sweep", "now = monotonic()", "now = monotonic()\nself._deadlines[0]"),
    ),
    breaks(
        "R10.3",
        "an empty cache is not saved",
        (
            f"{CACHE}.save",
            "header['entries'] = size",
            "if not size:\n    raise ValueError('empty')\nheader['entries'] = size",
        ),
    ),
    breaks(
        "R10.3",
        "an empty snapshot is damaged",
        (
            f"{CACHE}.load",
            "epoch, now = self._epoch(), self._now()",
            "epoch, now = self._epoch(), self._now()"
            "\nif not header['entries']:\n    raise ValueError('empty')",
        ),
    ),
    breaks(
        "R10.4",
        "set_many stores what comes before a bad key",
        (
            f"{STORE}.set_many",
            "pairs = arguments.pairs(mapping)",
            "pairs = ((arguments.plain_key(k), v) for k, v in mapping.items())",
        ),
    ),
    breaks(
        "R10.4",
        "delete_many deletes what comes before a bad key",
        (
            f"{STORE}.delete_many",
            "unwanted = arguments.plain_keys(keys)",
            "unwanted = (arguments.plain_key(key) for key in keys)",
        ),
    ),
    breaks(
        "R10.4",
        "get_many counts what comes before a bad key",
        (
            f"{STORE}.get_many",
            "wanted = arguments.plain_keys(keys)",
            "wanted = (arguments.plain_key(key) for key in keys)",
        ),
    ),
    breaks(
        "R10.4",
        "a factory that fails leaves None",
        (
            f"{CACHE}._missed",
            "self._flights.fail(flight, error)",
            "self.set(key, None); self._flights.fail(flight, error)",
        ),
    ),
    breaks(
        "R10.4",
        "a factory that fails is no read",
        (
            f"{CACHE}._missed",
            "self._flights.fail(flight, error)",
            "hits, misses, *rest = self._counters()[:4]"
            "\nself._set_counters(hits, misses - 1, *rest)"
            "\nself._flights.fail(flight, error)",
        ),
    ),
    breaks(
        "R10.4",
        "the thread begins before the arguments are looked at",
        (
            f"{CACHE}.__init__",
            "self._max_size = arguments.size(max_size)",
            "sweeper.start(self, 60.0)\nforks._caches[0] = self"
            "\nself._max_size = arguments.size(max_size)",
        ),
    ),
]


@DEVIATIONS.patch("R10.5", "caches of the same content are equal")
def _(cache: Any) -> None:
    def equal(self: Any, other: Any) -> bool:
        return {key: self.ttl(key) for key in self} == {key: other.ttl(key) for key in other}

    cache.DistributedCache.__eq__ = equal


@DEVIATIONS.patch("R10.5", "a cache has no hash")
def _(cache: Any) -> None:
    cache.DistributedCache.__hash__ = None


def as_text(key: Any) -> str:
    """Return a key that is taken, whatever `key` is."""
    return key if isinstance(key, str) else repr(key)


@DEVIATIONS.wrap("R10.1", "the empty key is refused", "set")
def _(set_: Any, self: Any, key: Any, *given: Any, **options: Any) -> None:
    if key == "":
        raise TypeError("a key must not be empty")
    set_(self, key, *given, **options)


@DEVIATIONS.wrap("R10.1", "long keys are cut", "get", "set")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, key[:250] if type(key) is str else key, *given, **options)


@DEVIATIONS.wrap("R10.1", "keys are stripped", "get", "set")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, key.strip() if type(key) is str else key, *given, **options)


@DEVIATIONS.wrap("R10.1", "the case of keys is lost", "get", "set")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, key.lower() if type(key) is str else key, *given, **options)


@DEVIATIONS.wrap("R10.1", "get takes any key", "get")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "set takes any key", "set")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "exists takes any key", "exists")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "ttl takes any key", "ttl")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "pop takes any key", "pop")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "touch takes any key", "touch")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "replace takes any key", "replace")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "increment takes any key", "increment")
def _(verb: Any, self: Any, key: Any, *given: Any, **options: Any) -> Any:
    return verb(self, as_text(key), *given, **options)


@DEVIATIONS.wrap("R10.1", "get_many takes any key", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> Any:
    return get_many(self, [as_text(key) for key in keys])


@DEVIATIONS.wrap("R10.1", "delete_many takes any key", "delete_many")
def _(delete_many: Any, self: Any, keys: Any) -> Any:
    return delete_many(self, [as_text(key) for key in keys])


@DEVIATIONS.wrap("R10.1", "set_many takes any key", "set_many")
def _(set_many: Any, self: Any, mapping: Any, *given: Any, **options: Any) -> Any:
    plain = {as_text(key): value for key, value in mapping.items()}
    return set_many(self, plain, *given, **options)


@DEVIATIONS.wrap("R10.1", "None is taken for absence by exists", "exists")
def _(exists: Any, self: Any, key: Any) -> bool:
    return bool(exists(self, key) and self.get(key) is not None)


@DEVIATIONS.wrap("R10.1", "None is taken for absence by get", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    value = get(self, key, default)
    return default if value is None else value


@DEVIATIONS.wrap("R10.1", "None is taken for absence by pop", "pop")
def _(pop: Any, self: Any, key: Any, default: Any = None) -> Any:
    value = pop(self, key, default)
    return default if value is None else value


@DEVIATIONS.wrap("R10.1", "None is left out by get_many", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> Any:
    found = get_many(self, keys)
    return {key: value for key, value in found.items() if value is not None}


@DEVIATIONS.wrap("R10.1", "what is empty is left out by get_many", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> Any:
    return {key: value for key, value in get_many(self, keys).items() if value}


@DEVIATIONS.wrap("R10.1", "values are copied when they are set", "set")
def _(set_: Any, self: Any, key: Any, value: Any, *given: Any, **options: Any) -> None:
    set_(self, key, copy.copy(value), *given, **options)


@DEVIATIONS.wrap("R10.1", "pop copies", "pop")
def _(pop: Any, self: Any, key: Any, default: Any = None) -> Any:
    return copy.copy(pop(self, key, default))


@DEVIATIONS.wrap("R10.2", "pop gives None for any default", "pop")
def _(pop: Any, self: Any, key: Any, default: Any = None) -> Any:
    return pop(self, key)


@DEVIATIONS.wrap("R10.2", "a missing item is None", "__getitem__")
def _(getitem: Any, self: Any, key: Any) -> Any:
    try:
        return getitem(self, key)
    except KeyError:
        return None


@DEVIATIONS.wrap("R10.2", "the error for a missing item does not name it", "__getitem__")
def _(getitem: Any, self: Any, key: Any) -> Any:
    try:
        return getitem(self, key)
    except KeyError:
        raise KeyError("no such key") from None


@DEVIATIONS.wrap("R10.2", "a missing item is an IndexError", "__getitem__")
def _(getitem: Any, self: Any, key: Any) -> Any:
    try:
        return getitem(self, key)
    except KeyError:
        raise IndexError(key) from None


@DEVIATIONS.wrap("R10.2", "to delete a missing item is no error", "__delitem__")
def _(delitem: Any, self: Any, key: Any) -> None:
    self.delete(key)


@DEVIATIONS.wrap("R10.2", "get raises KeyError for None as default", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    if default is None and not self.exists(key):
        raise KeyError(key)
    return get(self, key, default)


@DEVIATIONS.wrap("R10.2", "deleting an item leaves it", "__delitem__")
def _(delitem: Any, self: Any, key: Any) -> None:
    if not self.exists(key):
        raise KeyError(key)


@DEVIATIONS.wrap("R10.3", "get_many of nothing is an error", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> Any:
    keys = list(keys)
    return get_many(self, keys) if keys else max(keys)


@DEVIATIONS.wrap("R10.3", "to touch what is missing is an error", "touch")
def _(touch: Any, self: Any, key: Any, ttl: Any = None) -> Any:
    if not touch(self, key, ttl):
        raise KeyError(key)
    return True


@DEVIATIONS.wrap("R10.4", "an increment that is not to create creates", "increment")
def _(increment: Any, self: Any, key: Any, amount: Any = 1, **options: Any) -> Any:
    try:
        return increment(self, key, amount, **options)
    except KeyError:
        self.set(key, 0)
        raise


@DEVIATIONS.wrap("R10.4", "a failing increment removes the value", "increment")
def _(increment: Any, self: Any, key: Any, amount: Any = 1, **options: Any) -> Any:
    try:
        return increment(self, key, amount, **options)
    except ValueError:
        self.delete(key)
        raise


@DEVIATIONS.wrap("R10.4", "a failing increment is a use", "increment")
def _(increment: Any, self: Any, key: Any, amount: Any = 1, **options: Any) -> Any:
    try:
        return increment(self, key, amount, **options)
    except ValueError:
        self.touch(key, self.ttl(key))
        raise


@DEVIATIONS.wrap("R10.4", "a get_or_set without a factory is a read", "get_or_set")
def _(get_or_set: Any, self: Any, key: Any, factory: Any, *given: Any, **options: Any) -> Any:
    if not callable(factory):
        self.get(key)
    return get_or_set(self, key, factory, *given, **options)


@DEVIATIONS.wrap("R10.4", "to delete a missing item is a read", "__delitem__")
def _(delitem: Any, self: Any, key: Any) -> None:
    self.get(key)
    delitem(self, key)


@DEVIATIONS.wrap("R10.4", "a load that finds no file empties the cache", "load")
def _(load: Any, self: Any, path: Any) -> None:
    try:
        load(self, path)
    except FileNotFoundError:
        self.clear()
        raise


@DEVIATIONS.wrap("R10.4", "a load that finds no file stores something", "load")
def _(load: Any, self: Any, path: Any) -> None:
    try:
        load(self, path)
    except FileNotFoundError:
        self.set("a", 1)
        raise


@DEVIATIONS.wrap("R10.5", "an empty cache is false", "__bool__")
def _(true: Any, self: Any) -> bool:
    return len(self) > 0


@DEVIATIONS.wrap("R10.6", "the error does not say what to do instead", "__reduce_ex__")
def _(reduce: Any, self: Any, protocol: Any) -> Any:
    raise TypeError("a cache cannot be pickled or copied")


@DEVIATIONS.wrap("R10.6", "a cache that is pickled is an empty one", "__reduce_ex__")
def _(reduce: Any, self: Any, protocol: Any) -> Any:
    return type(self), ()


@DEVIATIONS.wrap("R10.6", "a copy is the cache itself", "__reduce_ex__")
def _(reduce: Any, self: Any, protocol: Any) -> Any:
    return "cache"


@DEVIATIONS.wrap("R10.6", "pickling a cache is a RuntimeError", "__reduce_ex__")
def _(reduce: Any, self: Any, protocol: Any) -> Any:
    raise RuntimeError("a cache cannot be pickled or copied; use save(path) and load(path)")


@DEVIATIONS.wrap("R10.1", "None is taken for absence by add", "add")
def _(add: Any, self: Any, key: Any, *given: Any, **options: Any) -> bool:
    if self.exists(key) and self.get(key) is None:
        self.delete(key)
    return bool(add(self, key, *given, **options))


@DEVIATIONS.wrap("R10.1", "the error for a missing item holds the object asked for", "__getitem__")
def _(getitem: Any, self: Any, key: Any) -> Any:
    try:
        return getitem(self, key)
    except KeyError:
        raise KeyError(key) from None


@DEVIATIONS.wrap(
    "R10.1", "the error for a missing item to delete holds the object asked for", "__delitem__"
)
def _(delitem: Any, self: Any, key: Any) -> None:
    try:
        delitem(self, key)
    except KeyError:
        raise KeyError(key) from None


@DEVIATIONS.wrap("R10.1", "what is empty is made anew", "get_or_set")
def _(get_or_set: Any, self: Any, key: Any, factory: Any, *given: Any, **options: Any) -> Any:
    if self.exists(key) and not self.peek(key):
        self.delete(key)
    return get_or_set(self, key, factory, *given, **options)


@DEVIATIONS.wrap("R10.1", "values are asked whether they are the missing one", "__getitem__")
def _(getitem: Any, self: Any, key: Any) -> Any:
    value = getitem(self, key)
    if value == MISSING:
        raise KeyError(key)
    return value


@DEVIATIONS.wrap("R10.1", "values are copied when they are read", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    value = get(self, key, default)
    return value if value is default else copy.deepcopy(value)


@DEVIATIONS.wrap("R10.1", "iteration follows what changes", "__iter__")
def _(iterate: Any, self: Any) -> Any:
    for key in iterate(self):
        size = len(self)
        yield key
        if key not in self or len(self) != size:
            raise RuntimeError("the cache has changed during iteration")


@DEVIATIONS.wrap("R10.2", "get gives None for any default", "get")
def _(get: Any, self: Any, key: Any, default: Any = None) -> Any:
    return get(self, key)


@DEVIATIONS.wrap("R10.3", "set_many of nothing is an error", "set_many")
def _(set_many: Any, self: Any, mapping: Any, *given: Any, **options: Any) -> None:
    set_many(self, mapping, *given, **options)
    if not mapping:
        raise IndexError("nothing to set")


@DEVIATIONS.wrap("R10.3", "a deleted pattern has to match", "delete_pattern")
def _(delete_pattern: Any, self: Any, pattern: Any) -> Any:
    removed = delete_pattern(self, pattern)
    if not removed:
        raise KeyError(pattern)
    return removed


@DEVIATIONS.wrap("R10.3", "to decrement what is missing is an error", "decrement")
def _(decrement: Any, self: Any, key: Any, amount: Any = 1, **options: Any) -> Any:
    return decrement(self, key, amount, **{**options, "create": False})


@DEVIATIONS.wrap("R10.4", "a get_or_set with a bad ttl is a read", "get_or_set")
def _(get_or_set: Any, self: Any, key: Any, factory: Any, ttl: Any = None, **options: Any) -> Any:
    try:
        return get_or_set(self, key, factory, ttl, **options)
    except ValueError:
        self.get(key)
        raise


@DEVIATIONS.wrap("R10.4", "cache[key] of a missing key is no read", "__getitem__")
def _(getitem: Any, self: Any, key: Any) -> Any:
    if not self.exists(key):
        raise KeyError(key)
    return getitem(self, key)


@DEVIATIONS.wrap("R10.4", "a touch with a bad ttl is a use", "touch")
def _(touch: Any, self: Any, key: Any, ttl: Any = None) -> Any:
    try:
        return touch(self, key, ttl)
    except (TypeError, ValueError):
        use(self, key)
        raise


@DEVIATIONS.wrap("R10.4", "a bad ttl takes the deadline away", "touch")
def _(touch: Any, self: Any, key: Any, ttl: Any = None) -> Any:
    try:
        return touch(self, key, ttl)
    except (TypeError, ValueError):
        touch(self, key, inf)
        raise
