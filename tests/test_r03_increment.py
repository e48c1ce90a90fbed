"""R3: counters that add up."""

import datetime
import math
import threading

import pytest

JOIN = 30


@pytest.mark.clause("R3.1")
def test_concurrent_increments_add_up_exactly(cache):
    threads, times = 8, 500
    start = threading.Barrier(threads)

    def count():
        start.wait(JOIN)
        for _ in range(times):
            cache.increment("n")

    workers = [threading.Thread(target=count) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(JOIN)

    assert cache.get("n") == threads * times


@pytest.mark.clause("R3.2")
def test_a_missing_key_becomes_the_amount_with_the_default_ttl(make_cache, clock):
    cache = make_cache(default_ttl=7)

    total = cache.increment("n", 5)

    assert (total, cache.get("n"), cache.ttl("n")) == (5, 5, 7)


@pytest.mark.clause("R3.2")
@pytest.mark.parametrize(("verb", "total"), [("increment", 5), ("decrement", -5)])
@pytest.mark.parametrize("ttl", [3, 0.5, datetime.timedelta(minutes=1), math.inf])
def test_a_key_that_is_created_gets_the_ttl_of_the_call(make_cache, clock, verb, total, ttl):
    cache = make_cache(default_ttl=7)
    life = ttl.total_seconds() if isinstance(ttl, datetime.timedelta) else ttl

    made = getattr(cache, verb)("n", 5, ttl=ttl)

    assert (made, cache.get("n"), cache.ttl("n")) == (total, total, life)


@pytest.mark.clause("R3.2")
def test_a_counter_that_has_expired_begins_anew_with_the_ttl_of_the_call(cache, clock):
    cache.add("n", 0, ttl=10)
    clock.tick(10)

    assert (cache.increment("n", ttl=10), cache.ttl("n")) == (1, 10)


@pytest.mark.clause("R3.3")
@pytest.mark.parametrize("verb", ["increment", "decrement"])
@pytest.mark.parametrize("former", [10, None])
def test_the_ttl_of_a_call_does_not_move_the_deadline_of_a_live_key(cache, clock, verb, former):
    cache.set("n", 1, ttl=former)
    clock.tick(4)

    getattr(cache, verb)("n", ttl=99)

    assert cache.ttl("n") == (math.inf if former is None else pytest.approx(6))


@pytest.mark.clause("R3.2")
def test_an_expired_key_becomes_the_amount(cache, clock):
    cache.set("n", 100, ttl=1)
    clock.tick(1)

    assert (cache.increment("n"), cache.ttl("n")) == (1, math.inf)


@pytest.mark.clause("R3.2")
@pytest.mark.parametrize("verb", ["increment", "decrement"])
def test_without_create_a_missing_key_is_a_key_error(cache, verb):
    with pytest.raises(KeyError, match="n"):
        getattr(cache, verb)("n", create=False)

    assert not cache.exists("n")


@pytest.mark.clause("R3.2")
def test_without_create_a_live_key_is_incremented(cache):
    cache.set("n", 1)

    assert cache.increment("n", 2, create=False) == 3


@pytest.mark.clause("R3.3")
def test_the_deadline_of_a_live_key_stays(make_cache, clock):
    cache = make_cache(default_ttl=99)
    cache.set("n", 1, ttl=10)
    clock.tick(4)

    cache.increment("n")

    assert cache.ttl("n") == pytest.approx(6)


@pytest.mark.clause("R3.4")
@pytest.mark.parametrize(
    ("value", "amount", "total"), [(1, 2, 3), (1, 0.5, 1.5), (1.5, 1, 2.5), (10**30, 1, 10**30 + 1)]
)
def test_ints_and_floats_are_counted(cache, value, amount, total):
    cache.set("n", value)

    assert cache.increment("n", amount) == cache.get("n") == total


@pytest.mark.clause("R3.4", "R10.4")
@pytest.mark.parametrize("value", ["1", True, None, [1], 1j, b"1"])
def test_any_other_value_is_a_value_error_that_names_key_and_type(cache, clock, value):
    cache.set("counter", value, ttl=9)

    with pytest.raises(ValueError, match=f"'counter'.*{type(value).__name__}"):
        cache.increment("counter")

    assert (cache.get("counter"), cache.ttl("counter")) == (value, 9)


@pytest.mark.clause("R3.4")
def test_the_error_tells_no_value(cache):
    cache.set("k", "hunter2")

    with pytest.raises(ValueError) as caught:
        cache.increment("k")

    assert "hunter2" not in str(caught.value)


@pytest.mark.clause("R3.5")
@pytest.mark.parametrize("verb", ["increment", "decrement"])
@pytest.mark.parametrize("amount", ["1", True, None, 1j, [1]])
def test_an_amount_that_is_no_number_is_a_type_error(cache, verb, amount, wording):
    cache.set("n", 1)

    with pytest.raises(TypeError, match=wording("amount")):
        getattr(cache, verb)("n", amount)

    assert cache.get("n") == 1


@pytest.mark.clause("R3.6")
@pytest.mark.parametrize("amount", [1, 2.5, -3])
def test_decrement_is_increment_by_the_negative(cache, amount):
    cache.set_many({"up": 10, "down": 10})

    assert cache.decrement("down", amount) == cache.increment("up", -amount)


@pytest.mark.clause("R3.6")
def test_decrement_makes_a_missing_key_negative(cache):
    assert cache.decrement("n") == -1
