"""R4: statistics that are exact."""

import threading

import pytest

JOIN = 30


def fail():
    raise LookupError("factory")


def reads(cache):
    stats = cache.stats()
    return stats.hits, stats.misses


READS = {
    "get": (lambda cache, key: cache.get(key)),
    "get_many": (lambda cache, key: cache.get_many([key])),
    "get_or_set": (lambda cache, key: cache.get_or_set(key, lambda: 1)),
    "pop": (lambda cache, key: cache.pop(key)),
    "cache[key]": (lambda cache, key: cache[key]),
}


@pytest.mark.clause("R4.1")
@pytest.mark.parametrize("read", READS)
def test_each_read_of_a_live_entry_is_one_hit(cache, read):
    cache.set("k", None)

    READS[read](cache, "k")

    assert reads(cache) == (1, 0)


@pytest.mark.clause("R4.1")
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("expired", [False, True])
def test_each_read_of_nothing_live_is_one_miss(cache, clock, read, expired):
    if expired:
        cache.set("k", 1, ttl=1)
        clock.tick(1)

    try:
        READS[read](cache, "k")
    except KeyError:
        pass

    assert reads(cache) == (0, 1)


@pytest.mark.clause("R4.1")
def test_each_key_of_get_many_counts(cache):
    cache.set_many({"a": 1, "b": 2})

    cache.get_many(["a", "b", "c", "a"])

    assert reads(cache) == (3, 1)


@pytest.mark.clause("R4.1")
def test_a_get_or_set_whose_factory_fails_is_a_miss(cache):
    with pytest.raises(LookupError):
        cache.get_or_set("k", fail)

    assert reads(cache) == (0, 1)


@pytest.mark.clause("R4.1")
def test_a_caller_that_waits_for_anothers_factory_is_a_miss(cache, wait_until):
    running, release = threading.Event(), threading.Event()

    def factory():
        running.set()
        release.wait(JOIN)
        return 1

    first = threading.Thread(target=cache.get_or_set, args=("k", factory))
    second = threading.Thread(target=cache.get_or_set, args=("k", factory))
    first.start()
    running.wait(JOIN)
    second.start()
    wait_until(lambda: reads(cache) == (0, 2), 2)
    release.set()
    first.join(JOIN)
    second.join(JOIN)

    assert reads(cache) == (0, 2)


@pytest.mark.clause("R4.1")
@pytest.mark.parametrize(
    "call",
    [
        lambda cache: cache.get(1),
        lambda cache: cache.get_many(["a", 1]),
        lambda cache: cache.get_or_set("k", lambda: 1, ttl=0),
        lambda cache: cache.get_or_set("k", None),
        lambda cache: cache.pop(b"k"),
        lambda cache: cache[None],
    ],
)
def test_a_call_refused_for_its_arguments_is_no_read(cache, call):
    with pytest.raises((TypeError, ValueError)):
        call(cache)

    assert reads(cache) == (0, 0)


@pytest.mark.clause("R4.1")
@pytest.mark.parametrize(
    "glance",
    [
        lambda cache: cache.exists("k"),
        lambda cache: "k" in cache,
        lambda cache: cache.ttl("k"),
        lambda cache: cache.keys(),
        lambda cache: cache.touch("k"),
        lambda cache: cache.delete("k"),
        lambda cache: cache.increment("k"),
        lambda cache: cache.add("k", 2),
    ],
)
def test_what_is_no_read_counts_none(cache, glance):
    cache.set("k", 1)

    glance(cache)

    assert reads(cache) == (0, 0)


@pytest.mark.clause("R4.2")
def test_only_evictions_count_as_evictions(small_cache, clock, tmp_path):
    small_cache.set_many({"a": 1, "b": 2, "c": 3})
    small_cache.delete("a")
    small_cache.pop("b")
    small_cache.set("c", 4)
    small_cache.set("d", 5, ttl=1)
    clock.tick(1)
    small_cache.cleanup()
    small_cache.clear()

    assert small_cache.stats().evictions == 0


REMOVALS = {
    "get": lambda cache: cache.get("k"),
    "exists": lambda cache: cache.exists("k"),
    "get_many": lambda cache: cache.get_many(["k"]),
    "cleanup": lambda cache: cache.cleanup(),
    "set": lambda cache: cache.set("k", 2),
    "set with a ttl": lambda cache: cache.set("k", 2, ttl=9),
    "add": lambda cache: cache.add("k", 2),
    "replace": lambda cache: cache.replace("k", 2),
    "delete": lambda cache: cache.delete("k"),
    "delete_many": lambda cache: cache.delete_many(["k"]),
    "pop": lambda cache: cache.pop("k"),
    "increment": lambda cache: cache.increment("k"),
    "touch": lambda cache: cache.touch("k"),
    "set_many": lambda cache: cache.set_many({"k": 2}),
    "get_or_set": lambda cache: cache.get_or_set("k", lambda: 2),
}


@pytest.mark.clause("R4.2")
@pytest.mark.parametrize("removal", REMOVALS)
def test_an_expired_entry_counts_once_however_it_was_found(cache, clock, removal):
    cache.set("k", 1, ttl=1)
    clock.tick(1)

    REMOVALS[removal](cache)
    cache.cleanup()

    assert (cache.stats().expirations, cache.stats().evictions) == (1, 0)


@pytest.mark.clause("R4.2")
@pytest.mark.parametrize("removal", REMOVALS)
def test_what_happens_to_a_live_entry_is_no_expiration(cache, clock, removal):
    cache.set("k", 1, ttl=2)
    clock.tick(1)

    REMOVALS[removal](cache)

    assert (cache.stats().expirations, cache.stats().evictions) == (0, 0)


UNCOUNTED = {
    "clear": lambda cache, path: cache.clear(),
    "close": lambda cache, path: cache.close(),
    "save": lambda cache, path: cache.save(path),
    "set": lambda cache, path: cache.set("new", 1),
    "set_many": lambda cache, path: cache.set_many({"new": 1}, ttl=5),
    "add": lambda cache, path: cache.add("new", 1) or cache.add("new", 2),
    "replace": lambda cache, path: cache.replace("b", 1) or cache.replace("new", 2),
    "increment": lambda cache, path: cache.increment("new"),
    "decrement": lambda cache, path: cache.decrement("b"),
    "touch": lambda cache, path: cache.touch("b") or cache.touch("new"),
    "ttl": lambda cache, path: cache.ttl("b") or cache.ttl("new"),
    "exists": lambda cache, path: cache.exists("b") or cache.exists("new"),
    "in": lambda cache, path: "b" in cache or "new" in cache,
    "keys": lambda cache, path: cache.keys("b"),
    "iteration": lambda cache, path: list(cache),
    "delete": lambda cache, path: cache.delete("b") and cache.delete("new"),
    "delete_pattern": lambda cache, path: cache.delete_pattern("*"),
    "cleanup": lambda cache, path: cache.cleanup(),
    "stats": lambda cache, path: cache.stats().hit_rate,
}


@pytest.mark.clause("R4.1", "R4.2")
@pytest.mark.parametrize("verb", UNCOUNTED)
def test_all_else_leaves_the_counters_as_they_are(small_cache, clock, tmp_path, verb):
    small_cache.set_many({"old": 1, "a": 2, "b": 3, "c": 4, "d": 5})  # evicts two
    small_cache.set("d", 6, ttl=1)
    small_cache.get_many(["b", "c", "b", "c", "x", "y"])
    clock.tick(1)
    small_cache.get("d")

    UNCOUNTED[verb](small_cache, tmp_path / "s")

    stats = small_cache.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.expirations) == (4, 3, 2, 1)


@pytest.mark.clause("R4.2")
@pytest.mark.parametrize("remove", ["clear", "load"])
def test_clear_and_load_count_no_expiration(cache, clock, tmp_path, remove):
    cache.save(tmp_path / "empty")
    cache.set("k", 1, ttl=1)
    clock.tick(1)

    cache.clear() if remove == "clear" else cache.load(tmp_path / "empty")
    cache.cleanup()

    assert (cache.stats().expirations, cache.stats().evictions) == (0, 0)


@pytest.mark.clause("R4.3")
def test_size_is_the_storage_with_what_has_expired(cache, clock):
    cache.set("a", 1, ttl=1)
    cache.set("b", 2)
    clock.tick(1)

    assert (cache.stats().size, len(cache)) == (2, 2)


@pytest.mark.clause("R4.4")
def test_hits_and_misses_are_exact_under_concurrency(make_cache):
    cache = make_cache(50)
    threads, times = 8, 2000
    start = threading.Barrier(threads)

    def read(seed):
        start.wait(JOIN)
        for number in range(times):
            key = f"k{(number * seed) % 100}"
            if cache.get(key) is None:
                cache.set(key, 1)

    workers = [threading.Thread(target=read, args=(seed,)) for seed in range(1, threads + 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(JOIN)

    stats = cache.stats()
    assert stats.hits + stats.misses == threads * times


@pytest.mark.clause("R4.5")
def test_stats_are_one_moment(cache, meanwhile):
    # Each round is a hit, then a miss: no moment has more misses than hits, or two hits more.
    cache.set("there", 1)

    def read():
        cache.get("there")
        cache.get("not there")

    with meanwhile(read):
        apart = {(stats := cache.stats()).hits - stats.misses for _ in range(3000)}

    assert apart <= {0, 1}


@pytest.mark.clause("R4.6")
def test_hit_rate_is_zero_before_the_first_read(cache):
    assert cache.stats().hit_rate == 0.0


@pytest.mark.clause("R4.6")
def test_hit_rate_is_the_share_of_hits(cache):
    cache.set("k", 1)
    for key in ("k", "k", "k", "x"):
        cache.get(key)

    assert cache.stats().hit_rate == 0.75


@pytest.mark.clause("R4.1", "R2.2")
def test_reset_stats_zeroes_the_counters_and_nothing_else(small_cache):
    small_cache.set_many({"a": 1, "b": 2, "c": 3, "d": 4})
    small_cache.get("d")
    small_cache.get("x")

    small_cache.reset_stats()

    stats = small_cache.stats()
    assert (reads(small_cache), stats.evictions, stats.expirations) == ((0, 0), 0, 0)
    assert (stats.size, stats.max_size) == (3, 3)
