"""Caches that stumble over what is rare."""

import copy
from typing import Any

from .deviation import Deviations, breaks

CACHE = "core.DistributedCache"
MIXIN = "mixin.CacheMixin"
KEY = "arguments.plain_key"
READ = f"{CACHE}._read_locked"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R10.1",
        "any key will do",
        (KEY, "if not isinstance(key, str):", "if False:"),
        (KEY, "key if type(key) is str else str.__str__(key)", "key"),
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
        "the empty key is refused",
        (KEY, "if not isinstance(key, str):", "if not isinstance(key, str) or not key:"),
        (f"{CACHE}.set", "if type(key) is not str:", "if True:"),
    ),
    breaks(
        "R10.1",
        "long keys are cut",
        (
            KEY,
            "key if type(key) is str else str.__str__(key)",
            "key[:250] if type(key) is str else str.__str__(key)",
        ),
        (f"{CACHE}.set", "if type(key) is not str:", "if True:"),
        (f"{CACHE}.get", "if type(key) is not str:", "if True:"),
    ),
    breaks(
        "R10.1",
        "keys are stripped",
        (
            KEY,
            "key if type(key) is str else str.__str__(key)",
            "key.strip() if type(key) is str else str.__str__(key)",
        ),
        (f"{CACHE}.set", "if type(key) is not str:", "if True:"),
        (f"{CACHE}.get", "if type(key) is not str:", "if True:"),
    ),
    breaks(
        "R10.1",
        "the case of keys is lost",
        (
            KEY,
            "key if type(key) is str else str.__str__(key)",
            "key.lower() if type(key) is str else str.__str__(key)",
        ),
        (f"{CACHE}.set", "if type(key) is not str:", "if True:"),
        (f"{CACHE}.get", "if type(key) is not str:", "if True:"),
    ),
    breaks("R10.1", "a str subclass is kept", (KEY, "str.__str__(key)", "key")),
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
        "R10.1",
        "the error for a missing item holds the object asked for",
        (f"{MIXIN}.__getitem__", "arguments.plain_key(key)", "key"),
    ),
    breaks(
        "R10.1",
        "the error for a missing item to delete holds the object asked for",
        (f"{MIXIN}.__delitem__", "arguments.plain_key(key)", "key"),
    ),
    breaks(
        "R10.1",
        "what is empty is made anew",
        (f"{CACHE}.get_or_set", "if value is not _MISSING:", "if value is not _MISSING and value:"),
        (
            f"{CACHE}._missed",
            "self._flights.call(flight, make) if entry is None else (entry[0], False)",
            "make()",
        ),
    ),
    breaks(
        "R10.1",
        "values are asked whether they are the missing one",
        (f"{MIXIN}.__getitem__", "if value is _MISSING:", "if value == _MISSING:"),
    ),
    breaks(
        "R10.1",
        "values are copied when they are read",
        (READ, "return entry[0]", "return __import__('copy').deepcopy(entry[0])"),
    ),
    breaks(
        "R10.1",
        "iteration follows what changes",
        (f"{MIXIN}.__iter__", "iter(self.keys())", "iter(self._entries)"),
    ),
    breaks(
        "R10.2",
        "get gives None for any default",
        (f"{CACHE}.get", "return default", "return None"),
        (READ, "return default", "return None if default is None else default"),
    ),
    breaks(
        "R10.3",
        "no reads divide by zero",
        ("stats.CacheStats.hit_rate", "self.hits / reads if reads else 0.0", "self.hits / reads"),
    ),
    breaks(
        "R10.3",
        "set_many of nothing is an error",
        (f"{CACHE}.set_many", "gone: list[Entry] = []", "gone: list[Entry] = []; pairs[0]"),
    ),
    breaks(
        "R10.3",
        "there is no smallest deadline to clean up by",
        (f"{CACHE}.cleanup", "removed = 0", "removed = 0; self._expiry.heap[0]"),
    ),
    breaks(
        "R10.3",
        "an empty cache is not saved",
        (
            f"{CACHE}.save",
            "header['entries'] = len(keys)",
            "header['entries'] = len(keys); keys[0]",
        ),
    ),
    breaks(
        "R10.3",
        "an empty snapshot is damaged",
        (
            f"{CACHE}.load",
            "expiry = ExpiryIndex()",
            "expiry = ExpiryIndex()\nif not header['entries']:\n    raise ValueError('empty')",
        ),
    ),
    breaks(
        "R10.3",
        "a deleted pattern has to match",
        (f"{CACHE}.delete_pattern", "removed = 0", "removed = 0; doomed[0]"),
    ),
    breaks(
        "R10.3",
        "to decrement what is missing is an error",
        (f"{MIXIN}.decrement", "create=create", "create=False"),
    ),
    breaks(
        "R10.4",
        "set_many stores what comes before a bad key",
        (
            f"{CACHE}.set_many",
            "pairs = arguments.pairs(mapping)",
            "pairs = ((arguments.plain_key(k), v) for k, v in mapping.items())",
        ),
    ),
    breaks(
        "R10.4",
        "delete_many deletes what comes before a bad key",
        (
            f"{CACHE}.delete_many",
            "unwanted = arguments.plain_keys(keys)",
            "unwanted = (arguments.plain_key(key) for key in keys)",
        ),
    ),
    breaks(
        "R10.4",
        "get_many counts what comes before a bad key",
        (
            f"{CACHE}.get_many",
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
            "self._misses = count(self._counted_locked()[1] - 1)"
            "\nself._flights.fail(flight, error)",
        ),
    ),
    breaks(
        "R10.4",
        "a get_or_set with a bad ttl is a read",
        (f"{CACHE}.get_or_set", "life = self._life(ttl)", "self.get(key); life = self._life(ttl)"),
    ),
    breaks(
        "R10.4",
        "cache[key] of a missing key is no read",
        (
            f"{MIXIN}.__getitem__",
            "value: V = self.get(key, _MISSING)",
            "value: V = self.get(key, _MISSING) if self.exists(key) else _MISSING",
        ),
    ),
    breaks(
        "R10.4",
        "a touch with a bad ttl is a use",
        (
            f"{CACHE}.touch",
            "life = self._life(ttl)",
            "self.get(key); self._life(ttl); life = self._life(ttl)",
        ),
    ),
    breaks(
        "R10.4",
        "a bad ttl takes the deadline away",
        (
            f"{CACHE}.touch",
            "life = self._life(ttl)",
            "if key in self._entries:\n    self.set(key, 1, inf)\nlife = self._life(ttl)",
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
