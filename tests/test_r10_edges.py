"""R10: keys, values, emptiness and identity."""

import copy
import math
import pickle
import re
import threading

import pytest


class Hostile(str):
    """A str whose methods lie."""

    __slots__ = ()

    def __eq__(self, other):
        raise AssertionError("compared")

    def __hash__(self):
        raise AssertionError("hashed")

    def __str__(self):
        return "lie"


NOT_KEYS = [None, 1, b"k", ("k",), 1.5, object()]
BY_KEY = {
    "get": lambda cache, key: cache.get(key),
    "set": lambda cache, key: cache.set(key, 1),
    "add": lambda cache, key: cache.add(key, 1),
    "replace": lambda cache, key: cache.replace(key, 1),
    "get_or_set": lambda cache, key: cache.get_or_set(key, lambda: 1),
    "pop": lambda cache, key: cache.pop(key),
    "delete": lambda cache, key: cache.delete(key),
    "exists": lambda cache, key: cache.exists(key),
    "increment": lambda cache, key: cache.increment(key),
    "decrement": lambda cache, key: cache.decrement(key),
    "ttl": lambda cache, key: cache.ttl(key),
    "touch": lambda cache, key: cache.touch(key),
    "get_many": lambda cache, key: cache.get_many(["k", key]),
    "set_many": lambda cache, key: cache.set_many({"new": 1, key: 1}),
    "delete_many": lambda cache, key: cache.delete_many(["k", key]),
    "in": lambda cache, key: key in cache,
    "cache[key]": lambda cache, key: cache[key],
    "cache[key] = value": lambda cache, key: cache.__setitem__(key, 1),
    "del cache[key]": lambda cache, key: cache.__delitem__(key),
}


@pytest.mark.clause("R10.1", "R10.4")
@pytest.mark.parametrize("verb", BY_KEY)
@pytest.mark.parametrize("key", NOT_KEYS, ids=lambda key: type(key).__name__)
def test_a_key_that_is_no_str_is_a_type_error_and_changes_nothing(
    cache, verb, key, error_of, wording
):
    cache.set("k", "v")
    before = cache.stats()

    error = error_of(BY_KEY[verb], cache, key)

    assert type(error) is TypeError
    assert re.search(wording(f"key must be a str, not {type(key).__name__}") or "", str(error))
    assert cache.stats() == before
    assert cache.keys() == ["k"]


@pytest.mark.clause("R10.1")
@pytest.mark.parametrize("key", ["", " ", "k" * 100_000, "\0", "\n", "ü😀", "\ud800", "*[a"])
def test_a_key_is_any_text(cache, key, error_of):
    error = error_of(cache.set, key, "v")

    assert error is None
    assert (cache.get(key), cache.keys()) == ("v", [key])


@pytest.mark.clause("R10.1")
@pytest.mark.parametrize("verb", [verb for verb in BY_KEY if "many" not in verb])
def test_a_str_subclass_counts_as_its_text(cache, verb):
    cache.set("k", 1)

    BY_KEY[verb](cache, Hostile("k"))

    assert [type(key) for key in cache] in ([], [str])
    assert not cache.exists("lie")


MISSES = {
    "cache[key]": lambda cache, key: cache[key],
    "del cache[key]": lambda cache, key: cache.__delitem__(key),
    "increment": lambda cache, key: cache.increment(key, create=False),
    "decrement": lambda cache, key: cache.decrement(key, create=False),
}


@pytest.mark.clause("R10.1", "R10.2")
@pytest.mark.parametrize("verb", MISSES)
def test_a_key_error_holds_the_plain_text_of_the_key(cache, verb):
    with pytest.raises(KeyError) as caught:
        MISSES[verb](cache, Hostile("gone"))

    (key,) = caught.value.args
    assert type(key) is str
    assert key == "gone"


@pytest.mark.clause("R10.1", "R10.4")
@pytest.mark.parametrize("verb", ["get_many", "delete_many"])
@pytest.mark.parametrize("keys", ["abc", "k", "", b"abc", b"", Hostile("k")], ids=repr)
def test_a_str_is_no_collection_of_keys(cache, verb, keys, wording):
    cache.set_many({"a": 1, "k": 2})
    before = cache.stats()

    with pytest.raises(TypeError, match=wording("keys must be an iterable of str, not")):
        getattr(cache, verb)(keys)

    assert (cache.stats(), sorted(cache.keys())) == (before, ["a", "k"])


@pytest.mark.clause("R10.1")
@pytest.mark.parametrize("make", [list, tuple, set, dict.fromkeys, iter])
def test_keys_come_in_any_iterable(cache, make):
    cache.set_many({"a": 1, "b": 2, "c": 3})

    found = cache.get_many(make(["a", "b"]))

    assert (found, cache.delete_many(make(["a", "b"])), cache.keys()) == (
        {"a": 1, "b": 2},
        2,
        ["c"],
    )


@pytest.mark.clause("R10.1")
def test_keys_that_look_alike_are_apart(cache):
    keys = [
        "a",
        "A",
        " a",
        "a ",
        "a\0",
        "\u00e9",
        "e\u0301",
        "1",
        "1.0",
        "k" * 300,
        "k" * 301,
        "\xa0",
    ]

    cache.set_many({key: number for number, key in enumerate(keys)})

    assert [cache.get(key) for key in keys] == list(range(len(keys)))
    assert sorted(cache.keys()) == sorted(keys)


class Prickly:
    """A value that minds all that is done to it."""

    def refuse(self, *args):
        raise AssertionError("asked")

    def __repr__(self):
        return "prickly"

    __eq__ = __ne__ = __hash__ = __bool__ = __len__ = __iter__ = __call__ = refuse
    __copy__ = __deepcopy__ = __reduce_ex__ = __str__ = refuse


@pytest.mark.clause("R10.1")
@pytest.mark.parametrize(
    "value", [None, 0, 0.0, "", (), [], {}, False, NotImplemented, ..., Prickly()], ids=repr
)
def test_any_value_is_a_value_to_every_verb(cache, value):
    cache.set("k", value)

    kept = [
        cache.get("k", 1),
        cache["k"],
        cache.get_many(["k"]).get("k", 1),
        cache.get_or_set("k", lambda: 1),
        cache.get_or_set("made", lambda: value),
        cache.get("made", 1),
    ]
    told = [cache.exists("k"), "k" in cache, not cache.add("k", 1), cache.replace("k", value)]
    told += [cache.touch("k"), cache.delete("made")]
    kept.append(cache.pop("k", 1))

    assert [each is value for each in kept] == [True] * 7
    assert told == [True] * 6


@pytest.mark.clause("R10.1")
def test_none_is_a_value(cache):
    cache.set("k", None)

    assert (cache.get("k", "default"), cache.exists("k"), cache.exists("x")) == (None, True, False)
    assert cache.get_or_set("k", lambda: "made") is None
    assert not cache.add("k", 1)


@pytest.mark.clause("R10.1")
def test_values_are_handed_out_as_they_are(cache):
    value = [1]

    cache.set("k", value)

    assert cache.get("k") is cache["k"] is cache.get_many(["k"])["k"] is cache.pop("k") is value


@pytest.mark.clause("R10.2")
def test_a_missing_key_gives_the_default(cache, error_of):
    marker = object()

    assert (error_of(cache.get, "k"), error_of(cache.pop, "k")) == (None, None)
    assert (cache.get("k"), cache.pop("k")) == (None, None)
    assert (cache.get("k", marker), cache.pop("k", marker)) == (marker, marker)


@pytest.mark.clause("R10.2")
def test_a_missing_item_is_a_key_error(cache, error_of):
    errors = [error_of(cache.__getitem__, "the key"), error_of(cache.__delitem__, "the key")]

    assert [(type(error), error and error.args) for error in errors] == [
        (KeyError, ("the key",))
    ] * 2


@pytest.mark.clause("R10.2")
def test_items_can_be_set_and_deleted(cache):
    cache["k"] = 1
    read = cache["k"]
    del cache["k"]

    assert (read, "k" in cache) == (1, False)


@pytest.mark.clause("R10.3")
@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda cache: cache.get("k"), None),
        (lambda cache: cache.pop("k"), None),
        (lambda cache: cache.delete("k"), False),
        (lambda cache: cache.exists("k"), False),
        (lambda cache: cache.replace("k", 1), False),
        (lambda cache: cache.touch("k"), False),
        (lambda cache: cache.ttl("k"), None),
        (lambda cache: cache.keys(), []),
        (lambda cache: cache.delete_pattern("*"), 0),
        (lambda cache: cache.get_many([]), {}),
        (lambda cache: cache.get_many(["k"]), {}),
        (lambda cache: cache.set_many({}), None),
        (lambda cache: cache.delete_many(["k"]), 0),
        (lambda cache: cache.clear(), None),
        (lambda cache: cache.cleanup(), 0),
        (lambda cache: cache.reset_stats(), None),
        (lambda cache: len(cache), 0),
        (lambda cache: list(cache), []),
        (lambda cache: "k" in cache, False),
        (lambda cache: cache.stats().hit_rate, 0.0),
        (lambda cache: cache.increment("k"), 1),
        (lambda cache: cache.decrement("k"), -1),
        (lambda cache: cache.get_or_set("k", lambda: 1), 1),
        (lambda cache: cache.add("k", 1), True),
        (lambda cache: cache.set("k", 1), None),
    ],
)
def test_nothing_raises_on_an_empty_cache(cache, error_of, call, result):
    results = []

    error = error_of(lambda: results.append(call(cache)))

    assert (error, results) == (None, [result])


@pytest.mark.clause("R10.3")
def test_an_empty_cache_is_saved_and_loaded(cache, tmp_path, error_of):
    saved = error_of(cache.save, tmp_path / "s")
    cache.set("k", 1)
    loaded = error_of(cache.load, tmp_path / "s")

    assert (saved, loaded, cache.keys()) == (None, None, [])


class Breaks(dict):
    """A mapping, and an iterable of its keys, that ends with an error."""

    def __iter__(self):
        yield from super().__iter__()
        raise ZeroDivisionError

    def items(self):
        yield from super().items()
        raise ZeroDivisionError


def fail():
    raise ZeroDivisionError


FAILURES = {
    "set, zero ttl": (ValueError, lambda cache, path: cache.set("a", 1, ttl=0)),
    "set, a bool as ttl": (TypeError, lambda cache, path: cache.set("a", 1, ttl=True)),
    "add, negative ttl": (ValueError, lambda cache, path: cache.add("new", 1, ttl=-1)),
    "replace, negative ttl": (ValueError, lambda cache, path: cache.replace("a", 1, ttl=-0.5)),
    "touch, negative ttl": (ValueError, lambda cache, path: cache.touch("a", ttl=-1)),
    "touch, a str as ttl": (TypeError, lambda cache, path: cache.touch("a", ttl="1")),
    "set_many, negative ttl": (ValueError, lambda cache, path: cache.set_many({"a": 1}, ttl=-1)),
    "set_many, a bad key": (TypeError, lambda cache, path: cache.set_many({"new": 1, 2: 2})),
    "set_many, no mapping": (TypeError, lambda cache, path: cache.set_many([("a", 1)])),
    "set_many, an error": (ZeroDivisionError, lambda cache, path: cache.set_many(Breaks(a=2))),
    "get_many, a bad key": (TypeError, lambda cache, path: cache.get_many(["a", 1])),
    "get_many, an error": (ZeroDivisionError, lambda cache, path: cache.get_many(Breaks(a=2))),
    "delete_many, a bad key": (TypeError, lambda cache, path: cache.delete_many(["a", 1])),
    "delete_many, an error": (
        ZeroDivisionError,
        lambda cache, path: cache.delete_many(Breaks(a=2)),
    ),
    "increment, a text": (ValueError, lambda cache, path: cache.increment("a")),
    "increment, by a text": (TypeError, lambda cache, path: cache.increment("new", "1")),
    "increment, none there": (KeyError, lambda cache, path: cache.increment("new", create=False)),
    "decrement, by a bool": (TypeError, lambda cache, path: cache.decrement("new", True)),
    "keys, no pattern": (TypeError, lambda cache, path: cache.keys(1)),
    "delete_pattern, no pattern": (TypeError, lambda cache, path: cache.delete_pattern(None)),
    "get_or_set, zero ttl": (ValueError, lambda cache, path: cache.get_or_set("a", fail, ttl=0)),
    "get_or_set, no factory": (TypeError, lambda cache, path: cache.get_or_set("a", None)),
    "del cache[key]": (KeyError, lambda cache, path: cache.__delitem__("new")),
    "save, no folder": (FileNotFoundError, lambda cache, path: cache.save(path / "no" / "s")),
    "load, no file": (FileNotFoundError, lambda cache, path: cache.load(path / "no")),
}
FAILED_READS = {
    "cache[key]": (KeyError, lambda cache, path: cache["new"]),
    "get_or_set": (ZeroDivisionError, lambda cache, path: cache.get_or_set("new", fail)),
}


FAILED = pytest.mark.parametrize(
    ("reads", "kind", "call"),
    [
        *(pytest.param(0, *failure, id=name) for name, failure in FAILURES.items()),
        *(
            pytest.param(1, *failure, id=f"{name}, a read")
            for name, failure in FAILED_READS.items()
        ),
    ],
)


@FAILED
@pytest.mark.clause("R10.4")
def test_a_failed_call_changes_nothing_but_the_count_of_reads(
    small_cache, clock, tmp_path, error_of, reads, kind, call
):
    small_cache.set("a", "text", ttl=60)
    small_cache.set_many({"b": 2, "c": 3})

    error = error_of(call, small_cache, tmp_path)

    assert type(error) is kind
    stats = small_cache.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.expirations) == (0, reads, 0, 0)
    assert [small_cache.ttl(key) for key in "abc"] == [60, math.inf, math.inf]
    assert small_cache.get_many([*"abc"]) == {"a": "text", "b": 2, "c": 3}


@FAILED
@pytest.mark.clause("R10.4", "R2.2")
def test_a_failed_call_changes_no_order_of_use(
    small_cache, clock, tmp_path, error_of, reads, kind, call
):
    small_cache.set("a", "text", ttl=60)
    small_cache.set_many({"b": 2, "c": 3})

    error = error_of(call, small_cache, tmp_path)

    assert type(error) is kind
    small_cache.set("new", 4)
    assert small_cache.get_many(["a", "b", "c", "new"]) == {"b": 2, "c": 3, "new": 4}


@pytest.mark.clause("R10.4")
@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        ({"max_size": 0}, ValueError),
        ({"max_size": True}, TypeError),
        ({"default_ttl": -1}, ValueError),
        ({"default_ttl": True}, TypeError),
        ({"cleanup_interval": 0}, ValueError),
        ({"cleanup_interval": None}, TypeError),
        ({"trust": "os"}, TypeError),
        ({"secret": b""}, ValueError),
    ],
    ids=str,
)
def test_a_cache_that_could_not_be_made_leaves_no_thread(CacheImpl, error_of, argument, kind):
    before = threading.enumerate()

    error = error_of(lambda: CacheImpl(**argument))

    assert type(error) is kind
    assert [thread for thread in threading.enumerate() if thread not in before] == []


@pytest.mark.clause("R10.5")
def test_a_cache_is_true_and_equal_only_to_itself(make_cache, error_of):
    cache, other = make_cache(), make_cache()
    itself = cache

    assert bool(cache) is True
    other.set("k", 1)
    assert bool(other) is True
    other.clear()
    assert cache == itself
    assert cache != other
    assert error_of(hash, cache) is None
    assert len({cache, other, itself}) == 2


@pytest.mark.clause("R10.6")
@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_cache_is_neither_pickled_nor_copied(cache, how, error_of):
    error = error_of(how, cache)

    assert (type(error), "save" in str(error)) == (TypeError, True)


@pytest.mark.clause("R10.1")
def test_iterating_is_a_snapshot_of_live_keys(cache, error_of):
    cache.set_many({"a": 1, "b": 2})
    seen = []

    def change_them():
        for key in cache:
            cache.delete(key)
            cache.set(key + "x", 1)
            seen.append(key)

    error = error_of(change_them)

    assert (error, sorted(seen)) == (None, ["a", "b"])
