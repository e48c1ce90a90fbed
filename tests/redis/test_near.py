"""The rules of the near cache, alone: each interleaving is made by the order of the calls.

What the server has is `v1`, then `v2`; a fetch is `begin` before the request is sent, and `store`
when its answer is here.
"""

import os
import subprocess
import sys
import sysconfig
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from math import inf

import pytest

from cache.near import Near, Token
from cache.patterns import compile_glob

PATIENCE = 10


@pytest.fixture
def near(clock):
    with Near(100, bound=60) as near:
        near.trust(inf)
        yield near


def fetch(near, key="k", value="v1", ttl=inf):
    near.store(near.begin(key), value.encode(), value, ttl)


def read(near, key="k"):
    """Return what the near cache answers, or None where a reader has to ask the server."""
    try:
        return near.read(key)
    except KeyError:
        return None


def test_a_fetched_value_is_read_until_it_is_invalidated(near):
    fetch(near)
    assert read(near) == "v1"
    assert near.stats().hits == 1

    near.invalidate(["k"])

    assert read(near) is None


def test_what_is_not_here_or_not_trusted_is_a_key_error(near, clock):
    fetch(near, ttl=10)
    near.distrust()
    with pytest.raises(KeyError, match="k"):
        near.read("k")
    near.trust(inf)
    clock.tick(10)

    for key in ("k", "other"):
        with pytest.raises(KeyError, match=key):
            near.read(key)


def test_a_value_fetched_before_an_invalidation_arrives_is_never_stored_after_it(near):
    token = near.begin("k")
    near.invalidate(["k"])

    near.store(token, b"v1", "v1", inf)

    assert read(near) is None


def test_an_invalidation_that_comes_in_the_middle_of_a_store_is_not_missed(near):
    """It looks for the key without the lock, when the fetch ends and the entry is made."""
    looked = threading.Event()

    class Told(list):
        def __iter__(self):
            yield from super().__iter__()
            looked.set()

    class Life(float):
        """What a store compares with the bound, before it makes the entry."""

        def __gt__(self, bound):
            invalidating.append(pool.submit(near.invalidate, Told(["k"])))
            assert looked.wait(PATIENCE)
            return super().__gt__(bound)

    invalidating = []
    with ThreadPoolExecutor(1) as pool:
        fetch(near, ttl=Life(50))
    invalidating[0].result(PATIENCE)

    assert read(near) is None


def test_a_fetch_that_begins_after_the_invalidation_is_stored(near):
    old = near.begin("k")
    near.invalidate(["k"])

    fetch(near, value="v2")
    assert read(near) == "v2"
    near.store(old, b"v1", "v1", inf)

    assert read(near) is None


def test_an_invalidation_of_other_keys_is_none_of_this_one(near):
    fetch(near)
    token = near.begin("l")

    near.invalidate(["m", "K", ""])
    near.store(token, b"v1", "v1", inf)

    assert read(near) == read(near, "l") == "v1"


@pytest.mark.parametrize("first", ["older", "newer"])
def test_of_two_fetches_with_different_values_none_stays(near, first):
    """Which of them the server answered first cannot be told from here."""
    tokens = {"older": near.begin("k"), "newer": near.begin("k")}
    values = {"older": "v1", "newer": "v2"}
    second = "newer" if first == "older" else "older"

    near.store(tokens[first], values[first].encode(), values[first], inf)
    assert read(near) == values[first]
    near.store(tokens[second], values[second].encode(), values[second], inf)

    assert read(near) is None


def test_of_two_fetches_with_the_same_value_it_stays(near):
    first, second, third = (near.begin("k") for _ in range(3))

    near.store(first, b"v1", "v1", inf)
    near.store(second, b"v1", "v1", inf)
    assert read(near) == "v1"
    near.abandon(third)

    assert read(near) == "v1"


def test_a_fetch_whose_value_met_its_equal_leaves_nothing_to_one_with_another_value(near):
    """v1, written over by v2 and then by v1 again: who has read the last one never sees v2."""
    first, last = near.begin("k"), near.begin("k")
    near.store(first, b"v1", "v1", inf)
    between = near.begin("k")
    near.store(last, b"v1", "v1", inf)

    near.store(between, b"v2", "v2", inf)

    assert read(near) is None


def test_a_fetch_that_was_refused_leaves_nothing_to_one_that_began_before_it_ended(near):
    first, refused = near.begin("k"), near.begin("k")
    near.store(first, b"v1", "v1", inf)
    third = near.begin("k")
    near.store(refused, b"v2", "v2", inf)

    near.store(third, b"v1", "v1", inf)

    assert read(near) is None


def test_a_fetch_past_a_near_entry_replaces_it(near):
    """As `get_many` does, which asks the server for all keys where one of them is not here."""
    fetch(near, value="v1")

    fetch(near, value="v2")

    assert read(near) == "v2"


def test_a_fetch_that_finds_no_value_leaves_none(near):
    fetch(near)
    other = near.begin("k")

    near.drop(near.begin("k"))
    assert read(near) is None
    near.store(other, b"v1", "v1", inf)

    assert read(near) is None


def test_a_fetch_that_fails_changes_nothing(near):
    fetch(near)
    other = near.begin("k")

    near.abandon(near.begin("k"))

    assert read(near) == "v1"
    near.store(other, b"v2", "v2", inf)
    assert read(near) == "v2"


def test_fetches_that_nobody_ended_are_abandoned(near):
    with near.fetching(["a", "b", "a"]) as tokens:
        near.store(tokens.pop("a"), b"v1", "v1", inf)

    assert read(near, "a") == "v1"
    assert [near.begin(key).fetches.count for key in ("a", "b")] == [1, 1]


def test_an_own_write_is_seen_at_once(near):
    fetch(near, "k")
    fetch(near, "l")

    near.wrote(["k"])

    assert read(near, "k") is None
    assert read(near, "l") == "v1"


def test_a_value_fetched_before_an_own_write_is_not_stored_after_it(near):
    token = near.begin("k")
    near.wrote(["k"])

    near.store(token, b"v1", "v1", inf)

    assert read(near) is None


def test_own_removal_by_pattern_takes_entries_and_fetches_that_match(near):
    for key in ("a1", "a2", "b1"):
        fetch(near, key)
    tokens = [near.begin(key) for key in ("a3", "b3")]

    near.wrote_matching(compile_glob("a*"), "a*")
    for token in tokens:
        near.store(token, b"v1", "v1", inf)

    assert sorted(near.keys()) == ["b1", "b3"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("step", "emptied"),
    [
        (lambda near: near.wrote_matching(compile_glob("k*"), "k*"), "delete_pattern"),
        (lambda near: near.reset(), "clear"),
    ],
    ids=["a removal by pattern", "a reset"],
)
def test_a_fetch_that_ends_in_the_middle_of_emptying_leaves_nothing(
    near, monkeypatch, step, emptied, when
):
    """What is under way is refused first, and what is here goes then."""
    token, empty = near.begin("k"), getattr(near, emptied)

    def end_and_empty(*given):
        if when == "before":
            near.store(token, b"v1", "v1", inf)
        empty(*given)
        if when == "after":
            near.store(token, b"v1", "v1", inf)

    monkeypatch.setattr(near, emptied, end_and_empty)

    step(near)

    assert read(near) is None


@pytest.mark.parametrize("lost", ["invalidate", "distrust", "reset"])
def test_who_is_woken_finds_nothing_to_trust(near, lost):
    fetch(near)
    found, bell = [], near.bell("k")
    bell.ring = lambda: found.append(read(near))

    near.invalidate(["k"]) if lost == "invalidate" else getattr(near, lost)()
    bell.close()

    assert found == [None]


def test_nothing_is_read_while_not_trusted(near):
    fetch(near)

    near.distrust()

    assert read(near) is None
    assert near.read_many(["k"]) is None
    assert not near.trusted()
    assert near.get("k") == "v1"  # for who prefers a stale value to none


def test_a_reader_asks_further_for_what_is_not_here_or_not_trusted(near):
    class Loud(str):
        def __hash__(self):
            raise AssertionError

    asked = []
    get = near.reader(lambda key, default: asked.append((key, default)) or "fetched")
    fetch(near, "k")

    assert get("k") == "v1"
    assert asked == []
    assert get("l", 7) == get(Loud("l")) == "fetched"
    near.distrust()
    assert get("k") == "fetched"
    assert asked == [("l", 7), ("l", None), ("k", None)]
    assert near.stats().hits == 1


def test_a_reader_finds_an_entry_that_is_over_gone(near, clock):
    get = near.reader(lambda key, default: default)
    fetch(near, ttl=10)

    clock.tick(9.999)
    assert get("k") == "v1"
    clock.tick(0.001)

    assert get("k", "gone") == "gone"


def test_trust_ends_by_the_clock_though_nobody_says_so(near, clock):
    """The listener's thread may be the one that does not run."""
    fetch(near)
    token = near.begin("other")
    near.trust(token.began + 1.0)

    get = near.reader(lambda key, default: default)

    clock.tick(0.999)
    assert read(near) == get("k") == "v1"
    assert near.trusted()
    clock.tick(0.001)

    assert read(near) is get("k") is None
    assert near.read_many(["k"]) is None
    assert not near.trusted()


def test_what_is_fetched_while_not_trusted_is_not_stored(near):
    near.distrust()

    fetch(near)
    near.trust(inf)

    assert read(near) is None


def test_what_is_fetched_while_not_trusted_takes_the_place_of_what_is_older(near):
    fetch(near, value="v1")
    near.distrust()

    fetch(near, value="v2")

    assert near.get("k") is None


def test_a_fetch_from_before_the_listener_was_there_is_not_stored(near):
    """v2 is written between the answer and the beginning of tracking: nobody is told of it."""
    near.distrust()
    token = near.begin("k")

    near.reset()
    near.trust(inf)
    near.store(token, b"v1", "v1", inf)

    assert read(near) is None


def test_a_reset_empties_it_and_refuses_what_is_under_way(near):
    fetch(near, "k")
    token = near.begin("l")

    near.reset()
    near.store(token, b"v1", "v1", inf)

    assert len(near) == 0
    fetch(near, "l")
    assert read(near, "l") == "v1"


def test_a_reset_after_an_invalidation_refuses_what_is_under_way_too(near):
    token = near.begin("k")
    near.invalidate(["k"])

    near.reset()
    near.store(token, b"v1", "v1", inf)

    assert read(near) is None


def test_an_entry_is_gone_at_exactly_its_bound(near, clock):
    fetch(near, ttl=inf)

    clock.tick(59.999)
    assert read(near) == "v1"
    clock.tick(0.001)

    assert read(near) is None
    assert near.get("k") is None


def test_an_entry_is_gone_at_exactly_its_ttl(near, clock):
    fetch(near, ttl=10)

    clock.tick(9.999)
    assert read(near) == "v1"
    clock.tick(0.001)

    assert read(near) is None


def test_life_counts_from_before_the_request(near, clock):
    token = near.begin("k")
    clock.tick(7)
    near.store(token, b"v1", "v1", 10)
    assert read(near) == "v1"

    clock.tick(3)

    assert read(near) is None


@pytest.mark.parametrize("seconds", [10, 11])
def test_an_answer_that_took_as_long_as_its_life_is_not_stored(near, clock, seconds):
    token = near.begin("k")
    clock.tick(seconds)

    near.store(token, b"v1", "v1", 10)

    assert read(near) is None
    assert near.stats().size == 0


def test_a_short_life_is_enough_to_be_stored(near):
    fetch(near, ttl=0.001)

    assert read(near) == "v1"


def test_what_comes_as_the_trust_ends_is_not_stored(near, clock):
    token = near.begin("k")
    near.trust(token.began + 1)
    clock.tick(1)

    near.store(token, b"v1", "v1", inf)
    near.trust(inf)

    assert read(near) is None


def test_nothing_is_trusted_at_first():
    with Near(100, bound=60) as near:
        assert not near.trusted()


@pytest.mark.parametrize(
    "end",
    [
        lambda near, token: near.store(token, b"v1", "v1", inf),
        lambda near, token: near.drop(token),
        lambda near, token: near.abandon(token),
    ],
    ids=["store", "drop", "abandon"],
)
def test_a_key_that_nobody_fetches_any_more_takes_no_room(near, end):
    first, second = near.begin("k"), near.begin("k")
    end(near, first)
    third = near.begin("k")
    end(near, second)
    end(near, third)

    assert first.fetches is second.fetches is third.fetches
    assert near.begin("k").fetches is not first.fetches


def test_a_fetch_may_end_in_a_forked_child_that_it_did_not_begin_in(near):
    token = near.begin("k")

    child = os.fork()
    if not child:
        status = 1
        try:
            near.abandon(token)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def cleaners():
    """Return how many cleanup threads run."""
    return [each.name for each in threading.enumerate()].count("cache-cleanup")


def test_a_forked_child_trusts_nothing_and_has_nothing_from_before(near):
    """No fetch, no bell, no entry; and a cleanup thread of its own."""
    fetch(near)
    token, bell = near.begin("slow"), near.bell("k")
    rung = []
    bell.ring = lambda: rung.append(1)
    before = cleaners()
    reading, writing = os.pipe()

    child = os.fork()
    if not child:
        found = [near.trusted(), near.keys(), near.get("k"), cleaners() == before]
        near.trust(inf)
        near.invalidate(["k"])
        found += [rung, near.begin("slow").fetches is token.fetches]
        os.write(writing, repr(found).encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 1000).decode()
    os.close(reading)
    os.close(writing)

    assert told == repr([False, [], None, True, [], False])
    assert read(near) == "v1"


@pytest.mark.parametrize("bound", [0, -1, inf, float("nan")])
def test_the_bound_is_finite_and_above_zero(bound):
    with pytest.raises(ValueError, match="bound"):
        Near(10, bound)


def test_many_are_read_only_together(near):
    fetch(near, "a", "1")
    fetch(near, "b", "2")

    assert near.read_many(["a", "b"]) == {"a": "1", "b": "2"}
    assert near.stats().hits == 2
    assert near.read_many(["a", "b", "c"]) is None
    assert near.stats().hits == 2


def test_many_are_of_one_moment(near):
    """Two keys that are always written together are invalidated together, and read so."""
    over = threading.Event()
    torn = []

    def write():
        for number in range(2000):
            near.invalidate(["a", "b"])
            fetch(near, "a", str(number))
            fetch(near, "b", str(number))
        over.set()

    def look():
        while not over.is_set():
            # b is stored after a: where there are both, they are of one write.
            found = near.read_many(["b", "a"])
            if found and found["a"] != found["b"]:
                torn.append(found)

    with ThreadPoolExecutor(3) as pool:
        for call in [pool.submit(work) for work in (write, look, look)]:
            call.result(PATIENCE)

    assert torn == []


def test_it_holds_no_more_than_its_size(clock):
    with Near(3, bound=60) as near:
        near.trust(inf)
        for number in range(10):
            fetch(near, str(number))

        assert sorted(near.keys()) == ["7", "8", "9"]


@pytest.mark.parametrize("by", ["read", "reader", "read_many"])
def test_what_was_read_last_stays_longest(clock, by):
    with Near(2, bound=60) as near:
        near.trust(inf)
        fetch(near, "a")
        fetch(near, "b")

        match by:
            case "read":
                near.read("a")
            case "reader":
                near.reader(print)("a")
            case "read_many":
                near.read_many(["a"])
        fetch(near, "c")

        assert [read(near, key) for key in "abc"] == ["v1", None, "v1"]


def test_a_str_subclass_is_read_as_its_text(near):
    class Loud(str):
        def __hash__(self):
            raise AssertionError

    fetch(near, "k")

    assert near.read(Loud("k")) == "v1"


def test_a_bell_rings_at_the_invalidation_of_its_key(near):
    bell, other = near.bell("k"), near.bell("l")

    near.invalidate(["k"])

    began = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: (began.set(), bell.wait(PATIENCE)))
        assert began.wait(PATIENCE)
        waiting.result(PATIENCE / 2)  # it had rung before the wait
        waiting = pool.submit(other.wait, PATIENCE)
        near.invalidate(["l"])
        waiting.result(PATIENCE / 2)
    bell.close()
    other.close()


def test_a_new_bell_is_waited_for(near):
    bell = near.bell("k")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bell.wait, PATIENCE)
        woken = wait([waiting], 0.05).done
        near.invalidate(["k"])
        waiting.result(PATIENCE / 2)
    bell.close()

    assert woken == set()


def test_a_bell_that_does_not_ring_is_waited_for(near):
    bell = near.bell("k")
    near.invalidate(["k"])
    near.invalidate(["k"])  # twice before a wait is as once
    bell.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bell.wait, PATIENCE)
        woken = wait([waiting], 0.05).done
        near.invalidate(["k"])
        waiting.result(PATIENCE / 2)
    bell.close()

    assert woken == set()


def test_a_closed_bell_is_held_no_longer(near):
    bell = near.bell("k")
    there = weakref.ref(bell)

    bell.close()
    del bell

    assert there() is None


def test_a_closed_bell_leaves_the_others_of_its_key(near):
    closed, bell = near.bell("k"), near.bell("k")
    closed.close()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bell.wait, PATIENCE)
        near.invalidate(["k"])
        woken = wait([waiting], PATIENCE / 2).done
    bell.close()

    assert woken == {waiting}


@pytest.mark.parametrize("lost", ["distrust", "reset"])
def test_all_bells_ring_when_invalidations_may_be_missed(near, lost):
    bells = [near.bell(key) for key in ("k", "k", "l")]

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(bell.wait, PATIENCE) for bell in bells]
        getattr(near, lost)()
        woken = wait(waiting, PATIENCE / 2).done

    assert woken == {*waiting}


def test_a_store_and_an_invalidation_at_once_leave_nothing_stale(near):
    """10,000 times: the answer with v1 is here, and so is the news that it is old."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(200):
            keys = [f"k{number}" for number in range(50)]
            tokens = [near.begin(key) for key in keys]
            meeting = threading.Barrier(2)

            def store(tokens=tokens, meeting=meeting):
                meeting.wait(PATIENCE)
                for token in tokens:
                    near.store(token, b"v1", "v1", inf)

            def tell(keys=keys, meeting=meeting):
                meeting.wait(PATIENCE)
                for key in keys:
                    near.invalidate([key])

            for call in [pool.submit(store), pool.submit(tell)]:
                call.result(PATIENCE)

            assert near.read_many([]) == {}
            assert [key for key in keys if read(near, key)] == []


class Watched(str):
    """A key that calls `come` when it is looked up."""

    def __hash__(self):
        self.come()
        return super().__hash__()


def test_an_invalidation_looks_first_for_a_fetch_and_then_for_its_entry(near):
    """A fetch that ends in between is found at the one place or the other."""
    token, key, looks = near.begin("k"), Watched("k"), []

    def come():
        looks.append(1)
        if len(looks) == 2:
            near.store(token, b"v1", "v1", inf)

    key.come = come
    near.invalidate([key])

    assert len(looks) >= 2
    assert read(near) is None


@pytest.mark.parametrize("other", ["distrust", "reset"])
@pytest.mark.parametrize(
    "step",
    [
        lambda near, token, bell, key: near.begin(key),
        lambda near, token, bell, key: near.store(token, b"v1", "v1", inf),
        lambda near, token, bell, key: near.drop(token),
        lambda near, token, bell, key: near.abandon(token),
        lambda near, token, bell, key: near.wrote([key]),
        lambda near, token, bell, key: near.invalidate([key]),
        lambda near, token, bell, key: near.read_many([key]),
        lambda near, token, bell, key: near.bell(key),
        lambda near, token, bell, key: bell.close(),
    ],
    ids=["begin", "store", "drop", "abandon", "wrote", "invalidate", "read_many", "bell", "close"],
)
def test_no_other_thread_comes_into_the_middle_of_a_step(near, step, other):
    fetch(near)
    key = Watched("k")
    key.come = bool
    token, bell = near.begin("k"), near.bell(key)
    calls, came = [], []

    with ThreadPoolExecutor(1) as pool:

        def come():
            calls.append(pool.submit(getattr(near, other)))
            came.append(wait(calls[-1:], 0.02).done)

        key.come = come
        step(near, Token(key, *token[1:]), bell, key)
        key.come = bool

    assert set() in came


class Count(int):
    """A number that calls `come` when it is added to."""

    def __add__(self, other):
        self.come()
        return int(self) + other


def test_no_other_thread_comes_into_the_middle_of_a_reset(near):
    epoch, came = Count(0), []
    near.begin("k").fetches.epoch = epoch

    with ThreadPoolExecutor(1) as pool:
        epoch.come = lambda: came.append(wait([pool.submit(near.begin, "k")], 0.02).done)
        near.reset()

    assert came == [set()]


def test_a_hit_waits_for_no_step_under_way_where_there_is_a_gil(near):
    fetch(near, "hit")
    key, came = Watched("k"), []

    with ThreadPoolExecutor(2) as pool:

        def come():
            calls = [pool.submit(get, "hit") for get in (near.read, near.reader(print))]
            came.append(len(wait(calls, 0.1).done))

        key.come = come
        near.wrote([key])
        key.come = bool

    assert came[0] == (0 if sysconfig.get_config_var("Py_GIL_DISABLED") else 2)


def test_values_are_let_go_of_without_the_lock(near):
    """A value whose finalizer waits for another thread, which needs the near cache."""

    class Last:
        def __del__(self):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: near.abandon(near.begin("other"))).result(PATIENCE)
            freed.append(True)

    freed = []
    removals = (
        lambda: near.invalidate(["k"]),
        lambda: near.wrote(["k"]),
        lambda: near.drop(near.begin("k")),
        lambda: near.reset(),
        lambda: fetch(near, "k", "v2"),
    )
    for remove in removals:
        near.store(near.begin("k"), b"v1", Last(), inf)
        remove()

    assert len(freed) == len(removals)


def test_the_rules_hold_where_hits_take_the_lock():
    """Without a GIL they do; here it is only said that there is none."""
    look = (
        "import sys; sys._is_gil_enabled = lambda: False\n"
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", look, "-qx", __file__, "-k", "not take_the_lock and not a_gil"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=50)

    assert done.returncode == 0, done.stdout
