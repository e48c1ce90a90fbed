"""R10: keys, values, emptiness and identity."""

import copy
import pickle

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
def test_a_key_that_is_no_str_is_a_type_error_and_changes_nothing(cache, verb, key, wording):
    cache.set("k", "v")
    before = cache.stats()

    with pytest.raises(TypeError, match=wording(f"key must be a str, not {type(key).__name__}")):
        BY_KEY[verb](cache, key)

    assert cache.stats() == before
    assert cache.keys() == ["k"]


@pytest.mark.clause("R10.1")
@pytest.mark.parametrize("key", ["", " ", "k" * 100_000, "\0", "\n", "ü😀", "\ud800", "*[a"])
def test_a_key_is_any_text(cache, key):
    cache.set(key, "v")

    assert (cache.get(key), cache.keys()) == ("v", [key])


@pytest.mark.clause("R10.1")
@pytest.mark.parametrize("verb", [verb for verb in BY_KEY if "many" not in verb])
def test_a_str_subclass_counts_as_its_text(cache, verb):
    cache.set("k", 1)

    BY_KEY[verb](cache, Hostile("k"))

    assert [type(key) for key in cache] in ([], [str])
    assert not cache.exists("lie")


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
def test_a_missing_key_gives_the_default(cache):
    marker = object()

    assert cache.get("k") is None
    assert (cache.get("k", marker), cache.pop("k", marker)) == (marker, marker)


@pytest.mark.clause("R10.2")
def test_a_missing_item_is_a_key_error(cache):
    with pytest.raises(KeyError, match="k"):
        cache["k"]
    with pytest.raises(KeyError, match="k"):
        del cache["k"]


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
    ],
)
def test_nothing_raises_on_an_empty_cache(cache, call, result):
    assert call(cache) == result


@pytest.mark.clause("R10.5")
def test_a_cache_is_true_and_equal_only_to_itself(make_cache):
    cache, other = make_cache(), make_cache()
    itself = cache

    assert bool(cache) is True
    assert cache == itself
    assert cache != other
    assert len({cache, other, itself}) == 2


@pytest.mark.clause("R10.6")
@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_cache_is_neither_pickled_nor_copied(cache, how):
    with pytest.raises(TypeError, match="save"):
        how(cache)


@pytest.mark.clause("R10.1")
def test_iterating_is_a_snapshot_of_live_keys(cache):
    cache.set_many({"a": 1, "b": 2})

    seen = []
    for key in cache:
        cache.delete(key)
        cache.set(key + "x", 1)
        seen.append(key)

    assert sorted(seen) == ["a", "b"]
