"""Calls from the middle of others: wherever one comes, it is as if it came before or after."""

import functools
import importlib
import math
import threading
import time
from random import Random

import pytest

from cache import DistributedCache, core, expiry, flights, mixin
from cache import near as near_module
from cache.near import Near
from cache.patterns import compile_glob
from tests.growth import weigh
from tests.stepping import Stepper, disarm
from tests.test_parts import check_index

MODULES = core, expiry, flights, mixin, near_module
SIZE = 5
JOIN = 20
MOMENT = 0.005  # seconds that a call of another thread gets, where it need not wait for this one

OUTER = {
    "get": lambda cache: cache.get("b"),
    "get of what has expired": lambda cache: cache.get("x"),
    "exists": lambda cache: cache.exists("x"),
    "ttl": lambda cache: round(cache.ttl("b") or 0, 6),
    "stats": lambda cache: cache.stats(),
    "set of a new key": lambda cache: cache.set("new", "outer"),
    "set of a new key for a while": lambda cache: cache.set("new", "outer", ttl=9),
    "set of a new key for as long": lambda cache: cache.set("new", "outer", ttl=10),
    "overwriting": lambda cache: cache.set("b", "outer"),
    "overwriting for as long": lambda cache: cache.set("b", "outer", ttl=10),
    "overwriting for longer": lambda cache: cache.set("b", "outer", ttl=1000),
    "overwriting what has expired": lambda cache: cache.set("x", "outer", ttl=10),
    "add": lambda cache: cache.add("new", "outer", ttl=10),
    "add over what has expired": lambda cache: cache.add("x", "outer"),
    "add in vain": lambda cache: cache.add("b", "outer"),
    "replace": lambda cache: cache.replace("b", "outer", ttl=20),
    "replace in vain": lambda cache: cache.replace("new", "outer"),
    "touch": lambda cache: cache.touch("b", ttl=30),
    "increment": lambda cache: cache.increment("n"),
    "increment of a new key": lambda cache: cache.increment("new", 5, ttl=8),
    "pop": lambda cache: cache.pop("b"),
    "pop of what has expired": lambda cache: cache.pop("x"),
    "delete": lambda cache: cache.delete("b"),
    "cleanup": lambda cache: cache.cleanup(),
    "clear": lambda cache: cache.clear(),
    "get_or_set": lambda cache: cache.get_or_set("new", lambda: "outer", ttl=10),
    "get_or_set of what has expired": lambda cache: cache.get_or_set("x", lambda: "outer"),
}
# Of these, a call of the same thread may see a part.
IN_STEPS = {
    "set_many": lambda cache: cache.set_many({"b": 1, "new": 2, "x": 3}, ttl=10),
    "set of many": lambda cache: [cache.set(str(at), at, ttl=at + 1) for at in range(7)],
    "set of many for as long": lambda cache: [cache.set(str(at), at, ttl=10) for at in range(7)],
    "set of many without end": lambda cache: [cache.set(str(at), at) for at in range(7)],
    "get_many": lambda cache: cache.get_many(["a", "b", "x", "new"]),
    "delete_many": lambda cache: cache.delete_many(["a", "b", "x", "new"]),
    "delete_pattern": lambda cache: cache.delete_pattern("*"),
    "keys": lambda cache: sorted(cache.keys("*")),
    "len": lambda cache: len(list(cache)) >= 0,
}
INNER = {
    "set": lambda cache: cache.set("b", "inner"),
    "set for a while": lambda cache: cache.set("b", "inner", ttl=10),
    "set of the new key": lambda cache: cache.set("new", "inner", ttl=10),
    "set of another": lambda cache: cache.set("other", "inner", ttl=10),
    "set of what has expired": lambda cache: cache.set("x", "inner", ttl=40),
    "set_many": lambda cache: cache.set_many({f"o{number}": 1 for number in range(9)}, ttl=10),
    "delete": lambda cache: cache.delete("b"),
    "pop": lambda cache: cache.pop("b"),
    "delete of the new key": lambda cache: cache.delete("new"),
    "increment": lambda cache: cache.increment("n", 100),
    "get of what has expired": lambda cache: cache.get("x"),
    "cleanup": lambda cache: cache.cleanup(),
    "clear": lambda cache: cache.clear(),
    "delete_pattern": lambda cache: cache.delete_pattern("*"),
    "keys": lambda cache: sorted(cache.keys("?")),
    "get_or_set": lambda cache: cache.get_or_set("new", lambda: "inner", ttl=10),
}


@pytest.fixture(autouse=True, scope="module")
def disarmed():
    """Let the cache run at its full speed in the tests of other modules."""
    yield
    disarm()


@pytest.fixture
def made(clock):
    """Return a maker of full caches, alike: of two entries in one bucket one has expired."""
    caches = []

    def make():
        cache = DistributedCache(SIZE, cleanup_interval=1e9)
        caches.append(cache)
        # At a like time, for the same buckets each time, and so the same steps.
        now = time.monotonic()
        clock.tick((now // 4096 + 1) * 4096 + 0.3 - now)
        cache.set("x", "expired", ttl=1)
        cache.set("y", "y", ttl=1.005)
        clock.tick(1.002)
        cache.set("a", "a")
        cache.set("n", 1, ttl=1000)
        cache.set("b", "b", ttl=10)
        return cache

    yield make
    for cache in caches:
        cache.close()


def state(cache):
    """Return all that is to be seen of a cache, its order of use included."""
    check_index(cache)
    stats = cache.stats()
    order = list(cache._entries)
    lives = [cache.ttl(key) for key in order]
    rounded = [None if life is None else round(life, 6) for life in lives]  # a float of the clock
    return stats, [
        (key, cache._entries[key][0], life) for key, life in zip(order, rounded, strict=True)
    ]


def result_of(call, cache):
    """Return what a call returns, or a name for what it raises where it may."""
    try:
        return call(cache)
    except ValueError:
        return "no number"
    except RuntimeError:
        return "as if the factory had asked"  # of a call that comes while it runs


def in_turn(make, first, second):
    """Return what the two calls give, one after the other, and what is there then."""
    cache = make()
    results = result_of(first, cache), result_of(second, cache)
    return *results, state(cache)


def steps_of(make, call):
    """Return how many steps a call has once what it remembers, a pattern, is there."""
    for _ in range(2):
        stepper, cache = Stepper(*MODULES), make()
        stepper.run(functools.partial(result_of, call, cache))
    return stepper.steps


def at_step(make, outer, inner, step, other_thread=False):
    """Return what the calls give and leave where one comes at that step of the other."""
    cache, results = make(), []

    def act():
        results.append(result_of(inner, cache))

    thread = threading.Thread(target=act, daemon=True)

    def start():
        thread.start()
        thread.join(MOMENT)

    stepper = Stepper(*MODULES, at=step, act=start if other_thread else act)
    result = stepper.run(lambda: result_of(outer, cache))
    if other_thread:
        thread.join(JOIN)
    assert results, f"nothing came of step {step}, {stepper.where}"
    return (result, *results, state(cache)), stepper.where


def like(found, order):
    """Tell whether what was found is what comes of calls in this order.

    Which entry makes room is decided before the call from inside, so one more may have gone than
    in turn; that one is counted.
    """
    *results, (stats, entries) = found
    *others, (turn, expected) = order
    kept = {key: value for key, *value in entries if value[1] is not None}
    there = {key: value for key, *value in expected if value[1] is not None}
    lost = [key for key in there if key not in kept]
    return (
        results == others
        and kept.items() <= there.items()
        and len(lost) <= max(stats.evictions - turn.evictions, 0)
        and stats.hits + stats.misses == turn.hits + turn.misses
    )


def counted(found, cleared):
    """Tell whether the one expired entry is there or was counted as it went."""
    *_, (stats, entries) = found
    there = sum(life is None for *_, life in entries)
    return stats.expirations + there == 1 or (cleared and stats.expirations + there == 0)


def told_apart(outer, inner, other_thread):
    """Tell whether the order of two calls is to be seen in what they give.

    Not for a call from the middle of `stats`. A removal, or another factory, in the middle of a
    flight is a third case: the flight's value is returned and not stored (R9.3).
    """
    if outer == "stats":
        return other_thread and inner != "get_or_set"  # which misses before it takes the lock
    flights = outer.startswith("get_or_set")
    return not flights or not inner.startswith(("delete", "clear", "get_or_set"))


EACH = [
    pytest.param(1, id="sample"),
    pytest.param(len(INNER), id="all", marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
]


@pytest.mark.parametrize("each", EACH)
@pytest.mark.parametrize("other_thread", [False, True], ids=["inside", "other thread"])
@pytest.mark.parametrize("outer", OUTER)
def test_a_call_in_the_middle_of_another_is_as_if_it_came_before_or_after(
    made, outer, other_thread, each
):
    dice, call, wrong = Random(outer), OUTER[outer], []
    steps = steps_of(made, call)
    for inner, other in INNER.items():
        after = in_turn(made, call, other)
        second, first, left = in_turn(made, other, call)
        for step in sorted(dice.sample(range(steps), max(steps * each // len(INNER), 1))):
            found, where = at_step(made, call, other, step, other_thread)
            right = like(found, after) or like(found, (first, second, left))
            if told_apart(outer, inner, other_thread) and not right:
                wrong.append((where, inner, found, after, (first, second, left)))
            if not counted(found, "clear" in (outer, inner)):
                wrong.append((where, inner, found))

    assert wrong == []


@pytest.mark.parametrize("each", EACH)
@pytest.mark.parametrize("outer", IN_STEPS)
def test_a_call_in_the_middle_of_one_of_many_steps_breaks_nothing(made, outer, each):
    dice, call, wrong = Random(outer), IN_STEPS[outer], []
    steps = steps_of(made, call)
    for inner, other in INNER.items():
        for step in sorted(dice.sample(range(steps), max(steps * each // len(INNER), 1))):
            found, where = at_step(made, call, other, step)
            size = found[-1][0].size
            if size > SIZE or not counted(found, inner == "clear"):
                wrong.append((where, inner, found))

    assert wrong == []


FETCH = {
    "store": lambda near: near.store(near.begin("k"), b"old", "old", 60),
    "drop": lambda near: near.drop(near.begin("k")),
    "abandon": lambda near: near.abandon(near.begin("k")),
    "wrote": lambda near: near.wrote(["k"]),
    "invalidate": lambda near: near.invalidate(["k"]),
    "reset": lambda near: near.reset(),
    "bell": lambda near: near.bell("k").close(),
    "wrote_matching": lambda near: near.wrote_matching(compile_glob("k*"), "k*"),
}


@pytest.mark.parametrize("outer", FETCH)
@pytest.mark.parametrize("inner", FETCH)
def test_a_near_cache_keeps_nothing_of_fetches_that_call_each_other(clock, outer, inner):
    def make():
        near = Near(10, bound=60)
        near.trust(math.inf)
        return near

    first = Stepper(*MODULES)
    with make() as near:
        first.run(lambda: FETCH[outer](near))
    kept = []
    for step in range(first.steps):
        with make() as near:
            stepper = Stepper(*MODULES, at=step, act=functools.partial(FETCH[inner], near))
            stepper.run(lambda near=near: FETCH[outer](near))
            if weigh(near._fetches, near._bells).total():
                kept.append(stepper.where)

    assert kept == []


@pytest.mark.parametrize("write", ["wrote", "invalidate", "drop", "reset", "wrote_matching"])
def test_no_value_from_before_a_write_stays_wherever_the_write_comes(clock, write):
    """As of a finalizer that sets a key while its former value is being stored."""

    def make():
        near = Near(10, bound=60)
        near.trust(math.inf)
        return near, near.begin("k")

    def storing(near, token):
        near.store(token, b"old", "old", 60)

    near, token = make()
    first = Stepper(*MODULES)
    first.run(lambda: storing(near, token))
    near.close()
    stale = []
    for step in range(first.steps):
        near, token = make()
        stepper = Stepper(*MODULES, at=step, act=functools.partial(FETCH[write], near))
        stepper.run(lambda near=near, token=token: storing(near, token))
        if near.get("k") is not None:
            stale.append(stepper.where)
        near.close()

    assert stale == []


def test_a_bucket_begun_while_the_index_is_tidied_is_found():
    def made():
        index = expiry.ExpiryIndex()
        for number in range(20):
            index.buckets[index.slot_for(5000.0 + number, 100.0)]["late"] = "late"
        return index

    def begin(index):
        index.buckets[index.slot_for(1000.0, 100.0)]["early"] = "early"

    first = Stepper(expiry)
    first.run(made()._tidy)
    lost = []
    for step in range(first.steps):
        index = made()
        stepper = Stepper(expiry, at=step, act=functools.partial(begin, index))
        stepper.run(index._tidy)
        if not index.due(1000.0):
            lost.append(stepper.where)

    assert lost == []


def test_a_step_is_where_cpython_may_run_foreign_code(tmp_path, monkeypatch):
    (tmp_path / "stepped.py").write_text(
        "def loop(call):\n    for _ in (1, 2):\n        call(3)\n    call(4)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    stepped = importlib.import_module("stepped")
    seen, acts = [], []

    for step in range(20):
        seen.clear()
        stepper = Stepper(stepped, at=step, act=lambda: acts.append(list(seen)))
        stepper.run(lambda: stepped.loop(seen.append))

    # At the beginning, after each call, and before the loop goes round.
    assert [list(each) for each in dict.fromkeys(map(tuple, acts))] == [[], [3], [3, 3], [3, 3, 4]]
    assert len(acts) == stepper.steps >= 6
