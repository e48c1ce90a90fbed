"""A day in a minute: whatever a cache is put through, it comes to rest and grows no further."""

import functools
import math
from collections import Counter
from random import Random

import pytest

from cache import SnapshotError
from cache.expiry import ExpiryIndex
from cache.flights import Flights
from cache.near import Bell, Near
from tests.growth import everything, grown, weigh

DAY, HOUR = 86_400.0, 3600.0
TTLS = (0.05, 0.2, 1.0, 7.5, 60.0, 600.0, HOUR, DAY)
ROUNDS = 12  # in each hour
MORE = 40  # by fewer kinds, until what is tidied now and then is full


class Churn:
    """Two caches, one of them as a near cache, and what is done to them again and again."""

    def __init__(self, cache, near, clock, path):
        self.cache, self.near, self.clock, self.path = cache, near, clock, path
        self.dice = Random()
        cache.set_many(dict.fromkeys(map(str, range(100)), 0))
        self.number = 0  # never the same twice, so whatever is kept of each adds up
        self.square = cache.memoize(ttl=60)(lambda number: number)
        self.named = cache.memoize(ttl=60, key=lambda number: f"named:{number}")(str)

    def ttl(self):
        return self.dice.choice(TTLS) * self.dice.uniform(0.5, 1.5)

    def new_keys(self):
        self.cache.set(f"new{self.number}", 1, ttl=self.ttl())
        self.cache.set_many({f"many{self.number}": 1, f"lasting{self.number}": 2})

    def rewrites(self):
        key = f"again{self.number % 20}"
        self.cache.set(key, self.number, ttl=self.ttl())
        self.cache.touch(key, self.ttl())
        self.cache.replace(f"again{self.number % 7}", 1, ttl=self.ttl())

    def deletes(self):
        self.cache.set_many({f"gone{self.number}.{part}": 1 for part in range(3)}, ttl=self.ttl())
        self.cache.delete(f"gone{self.number}.0")
        self.cache.pop(f"gone{self.number}.1")
        for part in range(8):  # as many patterns as are remembered, in the first hours
            self.cache.delete_pattern(f"gone{self.number}.{part}*")

    def evictions(self):
        for part in range(20):
            self.cache.set(f"evicted{self.number}.{part}", part, ttl=self.ttl())

    def expiry_unread(self):
        self.cache.set(f"unread{self.number}", 1, ttl=0.05)

    def expiry_read(self):
        self.cache.set(f"read{self.number}", 1, ttl=0.05)
        self.clock.tick(0.06)
        assert self.cache.get(f"read{self.number}") is None

    def increments(self):
        self.cache.increment(f"count{self.number % 9}")
        self.cache.increment(f"count{self.number}")

    def memoize(self):
        for part in range(30):  # more than are remembered, in the first hours
            self.square(self.number + part / 30)
        self.square(self.number % 5)

    def memoize_by_key(self):
        for part in range(20):
            self.named(self.number + part / 20)

    def flights_that_fail(self):
        with pytest.raises(ZeroDivisionError):
            self.cache.get_or_set(f"fails{self.number}", lambda: 1 // 0, ttl=self.ttl())

    def near_invalidations(self):
        near, key = self.near, f"near{self.number}"
        near.trust(math.inf)
        bell = near.bell(key)
        near.store(near.begin(key), b"1", 1, self.ttl())
        near.abandon(near.begin(key))
        near.drop(near.begin(f"absent{self.number}"))
        with near.fetching([f"unfinished{self.number}"]):
            pass
        late = near.begin(key)
        near.invalidate([key, f"unknown{self.number}"])
        near.store(late, b"2", 2, self.ttl())
        near.wrote([key])
        bell.close()

    def unreadable_values(self):
        self.cache.set("unreadable", object(), ttl=60)
        with pytest.raises(SnapshotError):
            self.cache.save(self.path)
        self.cache.delete("unreadable")

    KINDS = (
        *(new_keys, rewrites, deletes, evictions, expiry_unread, expiry_read, increments),
        *(memoize, memoize_by_key, flights_that_fail, near_invalidations, unreadable_values),
    )

    def hour(self, kinds, rounds):
        self.dice.seed(7)  # each hour is like the one before, but for the names
        for at in range(rounds):
            for kind in kinds:
                self.number += 1
                kind(self)
            self.clock.tick(HOUR / rounds)
            if at % 3 == 0:
                self.cache.cleanup()

    def hours(self, count, kinds=KINDS, rounds=ROUNDS):
        weights = []
        for _ in range(count):
            self.hour(kinds, rounds)
            weights.append(weigh(*everything(self.cache, self.near), self.square, self.named))
        return weights


@pytest.fixture
def churn(make_cache, clock, tmp_path):
    with Near(200, bound=60) as near:
        yield Churn(make_cache(100), near, clock, tmp_path / "s")


@pytest.mark.parametrize(
    "hours",
    [
        pytest.param(24, marks=pytest.mark.timeout(300)),
        pytest.param(30 * 24, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_from_the_third_hour_on_nothing_grows(churn, hours):
    assert grown(churn.hours(hours)) == {}


@pytest.mark.parametrize("kind", Churn.KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.timeout(300)
def test_nothing_grows_by_one_kind_of_churn_alone(churn, kind):
    assert grown(churn.hours(12, [kind], MORE)) == {}


def kept_for_ever(index, slot):
    """Drop an empty bucket, and keep where it was."""
    if slot in index.buckets and not index.buckets[slot]:
        del index.buckets[slot]
        if slot == index.slot:
            index.life = 0.0


def never_ended(near, token):
    """Count down a fetch, and keep it in the table."""
    token.fetches.count -= 1


LEAKS = {
    "where a bucket was": (ExpiryIndex, "_drop", kept_for_ever, "_where"),
    "flights that failed": (
        *(Flights, "_end"),
        lambda flights, flight: setattr(flight, "landed", True),
        "running",
    ),
    "fetches that ended": (Near, "_ended_locked", never_ended, "_fetches"),
    "bells": (Bell, "close", lambda bell: None, "_bells"),
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.timeout(300)
def test_a_cache_that_leaks_is_seen_to_grow(churn, monkeypatch, leak):
    kind, method, leaking, where = LEAKS[leak]
    monkeypatch.setattr(kind, method, leaking)

    found = grown(churn.hours(12))

    assert any(path.endswith(where) for path in found)


def test_one_record_an_hour_is_growth():
    hours = [Counter({"cache": 100, "cache.log": hour}) for hour in range(24)]

    assert grown(hours) == {"cache.log": (9, 17)}


def test_what_is_tidied_now_and_then_is_no_growth():
    hours = [Counter({"cache.log": 40 + hour % 5 * 10}) for hour in range(24)]

    assert grown(hours) == {}


class Plain:
    def __init__(self):
        self.items = {"a": [1, 2], "b": [3]}
        self.again = self.items
        self.next = None


class Slotted:
    __slots__ = ("items",)

    def __init__(self):
        self.items = {1, 2, 3}


def test_every_container_is_weighed_once_by_the_path_to_it():
    plain, seen = Plain(), [1, 2, 3, 4]
    plain.next = Slotted()
    plain.call = lambda: seen

    sizes = weigh(plain)

    assert sizes["Plain.items"] + sizes["Plain.again"] == 2
    assert sizes["Plain.items[]"] == 3
    assert sizes["Plain.next.items"] == 3
    assert sizes["Plain.call.__closure__[][]"[:-2]] == 4


def test_what_c_code_keeps_is_weighed():
    remembered = functools.lru_cache(None)(lambda number: [number])
    before = weigh(remembered).total()
    remembered(1)

    assert weigh(remembered).total() > before
