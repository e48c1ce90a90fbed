"""Orders of two steps in `save` and `load` that only time, or a call between them, shows."""

import contextlib
import functools
import gc
import os
import pickle
import threading

import pytest

from cache import core
from tests.stepping import Stepper, disarm

AN_HOUR = 3600.0
JOIN = 20
MOMENT = 0.005  # seconds that another thread gets, where it need not wait for this one


class Slow:
    """A path, or a trusted value, during whose reading time passes."""

    clock = None

    def __init__(self, path=None):
        self.path = path

    def __fspath__(self):
        Slow.clock.tick(5)
        return os.fspath(self.path)

    def __getstate__(self):
        return {"path": None}

    def __setstate__(self, state):
        Slow.clock.tick(5)


@pytest.fixture
def slow(clock, monkeypatch):
    """Let time pass while a `Slow` is read."""
    monkeypatch.setattr(Slow, "clock", clock)
    return Slow


@contextlib.contextmanager
def collections_call(function):
    """Call `function` whenever a garbage collection begins that the code itself asks for."""

    def called(phase, info):
        if phase == "start":
            function()

    gc.collect()
    threshold = gc.get_threshold()
    gc.set_threshold(1_000_000)  # no collection comes by itself
    gc.callbacks.append(called)
    try:
        yield
    finally:
        gc.callbacks.remove(called)
        gc.set_threshold(*threshold)


def unpickled(path):
    with open(path, "rb") as file:
        header, rows = pickle.load(file), []
        while len(rows) < header["entries"]:
            rows += pickle.load(file)
    return header, rows


@pytest.mark.clause("R6.6")
def test_the_counters_are_of_the_moment_before_the_keys_are_read(cache, tmp_path):
    cache.set_many({f"k{at}": at for at in range(10)})
    walked = []

    with collections_call(lambda: walked.append(cache.get("missing"))):
        cache.save(tmp_path / "s")

    assert walked != []
    assert unpickled(tmp_path / "s")[0]["misses"] == 0


@pytest.mark.clause("R6.2", "R1.8")
def test_time_that_passes_while_the_keys_are_read_moves_no_expiry(cache, clock, tmp_path):
    cache.set("k", 1, ttl=AN_HOUR)
    expected, walked = clock.wall() + AN_HOUR, []

    with collections_call(lambda: walked.append(clock.tick(100))):
        cache.save(tmp_path / "s")

    assert walked != []
    assert unpickled(tmp_path / "s")[1] == [("k", 1, expected)]


@pytest.mark.clause("R7.1", "R1.8")
@pytest.mark.parametrize("ttl", [AN_HOUR, AN_HOUR + 0.5])
def test_time_that_passes_while_a_snapshot_is_opened_counts_once(cache, clock, slow, tmp_path, ttl):
    cache.set("k", 1, ttl=ttl)
    cache.save(tmp_path / "s")

    cache.load(slow(tmp_path / "s"))

    assert cache.ttl("k") == ttl - 5


@pytest.mark.clause("R7.1", "R1.8")
def test_time_that_passes_while_values_are_unpickled_counts_once(make_cache, clock, slow, tmp_path):
    cache = make_cache(trust=[slow])
    # More than the first slice has.
    cache.set_many({f"k{at:03}": slow() for at in range(200)}, ttl=AN_HOUR)
    cache.save(tmp_path / "s")

    cache.load(tmp_path / "s")

    assert {cache.ttl(key) for key in cache} == {AN_HOUR - 200 * 5}


def at_each_step(prepare, outer, inner):
    """Yield (step, cache) after `outer(cache)`, with `inner` in another thread at each step of it.

    The other thread gets a moment, and the time after the call where it had to wait.
    """
    counting = Stepper(core)
    counting.run(functools.partial(outer, prepare()))
    assert counting.steps > 10
    try:
        # A long loop in the middle is tried at some of its turns.
        middle = range(60, counting.steps - 60, 50)
        for at in sorted({*range(counting.steps)[:60], *middle, *range(counting.steps)[-60:]}):
            cache = prepare()
            thread = threading.Thread(target=inner, args=[cache], daemon=True)

            def act(thread=thread):
                thread.start()
                thread.join(MOMENT)

            stepper = Stepper(core, at=at, act=act)
            stepper.run(functools.partial(outer, cache))
            thread.join(JOIN)
            yield stepper.where, cache
    finally:
        disarm()


@pytest.mark.clause("R7.1", "R7.3", "R4.5")
def test_statistics_at_any_step_of_a_load_are_of_before_or_after(make_cache, tmp_path):
    first = make_cache()
    first.set_many({"a": 1, "b": 2, "c": 3})
    first.get("a")
    first.save(tmp_path / "s")
    seen = []

    def prepare():
        cache = make_cache()
        cache.set("old", 1)
        return cache

    def look(cache):
        stats = cache.stats()
        seen.append((stats.hits, stats.size))

    for _ in at_each_step(prepare, lambda cache: cache.load(tmp_path / "s"), look):
        pass

    assert set(seen) == {(0, 1), (1, 3)}


@pytest.mark.clause("R6.6")
def test_a_write_and_a_read_at_any_step_of_a_save_are_in_it_in_their_order(
    make_cache, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a hundred saves
    found = []

    def prepare():
        cache = make_cache()
        cache.set_many({"a": 1, "b": 1})
        return cache

    def write_and_miss(cache):
        cache.set_many({"a": 2, "b": 2})
        cache.get("missing")

    for _ in at_each_step(prepare, lambda cache: cache.save(tmp_path / "s"), write_and_miss):
        header, rows = unpickled(tmp_path / "s")
        found.append((sorted(row[1] for row in rows), header["misses"]))

    assert {tuple(values) for values, _ in found} == {(1, 1), (2, 2)}
    assert ([1, 1], 1) not in found
