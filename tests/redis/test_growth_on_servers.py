"""A cache on a server, with a near cache: churned for a while, it comes to rest as well.

Against the real clock: what are hours in the suite of the in-process cache are rounds here.
"""

import contextlib
import time

import pytest

from cache import CacheUnavailable
from cache.redis_cache import RedisCache
from tests.growth import everything, grown, weigh


class Foreign:
    """A class that the cache does not trust, so no value of it can be read."""


class Churn:
    """A cache on a server, and what is done to it again and again."""

    def __init__(self, server):
        self.client = server.client()
        self.cache = RedisCache(self.client, namespace="churned", near=50, on_error="miss")
        self.other = RedisCache(server.client(), namespace="churned", trust=[Foreign])
        self.square = self.cache.memoize(ttl=0.05)(lambda number: number)
        self.number = 0

    def turn(self):
        self.number += 1
        cache, other, number = self.cache, self.other, self.number
        cache.set(f"new{number}", 1, ttl=0.05)
        cache.set_many({f"many{number}": 1, "again": number}, ttl=60)
        cache.get_many([f"new{number}", f"many{number}", "again", f"absent{number}"])
        cache.get(f"new{number - 50}")
        cache.increment(f"count{number}", ttl=0.05)
        self.square(number)
        with contextlib.suppress(ZeroDivisionError):
            cache.get_or_set(f"fails{number}", lambda: 1 // 0)
        cache.get_or_set(f"made{number}", lambda: 1, ttl=0.05)
        other.set_many({f"many{number}": 2, "again": 0})  # invalidates the near copies
        other.set(f"unreadable{number}", Foreign(), ttl=60)
        cache.get(f"unreadable{number}")
        cache.delete(f"many{number}")
        for part in range(9):  # more patterns than are remembered, in the first rounds
            if number % 3 == 0:
                cache.delete_pattern(f"unreadable{number}.{part}*")

    def fail(self):
        """Write where the server refuses to: these are owed to it, and removed later."""
        with contextlib.suppress(CacheUnavailable):
            self.client.config_set("maxmemory", 1)
            self.cache.set(f"owed{self.number}", 1)
        self.client.config_set("maxmemory", 0)

    def churned(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()
        self.fail()
        self.cache.get("again")  # what is owed is removed first
        # Not the memoized function: its table has a suite that turns it over (test_growth).
        return weigh(*everything(self.cache, self.cache._near))


@pytest.fixture
def churn(server):
    churn = Churn(server)
    yield churn
    churn.cache.close()
    churn.other.close()


# Against the real clock it takes minutes: in seconds, what is tidied now and then seems to grow.
@pytest.mark.parametrize(
    "rounds", [pytest.param(36, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_from_the_third_round_on_nothing_grows(churn, rounds):
    assert grown([churn.churned(10) for _ in range(rounds)]) == {}


def test_a_table_that_keeps_every_key_is_seen_to_grow(churn, monkeypatch):
    seen = []
    monkeypatch.setattr(churn.cache, "seen", seen, raising=False)
    turn = churn.turn
    monkeypatch.setattr(churn, "turn", lambda: (seen.append(churn.number), turn()))

    found = grown([churn.churned(0.05) for _ in range(9)])

    assert any(path.endswith(".seen") for path in found)
