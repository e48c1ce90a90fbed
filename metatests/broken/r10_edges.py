"""Caches that stumble over what is rare."""

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
        "get takes any key",
        (f"{CACHE}.get", "if type(key) is not str:", "if False:"),
        (f"{CACHE}._get_locking", "key = arguments.plain_key(key)", "pass"),
    ),
    breaks("R10.1", "set takes any key", (f"{CACHE}.set", "if type(key) is not str:", "if False:")),
    breaks(
        "R10.1",
        "exists takes any key",
        (f"{CACHE}.exists", "key = arguments.plain_key(key)", "pass"),
    ),
    breaks(
        "R10.1", "ttl takes any key", (f"{CACHE}.ttl", "key = arguments.plain_key(key)", "pass")
    ),
    breaks(
        "R10.1", "pop takes any key", (f"{CACHE}.pop", "key = arguments.plain_key(key)", "pass")
    ),
    breaks(
        "R10.1", "touch takes any key", (f"{CACHE}.touch", "key = arguments.plain_key(key)", "pass")
    ),
    breaks(
        "R10.1",
        "replace takes any key",
        (f"{CACHE}.replace", "key = arguments.plain_key(key)", "pass"),
    ),
    breaks(
        "R10.1",
        "increment takes any key",
        (f"{CACHE}.increment", "key = arguments.plain_key(key)", "pass"),
    ),
    breaks(
        "R10.1",
        "get_many takes any key",
        (f"{CACHE}.get_many", "arguments.plain_keys(keys)", "[*keys]"),
    ),
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
    breaks("R10.1", "set_many takes any key", ("arguments.pairs", "plain_key(key)", "key")),
    breaks(
        "R10.1",
        "delete_many takes any key",
        (f"{CACHE}.delete_many", "arguments.plain_keys(keys)", "[*keys]"),
    ),
    breaks(
        "R10.1",
        "None is taken for absence by exists",
        (
            f"{CACHE}.exists",
            "return self._live_locked(key, gone) is not None",
            "entry = self._live_locked(key, gone)"
            "\nreturn entry is not None and entry[0] is not None",
        ),
    ),
    breaks(
        "R10.1",
        "None is taken for absence by add",
        (
            f"{CACHE}.add",
            "self._live_locked(key, gone) is not None",
            "(self._live_locked(key, gone) or (None,))[0] is not None",
        ),
    ),
    breaks(
        "R10.1",
        "None is taken for absence by get",
        (f"{CACHE}.get", "return value", "return default if value is None else value"),
    ),
    breaks(
        "R10.1",
        "None is taken for absence by pop",
        (f"{CACHE}.pop", "return entry[0]", "return default if entry[0] is None else entry[0]"),
    ),
    breaks(
        "R10.1",
        "None is left out by get_many",
        (
            f"{CACHE}.get_many",
            "if value is not _MISSING:",
            "if value is not _MISSING and value is not None:",
        ),
    ),
    breaks(
        "R10.1",
        "what is empty is left out by get_many",
        (f"{CACHE}.get_many", "if value is not _MISSING:", "if value is not _MISSING and value:"),
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
        "values are copied when they are set",
        (
            f"{CACHE}.set",
            "checked = self._checked",
            "checked = self._checked; import copy; value = copy.copy(value)",
        ),
    ),
    breaks(
        "R10.1",
        "values are copied when they are read",
        (READ, "return entry[0]", "return __import__('copy').deepcopy(entry[0])"),
    ),
    breaks(
        "R10.1",
        "pop copies",
        (f"{CACHE}.pop", "return entry[0]", "return __import__('copy').copy(entry[0])"),
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
        "R10.2", "pop gives None for any default", (f"{CACHE}.pop", "return default", "return None")
    ),
    breaks(
        "R10.2",
        "a missing item is None",
        (f"{MIXIN}.__getitem__", "raise KeyError(arguments.plain_key(key))", "return None"),
    ),
    breaks(
        "R10.2",
        "the error for a missing item does not name it",
        (
            f"{MIXIN}.__getitem__",
            "raise KeyError(arguments.plain_key(key))",
            "raise KeyError('no such key')",
        ),
    ),
    breaks(
        "R10.2",
        "a missing item is an IndexError",
        (
            f"{MIXIN}.__getitem__",
            "raise KeyError(arguments.plain_key(key))",
            "raise IndexError(key)",
        ),
    ),
    breaks(
        "R10.2",
        "to delete a missing item is no error",
        (f"{MIXIN}.__delitem__", "raise KeyError(arguments.plain_key(key))", "pass"),
    ),
    breaks(
        "R10.2",
        "get raises KeyError for None as default",
        (
            f"{CACHE}.get",
            "return default",
            "if default is None:\n    raise KeyError(key)\nreturn default",
        ),
    ),
    breaks(
        "R10.2",
        "deleting an item leaves it",
        (f"{MIXIN}.__delitem__", "self.delete(key)", "self.exists(key)"),
    ),
    breaks(
        "R10.3",
        "no reads divide by zero",
        ("stats.CacheStats.hit_rate", "self.hits / reads if reads else 0.0", "self.hits / reads"),
    ),
    breaks(
        "R10.3",
        "get_many of nothing is an error",
        (f"{CACHE}.get_many", "gone: list[Entry] = []", "gone: list[Entry] = []; wanted[0]"),
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
        "to touch what is missing is an error",
        (f"{CACHE}.touch", "return False", "raise KeyError(key)"),
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
        "a failing increment is a use",
        (
            f"{CACHE}.increment",
            "value, deadline, slot = entry",
            "value, deadline, slot = entry\nself._entries.move_to_end(key)",
        ),
    ),
    breaks(
        "R10.4",
        "a failing increment removes the value",
        (
            f"{CACHE}.increment",
            "value, deadline, slot = entry",
            "value, deadline, slot = entry\nself._entries.pop(key)",
        ),
    ),
    breaks(
        "R10.4",
        "an increment that is not to create creates",
        (
            f"{CACHE}.increment",
            "raise KeyError(key)",
            "self._store_locked(key, 0, self._default_life, gone); raise KeyError(key)",
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
        "a get_or_set without a factory is a read",
        (
            f"{CACHE}.get_or_set",
            "if not callable(factory):",
            "if self.get(key) is not self and not callable(factory):",
        ),
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
        "to delete a missing item is a read",
        (f"{MIXIN}.__delitem__", "self.delete(key)", "self.pop(key)"),
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
        "a load that finds no file empties the cache",
        (
            f"{CACHE}.load",
            "header, slices = snapshot.read(os.fspath(path), self._codec, self._secret)",
            "os.path.exists(path) or self.clear()"
            "\nheader, slices = snapshot.read(os.fspath(path), self._codec, self._secret)",
        ),
    ),
    breaks(
        "R10.4",
        "a load that finds no file stores something",
        (
            f"{CACHE}.load",
            "header, slices = snapshot.read(os.fspath(path), self._codec, self._secret)",
            "if not os.path.exists(path):\n    self.set('a', 1)"
            "\nheader, slices = snapshot.read(os.fspath(path), self._codec, self._secret)",
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
    breaks(
        "R10.5",
        "an empty cache is false",
        (f"{MIXIN}.__bool__", "return True", "return len(self) > 0"),
    ),
    breaks(
        "R10.6",
        "the error does not say what to do instead",
        (
            f"{MIXIN}.__reduce_ex__",
            "' cannot be pickled or copied; use save(path) and load(path)'",
            "' cannot be pickled or copied'",
        ),
    ),
    breaks(
        "R10.6",
        "a cache that is pickled is an empty one",
        (
            f"{MIXIN}.__reduce_ex__",
            '"""Refuse: a cache is neither pickled nor copied."""',
            '"""Refuse: a cache is neither pickled nor copied."""\nreturn (DistributedCache, ())',
        ),
    ),
    breaks(
        "R10.6",
        "a copy is the cache itself",
        (
            f"{MIXIN}.__reduce_ex__",
            '"""Refuse: a cache is neither pickled nor copied."""',
            '"""Refuse: a cache is neither pickled nor copied."""\nreturn \'cache\'',
        ),
    ),
    breaks(
        "R10.6",
        "pickling a cache is a RuntimeError",
        (f"{MIXIN}.__reduce_ex__", "TypeError", "RuntimeError"),
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
