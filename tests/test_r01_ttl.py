"""R1: an entry lives as long as it was given, by a clock that nobody can step."""

import math
from datetime import timedelta

import pytest


@pytest.mark.clause("R1.1")
@pytest.mark.parametrize(("elapsed", "value"), [(9.999, "v"), (10.0, None), (10.001, None)])
def test_key_lives_until_exactly_its_ttl(cache, clock, elapsed, value):
    cache.set("k", "v", ttl=10)

    clock.tick(elapsed)

    assert cache.get("k") == value


@pytest.mark.clause("R1.1")
@pytest.mark.parametrize(
    "observe",
    [
        lambda cache: cache.exists("k"),
        lambda cache: "k" in cache,
        lambda cache: cache.ttl("k") is not None,
        lambda cache: cache.keys() == ["k"],
        lambda cache: list(cache) == ["k"],
        lambda cache: cache.get_many(["k"]) == {"k": "v"},
        lambda cache: cache.pop("k") == "v",
        lambda cache: cache.delete("k"),
        lambda cache: cache.touch("k", 5),
        lambda cache: cache.replace("k", "w"),
        lambda cache: not cache.add("k", "w"),
        lambda cache: cache.delete_many(["k"]) == 1,
        lambda cache: cache.delete_pattern("*") == 1,
        lambda cache: cache.get_or_set("k", lambda: "made") == "v",
    ],
)
@pytest.mark.parametrize(("elapsed", "live"), [(9.999, True), (10.0, False)])
def test_every_observer_goes_by_the_same_rule(cache, clock, observe, elapsed, live):
    cache.set("k", "v", ttl=10)

    clock.tick(elapsed)

    assert observe(cache) is live


@pytest.mark.clause("R1.2")
@pytest.mark.parametrize("verb", ["get", "exists"])
def test_looking_at_an_expired_entry_removes_it(cache, clock, verb):
    cache.set("k", "v", ttl=1)
    clock.tick(1)
    assert len(cache) == 1

    getattr(cache, verb)("k")

    assert len(cache) == 0


@pytest.mark.clause("R1.3")
def test_no_ttl_means_the_default_ttl(make_cache, clock):
    cache = make_cache(default_ttl=5)

    cache.set("k", "v")
    cache["l"] = "v"
    cache.add("a", 1)
    cache.set_many({"m": 1})

    assert [cache.ttl(key) for key in "klam"] == [5, 5, 5, 5]


@pytest.mark.clause("R1.3")
def test_no_default_ttl_means_never(cache, clock):
    cache.set("k", "v")

    clock.tick(10**9)

    assert cache.get("k") == "v"
    assert cache.ttl("k") == math.inf


@pytest.mark.clause("R1.3")
def test_infinity_means_never_whatever_the_default(make_cache, clock):
    cache = make_cache(default_ttl=5)
    cache.set("k", "v", ttl=math.inf)

    clock.tick(10**9)

    assert cache.ttl("k") == math.inf


@pytest.mark.clause("R1.4")
def test_setting_again_replaces_the_deadline(cache, clock):
    cache.set("k", "v", ttl=10)
    clock.tick(6)

    cache.set("k", "w", ttl=10)
    clock.tick(6)

    assert cache.get("k") == "w"


@pytest.mark.clause("R1.4")
def test_setting_again_at_once_replaces_the_deadline_too(cache, clock):
    cache.set("k", "v", ttl=10)
    clock.tick(0.01)

    cache.set("k", "w", ttl=10)

    assert cache.ttl("k") == 10


@pytest.mark.clause("R1.4", "R8.2")
def test_setting_again_may_shorten_the_deadline(cache, clock):
    cache.set("k", "v", ttl=100)

    cache.set("k", "w", ttl=1)
    clock.tick(1)

    assert cache.cleanup() == 1


@pytest.mark.clause("R1.4")
def test_setting_again_without_a_ttl_removes_the_deadline(cache, clock):
    cache.set("k", "v", ttl=10)

    cache.set("k", "w")
    clock.tick(11)

    assert cache.get("k") == "w"


@pytest.mark.clause("R1.5")
def test_each_key_has_its_own_ttl(cache, clock):
    for ttl in (3, 1, 2):
        cache.set(f"k{ttl}", ttl, ttl=ttl)

    clock.tick(2)

    assert cache.keys() == ["k3"]


@pytest.mark.clause("R1.6")
def test_fractions_of_a_second_count(cache, clock):
    cache.set("k", "v", ttl=0.25)

    clock.tick(0.249)
    before = cache.get("k")
    clock.tick(0.001)

    assert (before, cache.get("k")) == ("v", None)


@pytest.mark.clause("R1.7")
@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        *((length, length) for length in (1, 0.5, 10**6, 1e308, math.inf)),
        (10**400, math.inf),
        (timedelta(days=1), 86_400),
        (timedelta.max, timedelta.max.total_seconds()),
    ],
)
def test_a_ttl_of_any_length_is_taken(cache, clock, ttl, seconds):
    cache.set("k", "v", ttl=ttl)

    assert (cache.get("k"), cache.ttl("k")) == ("v", pytest.approx(seconds))


@pytest.mark.clause("R1.7")
def test_a_timedelta_is_its_seconds(cache, clock):
    cache.set("k", "v", ttl=timedelta(minutes=2, milliseconds=500))

    assert cache.ttl("k") == pytest.approx(120.5)


WRITES = {
    "set": lambda cache, ttl: cache.set("k", "new", ttl),
    "add": lambda cache, ttl: cache.add("free", "new", ttl),
    "replace": lambda cache, ttl: cache.replace("k", "new", ttl),
    "touch": lambda cache, ttl: cache.touch("k", ttl),
    "touch of a missing key": lambda cache, ttl: cache.touch("free", ttl),
    "set_many": lambda cache, ttl: cache.set_many({"k": "new", "free": 1}, ttl),
    "get_or_set": lambda cache, ttl: cache.get_or_set("free", lambda: "new", ttl),
    "increment": lambda cache, ttl: cache.increment("count", ttl=ttl),
    "decrement": lambda cache, ttl: cache.decrement("count", ttl=ttl),
    "memoize": lambda cache, ttl: cache.memoize(ttl),
}


@pytest.mark.clause("R1.7")
@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize(
    ("ttl", "error"),
    [
        *((bad, ValueError) for bad in (0, 0.0, -1, -0.5, -math.inf, math.nan, -(10**400))),
        *((bad, ValueError) for bad in (timedelta(0), timedelta(seconds=-1))),
        *((bad, TypeError) for bad in (True, False, "10", b"10", [10], 1j)),
    ],
    ids=str,
)
def test_a_bad_ttl_is_refused_and_nothing_changes(cache, clock, verb, ttl, error, wording):
    cache.set("k", "old", ttl=50)
    before = cache.stats()

    with pytest.raises(error, match=wording("ttl")):
        WRITES[verb](cache, ttl)

    assert cache.stats() == before
    assert (cache.get("k"), cache.ttl("k"), cache.keys()) == ("old", 50, ["k"])


@pytest.mark.clause("R1.7")
@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize("former", [1, 1.0, 10**400, timedelta(seconds=1), math.inf, None], ids=str)
@pytest.mark.parametrize("ttl", [True, False])
def test_a_bool_is_no_ttl_whichever_was_used_before(cache, clock, verb, former, ttl):
    for write in WRITES.values():
        write(cache, former)
    cache.set_many({"k": "old"}, ttl=50)
    cache.delete_many(["free", "count"])

    with pytest.raises(TypeError):
        WRITES[verb](cache, ttl)

    assert (cache.get("k"), cache.ttl("k"), cache.keys()) == ("old", 50, ["k"])


@pytest.mark.clause("R1.7")
@pytest.mark.parametrize("name", ["default_ttl", "cleanup_interval"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (math.nan, ValueError),
        (True, TypeError),
        ("1", TypeError),
    ],
)
def test_bad_durations_of_the_cache_are_refused_by_name(CacheImpl, name, value, error, wording):
    with pytest.raises(error, match=wording(name)):
        CacheImpl(**{name: value})


@pytest.mark.clause("R1.8")
@pytest.mark.parametrize("years", [10, -10])
def test_stepping_the_wall_clock_changes_no_remaining_life(cache, clock, years):
    cache.set("k", "v", ttl=10)

    clock.step_wall(years * 365 * 86400)
    clock.tick(9.999)
    before = cache.get("k")
    clock.tick(0.001)

    assert (before, cache.get("k")) == ("v", None)
