"""What hostile code, junk and odd moments may do to the compiled store: it stays whole.

A defect here is a crash or a hang more often than a failed assertion; so what could take the
interpreter with it runs in one of its own.
"""

import copy
import gc
import importlib
import math
import pickle
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import freezegun
import pytest

store_module = pytest.importorskip("cache.memory._store", reason="nothing was compiled")
Store = store_module.Store

SECONDS = 60.0


@pytest.fixture
def real_clock() -> Iterator[Callable[[Any], None]]:
    """Return a function that puts another clock in the place of the real one, until the end."""

    def replace(clock: Any) -> None:
        store_module.monotonic = clock

    yield replace
    store_module.monotonic = time.monotonic


def alone(code: str) -> str:
    """Run code in an interpreter of its own, which must end well; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


PRELUDE = """
import gc, sys, threading
from cache.memory import _store
from cache.memory._store import Store
"""


def everything(store: Any) -> list[Callable[[], Any]]:
    """Return calls of every verb of a store, each of which may fail."""
    snapshot, walk = store._snapshot()[0], store._walk(True)
    other = Store(10)
    return [
        *(lambda: store.get("a"), lambda: store.set("a", [1], 5.0), lambda: store.add("b", [2])),
        *(lambda: store.replace("a", [3], 9), lambda: store.touch("b", 2), lambda: store["a"]),
        *(lambda: store.increment("n"), lambda: store.decrement("m", 2.5, ttl=3)),
        *(lambda: store.pop("a"), lambda: store.delete("b"), lambda: store.exists("n")),
        *(lambda: store.get_many(["a", "n"]), lambda: store.set_many({"c": [], "d": 1}, 4)),
        *(lambda: store.delete_many(["c", "d"]), lambda: store.ttl("n"), lambda: "n" in store),
        *(lambda: store.peek("n"), lambda: store._read("n", 0), lambda: store._read_many(["n"])),
        *(lambda: store._watch("w"), lambda: store._land("w", [1], 3.0), store._watched),
        *(lambda: store._unwatch("w"), lambda: store._forget(["w"]), store._sweep, store._counters),
        *(lambda: snapshot.rows(2), walk.slice, lambda: walk.delete(["a", "n"])),
        *(lambda: store._swap(other, False), store._release, store._snapshot, snapshot.close),
        *(lambda: store._fill(["x"], [[1]], [None], 0.0, 0.0), store._check, walk.close),
    ]


class Finalized:
    """A value that calls every verb of its store when it goes, and dies in tests as it may."""

    def __init__(self, store: Any, depth: int = 0) -> None:
        self.store = weakref.ref(store)

    def __del__(self) -> None:
        store = self.store()
        if store is not None and store.nested < 3:
            store.nested += 1
            try:
                call_all(store)
            finally:
                store.nested -= 1


class Nesting(Store):
    nested = 0


def call_all(store: Any) -> None:
    for call in everything(store):
        try:
            call()
        except (KeyError, ValueError):
            pass


# -- foreign code in the middle --------------------------------------------------------------------


def test_finalizers_that_call_every_verb_leave_a_store_whole():
    store = Nesting(8)
    chosen = random.Random(1)

    for _ in range(150):
        key = chosen.choice("abcdefghnmx")
        store.set(key, Finalized(store), chosen.choice([None, 0.001, 50.0]))
        store.set_many({each: Finalized(store) for each in chosen.sample("abcdefgh", 3)})
        chosen.choice(everything(store)[:4])()
        store._check()
    store._swap(Store(8), False)

    store._check()


def test_a_garbage_collector_that_calls_the_store_at_any_allocation_leaves_it_whole():
    printed = alone(
        """
store = Store(6)
busy = False
def collected(phase, info):
    global busy
    if busy or phase == "start":
        return
    busy = True
    store.set("a", [1], 5.0); store.get("a"); store.delete("b"); store.increment("n")
    store._watch("g"); store._unwatch("g"); store._unwatch("w"); store._sweep()
    store.set_many({"c": [], "d": []}); store._snapshot()[0].rows(3); store._walk(True).slice()
    store._swap(Store(6), False)
    busy = False
gc.callbacks.append(collected)
gc.set_threshold(1)
for number in range(300):
    snapshot = store._snapshot()[0]
    walk = store._walk(True)
    store._watch("w"); store._watched(); store._land("w", [number], 5.0)
    store.set("abcdefgh"[number % 8], [[number]], 3.0)
    store.get_many(list("abcdn")); store._counters(); store._read_many(["a"])
    snapshot.rows(2); walk.slice(); walk.delete(["a", "b"]); snapshot.rows(9)
    try:
        store.increment("x" * (number % 3), 10**400 if number % 2 else 0.5)
    except OverflowError:
        pass
    store._check()
gc.set_threshold(0)
gc.callbacks.clear()
print("whole")
"""
    )

    assert printed == "whole"


def test_the_list_of_watched_keys_outlives_the_last_watch():
    """Where a collection in the middle of `_watched` ends that watch."""
    printed = alone(
        """
store = Store(3)
gc.collect()
for number in range(400):
    for key in range(50):
        store._watch(str(key))
    gc.callbacks[:] = [lambda *_: [store._unwatch(str(key)) for key in range(50)]]
    gc.set_threshold(1)
    len(store._watched())
    gc.set_threshold(0)
    gc.callbacks.clear()
print("whole")
"""
    )

    assert printed == "whole"


def test_a_weakref_callback_may_call_the_store_while_its_content_goes():
    class Value:
        pass

    store = Store(50)
    seen = []
    values = [Value() for _ in range(50)]
    references = [
        weakref.ref(value, lambda _: seen.append((store.get("k0"), store.set("back", 1))))
        for value in values
    ]
    store.set_many({f"k{number}": value for number, value in enumerate(values)})
    values.clear()
    former = Store(50)

    store._swap(former, False)
    while former._release():
        pass

    assert (len(seen), len(references)) == (50, 50)
    assert store.get("back") == 1
    store._check()


def test_threads_that_switch_all_the_time_leave_a_store_whole():
    store = Nesting(20)
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(seed: int) -> None:
        chosen = random.Random(seed)
        try:
            barrier.wait(SECONDS)
            for _ in range(60):
                store.set(chosen.choice("abcdefgh"), Finalized(store), chosen.choice([None, 0.001]))
                call_all(store)
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
    finally:
        sys.setswitchinterval(interval)

    assert failures == []
    store._check()


def test_two_threads_may_read_one_snapshot_and_one_walk():
    store = Store(20_000)
    store.set_many({str(number): number for number in range(20_000)})
    snapshot, walk = store._snapshot()[0], store._walk(False)
    rows: list[Any] = []
    keys: list[str] = []

    def read() -> None:
        while part := snapshot.rows(100):
            rows.extend(part)
        while found := walk.slice():
            keys.extend(found)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert len(rows) == len({row[0] for row in rows}) == 20_000
    assert len(keys) == len(set(keys)) == 20_000


# -- junk ------------------------------------------------------------------------------------------


class HostileKey:
    """Equal to whatever, by code that changes what is being looked at."""

    def __hash__(self) -> int:
        return hash("k")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("it was compared")


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store._read_many([1]),
        lambda store: store._read_many(["k", HostileKey()]),
        lambda store: store._forget([[]]),
        lambda store: store._forget([HostileKey()]),
        lambda store: store._unwatch(HostileKey()),
        lambda store: store._watch(HostileKey()),
        lambda store: store._walk(True).delete([1, object()]),
        lambda store: store._walk(True).delete(3),
        lambda store: store._fill([1], [1], [None], 0.0, 0.0),
        lambda store: store._read(1, None),
        lambda store: store._land(1, 1, 1.0),
        lambda store: store._swap(store, False),
        lambda store: store._swap({}, False),
        lambda store: store._swap(importlib.import_module("cache.memory._store_py").Store(3), True),
    ],
)
def test_junk_below_the_public_verbs_is_a_type_error_that_changes_nothing(call):
    store = Store(3)
    store.set("k", 1)
    store._watch("k")

    with pytest.raises(TypeError):
        call(store)

    assert store._watched() == ["k"]
    assert store._unwatch("k") is True
    assert store.get("k") == 1
    store._check()


@pytest.mark.parametrize("size", [0, -1, -(10**30)])
def test_a_bound_below_one_is_a_value_error(size):
    with pytest.raises(ValueError, match=f"max_size must be at least 1, not {size}"):
        Store(size)


def test_a_bound_may_be_larger_than_any_number_of_entries():
    store = Store(10**30)

    store.set_many(dict.fromkeys("abc", 1))

    assert len(store) == 3


@pytest.mark.parametrize("life", [math.nan, 0.0, -1.0, -math.inf])
def test_a_life_that_is_not_above_zero_is_a_value_error(life):
    store = Store(3)
    store._watch("k")

    with pytest.raises(ValueError, match="a life must be above zero"):
        Store(3, life)
    with pytest.raises(ValueError, match="a life must be above zero"):
        store._land("k", 1, life)

    assert len(store) == 0


def test_content_of_a_larger_store_may_be_given_new_deadlines_in_one_step():
    larger, store = Store(500), Store(1)
    entries = {str(number): number for number in range(500)}
    larger.set_many(entries)

    store._swap(larger, False)
    store.set_many(entries, 5.0)
    store.set_many(entries, 6.0)

    assert store._sweep() == 0
    assert [store.peek(key) for key in entries] == [*entries.values()]
    assert all(store.ttl(key) < 7 for key in entries)


def test_a_store_whose_init_never_ran_is_a_store():
    store = Store.__new__(Store)

    store.set("k", 1)

    assert store.get("k") == 1
    store._check()


def test_init_again_changes_the_bound_and_keeps_the_entries():
    store = Store(10)
    store.set_many(dict.fromkeys("abc", 1))

    store.__init__(3)
    store.set("d", 1)

    assert sorted(store._walk(False).slice()) == ["b", "c", "d"]
    store._check()


@pytest.mark.parametrize(
    "way", [pickle.dumps, lambda it: pickle.dumps(it, 0), copy.copy, copy.deepcopy]
)
def test_a_store_is_neither_pickled_nor_copied(way):
    with pytest.raises(TypeError, match="cannot pickle"):
        way(Store(3))


@pytest.mark.parametrize("kind", ["Snapshot", "Walk"])
def test_snapshots_and_walks_are_made_by_stores_alone(kind):
    made = Store(3)._snapshot()[0] if kind == "Snapshot" else Store(3)._walk(False)

    with pytest.raises(TypeError, match="cannot create"):
        type(made)()


def test_a_store_can_be_referred_to_weakly_and_subscripted():
    store = Store(3)
    reference = weakref.ref(store)

    del store

    assert reference() is None
    assert Store[int].__origin__ is Store


# -- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "error"), [(math.nan, ValueError), ("noon", TypeError), (None, TypeError)]
)
def test_a_clock_that_returns_junk_is_an_error_that_changes_nothing(real_clock, reading, error):
    store = Store(3)
    store.set("k", 1)
    real_clock(lambda: reading)

    for call in everything_timed(store):
        with pytest.raises(error):
            call()

    real_clock(time.monotonic)
    assert store._counters() == (0, 0, 0, 0, 1)
    assert store.peek("k") == 1
    store._check()


def everything_timed(store: Any) -> list[Callable[[], Any]]:
    """Return calls of every verb that asks the clock."""
    return [
        *(lambda: store.get("k"), lambda: store["k"], lambda: store.set("k", 2, 5.0)),
        *(lambda: store.add("j", 2), lambda: store.replace("k", 2), lambda: store.touch("k", 2)),
        *(lambda: store.increment("k"), lambda: store.pop("k"), lambda: store.delete("k")),
        *(lambda: store.get_many(["k"]), lambda: store.set_many({"k": 2}), lambda: "k" in store),
        *(lambda: store.delete_many(["k"]), lambda: store.ttl("k"), lambda: store.peek("k")),
        *(lambda: store._read("k", 0), lambda: store._read_many(["k"]), store._sweep, store._now),
        *(store._snapshot, lambda: store._walk(True).slice(), lambda: store._land("k", 2, 1.0)),
        lambda: store._walk(True).delete(["k"]),
    ]


@pytest.mark.parametrize("reading", [math.inf, -math.inf, -1.0, 0, 10**30])
def test_any_other_reading_of_a_clock_leaves_a_store_whole(real_clock, reading):
    store = Store(3)
    store.set_many(dict.fromkeys("abc", 1), 5.0)
    real_clock(lambda: reading)

    store.set_many(dict.fromkeys("bcd", 1), 5.0)
    store._sweep()
    call_all(store)

    store._check()


def test_a_clock_that_raises_is_an_error_that_changes_nothing(real_clock):
    def broken() -> float:
        raise KeyboardInterrupt

    store = Store(3)
    store.set("k", 1)
    real_clock(broken)

    for call in everything_timed(store):
        with pytest.raises(KeyboardInterrupt):
            call()

    real_clock(time.monotonic)
    assert store._counters() == (0, 0, 0, 0, 1)


def test_a_clock_may_call_the_store_and_take_its_own_place_away(real_clock):
    store = Nesting(4)
    asked = []

    def reentrant() -> float:
        asked.append(1)
        if store.nested == 0:
            store.nested = 1
            call_all(store)
            store.nested = 0
        if len(asked) % 7 == 0:
            store_module.monotonic = time.monotonic
            gc.collect(0)
            store_module.monotonic = make_clock()
        return time.monotonic()

    def make_clock() -> Callable[[], float]:
        return lambda: reentrant()

    real_clock(make_clock())
    for number in range(5):
        store.set("abcdef"[number % 6], Finalized(store), 5.0)
        call_all(store)

    assert len(asked) > 100
    store._check()


def test_a_clock_that_was_stopped_many_times_is_the_real_one_again():
    store = Store(3)

    for _ in range(20):
        with freezegun.freeze_time("2026-01-01", real_asyncio=True) as frozen:
            store.set("k", 1, 5)
            frozen.tick(5)
            assert store.get("k") is None

    assert store_module.monotonic is time.monotonic
    assert abs(store._now() - time.monotonic()) < SECONDS


def test_a_module_that_is_imported_under_a_frozen_clock_follows_it_and_then_the_real_one():
    printed = alone(
        """
import time
for name in [name for name in sys.modules if name.startswith("cache")]:
    del sys.modules[name]
import freezegun
with freezegun.freeze_time("2026-01-01") as frozen:
    from cache.memory import _store
    store = _store.Store(3)
    store.set("k", 1, 5)
    frozen.tick(4.5)
    before = store.get("k")
    frozen.tick(0.5)
    after = store.get("k")
print(before, after, abs(store._now() - time.monotonic()) < 60)
"""
    )

    assert printed == "1 None True"


# -- garbage ---------------------------------------------------------------------------------------


def test_a_store_is_collected_with_its_snapshots_and_walks():
    class Value:
        pass

    store = Store(10)
    value = Value()
    value.all = (store, store._snapshot()[0], store._walk(True), store._walk(False))
    store.set("k", value)
    store.set("snapshot", value.all[1])
    store.set("walk", value.all[2])
    store._snapshot()[0].rows(1)
    references = weakref.ref(store), weakref.ref(value)

    del store, value
    gc.collect()

    assert [reference() for reference in references] == [None, None]


def test_a_snapshot_that_is_garbage_too_may_be_read_while_its_store_is_collected():
    class Value:
        def __del__(self):
            read.append(self.snapshot.rows(5))
            self.store.set("back", 1)
            self.store._check()

    read: list[Any] = []
    store = Store(10)
    store.set("before", [1])
    value = Value()
    value.snapshot, value.store = store._snapshot()[0], store
    store.set("k", value)
    store.delete("before")
    reference = weakref.ref(store)

    del store, value
    gc.collect()
    gc.collect()

    assert [row[0] for row in read[0]] == ["before"]
    assert reference() is None


def test_finalizers_of_a_collection_find_the_store_as_it_was():
    printed = alone(
        """
store = Store(10)
parts = [store, store._snapshot()[0], store._walk(True)]
seen = []
class Value:
    __slots__ = ()
    def __del__(self, parts=parts, seen=seen):
        store, snapshot, walk = parts
        seen.append((len(store), store.get("k"), store.set("back", 1)))
        snapshot.rows(3); walk.slice(); walk.delete(["k"]); store._check()
store.set_many({"k": Value(), "j": Value(), "me": store})
store.delete("none")
del store, parts, Value
gc.collect()
print([size for size, *_ in seen])
"""
    )

    assert printed == "[3, 4]"


def test_a_list_that_is_nested_deeply_goes_with_its_store():
    assert (
        alone(
            """
nested = []
for _ in range(100_000):
    nested = [nested]
store = Store(3)
store.set("k", nested)
del nested, store
print("gone")
"""
        )
        == "gone"
    )


CHAIN = """
class Cache(Store):
    pass
first = store = {kind}(3)
for _ in range(80_000):
    store, following = {kind}(3), store
    store.set("next", following)
del following
"""
# CPython bounds the recursion, and needs about a megabyte for it; the chain would need far more.
IN_A_THREAD = """
threading.stack_size(4 * 1024 * 1024)
def go():
    global store, first
    {}
thread = threading.Thread(target=go)
thread.start()
thread.join()
print("gone")
"""


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("Store", "del first, store"),
        ("Cache", "del first, store"),
        ("Store", "del first; store.delete('next')"),
        ("Store", "first.set('next', store); del first, store; gc.collect()"),
    ],
)
def test_a_long_chain_of_stores_goes_without_deep_recursion(kind, way):
    assert alone(CHAIN.format(kind=kind) + IN_A_THREAD.format(way)) == "gone"


# -- interpreters ----------------------------------------------------------------------------------


def test_another_interpreter_of_the_process_has_stores_of_its_own():
    printed = alone(
        """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
store = Store(3)
store.set("k", [1], 50)
code = "; ".join([
    f"import sys; sys.path[:] = {sys.path!r}",
    "from cache.memory._store import Store; store = Store(10)",
    "store.set('k', [2], 50); store.set('me', store); snapshot = store._snapshot()[0]",
    "assert [row[0] for row in snapshot.rows(9)] == ['k', 'me']",
])
for _ in range(5):
    another = interpreters.create()
    failed = interpreters.run_string(another, code)
    assert failed is None, failed
    interpreters.destroy(another)
_store.monotonic = lambda: 1e12
print(store.get("k"))
"""
    )

    assert printed == "None"


def test_an_interpreter_exits_with_stores_that_hold_each_other_and_their_module():
    printed = alone(
        """
class Value:
    __slots__ = ()
    def __del__(self, get=Store.get, walk=Store._walk, snapshot=Store._snapshot):
        for call in (lambda: get(store, Key("k")), lambda: walk(store, True).slice(),
                     lambda: snapshot(store)[0].rows(3), lambda: store.increment("n", 1.5)):
            try:
                call()
            except (NameError, RuntimeError, AttributeError):
                pass
class Key(str):
    pass
store = Store(10)
store.set_many({"k": Value(), "me": store, "module": _store, "type": Store, "here": globals()})
_store.kept = store
snapshot, walk = store._snapshot()[0], store._walk(True)
store.delete("k")
store.set("k", Value())
print("exits")
"""
    )

    assert printed == "exits"


def test_a_module_that_is_imported_again_has_a_state_of_its_own():
    printed = alone(
        """
stores = [Store(3)]
for _ in range(5):
    del sys.modules["cache.memory._store"]
    import importlib
    again = importlib.import_module("cache.memory._store")
    stores.append(again.Store(3))
    again.monotonic = lambda: 7.0
    del again
gc.collect()
for each in stores:
    each.set("k", [each], 5.0)
    each._walk(True).slice()
print(sorted({store._now() == 7.0 for store in stores}), stores[0]._now() == 7.0)
del each, stores
gc.collect()
"""
    )

    assert printed == "[False, True] False"


def test_a_child_finds_the_store_whole_whatever_other_threads_were_doing():
    printed = alone(
        """
import os, warnings
warnings.simplefilter("ignore")
store = Store(50)
stop = threading.Event()
def work():
    number = 0
    while not stop.is_set():
        number += 1
        store.set(str(number % 70), [number], 5.0)
        store.increment("n"); store._snapshot()[0].rows(5)
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        store._check(); store.set("child", 1); store.get_many(["child", "n"]); store._check()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
print("whole")
"""
    )

    assert printed == "whole"


def test_a_walk_ends_with_the_content_that_is_released():
    store = Store(10)
    store.set_many(dict.fromkeys("abc", 1))
    walk = store._walk(True)

    store._release()
    store.set_many(dict.fromkeys("abcdef", 2))

    assert walk.slice() is None
    assert walk.delete(list("abc")) == 0
    walk.close()
    assert len(store) == 6


def test_another_clock_written_in_c_is_followed(real_clock):
    store = Store(3)

    real_clock(time.time)

    assert abs(store._now() - time.time()) < SECONDS
