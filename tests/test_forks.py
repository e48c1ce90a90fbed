"""Forks in the middle of what another thread was doing: the child keeps nothing of it.

Each test stops a thread at one step of a call, by a value that waits where it is released or by a
factory, forks, and has the child say what it finds.
"""

import json
import os
import signal
import threading

import pytest

from cache import DistributedCache
from cache.near import Near
from tests.growth import weigh

JOIN = 20

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork"),
]


def in_child(call):
    """Return what a call returns in a forked child, as JSON has it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(JOIN)
        try:
            said = json.dumps(call())
        except BaseException as error:
            said = json.dumps(repr(error))
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(said)


class Stays:
    """A value that keeps the thread which releases it until it is told to go on."""

    def __init__(self):
        self.released, self.go = threading.Event(), threading.Event()

    def __del__(self):
        self.released.set()
        self.go.wait(JOIN)


@pytest.fixture
def cache():
    with DistributedCache(200_000) as cache:
        yield cache


@pytest.fixture
def during():
    """Return a function that calls another while a thread stays in the middle of a call."""

    def during(call, begun, go, then):
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        assert begun.wait(JOIN)
        try:
            return then()
        finally:
            go.set()
            thread.join(JOIN)
            assert not thread.is_alive()

    return during


@pytest.mark.clause("R8.3", "R8.5")
def test_a_child_keeps_no_record_of_a_delete_pattern_of_its_parent(cache, during):
    value = Stays()
    begun, go = value.released, value.go
    cache.set("k", value)
    del value

    def child():
        before = weigh(cache).total()
        for number in range(5000):
            cache.set(f"new{number}", number)
            cache.delete(f"new{number}")
        return weigh(cache).total() - before

    assert during(lambda: cache.delete_pattern("k*"), begun, go, lambda: in_child(child)) <= 5


@pytest.mark.clause("R8.5", "R9.3")
def test_a_child_keeps_the_journal_of_its_own_delete_pattern(cache):
    """As where a value forks when it is released, and the child goes on."""
    found = []

    class Forks:
        def __del__(self):
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                signal.alarm(JOIN)
                cache.set("k4998", "new")
                found.append(writing)
                return
            os.close(writing)
            with os.fdopen(reading) as file:
                found.append(file.read())
            os.waitpid(child, 0)

    cache.set_many({f"k{number}": None for number in range(5000)})
    # The first ones go first, so the child's write is to a key whose turn is still to come.
    cache.set("k0", Forks())

    cache.delete_pattern("k*")
    if isinstance(found[0], int):
        os.write(found[0], json.dumps(cache.get_many(cache.keys())).encode())
        os._exit(0)

    assert json.loads(found[0]) == {"k4998": "new"}
    assert cache.keys() == []


@pytest.mark.clause("R8.5", "R9.3")
def test_a_write_in_the_child_of_a_factory_stays(cache):
    """The factory goes on in the child, too: it is a flight like any other."""
    children = []

    def factory():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(JOIN)
            cache.set("k", "written")
            children.append(writing)
            return "made"
        os.close(writing)
        with os.fdopen(reading) as file:
            children.append(file.read())
        os.waitpid(child, 0)
        return "made"

    got = cache.get_or_set("k", factory)
    if isinstance(children[0], int):
        os.write(children[0], json.dumps([got, cache.get("k")]).encode())
        os._exit(0)

    assert json.loads(children[0]) == ["made", "written"]
    assert (got, cache.get("k")) == ("made", "made")


@pytest.mark.clause("R8.5", "R9.3")
def test_a_child_leads_what_its_parent_was_making_and_waits_for_nobody(cache, during):
    begun, go = threading.Event(), threading.Event()

    def factory():
        begun.set()
        go.wait(JOIN)
        return "parent"

    made = during(
        *(lambda: cache.get_or_set("k", factory), begun, go),
        lambda: in_child(lambda: [cache.get_or_set("k", lambda: "child"), cache.get("k")]),
    )

    assert (made, cache.get("k")) == (["child", "child"], "parent")


@pytest.mark.clause("R8.5")
def test_a_child_replays_the_hit_that_another_thread_had_noted(cache):
    """The walk of a save was over when the hit came to note its key."""
    cache.set_many({"a": 1, "b": 2})
    cache._uses.append("a")

    found = in_child(lambda: [list(cache._entries), len(cache._uses)])

    assert found == [["b", "a"], 0]
    cache._uses.clear()


@pytest.mark.clause("R8.5")
def test_a_child_is_closed_where_its_parent_was_being_closed(cache, monkeypatch, during):
    begun, go, end = threading.Event(), threading.Event(), cache._end_cleanup

    def ending():
        begun.set()
        go.wait(JOIN)
        end()

    monkeypatch.setattr(cache, "_end_cleanup", ending)

    runs = during(cache.close, begun, go, lambda: in_child(lambda: cache._cleans()))

    assert runs is False


def test_a_child_knows_no_fetch_and_no_bell_of_its_parent():
    with Near(100, bound=60) as near:
        near.trust(1e12)
        near.store(near.begin("near"), b"1", 1, 60)
        near.begin("k")
        bell = near.bell("k")

        def child():
            before = weigh(near._fetches, near._bells).total()
            token = near.begin("k")
            near.trust(1e12)
            near.store(token, b"2", 2, 60)
            return [before, weigh(near._fetches).total(), near.read("k"), near.get("near")]

        assert in_child(child) == [0, 0, 2, None]
        bell.close()


def test_a_bell_that_a_forked_child_forgot_is_closed_without_an_error():
    with Near(100, bound=60) as near:
        bell = near.bell("k")

        def child():
            bell.close()
            again = near.bell("k")
            near.invalidate(["k"])
            again.wait(JOIN)
            again.close()
            return weigh(near._bells).total()

        assert in_child(child) == 0
        bell.close()
