"""A state machine compares the cache with a model of twenty lines."""

import math
from collections import OrderedDict

import freezegun
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache import DistributedCache

SIZE = 4
KEYS = st.sampled_from("abcdefg")
TTLS = st.sampled_from([None, 1, 2.5, 60, 3600])


class Model:
    """The obvious cache: every rule spelled out, every entry looked at each time."""

    def __init__(self):
        self.now, self.data = 0.0, OrderedDict()

    def purge(self):
        for key in [key for key, (_, end) in self.data.items() if end <= self.now]:
            del self.data[key]

    def set(self, key, value, ttl):
        self.purge()
        if key not in self.data and len(self.data) == SIZE:
            self.data.popitem(last=False)
        self.data[key] = (value, math.inf if ttl is None else self.now + ttl)
        self.data.move_to_end(key)

    def get(self, key):
        self.purge()
        if key not in self.data:
            return None
        self.data.move_to_end(key)
        return self.data[key][0]


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.freezer = freezegun.freeze_time("2026-01-01")
        self.clock = self.freezer.start()
        self.cache, self.model = DistributedCache(SIZE), Model()
        self.reads = 0

    def teardown(self):
        self.cache.close()
        self.freezer.stop()

    @rule(key=KEYS, value=st.integers(0, 9), ttl=TTLS)
    def set(self, key, value, ttl):
        self.cache.set(key, value, ttl)
        self.model.set(key, value, ttl)

    @rule(key=KEYS)
    def get(self, key):
        self.reads += 1
        assert self.cache.get(key) == self.model.get(key)

    @rule(key=KEYS, ttl=TTLS)
    def add(self, key, ttl):
        self.model.purge()
        free = key not in self.model.data
        if free:
            self.model.set(key, "added", ttl)
        assert self.cache.add(key, "added", ttl) == free

    @rule(key=KEYS, ttl=TTLS)
    def touch(self, key, ttl):
        self.model.purge()
        live = key in self.model.data
        if live:
            self.model.set(key, self.model.data[key][0], ttl)
        assert self.cache.touch(key, ttl) == live

    @rule(key=KEYS)
    def delete(self, key):
        self.model.purge()
        assert self.cache.delete(key) == (self.model.data.pop(key, None) is not None)

    @rule(mapping=st.dictionaries(KEYS, st.integers(), max_size=5), ttl=TTLS)
    def set_many(self, mapping, ttl):
        self.cache.set_many(mapping, ttl)
        for key, value in mapping.items():
            self.model.set(key, value, ttl)

    @rule(seconds=st.sampled_from([0.5, 1, 1.5, 59, 3600]))
    def tick(self, seconds):
        self.clock.tick(seconds)
        self.model.now += seconds

    @rule()
    def cleanup(self):
        self.cache.cleanup()
        assert len(self.cache) == len(self.cache.keys())

    @invariant()
    def the_same_keys_are_live(self):
        self.model.purge()
        assert sorted(self.cache.keys()) == sorted(self.model.data)

    @invariant()
    def the_same_life_is_left(self):
        for key, (_, end) in self.model.data.items():
            assert math.isclose(self.cache.ttl(key), end - self.model.now, rel_tol=1e-9)

    @invariant()
    def the_counters_add_up(self):
        stats = self.cache.stats()
        assert stats.hits + stats.misses == self.reads
        assert len(self.cache) <= SIZE


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
