"""Both stores side by side: whatever is done to them, all answers and all that is visible agree."""

import importlib
import math
import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

STORES = [pytest.importorskip("cache.memory._store", reason="nothing was compiled")]
STORES.append(importlib.import_module("cache.memory._store_py"))

KEYS = st.sampled_from([f"key:{number}" for number in range(12)])
VALUES = st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["text", None, (1,)]))
# No two deadlines are the same moment: which of two expired entries goes first is left open.
LIVES = st.one_of(st.none(), st.just(math.inf), st.floats(0.1, 30.0))
MISSING = "missing"


class Twins(RuleBasedStateMachine):
    """Two stores to which the same is done."""

    @initialize(size=st.integers(1, 10), life=st.sampled_from([math.inf, 7.0]))
    def begin(self, size: int, life: float) -> None:
        self.now = 1000.0
        self.size = size
        for module in STORES:
            module.monotonic = lambda: self.now
        self.stores = [module.Store(size, life) for module in STORES]
        self.snapshots: list[list[Any]] = []
        self.walks: list[list[Any]] = []

    def teardown(self) -> None:
        for module in STORES:
            module.monotonic = time.monotonic

    def both(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of both; return the answer, or the error, on which they agree."""
        answers = []
        for store in self.stores:
            try:
                answers.append(getattr(store, name)(*args, **kwargs))
            except (KeyError, ValueError, OverflowError) as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1], name
        assert type(answers[0]) is type(answers[1]), name
        return answers[0]

    @rule(key=KEYS, value=VALUES, ttl=LIVES)
    def set(self, key: str, value: Any, ttl: Any) -> None:
        self.now += 0.001
        self.both("set", key, value, ttl)

    @rule(key=KEYS, value=VALUES, ttl=LIVES, verb=st.sampled_from(["add", "replace"]))
    def set_where(self, key: str, value: Any, ttl: Any, verb: str) -> None:
        self.now += 0.001
        self.both(verb, key, value, ttl)

    @rule(keys=st.lists(KEYS, unique=True), value=VALUES)
    def set_many(self, keys: list[str], value: Any) -> None:
        self.both("set_many", dict.fromkeys(keys, value), math.inf)

    @rule(key=KEYS, verb=st.sampled_from(["get", "pop", "peek"]))
    def read(self, key: str, verb: str) -> None:
        self.both(verb, key, MISSING)

    @rule(
        key=KEYS, verb=st.sampled_from(["exists", "ttl", "delete", "__getitem__", "__contains__"])
    )
    def ask(self, key: str, verb: str) -> None:
        self.both(verb, key)

    @rule(keys=st.lists(KEYS, max_size=4), verb=st.sampled_from(["get_many", "delete_many"]))
    def many(self, keys: list[str], verb: str) -> None:
        self.both(verb, keys)

    @rule(key=KEYS, ttl=LIVES)
    def touch(self, key: str, ttl: Any) -> None:
        self.now += 0.001
        self.both("touch", key, ttl)

    @rule(key=KEYS, amount=st.integers(-3, 3), create=st.booleans(), ttl=LIVES)
    def increment(self, key: str, amount: int, create: bool, ttl: Any) -> None:
        self.now += 0.001
        self.both("increment", key, amount, create=create, ttl=ttl)

    @rule(seconds=st.floats(0.1, 20.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.both("_sweep")

    @rule(key=KEYS)
    def watch(self, key: str) -> None:
        self.both("_watch", key)

    @rule(key=KEYS, value=VALUES)
    def land(self, key: str, value: Any) -> None:
        self.now += 0.001
        self.both("_land", key, value, 3.0)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: str, value: Any) -> None:
        self.now += 0.001
        for store in self.stores:
            store._put(key, value, 3.0)

    @rule(keys=st.lists(KEYS, max_size=3))
    def take(self, keys: list[str]) -> None:
        for store in self.stores:
            store._take(keys)

    @rule(seconds=st.floats(-5.0, 5.0))
    def trust(self, seconds: float) -> None:
        self.both("_trust", self.now + seconds)

    @rule(keys=st.lists(KEYS, max_size=3))
    def read_trusted(self, keys: list[str]) -> None:
        self.both("_read_many", keys)

    @rule()
    def swap(self) -> None:
        others = [type(store)(self.size) for store in self.stores]
        for store, other in zip(self.stores, others, strict=True):
            store._swap(other, True)
            other._check()
            while other._release():
                pass
        for walks in self.walks:
            assert [walk.slice() for walk in walks] == [None, None]
        self.walks.clear()

    @rule()
    def begin_snapshot(self) -> None:
        answers = [store._snapshot() for store in self.stores]
        assert answers[0][1:] == answers[1][1:]
        self.snapshots.append([answer[0] for answer in answers])

    @rule(rows=st.integers(1, 5), data=st.data())
    def read_snapshot(self, rows: int, data: Any) -> None:
        if self.snapshots:
            pair = data.draw(st.sampled_from(self.snapshots))
            answers = [snapshot.rows(rows) for snapshot in pair]
            assert answers[0] == answers[1]
            if not answers[0]:
                self.snapshots.remove(pair)

    @rule()
    def begin_walk(self) -> None:
        walks = [store._walk(True) for store in self.stores]
        self.walks.append(walks)

    @rule(keys=st.lists(KEYS, max_size=6, unique=True))
    def delete_walked(self, keys: list[str]) -> None:
        if self.walks:
            answers = [walk.delete(keys) for walk in self.walks.pop()]
            assert answers[0] == answers[1]

    @invariant()
    def agree(self) -> None:
        for store in getattr(self, "stores", ()):
            store._check()
        if hasattr(self, "stores"):
            self.both("_counters")
            self.both("_watched")
            rows = [store._snapshot()[0].rows(100) for store in self.stores]
            assert rows[0] == rows[1]
            keys = [sorted(store._walk(False).slice()) for store in self.stores]
            assert keys[0] == keys[1]


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
