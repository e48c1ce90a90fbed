"""Failovers: another server becomes the primary, and what the former one says is true no more.

Sentinel lets a primary that it has replaced go on as one for ten seconds, if it is there: a planned
failover leaves it running, and a frozen one comes back. Whoever still talks to it is told nothing.
"""

import threading

import pytest

from cache import CacheUnavailable, connect
from tests import ledger
from tests.failovers import BOUND, Failover, fail
from tests.fleet import CONTEXT, spawned
from tests.servers import eventually, let_pass, replicated, seconds_of

HEARTBEAT = 0.5
PROCESSES = 4
QUICK = {"timeout": 0.4, "connect_timeout": 0.4, "deadline": 0.3, "attempts": 1, "cooldown": 0.1}


@pytest.fixture
def fleet(binary, tmp_path):
    with replicated(binary, tmp_path) as fleet:
        yield fleet


def role(server):
    with server.client() as client:
        return client.info("replication")["role"]


def text_of(server, name):
    with server.client() as client:
        return client.get(name)


def replicate(fleet):
    """Wait until the replica has all that was acknowledged so far."""
    with fleet.in_charge().client() as client:
        client.set("mark", 1)
        assert client.wait(1, 5000) == 1


def test_a_primary_that_was_replaced_is_left_within_a_heartbeat(fleet):
    """It is well, serves all its connections, and takes writes that nobody else will ever see."""
    with connect(fleet.url, near=100, heartbeat=HEARTBEAT) as cache:
        eventually(lambda: cache.health()["tracking"])
        cache["k"] = "before"
        assert cache["k"] == cache["k"] == "before"
        replicate(fleet)
        fleet.fail_over()
        eventually(lambda: fleet.in_charge() is fleet.replica)
        with connect(fleet.url) as another:
            another["k"] = "after"

        took = seconds_of(lambda: eventually(lambda: cache["k"] == "after"))

        assert role(fleet.primary) == "master"
        assert took < 2 * HEARTBEAT
        cache["n"] = 5
        assert text_of(fleet.replica, "cache:n") == b"5"
        eventually(lambda: cache.health()["tracking"])


def test_without_its_sentinels_a_primary_is_followed_as_before(fleet):
    with connect(fleet.url, near=100, heartbeat=HEARTBEAT, **QUICK) as cache:
        eventually(lambda: cache.health()["tracking"])
        cache["k"] = 1
        assert cache["k"] == cache["k"] == 1

        fleet.sentinel.freeze()  # so that each question to it takes as long as may be
        let_pass(3 * HEARTBEAT)

        before = cache.stats().hits
        eventually(lambda: cache["k"] == 1 and cache["k"] == 1)
        assert cache.health()["tracking"]
        with fleet.primary.client() as client:
            client.set("cache:k", 2)
        assert eventually(lambda: cache["k"] == 2)
        assert cache.stats().hits > before


def meet(calls):
    """Make the calls at the same moment, each over a connection of its own."""
    barrier = threading.Barrier(len(calls))

    def make(call):
        barrier.wait(20)
        call()

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def hold(server, calls):
    """Have each of the calls use a connection of its own."""
    with server.client() as client:
        client.client_pause(200)
        meet(calls)


def test_connections_that_were_idle_while_the_primary_froze_do_not_lead_back_to_it(fleet):
    """One call has found that it is silent; the others of the pool were not in use."""
    with connect(fleet.url, **QUICK) as cache:
        hold(fleet.primary, [lambda: cache.get("k")] * 8)
        replicate(fleet)
        fleet.primary.freeze()
        with pytest.raises(CacheUnavailable):
            cache["k"] = 1
        eventually(lambda: fleet.in_charge() is fleet.replica)

        fleet.primary.thaw()
        meet([lambda number=number: cache.set(f"n{number}", number) for number in range(8)])

        assert role(fleet.primary) == "master"
        numbers = [text_of(fleet.replica, f"cache:n{number}") for number in range(8)]
        assert numbers == [b"%d" % number for number in range(8)]


@pytest.mark.parametrize(
    ("fault", "near"),
    [
        ("freeze", 100),
        ("kill", None),
        pytest.param("freeze", None, marks=pytest.mark.soak),
        pytest.param("kill", 100, marks=pytest.mark.soak),
    ],
)
def test_a_failover_brings_no_value_back_whose_write_or_removal_failed(fleet, fault, near):
    """Debts are paid to the new primary, though idle connections lead to the former one."""
    old = dict.fromkeys(["set", "many", "delete", "pop", "pattern", "n"], 1)
    with connect(fleet.url, near=near, heartbeat=HEARTBEAT, on_error="miss", **QUICK) as cache:
        cache.set_many(old)
        replicate(fleet)
        hold(fleet.primary, [lambda: cache.get_many(old)] * 4)
        if near is not None:
            eventually(lambda: cache.health()["tracking"])
            assert cache.get_many(old) == cache.get_many(old) == old

        getattr(fleet.primary, fault)()
        eventually(lambda: not cache.health()["connected"])
        cache["set"] = 2
        cache.set_many({"many": 2})
        cache.delete("delete")
        cache.pop("pop")
        cache.delete_pattern("pat*")
        cache.increment("n")
        owed = cache.health()["pending_invalidations"]
        eventually(lambda: fleet.in_charge() is fleet.replica)
        if fault == "freeze":
            fleet.primary.thaw()
        found = [cache.get_many(old)]
        eventually(lambda: cache.health()["connected"])
        found += [cache.get_many(old), {key: cache[key] for key in old if key in cache}]

        assert found == [{}, {}, {}]
        assert owed == len(old)
        assert cache.health()["pending_invalidations"] == 0
        assert [text_of(fleet.replica, f"cache:{key}") for key in old] == [None] * len(old)
        cache["set"] = 3
        assert text_of(fleet.replica, "cache:set") == b"3"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("failovers", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_each_write_is_accounted_for_after_every_failover(binary, tmp_path, failovers):
    """Four processes with near caches write, count and read all the time.

    Each write is entered into a ledger on the server, as one step. So what is acknowledged and not
    there in the end is lost, and must be a write that its failover explains: one that was not on
    the replica yet when it was killed or frozen, or that a primary took which had been replaced,
    and only until all had left it. Where the primary takes no more writes from before the failover
    on, nothing may be lost. Nobody reads a lost value afterwards, nor a key that goes back
    otherwise, and no increment is made twice.
    """
    started, written = CONTEXT.Barrier(PROCESSES + 1), CONTEXT.Barrier(PROCESSES)
    over = CONTEXT.Event()
    # It takes the sentinel up to a second to connect to the one that it has promoted.
    with replicated(binary, tmp_path, away=2.0) as fleet:
        given = (fleet.url, PROCESSES, started, over, written)
        with spawned(ledger.work, PROCESSES, *given) as logs:
            started.wait(60)
            made = [fail(fleet, number, soon=failovers < 10) for number in range(failovers)]
            over.set()
            found = logs(60)
        with fleet.in_charge().client() as client:
            names = client.scan_iter("cache:ledger:*", 5000)
            kept = {name.decode().removeprefix("cache:") for name in names}
    what = ledger.account(found, made, kept)
    longest = max(failover.took for failover in made)
    print(*what.wrong[:10], *what[1:], f"{longest:.2f}", sep="\n")  # for pytest -s

    assert what.wrong == []
    assert what.lost["refused"] == 0
    assert max(what.stale, what.dead) < BOUND
    assert what.away < 20
    assert min(log.hits for log in found) > 0
    for log in found:
        states = [log.health[each] for each in ("connected", "tracking", "breaker")]
        assert (states, log.health["pending_invalidations"]) == ([True, True, "closed"], 0)


LAST = {"0:0": 10, "0:1": 6, "0:2": 7, "0:3": 8, "0:4": 9}


def sums(*results):
    return [ledger.Write(at, at + 0.5, True, result) for at, result in enumerate(results, 1)]


def logged(**changes):
    """Return the log of one process that made ten writes and ten increments, one a second."""
    writes = [ledger.Write(at, at + 0.5, True) for at in range(1, 11)]
    log = {"number": 0, "writes": writes, "sums": sums(*range(1, 11)), "read": {}, "back": []}
    log.update(odd=[], refused=0, hits=1, last=LAST, total=10, health={})
    return ledger.Log(**{**log, **changes})


ALL = {f"ledger:0:{at}" for at in range(1, 11)}


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (logged(odd=["KeyError()"]), "KeyError"),
        (logged(back=[ledger.Back("0:1", 6, 1, 7.0)]), "0:1 was 1 after 6"),
        (logged(read={("0:1", 11): 7.0}), "0:1 was 11, which was never written"),
        (logged(last={**LAST, "0:1": 1}), "0:1 is 1 in the end and not 6"),
        (logged(sums=sums(1, 3), total=3), "3 after 1, by 1 calls at most"),
        (logged(sums=sums(1, 1), total=1), "1 after 1, which was sure"),
        (logged(total=11), "11 after 10, by 0 calls at most"),
        (logged(total=9), "9 after 10, which was sure"),
    ],
)
def test_the_account_says_what_must_not_be(log, said):
    [wrong] = ledger.account([log], [], ALL).wrong

    assert said in wrong


def test_a_loss_is_explained_only_by_a_failover_that_the_write_met():
    log = logged(last={**LAST, "0:1": 1}, back=[ledger.Back("0:1", 6, 1, 8.0)])
    kept = ALL - {"ledger:0:6"}
    of = lambda *times: ledger.account([log], [Failover("killed", *times, 1.0)], kept)  # noqa: E731

    met, before, after = of(6.4, 6.2), of(4.0, 5.9), of(6.6, 7.0)

    assert (met.wrong, met.lost["killed"]) == ([], 1)
    for missed in (before, after):
        assert ["number 6 was lost" in each or "after 6" in each for each in missed.wrong] == [
            True,
            True,
        ]


def test_the_account_tells_for_how_long_something_old_or_lost_was_read():
    read = {("0:1", 1): 8.0, ("0:1", 6): 9.0}
    kept = ALL - {"ledger:0:6"}
    failover = Failover("killed", 6.4, 6.2, 1.0)

    old = ledger.account([logged(read=read)], [], ALL)
    lost = ledger.account([logged(read=read)], [failover], kept)

    assert (old.stale, lost.dead) == (1.5, 9.0 - 6.2)
