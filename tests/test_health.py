"""What `health()` says of a cache in this process, and what may be asked of its answer."""

import dataclasses
import threading

import pytest

from cache import Health, connect


@pytest.fixture
def cache():
    """Return a cache as `connect` makes it."""
    with connect("memory://") as cache:
        yield cache


def test_a_cache_in_this_process_is_well(cache):
    assert cache.health() == Health(status="ok", reasons=())


def test_a_cache_that_is_closed_lacks_nothing(wait_until):
    others = set(threading.enumerate())  # caches of other tests may not be collected yet
    cache = connect("memory://")
    own = set(threading.enumerate()) - others

    cache.close()

    assert wait_until(lambda: own.isdisjoint(threading.enumerate()))
    assert len(own) == 1
    assert cache.health().status == "ok"


def test_a_cache_without_its_cleanup_thread_is_degraded(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    with connect("memory://") as cache:
        health = cache.health()

    assert health == Health(status="degraded", reasons=("the cleanup thread does not run",))


@pytest.mark.parametrize(
    ("failing", "degraded", "status"),
    [
        ([], [], "ok"),
        ([], ["slow"], "degraded"),
        (["gone"], [], "failing"),
        (["gone"], ["slow", "old"], "failing"),
    ],
)
def test_the_status_follows_from_the_reasons(failing, degraded, status):
    health = Health.of(failing, degraded, unreadable=3)

    assert (health.status, health.reasons) == (status, (*failing, *degraded))
    assert health.unreadable == 3


def test_each_field_is_had_by_its_name_too():
    health = Health(status="ok", reasons=(), breaker="open", lag=0.5)

    names = [field.name for field in dataclasses.fields(health)]
    assert {name: health[name] for name in names} == dataclasses.asdict(health)
    for name in ("other", "of"):
        with pytest.raises(KeyError, match=name):
            health[name]


def test_a_health_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Health(status="ok", reasons=()).status = "failing"
