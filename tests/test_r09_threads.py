"""R9: any thread, any moment, and code that a call happens to run."""

import functools
import gc
import random
import re
import sys
import threading
from itertools import count

import pytest

from tests.stepping import Stepper, disarm

JOIN = 10


def run_all(*targets, patience=30):
    """Run the targets in threads that start together; return what they raised, hanging included."""
    start, errors = threading.Barrier(len(targets)), []

    def guarded(target):
        start.wait(JOIN)
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience)
        if thread.is_alive():
            patience = 0.01  # the others had as long
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
    "overwriting": lambda cache, path: cache.set("v", 1),
    "overwriting with a ttl": lambda cache, path: cache.set("v", 1, ttl=9),
    "replace": lambda cache, path: cache.replace("v", 1),
    "set_many": lambda cache, path: cache.set_many({"v": 1, "w": 2}),
    "delete": lambda cache, path: cache.delete("v"),
    "delete_many": lambda cache, path: cache.delete_many(["v", "w"]),
    "delete_pattern": lambda cache, path: cache.delete_pattern("*"),
    "pop": lambda cache, path: cache.pop("v"),
    "clear": lambda cache, path: cache.clear(),
    "load": lambda cache, path: cache.load(path),
    "eviction": lambda cache, path: cache.set_many({"e1": 1, "e2": 2, "e3": 3}),
    "eviction by set": lambda cache, path: [cache.set(key, 1) for key in "abc"],
    "eviction by a ttl": lambda cache, path: [cache.set(key, 1, ttl=9) for key in "abc"],
}
EXPIRIES = {
    "get": lambda cache, path: cache.get("v"),
    "get_many": lambda cache, path: cache.get_many(["v"]),
    "exists": lambda cache, path: cache.exists("v"),
    "set": lambda cache, path: cache.set("v", 1),
    "set with a ttl": lambda cache, path: cache.set("v", 1, ttl=1),
    "add": lambda cache, path: cache.add("v", 1),
    "replace": lambda cache, path: cache.replace("v", 1),
    "touch": lambda cache, path: cache.touch("v"),
    "increment": lambda cache, path: cache.increment("v"),
    "get_or_set": lambda cache, path: cache.get_or_set("v", lambda: 1),
    "pop": lambda cache, path: cache.pop("v"),
    "delete": lambda cache, path: cache.delete("v"),
    "room for another": lambda cache, path: [cache.set(key, 1) for key in "abc"],
    "cleanup": lambda cache, path: cache.cleanup(),
}


@pytest.mark.clause("R9.1", "R9.2", "R10.1")
@pytest.mark.parametrize(
    ("release", "ttl"),
    [
        *(pytest.param(release, None, id=name) for name, release in RELEASES.items()),
        *(pytest.param(release, 1, id=f"expired, {name}") for name, release in EXPIRIES.items()),
    ],
)
def test_releasing_a_value_may_call_the_cache_and_holds_no_lock(
    small_cache, clock, tmp_path, release, ttl
):
    small_cache.save(tmp_path / "s")
    errors, free = [], []

    def another_thread_gets_through(cache):
        thread = threading.Thread(target=cache.set, args=("other", 1))
        thread.start()
        thread.join(5)
        free.append(not thread.is_alive())

    value = Calls(small_cache, [another_thread_gets_through, *VERBS])
    value.errors = errors
    small_cache.set("v", value, ttl)
    del value
    clock.tick(2)

    release(small_cache, tmp_path / "s")
    gc.collect()

    assert (errors, free) == ([], [True])


@pytest.fixture
def in_the_middle():
    """Return a function that makes a call while another one, of the same thread, is under way.

    A garbage collection may run anything in the middle of whatever a thread does, and a save of
    ours begins one while it walks the entries. What the call raises is returned.
    `often` begins one every few allocations.
    """

    def in_the_middle(call, target, often=False):
        errors = []

        def collected(phase, info):
            if threading.current_thread() is runner and phase == "start":
                if not often:
                    gc.callbacks.remove(collected)
                try:
                    call()
                except BaseException as error:
                    errors.append(error)

        runner = threading.Thread(target=target, daemon=True)
        former = gc.get_threshold()
        gc.set_threshold(2 if often else 10**6)  # else none by chance
        gc.callbacks.append(collected)
        try:
            runner.start()
            runner.join(5)
        finally:
            gc.set_threshold(*former)
            if collected in gc.callbacks:
                gc.callbacks.remove(collected)
        return errors + [TimeoutError("it hangs")] * runner.is_alive()

    return in_the_middle


@pytest.mark.clause("R9.1")
@pytest.mark.parametrize("verb", range(len(VERBS)))
def test_a_call_may_come_from_the_middle_of_another(cache, tmp_path, in_the_middle, verb):
    cache.set("k", "v")

    errors = in_the_middle(lambda: VERBS[verb](cache), lambda: cache.save(tmp_path / "s"))

    assert (errors, cache.get("k")) == ([], "v")


@pytest.mark.clause("R9.1")
def test_either_every_change_waits_for_another_call_or_none(cache, tmp_path, in_the_middle):
    cache.save(tmp_path / "s")
    cache.set_many(dict.fromkeys("abcdefg", 1))
    changes = {
        "set": lambda: cache.set("new", 1),
        "overwriting": lambda: cache.set("a", 1),
        "set with a ttl": lambda: cache.set("other", 1, ttl=60),
        "add": lambda: cache.add("added", 1),
        "replace": lambda: cache.replace("b", 2),
        "set_many": lambda: cache.set_many({"c": 3}),
        "increment": lambda: cache.increment("d"),
        "touch": lambda: cache.touch("e"),
        "get_or_set": lambda: cache.get_or_set("made", lambda: 1),
        "pop": lambda: cache.pop("f"),
        "delete": lambda: cache.delete("g"),
        "delete_pattern": lambda: cache.delete_pattern("[fg]"),
        "clear": lambda: cache.clear(),
        "load": lambda: cache.load(tmp_path / "s"),
        "reset_stats": lambda: cache.reset_stats(),
        "cleanup": lambda: cache.cleanup(),
    }
    threads = [
        threading.Thread(target=change, name=name, daemon=True) for name, change in changes.items()
    ]
    waiting = []

    def all_change():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(0.02)
            waiting.extend([thread.name] * thread.is_alive())

    errors = in_the_middle(all_change, lambda: cache.save(tmp_path / "t"))
    for thread in threads:
        if thread.ident is not None:
            thread.join(JOIN)

    assert errors == []
    assert waiting in ([], [*changes])


@pytest.mark.clause("R9.1")
def test_a_call_from_inside_another_waits_for_no_third_party(cache, tmp_path, in_the_middle):
    running, release, got = threading.Event(), threading.Event(), []
    cache.set("stored", 1)

    def factory():
        running.set()
        assert release.wait(JOIN)
        cache.set("other", 1)  # waits for the save, which waits for the call inside it
        return "made"

    def ask():
        release.set()
        got.append(cache.get_or_set("k", lambda: "made inside"))

    third = threading.Thread(target=cache.get_or_set, args=("k", factory), daemon=True)
    third.start()
    assert running.wait(JOIN)
    errors = in_the_middle(ask, lambda: cache.save(tmp_path / "s"))
    release.set()
    third.join(0.1 if errors else JOIN)

    assert errors == []
    assert got in ([], ["made inside"])


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

    def work():
        for number in range(500):
            Knot()
            cache.set(f"k{number % 80}", [number], ttl=1000 if number % 2 else None)
            cache.get(f"k{(number * 7) % 80}")
            cache.increment(f"n{number % 9}")
            cache.get_many([f"k{number % 80}", f"k{(number * 3) % 80}"])
            cache.get_or_set(f"m{number % 5}", lambda: None)
            cache.delete(f"m{(number + 2) % 5}")
            if number % 10 == 0:
                cache.delete_pattern(f"k{number % 8}?")

    former = gc.get_threshold()
    gc.set_threshold(7)
    try:
        hanging = run_all(work, patience=15)
    finally:
        gc.set_threshold(*former)

    assert (hanging, errors) == ([], [])


@pytest.mark.clause("R9.1")
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


TAKES = {
    "add": lambda cache, keys: sum(cache.add(key + "new", 1) for key in keys),
    "pop": lambda cache, keys: sum(cache.pop(key, 0) for key in keys),
    "delete": lambda cache, keys: sum(cache.delete(key) for key in keys),
    "delete_many": lambda cache, keys: sum(cache.delete_many([key]) for key in keys),
    "delete_pattern": lambda cache, keys: cache.delete_pattern("k*"),
}


@pytest.mark.clause("R9.1")
@pytest.mark.parametrize("verb", TAKES)
def test_of_threads_that_want_the_same_one_gets_it(make_cache, tiny_switch_interval, verb):
    cache = make_cache(2000)
    keys = [f"k{number}" for number in range(400)]
    cache.set_many(dict.fromkeys(keys, 1))
    won = []

    errors = run_all(*[lambda: won.append(TAKES[verb](cache, keys))] * 8)

    assert (errors, sum(won)) == ([], 400)


@pytest.mark.clause("R9.1")
@pytest.mark.parametrize(
    "write_back",
    [
        lambda cache: cache.touch("k", 60),
        lambda cache: cache.increment("k", 0),
    ],
    ids=["touch", "increment"],
)
def test_what_a_call_has_read_is_not_written_over_anothers_write(
    cache, tiny_switch_interval, meanwhile, write_back
):
    cache.set("k", 0)
    lost = []

    with meanwhile(lambda: write_back(cache)):
        for number in range(3000):
            cache.set("k", number)
            if cache.get("k") != number:
                lost.append(number)

    assert lost == []


@pytest.mark.clause("R9.1")
def test_a_replace_brings_nothing_back(cache, tiny_switch_interval, meanwhile):
    back = []

    with meanwhile(lambda: cache.replace("k", 1)):
        for number in range(3000):
            cache.set("k", number)
            cache.delete("k")
            if cache.exists("k"):
                back.append(number)

    assert back == []


@pytest.mark.clause("R9.1")
def test_what_is_written_in_one_step_is_read_in_one(cache, tiny_switch_interval, meanwhile):
    keys, numbers, seen = [f"k{number}" for number in range(20)], count(), []
    cache.set_many(dict.fromkeys(keys, -1))

    with meanwhile(lambda: cache.set_many(dict.fromkeys(keys, next(numbers)))):
        for _ in range(5000):
            seen.append(len(set(cache.get_many(keys).values())))

    assert set(seen) == {1}


@pytest.mark.clause("R9.1", "R10.1")
def test_what_is_set_during_a_delete_pattern_stays(make_cache):
    cache = make_cache(20_000)

    class Sets:
        def __init__(self, other):
            self.other = other

        def __del__(self):
            cache.set(self.other, "new")

    # Whichever goes first sets the other one anew.
    last = {"k0": Sets("k9999"), "k9999": Sets("k0")}
    cache.set_many({**{f"k{number}": None for number in range(10_000)}, **last})
    last.clear()

    cache.delete_pattern("k*")

    assert cache.get_many(cache.keys()) == {"k0": "new", "k9999": "new"}


@pytest.mark.clause("R9.1")
def test_no_read_in_the_middle_of_a_write_sees_half_of_it(cache, in_the_middle):
    keys, readers, seen = [f"k{number}" for number in range(20)], [], []
    cache.set_many(dict.fromkeys(keys, 0))

    def read_in_another_thread():
        reader = threading.Thread(target=lambda: seen.append(cache.get_many(keys)), daemon=True)
        readers.append(reader)
        reader.start()
        reader.join(0.02)

    errors = in_the_middle(
        read_in_another_thread, lambda: cache.set_many(dict.fromkeys(keys, 1)), often=True
    )
    for reader in readers:
        reader.join(JOIN)

    assert errors == []
    assert all(len(set(values.values())) == 1 for values in seen)


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
        return ["made"]

    got = []
    errors = run_all(*[lambda: got.append(cache.get_or_set("k", factory))] * 16)

    assert (errors, len(calls), len(set(map(id, got))), len(got)) == ([], 1, 1, 16)


@pytest.mark.clause("R9.3")
@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt])
def test_waiters_get_the_exception_and_the_next_call_tries_again(cache, wait_until, kind):
    calls = []

    def factory():
        calls.append(1)
        wait_until(lambda: cache.stats().misses == 4, 2)
        raise kind("no luck")

    errors = run_all(*[lambda: cache.get_or_set("k", factory)] * 4, patience=5)
    again = []
    hanging = run_all(lambda: again.append(cache.get_or_set("k", lambda: "made")), patience=5)

    assert [(type(error), *error.args) for error in errors] == [(kind, "no luck")] * 4
    assert (len(calls), hanging, again) == (1, [], ["made"])


@pytest.mark.clause("R9.3")
def test_each_key_is_made_once_in_a_storm(cache, tiny_switch_interval):
    made = []

    def work():
        for number in range(500):
            cache.get_or_set(f"k{number}", lambda number=number: made.append(number) or number)

    assert run_all(*[work] * 8) == []
    assert sorted(made) == list(range(500))


@pytest.mark.clause("R9.3")
def test_who_missed_before_another_landed_takes_what_is_there(cache):
    """Another thread asks for the key at one step of the call, at each step in turn."""
    package = type(cache).__module__.partition(".")[0]
    modules = [sys.modules[name] for name in sorted(sys.modules) if name.split(".")[0] == package]
    made = []

    def ask(key):
        return cache.get_or_set(key, lambda: made.append(key) or key)

    def ask_in_between(key, step):
        another = threading.Thread(target=ask, args=(key,))
        stepper = Stepper(*modules, at=step, act=lambda: another.start() or another.join(0.02))
        stepper.run(lambda: ask(key))
        if another.ident is not None:
            another.join(JOIN)
        return stepper.steps

    try:
        steps = ask_in_between("first", -1)
        for step in range(steps):
            ask_in_between(f"k{step}", step)
    finally:
        disarm()

    assert sorted(made) == sorted(["first", *(f"k{step}" for step in range(steps))])


@pytest.mark.clause("R9.3")
@pytest.mark.parametrize("ttl", [None, 5])
def test_what_was_made_and_has_gone_is_made_anew(cache, clock, ttl):
    values = count()
    first = cache.get_or_set("k", lambda: next(values), ttl)
    if ttl is None:
        cache.delete("k")
    clock.tick(5)

    assert (first, cache.get_or_set("k", lambda: next(values)), cache.get("k")) == (0, 1, 1)


@pytest.mark.clause("R9.3")
def test_having_waited_once_is_no_deadlock_later(cache, wait_until):
    asked, got, errors = threading.Event(), [], []

    def first():
        cache.get_or_set("a", lambda: wait_until(lambda: cache.stats().misses == 2))
        assert asked.wait(JOIN)
        got.append(cache.get_or_set("b", lambda: "not this"))

    def second():
        wait_until(lambda: cache.stats().misses == 1)
        got.append(cache.get_or_set("a", lambda: "not this"))
        got.append(cache.get_or_set("b", made_while_the_first_waits))

    def made_while_the_first_waits():
        asked.set()
        wait_until(lambda: cache.stats().misses == 4)
        return "b"

    errors = run_all(first, second)

    assert (errors, sorted(map(str, got))) == ([], ["True", "b", "b"])


class Asks:
    """A trusted value that has another thread call the cache while it is pickled or unpickled."""

    cache, free = None, []

    def __init__(self):
        another = threading.Thread(target=self.cache.set, args=("other", 1))
        another.start()
        another.join(5)
        self.free.append(not another.is_alive())

    def __reduce__(self):
        Asks.__init__(self)
        return Asks, ()


@pytest.mark.clause("R9.2")
def test_no_lock_is_held_while_values_are_pickled_or_unpickled(make_cache, tmp_path, monkeypatch):
    cache = make_cache(trust=[Asks])
    monkeypatch.setattr(Asks, "cache", cache)
    monkeypatch.setattr(Asks, "free", [])
    cache.set("k", Asks())

    cache.save(tmp_path / "s")
    saved = len(Asks.free)
    cache.load(tmp_path / "s")

    assert 0 < saved < len(Asks.free)
    assert all(Asks.free)


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
    errors = run_all(
        lambda: cache.set("other", 1), lambda: cache.get_or_set("third", lambda: 3), patience=5
    )
    release.set()
    thread.join(JOIN)

    assert (errors, cache.get_many(["k", "other", "third"])) == (
        [],
        {"k": "made", "other": 1, "third": 3},
    )


@pytest.mark.clause("R9.3")
def test_a_factory_that_needs_its_own_key_is_a_runtime_error(cache, wording):
    (error,) = run_all(
        lambda: cache.get_or_set("k", lambda: cache.get_or_set("k", lambda: 1)), patience=5
    ) or [None]

    assert type(error) is RuntimeError
    assert re.search(wording("'k'") or "", str(error))
    assert cache.get_or_set("k", lambda: 2) == 2


@pytest.mark.clause("R9.3")
@pytest.mark.parametrize("keys", ["ab", "abc"])
def test_factories_that_need_each_other_are_a_runtime_error(cache, keys):
    meet = threading.Barrier(len(keys))
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

    around = zip(keys, keys[1:] + keys[0], strict=True)
    assert run_all(*[functools.partial(ask, *pair) for pair in around], patience=5) == []
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
        lambda cache: [cache.set(key, "written", ttl=60) for key in ("other", "k")],
        lambda cache: cache.add("k", 1) and cache.replace("k", "written"),
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
@pytest.mark.parametrize(
    "other",
    [
        lambda cache: cache.set("other", 1),
        lambda cache: cache.delete("other"),
        lambda cache: cache.pop("other"),
        lambda cache: cache.delete_pattern("o*"),
        lambda cache: cache.cleanup(),
        lambda cache: cache.get("k"),
    ],
)
def test_what_happens_to_other_keys_does_not_keep_the_value_out(cache, other):
    cache.set("other", 1)

    def factory():
        other(cache)
        return "made"

    assert (cache.get_or_set("k", factory), cache.get("k")) == ("made", "made")


@pytest.mark.clause("R9.3")
def test_the_ttl_begins_when_the_factory_has_returned(cache, clock):
    cache.get_or_set("k", lambda: clock.tick(100), ttl=10)

    assert cache.ttl("k") == 10


@pytest.mark.clause("R9.3")
def test_a_factory_that_is_not_callable_is_a_type_error(cache, wording):
    with pytest.raises(TypeError, match=wording("factory must be callable, not str")):
        cache.get_or_set("k", "value")


@pytest.mark.clause("R9.3")
def test_a_stored_value_calls_no_factory(cache):
    cache.set("k", None)

    assert cache.get_or_set("k", lambda: pytest.fail("called")) is None


@pytest.mark.clause("R9.1", "R10.1")
def test_the_lock_may_be_taken_again_by_its_holder(cache):
    cache.set("k", Calls(cache, VERBS))

    cache.set("k", Calls(cache, VERBS))
    cache.clear()

    assert cache.stats().size == len(cache)


@pytest.mark.clause("R9.3")
def test_a_write_during_the_factory_keeps_its_value_out_though_it_has_expired(cache, clock):
    def factory():
        cache.set("k", "written", ttl=1)
        clock.tick(2)
        cache.cleanup()
        return "made"

    made = cache.get_or_set("k", factory)

    assert (made, cache.exists("k")) == ("made", False)


@pytest.mark.clause("R9.3", "R2.2")
def test_a_write_during_the_factory_keeps_its_value_out_though_it_was_evicted(make_cache):
    cache = make_cache(max_size=1)

    def factory():
        cache.set("k", "written")
        cache.set("other", 1)
        return "made"

    made = cache.get_or_set("k", factory)

    assert (made, cache.keys()) == ("made", ["other"])
