"""R9: any thread, any moment, and code that a call happens to run."""

import gc
import random
import sys
import threading

import pytest

JOIN = 30


def run_all(*targets):
    """Run the targets in threads that start together; return what they raised."""
    start, errors = threading.Barrier(len(targets)), []

    def guarded(target):
        start.wait(JOIN)
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(JOIN)
    return errors + [TimeoutError(thread.name) for thread in threads if thread.is_alive()]


@pytest.fixture
def tiny_switch_interval():
    former = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(former)


class Calls:
    """A value that calls its cache when it is released."""

    def __init__(self, cache, verbs):
        self.cache, self.verbs, self.errors = cache, verbs, []

    def __del__(self):
        try:
            for verb in self.verbs:
                verb(self.cache)
        except BaseException as error:
            self.errors.append(error)


VERBS = [
    lambda cache: cache.get("x"),
    lambda cache: cache.set("x", 1),
    lambda cache: cache.set("y", 1, ttl=50),
    lambda cache: cache.add("z", 1),
    lambda cache: cache.delete("a"),
    lambda cache: cache.increment("n"),
    lambda cache: cache.keys("*"),
    lambda cache: cache.cleanup(),
    lambda cache: cache.get_or_set("made", lambda: 1),
    lambda cache: cache.get_many(["x", "y"]),
    lambda cache: cache.delete_pattern("made"),
    lambda cache: cache.stats(),
]
RELEASES = {
    "overwriting": lambda cache: cache.set("v", 1),
    "overwriting with a ttl": lambda cache: cache.set("v", 1, ttl=9),
    "replace": lambda cache: cache.replace("v", 1),
    "set_many": lambda cache: cache.set_many({"v": 1, "w": 2}),
    "delete": lambda cache: cache.delete("v"),
    "delete_many": lambda cache: cache.delete_many(["v", "w"]),
    "delete_pattern": lambda cache: cache.delete_pattern("*"),
    "pop": lambda cache: cache.pop("v"),
    "clear": lambda cache: cache.clear(),
    "eviction": lambda cache: cache.set_many({"e1": 1, "e2": 2, "e3": 3}),
    "expiry": lambda cache: cache.get("expiring"),
    "cleanup": lambda cache: cache.cleanup(),
}


@pytest.mark.clause("R9.1", "R9.2")
@pytest.mark.parametrize("release", RELEASES)
def test_releasing_a_value_may_call_the_cache_and_holds_no_lock(small_cache, clock, release):
    errors, free = [], []

    def another_thread_gets_through(cache):
        thread = threading.Thread(target=cache.set, args=("other", 1))
        thread.start()
        thread.join(5)
        free.append(not thread.is_alive())

    value = Calls(small_cache, [another_thread_gets_through, *VERBS])
    value.errors = errors
    key = "expiring" if release in ("expiry", "cleanup") else "v"
    small_cache.set(key, value, ttl=1 if key == "expiring" else None)
    del value
    clock.tick(2)

    RELEASES[release](small_cache)
    gc.collect()

    assert (errors, free) == ([], [True])


@pytest.mark.clause("R9.1")
def test_a_garbage_collection_in_any_call_may_call_the_cache(make_cache):
    cache = make_cache(50)
    errors = []

    class Knot:
        def __init__(self):
            self.itself = self

        def __del__(self):
            try:
                for verb in random.sample(VERBS, 3):
                    verb(cache)
            except BaseException as error:
                errors.append(error)

    former = gc.get_threshold()
    gc.set_threshold(7)
    try:
        for number in range(1500):
            Knot()
            cache.set(f"k{number % 80}", [number], ttl=1000 if number % 2 else None)
            cache.get(f"k{(number * 7) % 80}")
            cache.increment(f"n{number % 9}")
            cache.get_many([f"k{number % 80}", f"k{(number * 3) % 80}"])
            if number % 10 == 0:
                cache.delete_pattern(f"k{number % 8}?")
    finally:
        gc.set_threshold(*former)

    assert errors == []


@pytest.mark.clause("R9.1", "R4.4", "R3.1")
@pytest.mark.parametrize(
    ("threads", "seconds"), [(8, 1.5), pytest.param(32, 60, marks=pytest.mark.soak)]
)
@pytest.mark.timeout(300)
def test_a_storm_of_every_verb_breaks_nothing(
    make_cache, tmp_path, tiny_switch_interval, threads, seconds
):
    cache = make_cache(100, cleanup_interval=0.005)
    cache.save(tmp_path / "s")
    done = threading.Event()
    counts = [0] * threads

    def storm(seed):
        def run():
            dice = random.Random(seed)
            while not done.is_set():
                key = f"k{dice.randrange(200)}"
                dice.choice(
                    [
                        lambda: cache.get(key),
                        lambda: cache.set(key, seed, dice.choice([None, 0.001, 0.1, 100])),
                        lambda: cache.add(key, seed),
                        lambda: cache.replace(key, seed),
                        lambda: cache.pop(key),
                        lambda: cache.delete(key),
                        lambda: cache.exists(key),
                        lambda: cache.ttl(key),
                        lambda: cache.touch(key, 0.05),
                        lambda: cache.keys("k1*"),
                        lambda: cache.delete_pattern("k15?"),
                        lambda: cache.get_many([key, "k1"]),
                        lambda: cache.set_many({key: 1, "k2": 2}, 0.01),
                        lambda: cache.get_or_set(key, lambda: seed, 0.01),
                        lambda: cache.cleanup(),
                        lambda: cache.save(tmp_path / "s"),
                        lambda: len(list(cache)),
                    ]
                )()
                cache.increment("total" if seed % 2 else f"own{seed}", 0)
                counts[seed] += 1

        return run

    stopper = threading.Timer(seconds, done.set)
    stopper.start()
    errors = run_all(*[storm(seed) for seed in range(threads)])
    stopper.join(JOIN)

    assert errors == []
    assert min(counts) > 0


@pytest.mark.clause("R9.1", "R3.1", "R4.4")
def test_counters_add_up_in_a_storm(make_cache, tiny_switch_interval):
    cache = make_cache(10)

    def work():
        for _ in range(200):
            cache.increment("n")
            cache.get("n")
            cache.get("missing")

    errors = run_all(*[work] * 32)

    stats = cache.stats()
    assert errors == []
    assert (cache.get("n"), stats.hits, stats.misses) == (6400, 6400, 6400)


@pytest.mark.clause("R9.1", "R2.2")
def test_lock_free_hits_do_not_disturb_the_size(make_cache, tiny_switch_interval):
    cache = make_cache(5)
    over = []

    def write():
        for number in range(2000):
            cache.set(f"k{number % 12}", number)
            if len(cache) > 5:
                over.append(len(cache))

    def read():
        for number in range(4000):
            cache.get(f"k{number % 12}")

    assert run_all(write, write, read, read) == []
    assert over == []


@pytest.mark.clause("R9.3")
def test_one_factory_runs_however_many_threads_ask(cache, wait_until):
    calls = []

    def factory():
        calls.append(1)
        wait_until(lambda: cache.stats().misses == 16, 2)
        return object()

    got = []
    errors = run_all(*[lambda: got.append(cache.get_or_set("k", factory))] * 16)

    assert (errors, len(calls), len(set(map(id, got))), len(got)) == ([], 1, 1, 16)


@pytest.mark.clause("R9.3")
def test_waiters_get_the_exception_and_the_next_call_tries_again(cache):
    running, release = threading.Event(), threading.Event()

    def factory():
        running.set()
        assert release.wait(JOIN)
        raise LookupError("no luck")

    results = []

    def ask():
        try:
            cache.get_or_set("k", factory)
        except LookupError as error:
            results.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    assert running.wait(JOIN)
    for thread in threads[1:]:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(JOIN)

    assert results == ["no luck"] * 4
    assert cache.get_or_set("k", lambda: "made") == "made"


@pytest.mark.clause("R9.2", "R9.3")
def test_no_lock_is_held_while_a_factory_runs(cache):
    running, release = threading.Event(), threading.Event()

    def factory():
        running.set()
        assert release.wait(JOIN)
        return "made"

    thread = threading.Thread(target=cache.get_or_set, args=("k", factory))
    thread.start()
    assert running.wait(JOIN)
    errors = run_all(lambda: cache.set("other", 1), lambda: cache.get_or_set("third", lambda: 3))
    release.set()
    thread.join(JOIN)

    assert (errors, cache.get_many(["k", "other", "third"])) == (
        [],
        {"k": "made", "other": 1, "third": 3},
    )


@pytest.mark.clause("R9.3")
def test_a_factory_that_needs_its_own_key_is_a_runtime_error(cache, wording):
    with pytest.raises(RuntimeError, match=wording("'k'")):
        cache.get_or_set("k", lambda: cache.get_or_set("k", lambda: 1))

    assert cache.get_or_set("k", lambda: 2) == 2


@pytest.mark.clause("R9.3")
def test_two_factories_that_need_each_other_are_a_runtime_error(cache):
    meet = threading.Barrier(2)
    caught = []

    def need(other):
        def factory():
            meet.wait(JOIN)
            return cache.get_or_set(other, lambda: "made here")

        return factory

    def ask(mine, other):
        try:
            cache.get_or_set(mine, need(other))
        except RuntimeError as error:
            caught.append(error)

    assert run_all(lambda: ask("a", "b"), lambda: ask("b", "a")) == []
    assert len(caught) >= 1


@pytest.mark.clause("R9.3")
def test_a_factory_may_need_another_key(cache):
    assert cache.get_or_set("a", lambda: cache.get_or_set("b", lambda: 1) + 1) == 2


@pytest.mark.clause("R9.3")
@pytest.mark.parametrize(
    "write",
    [
        lambda cache: cache.set("k", "written"),
        lambda cache: cache.add("k", "written"),
        lambda cache: cache.set_many({"k": "written"}),
        lambda cache: cache.__setitem__("k", "written"),
    ],
)
def test_a_write_during_the_factory_stays(cache, write):
    def factory():
        write(cache)
        return "made"

    assert cache.get_or_set("k", factory) == "made"
    assert cache.get("k") == "written"


@pytest.mark.clause("R9.3")
def test_an_increment_during_the_factory_stays(cache):
    def factory():
        cache.increment("k", 5)
        return "made"

    assert (cache.get_or_set("k", factory), cache.get("k")) == ("made", 5)


@pytest.mark.clause("R9.3")
@pytest.mark.parametrize(
    "remove",
    [
        lambda cache, path: cache.delete("k"),
        lambda cache, path: cache.delete_many(["k"]),
        lambda cache, path: cache.pop("k"),
        lambda cache, path: cache.delete_pattern("k*"),
        lambda cache, path: cache.clear(),
        lambda cache, path: cache.load(path),
    ],
)
def test_a_removal_during_the_factory_keeps_the_value_out(cache, tmp_path, remove):
    cache.save(tmp_path / "s")

    def factory():
        remove(cache, tmp_path / "s")
        return "made"

    assert cache.get_or_set("k", factory) == "made"
    assert not cache.exists("k")


@pytest.mark.clause("R9.3")
def test_the_ttl_begins_when_the_factory_has_returned(cache, clock):
    cache.get_or_set("k", lambda: clock.tick(100), ttl=10)

    assert cache.ttl("k") == 10


@pytest.mark.clause("R9.3")
def test_a_factory_that_is_not_callable_is_a_type_error(cache, wording):
    with pytest.raises(TypeError, match=wording("factory")):
        cache.get_or_set("k", "value")


@pytest.mark.clause("R9.3")
def test_a_stored_value_calls_no_factory(cache):
    cache.set("k", None)

    assert cache.get_or_set("k", lambda: pytest.fail("called")) is None


@pytest.mark.clause("R9.1")
def test_the_lock_may_be_taken_again_by_its_holder(cache):
    cache.set("k", Calls(cache, VERBS))

    cache.set("k", Calls(cache, VERBS))
    cache.clear()

    assert cache.stats().size == len(cache)
