"""R2: a full cache makes room by what has expired, then by what was used least recently."""

import pytest

USES = {
    "get": lambda cache: cache.get("a"),
    "get_many": lambda cache: cache.get_many(["a"]),
    "set": lambda cache: cache.set("a", 9),
    "set with a ttl": lambda cache: cache.set("a", 9, ttl=99),
    "set_many": lambda cache: cache.set_many({"a": 9}),
    "replace": lambda cache: cache.replace("a", 9),
    "touch": lambda cache: cache.touch("a"),
    "increment": lambda cache: cache.increment("a"),
    "decrement": lambda cache: cache.decrement("a"),
    "get_or_set": lambda cache: cache.get_or_set("a", lambda: 9),
    "cache[key]": lambda cache: cache["a"],
}
GLANCES = {
    "exists": lambda cache: cache.exists("a"),
    "keys": lambda cache: cache.keys(),
    "keys of a pattern": lambda cache: cache.keys("a*"),
    "ttl": lambda cache: cache.ttl("a"),
    "stats": lambda cache: cache.stats(),
    "in": lambda cache: "a" in cache,
    "len": lambda cache: len(cache),
    "iteration": lambda cache: list(cache),
    "a failed add": lambda cache: cache.add("a", 9),
    "a failed replace": lambda cache: cache.replace("missing", 9),
    "a failed increment": lambda cache: pytest.raises(KeyError, cache.increment, "x", create=False),
}


@pytest.mark.clause("R2.1")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("ttl", [None, 99])
def test_a_use_makes_a_key_most_recent(small_cache, clock, use, ttl):
    small_cache.set_many({"a": 1, "b": 2, "c": 3}, ttl)

    USES[use](small_cache)
    small_cache.set("d", 4)

    assert sorted(small_cache.keys()) == ["a", "c", "d"]


@pytest.mark.clause("R2.1")
def test_a_successful_add_makes_a_key_most_recent(small_cache):
    small_cache.set_many({"b": 2, "c": 3})

    small_cache.add("a", 1)
    small_cache.set_many({"d": 4, "e": 5})

    assert sorted(small_cache.keys()) == ["a", "d", "e"]


@pytest.mark.clause("R2.1")
@pytest.mark.parametrize("glance", GLANCES)
def test_a_glance_is_no_use(small_cache, glance):
    small_cache.set_many({"a": 1, "b": 2, "c": 3})

    GLANCES[glance](small_cache)
    small_cache.set("d", 4)

    assert sorted(small_cache.keys()) == ["b", "c", "d"]


@pytest.mark.clause("R2.1")
def test_saving_is_no_use(small_cache, tmp_path):
    small_cache.set_many({"a": 1, "b": 2, "c": 3})

    small_cache.save(tmp_path / "snapshot")
    small_cache.set("d", 4)

    assert sorted(small_cache.keys()) == ["b", "c", "d"]


@pytest.mark.clause("R2.2")
@pytest.mark.parametrize("ttl", [None, 60])
def test_a_new_key_evicts_exactly_the_least_recently_used(small_cache, ttl):
    for key in "abc":
        small_cache.set(key, key, ttl)

    small_cache.set("d", 4, ttl)

    assert sorted(small_cache.keys()) == ["b", "c", "d"]
    assert small_cache.stats().evictions == 1


@pytest.mark.clause("R2.2")
@pytest.mark.parametrize(
    "write",
    [
        lambda cache: cache.add("d", 4),
        lambda cache: cache.increment("d"),
        lambda cache: cache.get_or_set("d", lambda: 4),
        lambda cache: cache.set_many({"d": 4}),
        lambda cache: cache.__setitem__("d", 4),
    ],
)
def test_every_verb_that_makes_a_key_evicts_one(small_cache, write):
    small_cache.set_many({"a": 1, "b": 2, "c": 3})

    write(small_cache)

    assert sorted(small_cache.keys()) == ["b", "c", "d"]
    assert small_cache.stats().evictions == 1


@pytest.mark.clause("R2.3")
@pytest.mark.parametrize("ttl", [None, 60])
def test_overwriting_evicts_nothing(small_cache, ttl):
    small_cache.set_many({"a": 1, "b": 2, "c": 3})

    small_cache.set("a", 9, ttl)

    assert sorted(small_cache.keys()) == ["a", "b", "c"]
    assert small_cache.stats().evictions == 0


@pytest.mark.clause("R2.4")
@pytest.mark.parametrize("expiring", ["a", "b", "c"])
def test_an_expired_entry_makes_room_before_a_live_one(small_cache, clock, expiring):
    for key in "abc":
        small_cache.set(key, 1, ttl=1 if key == expiring else None)
    clock.tick(1)

    small_cache.set("d", 4)

    assert sorted(small_cache.keys()) == sorted({"a", "b", "c", "d"} - {expiring})
    stats = small_cache.stats()
    assert (stats.evictions, stats.expirations) == (0, 1)


@pytest.mark.clause("R2.4")
def test_expired_entries_are_found_after_their_ttls_were_changed(make_cache, clock):
    cache = make_cache(100)
    for number in range(100):
        cache.set(f"k{number}", number, ttl=1000)
    for number in range(0, 100, 2):
        cache.set(f"k{number}", number, ttl=0.5 + number / 100)
    clock.tick(5)

    for number in range(50):
        cache.set(f"new{number}", number)

    stats = cache.stats()
    assert (stats.evictions, stats.expirations, len(cache.keys("k*"))) == (0, 50, 50)


@pytest.mark.clause("R2.5")
def test_a_cache_of_one_entry_works(make_cache):
    cache = make_cache(1)

    cache.set("a", 1)
    cache.set("b", 2)

    assert (cache.get("a"), cache.get("b"), len(cache)) == (None, 2, 1)


@pytest.mark.clause("R2.5")
@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_a_value_error(CacheImpl, size, wording):
    with pytest.raises(ValueError, match=wording("max_size")):
        CacheImpl(size)


@pytest.mark.clause("R2.5")
@pytest.mark.parametrize("size", [True, 1.0, "10", None])
def test_a_size_that_is_no_int_is_a_type_error(CacheImpl, size, wording):
    with pytest.raises(TypeError, match=wording("max_size")):
        CacheImpl(size)


@pytest.mark.clause("R2.4")
@pytest.mark.parametrize("elapsed", [0.5, 1])
def test_an_expired_entry_makes_room_for_one_that_lives_as_long_as_the_rest(
    make_cache, clock, elapsed
):
    cache = make_cache(2)
    cache.set("short", 1, ttl=0.5)
    cache.set("long", 1, ttl=1000)
    clock.tick(elapsed)

    cache.set("new", 1, ttl=1000)

    assert sorted(cache.keys()) == ["long", "new"]
    assert (cache.stats().evictions, cache.stats().expirations) == (0, 1)
