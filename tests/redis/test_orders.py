"""The order of two steps, where only a lost answer, a fork or another client between them shows it.

Each test puts somebody between two commands of one verb, and asks what must then hold.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from cache import CacheUnavailable, DistributedCache
from cache.redis_cache import RedisCache
from cache.remote import scripts
from cache.remote.link import link_to
from tests.between import Between
from tests.servers import PATIENCE, eventually, let_pass, seconds_of

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Return a function that has a call made by another thread, and returns its result."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda call, *given: pool.submit(call, *given).result(PATIENCE)


@pytest.fixture
def make(server) -> Iterator[Callable[..., tuple[RedisCache[Any], Between]]]:
    """Return a maker of caches of one namespace, each as if of a process of its own."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> tuple[RedisCache[Any], Between]:
            client = stack.enter_context(server.client())
            limits = {"namespace": "ns", "deadline": 60.0}
            made = stack.enter_context(RedisCache(client, **limits, **options))
            if options.get("near"):
                eventually(lambda: made.health()["tracking"])
            return made, Between(client)

        yield make


@pytest.fixture
def pair(make) -> tuple[RedisCache[Any], Between, RedisCache[Any]]:
    """Return a cache, what comes between its commands, and the cache of another process."""
    return *make(), make()[0]


# -- own writes, and what is read from near --------------------------------------------------------


def touched(cache, other):
    cache.touch("k", 0.05)
    eventually(lambda: not other.exists("k"))


WRITES: dict[str, tuple[str, Callable[..., object]]] = {
    "set": ("SET", lambda cache, other, path: cache.set("k", 2)),
    "set_many": ("MSET", lambda cache, other, path: cache.set_many({"k": 2})),
    "replace": ("PUT_IF", lambda cache, other, path: cache.replace("k", 2)),
    "increment": ("INCREMENT", lambda cache, other, path: cache.increment("k")),
    "a large increment": ("EXCHANGE", lambda cache, other, path: cache.increment("k", 2**70)),
    "touch": ("TOUCH", lambda cache, other, path: touched(cache, other)),
    "pop": ("POP", lambda cache, other, path: cache.pop("k")),
    "delete": ("REMOVE", lambda cache, other, path: cache.delete("k")),
    "delete_pattern": ("UNLINK", lambda cache, other, path: cache.delete_pattern("k")),
    "clear": ("UNLINK", lambda cache, other, path: cache.clear()),
    "load": ("UNLINK", lambda cache, other, path: cache.load(path)),
}


@pytest.fixture
def snapshot(tmp_path) -> str:
    """Save one key to a file."""
    with DistributedCache() as local:
        local["k"] = 2
        local.save(tmp_path / "snapshot")
    return str(tmp_path / "snapshot")


@pytest.mark.parametrize("verb", WRITES)
def test_what_is_fetched_in_the_middle_of_an_own_write_is_not_read_after_it(
    deaf, elsewhere, snapshot, verb
):
    """The near copy goes once the server has answered, and not before it is asked."""
    cache, other, client = deaf
    command, write = WRITES[verb]
    cache["k"] = 1
    read = []
    Between(client).before(command, lambda: read.append(elsewhere(cache.get, "k")))

    write(cache, other, snapshot)

    assert read == [1]
    assert cache.get("k") == other.get("k")


@pytest.mark.parametrize("verb", WRITES)
def test_after_a_write_that_may_have_failed_nothing_is_read_from_near(deaf, snapshot, verb):
    cache, other, client = deaf
    command, write = WRITES[verb]
    cache["k"] = 1
    assert cache.get("k") == cache["k"] == 1
    Between(client).lose(command, times=3)

    with pytest.raises(CacheUnavailable, match="lost on purpose"):
        write(cache, other, snapshot)
    eventually(lambda: verb != "touch" or not other.exists("k"))

    assert cache.get("k") == other.get("k")


@pytest.mark.parametrize("read", [lambda cache: cache["k"], lambda cache: cache.get_many(["k"])])
def test_what_was_answered_before_an_own_write_is_not_kept_after_it(deaf, elsewhere, read):
    """A fetch begins before the server is asked."""
    cache, _, client = deaf
    cache["k"] = 1
    Between(client).after("ROWS", lambda: elsewhere(cache.set, "k", 2))

    assert read(cache) in (1, {"k": 1})

    assert cache.get("k") == 2


def test_a_load_that_fails_counts_nothing(make, snapshot):
    cache, between = make()
    cache["k"] = cache.get("k")
    before = cache.stats()
    between.lose("MSET", times=3)

    with pytest.raises(CacheUnavailable):
        cache.load(snapshot)

    assert cache.stats()[:4] == before[:4]


# -- answers that are lost -------------------------------------------------------------------------

ONCE: dict[str, tuple[str, Callable[[RedisCache[Any]], object]]] = {
    "add": ("PUT_IF", lambda cache: cache.add("new", 1)),
    "replace": ("PUT_IF", lambda cache: cache.replace("k", 1)),
    "increment": ("INCREMENT", lambda cache: cache.increment("n")),
    "a large increment": ("EXCHANGE", lambda cache: cache.increment("n", 2**70)),
    "pop": ("POP", lambda cache: cache.pop("k")),
    "delete": ("REMOVE", lambda cache: cache.delete("k")),
    "delete_many": ("REMOVE", lambda cache: cache.delete_many(["k", "n"])),
    "delete_pattern": ("UNLINK", lambda cache: cache.delete_pattern("*")),
}


@pytest.mark.parametrize("verb", ONCE)
def test_what_tells_whether_it_did_something_is_not_sent_again(make, verb):
    """A second one would say that there was nothing to do, or do it twice."""
    cache, between = make(attempts=3)
    cache.set_many({"k": "v", "n": 5})
    command, call = ONCE[verb]
    between.lose(command)

    with pytest.raises(CacheUnavailable, match="lost on purpose"):
        call(cache)

    assert between.sent.count(command) == 1


AGAIN: dict[str, tuple[str, Callable[[RedisCache[Any]], object], object]] = {
    "get": ("GET", lambda cache: cache["k"], "v"),
    "get_many": ("MGET", lambda cache: cache.get_many(["k", "x"]), {"k": "v"}),
    "exists": ("TYPE", lambda cache: cache.exists("k"), True),
    "ttl": ("TTL", lambda cache: cache.ttl("n"), float("inf")),
    "keys": ("SCAN", lambda cache: sorted(cache.keys()), ["k", "n"]),
    "set": ("SET", lambda cache: (cache.set("k", 2), cache["k"]), (None, 2)),
    "set_many": ("MSET", lambda cache: (cache.set_many({"k": 2}), cache["k"]), (None, 2)),
    "touch": ("TOUCH", lambda cache: cache.touch("k"), True),
    "the lease": ("LEASE", lambda cache: cache.get_or_set("new", lambda: 1), 1),
    "the landing": (
        "LAND",
        lambda cache: (cache.get_or_set("new", lambda: 1), cache.get("new")),
        (1, 1),
    ),
}


@pytest.mark.parametrize("verb", AGAIN)
def test_what_does_no_harm_twice_is_sent_again_once(make, verb):
    """The lease that was taken by the first of two is the caller's, and not to be waited for."""
    cache, between = make(lease=1.0)
    cache.set_many({"k": "v", "n": 5})
    command, call, expected = AGAIN[verb]
    between.sent.clear()
    between.lose(command)

    assert call(cache) == expected

    assert between.sent.count(command) == 2


@pytest.mark.parametrize(
    ("command", "read", "misses"),
    [
        ("GET", lambda cache: cache.get("k"), 1),
        ("GET", lambda cache: cache["k"], 1),
        ("GET", lambda cache: cache.get_or_set("k", list), 1),
        ("MGET", lambda cache: cache.get_many(["k", "l", "k"]), 3),
        ("POP", lambda cache: cache.pop("k"), 1),
    ],
)
def test_a_read_that_fails_was_a_miss(make, command, read, misses):
    cache, between = make()
    cache["k"] = 1
    between.lose(command, times=3)

    with pytest.raises(CacheUnavailable):
        read(cache)

    assert cache.stats()[:2] == (0, misses)


def test_a_lease_whose_release_was_not_answered_is_free(make, pair):
    cache, between, other = pair
    between.lose("FREE")

    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("k", lambda: 1 // 0)

    assert seconds_of(lambda: other.get_or_set("k", lambda: 1)) < 5  # a lease lives for ten seconds


# -- what is owed to a server ----------------------------------------------------------------------

AFTER_AN_OUTAGE: dict[str, tuple[Callable[[RedisCache[Any]], object], object]] = {
    "get": (lambda cache: cache.get("k"), None),
    "get_many": (lambda cache: cache.get_many(["k"]), {}),
    "exists": (lambda cache: cache.exists("k"), False),
    "ttl": (lambda cache: cache.ttl("k"), None),
    "keys": (lambda cache: cache.keys(), []),
    "len": (len, 0),
    "add": (lambda cache: cache.add("k", 1), True),
    "replace": (lambda cache: cache.replace("k", 1), False),
    "increment": (lambda cache: cache.increment("k"), 1),
    "touch": (lambda cache: cache.touch("k"), False),
    "pop": (lambda cache: cache.pop("k"), None),
    "delete": (lambda cache: cache.delete("k"), False),
    "delete_pattern": (lambda cache: cache.delete_pattern("*"), 0),
    "get_or_set": (lambda cache: cache.get_or_set("k", lambda: "made"), "made"),
    "set": (lambda cache: (cache.set("k", 2), cache["k"], cache["k"]), (None, 2, 2)),
    "set_many": (lambda cache: (cache.set_many({"k": 2}), cache["k"]), (None, 2)),
}


@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("verb", AFTER_AN_OUTAGE)
def test_what_is_owed_is_removed_before_a_verb_is_sent(make, verb, near):
    cache, between = make(near=near, on_error="miss", attempts=1)
    cache["k"] = 5
    between.refuse("SET")
    cache["k"] = 6
    call, expected = AFTER_AN_OUTAGE[verb]

    assert call(cache) == expected

    assert cache.health()["pending_invalidations"] == 0


def test_what_is_owed_is_not_saved(make, tmp_path):
    cache, between = make(on_error="miss", attempts=1)
    cache.set_many({"k": 5, "l": 5})
    between.refuse("SET")
    cache["k"] = 6

    cache.save(tmp_path / "s")

    with DistributedCache() as local:
        local.load(tmp_path / "s")
        assert local.keys() == ["l"]


def test_what_was_owed_before_a_load_takes_nothing_of_it(make, snapshot):
    cache, between = make(on_error="miss", attempts=1)
    between.refuse("SET")
    cache["k"] = 6

    cache.load(snapshot)

    assert cache.get("k") == 2


# -- factories, and what others do meanwhile -------------------------------------------------------


@pytest.mark.parametrize("remove", ["delete_pattern", "clear", "load"])
def test_a_factory_that_ends_in_the_middle_of_a_removal_stores_nothing(
    make, pair, tmp_path, remove
):
    """First the leases go, then the values: so what began before stores nothing at any time."""
    cache, between, other = pair
    with DistributedCache() as local:
        local["other"] = 1
        local.save(tmp_path / "s")
    running, go = threading.Event(), threading.Event()

    def factory() -> str:
        running.set()
        assert go.wait(PATIENCE)
        return "from before"

    with ThreadPoolExecutor(1) as pool:
        owner = pool.submit(other.get_or_set, "k", factory)
        assert running.wait(PATIENCE)
        between.before("SCAN", lambda: (go.set(), owner.result(PATIENCE)), number=2)

        if remove == "load":
            cache.load(tmp_path / "s")
        elif remove == "clear":
            cache.clear()
        else:
            cache.delete_pattern("k*")

    assert owner.result(PATIENCE) == "from before"
    assert "k" not in cache


def test_a_value_that_comes_before_the_lease_is_taken_is_returned(pair):
    cache, between, other = pair
    between.before("LEASE", lambda: other.set("k", "theirs"))

    assert cache.get_or_set("k", lambda: "ours") == "theirs"
    assert cache.get("k") == "theirs"


def test_who_waits_goes_on_when_the_value_is_on_the_server(pair, elsewhere):
    """A waiter that looks for the value at once must find it."""
    cache, between, _ = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = []

        def factory() -> int:
            waiting.append(pool.submit(cache.get_or_set, "k", lambda: 2))
            eventually(lambda: cache.stats().misses == 2)
            return 1

        woken = []
        between.before("LAND", lambda: woken.append(wait(waiting, 0.1).done))

        assert cache.get_or_set("k", factory) == 1

        assert waiting[0].result(PATIENCE) == 1
        assert woken == [set()]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("look", [1, 2])
def test_who_waits_for_another_process_misses_no_end_of_its_factory(
    make, monkeypatch, near, look, fails
):
    """It listens first, and then looks once more; so each end is either seen or heard."""
    monkeypatch.setattr("cache.redis_cache._GLANCE", 60.0)
    here, between = make(near=near)
    there, _ = make(lease=30.0)
    running, go = threading.Event(), threading.Event()

    def factory() -> str:
        running.set()
        assert go.wait(PATIENCE)
        if fails:
            raise LookupError("on purpose")
        return "theirs"

    with ThreadPoolExecutor(1) as pool:
        owner = pool.submit(there.get_or_set, "k", factory)
        assert running.wait(PATIENCE)
        between.after("LEASE", lambda: (go.set(), wait([owner], PATIENCE)), number=look)
        found = []

        took = seconds_of(lambda: found.append(here.get_or_set("k", lambda: "ours")))

    assert found == ["ours" if fails else "theirs"]
    assert took < PATIENCE / 2


@pytest.mark.parametrize(
    ("factory", "keep"), [(lambda: 1, False), (lambda: 1 // 0, True), (lambda: iter([]), True)]
)
def test_what_is_not_stored_leaves_no_lease(server, pair, factory, keep):
    cache, _, _ = pair

    with contextlib.suppress(ZeroDivisionError, TypeError):
        cache.get_or_set("k", factory, store_if=lambda value: keep)

    assert server.client().keys() == []


@pytest.mark.parametrize("fails", [False, True])
def test_who_has_lost_its_lease_leaves_that_of_another_alone(server, pair, fails):
    cache, _, other = pair
    go = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        running, others = threading.Event(), []

        def theirs() -> str:
            running.set()
            assert go.wait(PATIENCE)
            return "theirs"

        def ours() -> str:
            server.client().delete("ns:k")  # as it expires where the process was stopped
            others.append(pool.submit(other.get_or_set, "k", theirs))
            assert running.wait(PATIENCE)
            if fails:
                raise LookupError("on purpose")
            return "ours"

        with contextlib.suppress(LookupError):
            assert cache.get_or_set("k", ours) == "ours"
        assert server.client().type("ns:k") == b"hash"
        go.set()

        assert others[0].result(PATIENCE) == "theirs"
        assert cache.get("k") == "theirs"


def test_a_lease_is_for_its_token_alone(server):
    with server.client() as client:
        link = link_to(client)
        assert link.run(scripts.LEASE, (b"k",), b"ours", b"60000") == [0]

        for script, given in (
            (scripts.RENEW, (b"90000000",)),
            (scripts.LAND, (b"value", b"")),
            (scripts.FREE, ()),
        ):
            assert link.run(script, (b"k",), b"theirs", *given) == 0
        assert client.hget("k", "lease") == b"ours"
        assert 0 < client.pttl("k") <= 60_000
        assert link.run(scripts.RENEW, (b"k",), b"ours", b"90000000") == 1
        assert client.pttl("k") > 60_000


# -- sums that the server does not make ------------------------------------------------------------


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        (lambda other: other.increment("k", 5), 2**70 + 5 + 1),
        (lambda other: other.set("k", 7), 7 + 1),
        (lambda other: other.delete("k"), 1),
    ],
    ids=["an increment", "a write", "a removal"],
)
def test_a_sum_is_of_what_is_there_when_it_is_stored(pair, meanwhile, expected):
    cache, between, other = pair
    cache["k"] = 2**70
    between.before("EXCHANGE", lambda: meanwhile(other))

    assert cache.increment("k") == expected

    assert other.get("k") == expected


def test_a_sum_has_the_deadline_that_is_there_when_it_is_stored(pair):
    cache, between, other = pair
    cache.set("k", 2**70, ttl=50)
    between.before("EXCHANGE", lambda: other.touch("k", 5000))

    cache.increment("k")

    assert cache.ttl("k") > 4000


# -- forks -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def child(work: Callable[[], object]) -> Iterator[Callable[[], int]]:
    """Fork a process that does `work`; give a function that waits for its exit code."""
    process = os.fork()
    if process == 0:
        signal.alarm(int(2 * PATIENCE))
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    codes: list[int] = []

    def ended() -> int:
        if not codes:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        return codes[0]

    try:
        yield ended
    finally:
        if not codes:
            os.kill(process, signal.SIGKILL)
        ended()


@needs_fork
def test_a_childs_lease_is_renewed_though_its_parent_renewed_one_at_the_fork(server, make):
    """The thread that renews the parent's is not there in the child."""
    parent, _ = make(lease=0.6)
    running, go = threading.Event(), threading.Event()
    reading, writing = os.pipe()

    def parents() -> int:
        running.set()
        assert go.wait(2 * PATIENCE)
        return 1

    def childs() -> int:
        assert os.read(reading, 1) == b"x"
        return 2

    def renewals(name: str) -> Iterator[None]:
        """Yield each time that the lease is found to have more left than just before."""
        client, former = server.client(), 0
        while (left := client.pttl(name)) > 0:
            if left > former > 0:
                yield
            former = left

    with ThreadPoolExecutor(1) as pool:
        owner = pool.submit(parent.get_or_set, "parent's", parents)
        assert running.wait(PATIENCE)
        with child(lambda: parent.get_or_set("child's", childs)) as ended:
            eventually(lambda: server.client().exists("ns:child's"))
            seen = [1 for _ in zip(range(3), renewals("ns:child's"), strict=False)]
            os.write(writing, b"x")
            code = ended()
        go.set()
        owner.result(PATIENCE)

    os.close(reading)
    os.close(writing)
    assert seen == [1, 1, 1]
    assert code == 0
    assert parent.get_many(["parent's", "child's"]) == {"parent's": 1, "child's": 2}


def heard(monitor: Any, digest: bytes) -> bool:
    """Wait until the server is asked to run a script; False where 40 other commands come first."""
    return any(digest.decode() in monitor.next_command()["command"] for _ in range(40))


@needs_fork
@pytest.mark.parametrize("near", [None, 100])
def test_a_child_waits_for_its_parents_factory_as_any_other_process_does(
    server, make, meanwhile, near
):
    """The flight of the parent's thread is none of the child's: it would never land there."""
    parent, _ = make(near=near)
    running, go = threading.Event(), threading.Event()

    def factory() -> str:
        running.set()
        assert go.wait(2 * PATIENCE)
        return "parent's"

    def work() -> None:
        assert parent.get_or_set("k", lambda: "child's") == "parent's"

    with (
        ThreadPoolExecutor(1) as pool,
        server.client() as client,
        client.monitor() as monitor,
        meanwhile(lambda: (server.client().ping(), let_pass(0.1))),
    ):
        owner = pool.submit(parent.get_or_set, "k", factory)
        assert running.wait(PATIENCE)
        heard(monitor, scripts.LEASE.digest)
        with child(work) as ended:
            waits = heard(monitor, scripts.LEASE.digest)
            go.set()
            code = ended() if waits else None
        assert owner.result(PATIENCE) == "parent's"

    assert (waits, code) == (True, 0)


@needs_fork
def test_a_child_pays_what_its_parent_owed(make):
    parent, between = make(on_error="miss", attempts=1)
    parent["k"] = 5
    between.refuse("SET")
    parent["k"] = 6

    def work() -> None:
        assert parent.get("k") is None

    with child(work) as ended:
        assert ended() == 0
