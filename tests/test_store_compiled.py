"""What only the compiled store has to stand: memory that cannot be had, and references to count."""

import gc
import importlib
import math
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from tests.stores import module_over

store_module = pytest.importorskip("cache.memory._store", reason="nothing was compiled")
_testcapi = pytest.importorskip("_testcapi", reason="this Python has no _testcapi")

KEYS = [f"key:{number}" for number in range(40)]


def filled() -> Any:
    """Return a store with entries of each kind, a snapshot and a walk under way, and a watch."""
    store = store_module.Store(40)
    for number, key in enumerate(KEYS):
        store.set(key, [number] if number % 3 else number, ttl=1000.0 if number % 2 else None)
    snapshot, walk = store._snapshot()[0], store._walk(True)
    snapshot.rows(3)
    store._watch("watched")
    return store, snapshot, walk


VERBS = {
    "get": lambda store, *_: store.get(KEYS[20]),
    "subscript": lambda store, *_: store[KEYS[20]],
    "get_many": lambda store, *_: store.get_many(KEYS[10:30]),
    "exists": lambda store, *_: store.exists(KEYS[20]),
    "peek": lambda store, *_: store.peek(KEYS[20]),
    "set": lambda store, *_: store.set(KEYS[20], "new", 5),
    "set a new one": lambda store, *_: store.set("new", "new", 5),
    "set_many": lambda store, *_: store.set_many(dict.fromkeys([*KEYS[:20], *"abcdef"], 1), 5),
    "add": lambda store, *_: store.add("new", "new", 5),
    "replace": lambda store, *_: store.replace(KEYS[20], "new", 5),
    "touch": lambda store, *_: store.touch(KEYS[20], 5),
    "increment": lambda store, *_: store.increment(KEYS[21], 10**20),
    "increment a new one": lambda store, *_: store.increment("new", 10**20, ttl=5),
    "pop": lambda store, *_: store.pop(KEYS[20]),
    "delete": lambda store, *_: store.delete(KEYS[20]),
    "delete_many": lambda store, *_: store.delete_many(KEYS[10:30]),
    "put": lambda store, *_: store._put("new", "new", 5.0),
    "take": lambda store, *_: store._take(KEYS[10:30]),
    "land": lambda store, *_: store._land("watched", "new", 5.0),
    "sweep": lambda store, *_: store._sweep(),
    "walk": lambda store, *_: store._walk(True),
    "slice": lambda store, snapshot, walk: walk.slice(),
    "walk.delete": lambda store, snapshot, walk: walk.delete(KEYS[:30]),
    "snapshot": lambda store, *_: store._snapshot(),
    "counters": lambda store, *_: store._counters(),
    "watch": lambda store, *_: store._watch("another"),
    "reserve": lambda store, *_: store._reserve(100_000),
    "release": lambda store, *_: store._release(),
}


NEEDS_NO_MEMORY = {"get", "subscript", "exists", "peek", "sweep", "slice", "watch"}


def seen(store: Any) -> Any:
    """Return all that a caller can see of a store."""
    rows, snapshot = [], store._snapshot()[0]
    while part := snapshot.rows(100):
        rows += part
    return rows, store._counters(), sorted(store._watched())


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_gets_no_memory_changes_nothing(verb):
    failures = 0
    for number in range(200):
        store, snapshot, walk = filled()
        before = seen(store)
        gc.collect()
        call = VERBS[verb]

        _testcapi.set_nomemory(number, number + 1)
        try:
            call(store, snapshot, walk)
            failed = False
        except MemoryError:
            failed = True
        finally:
            _testcapi.remove_mem_hooks()

        store._check()
        if not failed:
            break
        failures += 1
        assert seen(store) == before
    else:
        raise AssertionError("the verb never got its memory")
    assert failures or verb in NEEDS_NO_MEMORY


REPEATED = {
    **{name: verb for name, verb in VERBS.items() if name not in ("reserve", "release", "watch")},
    "a miss": lambda store, *_: store.get("none"),
    "a refused key": lambda store, *_: pytest.raises(TypeError, store.get, 1),
    "a refused ttl": lambda store, *_: pytest.raises(ValueError, store.set, KEYS[0], 1, -1.0),
    "no number": lambda store, *_: pytest.raises(ValueError, store.increment, KEYS[1]),
    "a missing item": lambda store, *_: pytest.raises(KeyError, store.__getitem__, "none"),
    "watch and land": lambda store, *_: (store._watch("w"), store._land("w", 1, math.inf)),
    "swap": lambda store, *_: store._swap(store_module.Store(10), True),
    "whole": lambda *_: filled(),
}


@pytest.mark.parametrize("verb", REPEATED)
def test_a_verb_leaks_neither_memory_nor_references(verb):
    store, snapshot, walk = filled()
    call = REPEATED[verb]
    grown = []

    for _ in range(4):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(300):
            call(store, snapshot, walk)
        gc.collect()
        grown.append(sys.getallocatedblocks() - before)

    # What the first rounds fill once (free lists, the snapshot's rows set aside) may stay.
    assert min(grown[1:]) < 30


def test_a_subclass_gets_descriptors_of_its_own_for_what_it_does_not_override():
    class Cache(store_module.Store):
        def get(self, key, default=None):
            return "overridden"

    store_module.specialize(Cache)

    assert Cache(1).get("k") == "overridden"
    assert "set" in vars(Cache)
    assert Cache.set.__objclass__ is Cache


def test_a_key_that_gets_another_life_is_not_kept_twice():
    store = store_module.Store(10)
    first, again = ("-".join(["a", "key"]) for _ in range(2))
    store.set(first, 1, ttl=10)
    alone = sys.getrefcount(again)

    store.set(again, 2, ttl=1000)

    assert sys.getrefcount(again) == alone
    assert store.ttl("a-key") > 900


@pytest.mark.parametrize("verb", ["get", "set", "increment"])
def test_a_verb_of_the_compiled_store_waits_for_nobody(verb):
    with (
        module_over("c").DistributedCache() as cache,
        ThreadPoolExecutor(1) as holder,
        ThreadPoolExecutor(1) as other,
    ):
        holder.submit(cache._lock.acquire).result(30)
        call = other.submit(getattr(cache, verb), "k", 1)
        done = wait([call], 5).done
        holder.submit(cache._lock.release).result(30)

    assert done == {call}


def test_only_subclasses_are_specialized():
    with pytest.raises(TypeError, match="subclass of Store"):
        store_module.specialize(dict)


def test_a_check_notices_nothing_on_a_sound_store():
    store, _, _ = filled()

    assert store._check() is None


def test_the_store_is_what_serves_unless_the_environment_says_otherwise(monkeypatch):
    chooser = importlib.import_module("cache.memory.store")
    assert chooser.KIND == "c"

    with monkeypatch.context() as patches:
        patches.setenv("CACHE_NO_EXTENSIONS", "1")
        assert importlib.reload(chooser).KIND == "py"
    assert importlib.reload(chooser).KIND == "c"
