"""R8: what has expired goes by itself, and the thread that sees to it never gets in the way."""

import datetime
import gc
import itertools
import logging
import math
import os
import subprocess
import threading
import time
import tracemalloc
import weakref

import pytest

JOIN = 10


def threads_since(before):
    return [thread for thread in threading.enumerate() if thread not in before]


def end_of(run, timeout=JOIN):
    """Return how a program ends: its code, output and errors."""
    try:
        done = subprocess.run(run, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        pytest.fail("the program hangs")
    return done.returncode, done.stdout, done.stderr


@pytest.mark.clause("R8.1")
def test_a_daemon_thread_cleans_up_every_interval(make_cache, wait_until):
    before = threading.enumerate()
    cache = make_cache(cleanup_interval=0.01)
    cache.set_many({"a": 1, "b": 2}, ttl=0.001)

    assert wait_until(lambda: len(cache) == 0, 5)
    assert cache.stats().expirations == 2
    assert [thread.daemon for thread in threads_since(before)] == [True]


@pytest.mark.clause("R8.1")
@pytest.mark.parametrize("interval", [math.inf, 60, datetime.timedelta(days=1)])
def test_the_thread_does_nothing_before_the_interval_has_passed(make_cache, wait_until, interval):
    before = threading.enumerate()
    cache = make_cache(cleanup_interval=interval)
    cache.set("k", 1, ttl=0.001)

    assert not wait_until(lambda: len(cache) == 0, 0.1)
    assert len(threads_since(before)) == 1


@pytest.mark.clause("R8.1")
def test_the_thread_comes_again_and_again(make_cache, wait_until):
    cache = make_cache(cleanup_interval=0.01)

    for number in range(3):
        cache.set("k", 1, ttl=0.001)
        assert wait_until(lambda: len(cache) == 0, 5)
        assert cache.stats().expirations == number + 1


@pytest.mark.clause("R8.1")
def test_the_time_between_two_cleanups_is_the_interval(make_cache, monkeypatch):
    kind = type(make_cache(cleanup_interval=math.inf))
    cleanup, calls, fifth = kind.cleanup, [], threading.Event()

    def noted(cache):
        calls.append(cache)
        if len(calls) == 5:
            fifth.set()
        return cleanup(cache)

    monkeypatch.setattr(kind, "cleanup", noted)

    def keeps_time():
        calls.clear()
        fifth.clear()
        cache = make_cache(cleanup_interval=0.1)
        early, late = fifth.wait(0.4), fifth.wait(0.5)
        cache.close()
        return (early, late) == (False, True)

    assert any(keeps_time() for _ in range(3))


@pytest.mark.clause("R8.1")
@pytest.mark.parametrize("interval", [1e-9, 5e-324, 1e-4])
def test_a_tiny_interval_takes_no_processor(make_cache, monkeypatch, interval):
    kind = type(make_cache(cleanup_interval=math.inf))
    calls, hundredth = [], threading.Event()

    def noted(cache):
        calls.append(cache)
        if len(calls) == 100:
            hundredth.set()
        return 0

    monkeypatch.setattr(kind, "cleanup", noted)

    begin = time.perf_counter()
    make_cache(cleanup_interval=interval)

    assert hundredth.wait(JOIN)
    assert time.perf_counter() - begin >= 0.09


@pytest.mark.clause("R8.1")
def test_a_cache_made_on_the_way_out_serves_without_a_thread(program):
    run = program(
        "import os\n"
        "class Late:\n"
        "    def __del__(self, make=DistributedCache, write=os.write):\n"
        "        cache = make()\n"
        "        cache.set('k', b'served')\n"
        "        write(1, cache.get('k'))\n"
        "late = Late()"
    )

    assert end_of(run) == (0, b"served", b"")


@pytest.mark.clause("R8.2")
def test_cleanup_removes_every_expired_entry_and_counts_them(cache, clock):
    for number in range(300):
        cache.set(f"k{number}", number, ttl=1 + number % 3)
    clock.tick(2)

    assert (cache.cleanup(), len(cache), cache.stats().expirations) == (200, 100, 200)
    assert cache.cleanup() == 0


@pytest.mark.clause("R8.2")
def test_cleanup_finds_the_expired_among_deadlines_of_every_scale(make_cache, clock):
    cache = make_cache(10_000)
    ttls = [0.001 * 1.01**number for number in range(3000)]
    for number, ttl in enumerate(ttls):
        cache.set(f"k{number}", number, ttl=ttl)

    for elapsed in (0.0015, 1.0, 0.2, 50.0, 3600.0, 10.0**6):
        clock.tick(elapsed)
        cache.cleanup()
        assert len(cache) == len(cache.keys())


WRITES = {
    "set": lambda cache, key: cache.set(key, 1, ttl=5),
    "set again": lambda cache, key: [cache.set(key, 1, ttl=5) for _ in range(2)],
    "set after another ttl": lambda cache, key: [cache.set(key, 1, ttl) for ttl in (90, 5)],
    "set after none": lambda cache, key: [cache.set(key, 1, ttl) for ttl in (None, 5)],
    "set_many": lambda cache, key: cache.set_many({key: 1}, ttl=5),
    "add": lambda cache, key: cache.add(key, 1, ttl=5),
    "replace": lambda cache, key: cache.set(key, 1) or cache.replace(key, 1, ttl=5),
    "touch": lambda cache, key: cache.set(key, 1, ttl=90) or cache.touch(key, ttl=5),
    "increment": lambda cache, key: cache.set(key, 1, ttl=5) or cache.increment(key),
    "get_or_set": lambda cache, key: cache.get_or_set(key, lambda: 1, ttl=5),
}


@pytest.mark.clause("R8.2")
@pytest.mark.parametrize("write", WRITES)
def test_cleanup_finds_what_expires_whoever_wrote_it(cache, clock, write):
    for number in range(100):
        WRITES[write](cache, f"k{number}")
    clock.tick(5)

    assert (cache.cleanup(), len(cache)) == (100, 0)


@pytest.mark.clause("R8.2")
def test_cleanup_finds_what_was_written_last_and_expires_first(cache, clock):
    for number in range(200):
        cache.set(f"k{number}", number, ttl=102 - number * 0.01)
    clock.tick(101.005)

    assert (cache.cleanup(), len(cache), len(cache.keys())) == (100, 100, 100)


@pytest.mark.clause("R8.2")
def test_one_cleanup_removes_more_than_it_does_in_one_go(make_cache, clock):
    cache = make_cache(30_001)
    cache.set_many({f"k{number}": number for number in range(30_000)}, ttl=5)
    cache.set("stays", 1, ttl=6)
    clock.tick(5)

    removed = cache.cleanup()

    assert (removed, cache.stats().expirations, cache.keys()) == (30_000, 30_000, ["stays"])
    assert len(cache) == 1


@pytest.mark.clause("R8.2", "R1.5")
def test_cleanup_takes_from_close_deadlines_only_those_that_passed(cache, clock):
    for number in range(100):
        cache.set(f"k{number}", number, ttl=100 + number * 0.001)

    clock.tick(100.0495)
    first = cache.cleanup()
    clock.tick(0.02)
    second = cache.cleanup()

    assert (first, second, len(cache), len(cache.keys())) == (50, 20, 30, 30)


def growth(work, few, many):
    """Return by how many bytes the memory in use grew from `work(few)` to `work(many)`."""
    tracemalloc.start()
    try:
        work(few)
        early = tracemalloc.get_traced_memory()[0]
        work(many)
        return tracemalloc.get_traced_memory()[0] - early
    finally:
        tracemalloc.stop()


@pytest.mark.clause("R8.3")
@pytest.mark.parametrize("ttl", [60, 86_400])
def test_the_index_stays_in_proportion_however_often_keys_are_set(make_cache, clock, ttl):
    cache = make_cache(200)

    def churn(rounds):
        for at in range(rounds):
            clock.tick(ttl / 100)
            for number in range(8):
                cache.set(f"k{number}", at, ttl=ttl + at % 7)

    churn(300)

    assert growth(churn, 100, 2000) < 60_000


GOING = {
    "eviction": lambda cache, key: None,
    "eviction by a key without end": lambda cache, key: cache.set(key + "x", 1),
    "eviction by set_many": lambda cache, key: cache.set_many({key + "x": 1, key + "y": 1}, 3600),
    "delete": lambda cache, key: cache.delete(key),
    "pop": lambda cache, key: cache.pop(key),
    "delete_pattern": lambda cache, key: cache.delete_pattern("k*"),
    "set without end": lambda cache, key: cache.set(key, 1),
    "replace without end": lambda cache, key: cache.replace(key, 1),
    "touch without end": lambda cache, key: cache.touch(key),
    "set for longer": lambda cache, key: cache.set(key, 1, ttl=9999),
    "clear": lambda cache, key: cache.clear(),
}


@pytest.mark.clause("R8.3")
@pytest.mark.parametrize("going", GOING)
def test_nothing_is_kept_of_entries_that_went_before_their_deadline(make_cache, clock, going):
    cache = make_cache(20)

    def come_and_go(entries):
        for number in range(entries):
            key = f"k{number}"
            cache.set(key, number, ttl=3600)
            GOING[going](cache, key)

    come_and_go(100)

    assert growth(come_and_go, 100, 2000) < 40_000


@pytest.mark.clause("R8.3")
@pytest.mark.parametrize("find", ["read", "cleanup", "neither"])
def test_nothing_is_kept_of_entries_that_have_expired(make_cache, clock, find):
    cache, numbers = make_cache(20), itertools.count()

    def come_and_go(entries):
        for number in itertools.islice(numbers, entries):
            cache.set(f"k{number}", number, ttl=0.2)
            clock.tick(0.1)
            if find == "read":
                cache.get(f"k{number - 3}")
            elif find == "cleanup":
                cache.cleanup()

    come_and_go(300)

    assert growth(come_and_go, 100, 2000) < 60_000


@pytest.mark.clause("R8.3")
def test_others_go_on_while_much_is_cleaned_up(make_cache, waits, wait_until):
    cache = make_cache(200_001, cleanup_interval=math.inf)

    def others_go_on():
        cache.set_many({f"k{number}": number for number in range(200_000)}, ttl=0.001)
        assert wait_until(lambda: cache.keys("k*") == [])
        (pause,), took = waits(cache.cleanup, lambda: cache.set("other", 1))
        return pause < max(0.03, took / 3)

    assert any(others_go_on() for _ in range(3))


@pytest.mark.clause("R8.3")
def test_the_cost_of_a_cleanup_follows_what_has_expired(make_cache, clock):
    cache = make_cache(100_000)
    cache.set_many({f"k{number}": number for number in range(99_000)}, ttl=10_000)
    for number in range(100):
        cache.set(f"soon{number}", number, ttl=1 + number)

    begin, removed = time.thread_time(), []
    for _ in range(100):
        clock.tick(1)
        removed.append(cache.cleanup())

    # To look at every entry, 100 times, takes most of a second.
    assert (removed, time.thread_time() - begin < 0.2) == ([1] * 100, True)


@pytest.mark.clause("R8.4")
def test_an_unreferenced_cache_is_collected_and_its_thread_ends(CacheImpl, wait_until):
    before = threading.enumerate()
    cache = CacheImpl()
    cache.set("k", "v", ttl=60)
    reference = weakref.ref(cache)

    del cache
    gc.collect()

    assert reference() is None
    assert wait_until(lambda: threads_since(before) == [], 2)


@pytest.mark.clause("R8.4")
def test_a_cache_is_collected_though_its_thread_has_cleaned_up(CacheImpl, wait_until):
    before = threading.enumerate()
    cache = CacheImpl(cleanup_interval=0.01)
    cache.set("k", "v", ttl=0.001)
    reference = weakref.ref(cache)
    assert wait_until(lambda: len(reference()) == 0, 5)

    del cache

    assert wait_until(lambda: reference() is None, 2)
    assert wait_until(lambda: threads_since(before) == [], 2)


@pytest.mark.clause("R8.4")
def test_close_ends_the_thread_and_the_cache_still_serves(CacheImpl, clock, wait_until, error_of):
    before = threading.enumerate()
    cache = CacheImpl()
    cache.set("a", 1)

    errors = error_of(cache.close), error_of(cache.close)

    assert errors == (None, None)
    assert wait_until(lambda: threads_since(before) == [], 2)
    cache.set("k", "v", ttl=1)
    served = cache.get_many(["a", "k"])
    clock.tick(1)
    assert (served, cache.cleanup(), cache.keys()) == ({"a": 1, "k": "v"}, 1, ["a"])


@pytest.mark.clause("R8.4")
def test_leaving_the_with_block_closes(CacheImpl, wait_until):
    before = threading.enumerate()

    with CacheImpl() as cache:
        cache.set("k", "v")

    assert wait_until(lambda: threads_since(before) == [], 2)
    assert cache.get("k") == "v"


ENDS = {
    "normally": "",
    "sys.exit": "sys.exit(0)",
    "in a thread": "threading.Thread(target=cache.set, args=('k', 1)).start()",
    "with busy daemon threads": (
        "def work():\n    while True: cache.set('k', 1, ttl=0.001); cache.get('k')\n"
        "[threading.Thread(target=work, daemon=True).start() for _ in range(4)]"
    ),
    "with a cache used at exit": "atexit.register(lambda: cache.set('k', 1))",
    "with a cache made at exit": "atexit.register(lambda: DistributedCache().set('k', 1))",
    "with a cache made while modules go": (
        "class Late:\n"
        "    def __del__(self, make=DistributedCache): make().set('k', 1)\n"
        "late = Late()"
    ),
    "with a cache in a cycle": "cache.set('self', cache)",
    "without garbage collection": "import gc; gc.disable(); cache.set('self', cache)",
    "with os._exit": "os._exit(0)",
    "with an excepthook that has the cache": "sys.excepthook = lambda *_: cache.stats()",
    "with a hook of threads that has it": "threading.excepthook = lambda *_: cache.stats()",
    "with a displayhook that has it": "sys.displayhook = lambda *_: cache.stats()",
    "with the cache in a module of Python's": "import json; json.cache = cache",
    "with the cache in the builtins": "import builtins; builtins.cache = cache",
    "with a memoized function in a module of Python's": (
        "import json; json.square = cache.memoize()(lambda number: number * number); json.square(3)"
    ),
    "with a closed cache in a hook": "sys.excepthook = lambda *_: cache.stats(); cache.close()",
}


@pytest.mark.clause("R8.4")
@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_silently(program, end):
    run = program(
        "import atexit, os, sys, threading\n"
        "cache = DistributedCache(cleanup_interval=0.001)\n"
        "cache.set('k', 'v', ttl=0.002)\n" + ENDS[end]
    )

    assert end_of(run) == (0, b"", b"")


FORK = """
import os, signal, sys, threading, warnings

# Python 3.12 and newer warn of any fork with threads, which is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)
path = sys.argv[1]
cache = DistributedCache(500, cleanup_interval=0.01)
cache.set_many({f"k{n}": n for n in range(300)})
done = threading.Event()

def work(seed):
    n = seed
    while not done.is_set():
        n += 1
        cache.set(f"k{n % 300}", n, ttl=100)
        cache.get(f"k{n % 77}")
        cache.increment("count")
        cache.get_or_set(f"made{n % 5}", lambda: n)
        cache.delete(f"made{n % 5}")
        if n % 50 == 0:
            cache.save(f"{path}{seed}")
        cache.delete_pattern("k1?")

threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(4)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            cache.set("mine", 1, ttl=0.005)
            cache.get_or_set("made1", lambda: 1)
            cache.save(path + "child")
            pause = threading.Event()
            for _ in range(400):
                if not any(True for key in ("mine",) if len(cache) and cache.ttl(key)):
                    break
                pause.wait(0.005)
            sizes = len(cache) == cache.stats().size <= 500
            threads = threading.enumerate()
            cache.set("gone", 1, ttl=0.001)
            before = cache.stats().expirations
            for _ in range(400):
                if cache.stats().expirations > before:
                    break
                pause.wait(0.005)
            else:
                os._exit(3)
            os._exit(0 if sizes and len(threads) == 2 else 2)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
    bad = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if bad:
        break
done.set()
for thread in threads:
    thread.join(5 if not bad else 0.01)
    bad = bad or 4 * thread.is_alive()
cache.set("after", 1)
os._exit(bad & 255 or 5 * (cache.get("after") != 1))
"""


@pytest.mark.clause("R8.5")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("forks", [8, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
def test_after_fork_the_childs_cache_works_and_cleans_up(program, tmp_path, forks):
    assert end_of(program(FORK, tmp_path / "s", forks), 15 + 2 * forks) == (0, b"", b"")


IN_THE_MIDDLE = """
import gc, os, signal, sys, threading, warnings

warnings.simplefilter("ignore", DeprecationWarning)
path = sys.argv[1]
cache, closed = DistributedCache(cleanup_interval=0.01), DistributedCache()
closed.close()
cache.set("k", 1)
saving, making, forked = threading.Event(), threading.Event(), threading.Event()

def hold(phase, info):  # the save is in the middle of what it does
    if threading.current_thread() is saver:
        saving.set()
        forked.wait(0.3)

def make():
    making.set()
    forked.wait(10)
    return "parent"

maker = threading.Thread(target=cache.get_or_set, args=("made", make))
maker.start()
making.wait(10)
saver = threading.Thread(target=cache.save, args=(path,))
gc.callbacks.append(hold)
saver.start()
saving.wait(1)
child = os.fork()
signal.alarm(10 if child else 5)
if child == 0:
    gc.callbacks.clear()
    made = cache.get_or_set("made", lambda: "child")
    cache.set("k", 2)
    closed.set("k", 3)
    grandchild = os.fork()
    if grandchild == 0:
        signal.alarm(5)
        cache.set("k", 4)
        os._exit(cache.get("k"))
    code = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
    print(made, cache.get("k"), closed.get("k"), code, len(threading.enumerate()), flush=True)
    os._exit(0)
os.waitpid(child, 0)
forked.set()
saver.join(10)
maker.join(10)
print(cache.get("made"), cache.get("k"), flush=True)
"""


@pytest.mark.clause("R8.5")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_in_the_middle_of_other_threads_calls_leaves_the_child_whole(program, tmp_path):
    # The child makes the value itself, and has two threads: this one and the open cache's.
    ended = end_of(program(IN_THE_MIDDLE, tmp_path / "s"))

    assert ended == (0, b"child 2 3 4 2\nparent 1\n", b"")


@pytest.mark.clause("R8.6")
def test_an_error_in_the_thread_is_logged_and_it_goes_on(
    make_cache, caplog, monkeypatch, wait_until
):
    kind = type(make_cache(cleanup_interval=math.inf))
    cleanup, calls = kind.cleanup, []

    def fail_twice(cache):
        calls.append(cache)
        if len(calls) < 3:
            raise ZeroDivisionError("on purpose")
        return cleanup(cache)

    monkeypatch.setattr(kind, "cleanup", fail_twice)
    with caplog.at_level(logging.ERROR):
        cache = make_cache(cleanup_interval=0.01)
        cache.set("k", 1, ttl=0.001)
        assert wait_until(lambda: len(cache) == 0, 5)

    assert "on purpose" in caplog.text


@pytest.mark.clause("R8.4")
@pytest.mark.parametrize("caches", [100, pytest.param(5000, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_caches_dropped_by_the_hundred_leave_no_thread(CacheImpl, caches, wait_until):
    before = threading.enumerate()

    for number in range(caches):
        CacheImpl(10).set("k", number, ttl=60)

    assert wait_until(lambda: threads_since(before) == [], 2)
