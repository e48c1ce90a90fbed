"""Single flight: who leads, who waits, and what of it is remembered."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from cache.flights import Flights

JOIN = 30


class Value:
    pass


@pytest.fixture
def lock():
    return threading.RLock()


@pytest.fixture
def flights(lock):
    return Flights(lock)


@pytest.fixture
def other():
    """Another thread: it calls what it is given and returns what comes of it."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda call, *args: pool.submit(call, *args).result(JOIN)


@pytest.fixture
def third():
    with ThreadPoolExecutor(1) as pool:
        yield lambda call, *args: pool.submit(call, *args).result(JOIN)


def test_waiting_for_oneself_is_refused_by_the_key(flights):
    flights.join("k")

    with pytest.raises(RuntimeError, match=r"^the factory of 'k' needs 'k' itself to finish$"):
        flights.join("k")


def test_who_has_got_the_value_waits_no_longer(flights, other):
    flight, _ = flights.join("k")
    joined, leading = other(flights.join, "k")
    flights.land(flight, 1)
    value = other(flights.wait, joined)
    other(flights.join, "b")

    assert (leading, value) == (False, 1)
    assert not flights.join("b")[1]


def test_a_value_is_kept_no_longer_than_its_flight(flights, other):
    value = Value()
    reference = weakref.ref(value)
    flight, _ = flights.join("k")
    joined, _ = other(flights.join, "k")
    flights.land(flight, value)
    other(flights.wait, joined)

    del value, flight, joined
    other(gc.collect)  # nor does the other thread

    assert reference() is None


def test_who_has_not_woken_yet_from_a_flight_that_landed_is_not_in_the_way(flights, other, third):
    flights.join("ours")
    other(flights.join, "theirs")
    landing, _ = third(flights.join, "landed")
    other(flights.join, "landed")  # noted as waiting
    third(flights.land, landing, 1)
    third(flights.join, "ours")

    assert not flights.join("theirs")[1]


def test_a_reset_forgets_who_leads_and_who_waits(flights, other):
    other(flights.join, "k")
    flights.join("k")

    flights.reset()

    assert flights.keys() == []
    assert other(flights.join, "b")[1]
    assert not flights.join("b")[1]


def test_a_flight_whose_factory_forks_goes_on_in_the_child(flights):
    flight, _ = flights.join("k")

    flights.reset()
    flights.forget("k")
    kept = flights.keys()
    flights.land(flight, 1)

    assert (kept, flight.store, flights.keys()) == (["k"], False, [])


def test_a_removal_of_everything_keeps_each_value_out(flights):
    flight, _ = flights.join("k")

    flights.forget_all()

    assert not flight.store


def test_a_flight_that_was_reset_still_lands(flights, other):
    flight, leading = other(flights.join, "k")

    flights.reset()
    flights.land(flight, 1)

    assert (leading, flights.keys()) == (True, [])


@pytest.mark.parametrize(
    "step",
    [
        lambda flights, flight: flights.join("other"),
        lambda flights, flight: flights.land(flight, 1),
    ],
    ids=["join", "land"],
)
def test_flights_are_changed_by_one_thread_at_a_time(step, lock, flights):
    flight, _ = flights.join("k")

    with ThreadPoolExecutor(1) as holder, ThreadPoolExecutor(1) as other:
        holder.submit(lock.acquire).result(30)
        call = other.submit(step, flights, flight)
        early = wait([call], 0.03).done
        holder.submit(lock.release).result(30)
        call.result(30)

    assert early == set()


def test_who_leads_or_waits_is_inside_but_for_its_factory(flights, other):
    before = flights.inside()
    flight, _ = flights.join("k")
    other(flights.join, "k")  # noted as waiting
    leading = flights.inside(), other(flights.inside)

    within = flights.call(flight, flights.inside)
    with pytest.raises(ZeroDivisionError):
        flights.call(flight, lambda: 1 // 0)
    after = flights.inside()
    flights.land(flight, 1)
    other(flights.wait, flight)

    assert (before, leading, within, after) == (False, (True, True), False, True)
    assert (flights.inside(), other(flights.inside)) == (False, False)


def test_waiters_wake_whether_they_came_before_the_landing_or_after_it(flights, third):
    flight, _ = third(flights.join, "k")
    flights.join("k")

    with ThreadPoolExecutor(2) as pool:
        early = [pool.submit(flights.wait, flight) for _ in range(2)]
        waiting = wait(early, 0.03).not_done
        third(flights.land, flight, 1)

        assert [each.result(JOIN) for each in early] == [1, 1]
        assert waiting == set(early)
    assert flights.wait(flight) == 1
