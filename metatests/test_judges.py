"""What judges in the suites says no where it must: a judge that always says yes is a defect."""

import contextlib
import math
import socket
import threading
import types

import pytest

from cache import DistributedCache
from tests import failovers, fleet, ledger, servers
from tests.proxy import proxied


def test_the_suites_are_about_our_cache(CacheImpl, make_cache, cache, small_cache):
    assert CacheImpl is DistributedCache
    assert {type(each) for each in (make_cache(), cache, small_cache)} == {DistributedCache}
    assert (cache.stats().max_size, small_cache.stats().max_size) == (1000, 3)


def test_the_clock_stands_still_until_it_is_told_to_move(cache, clock):
    before = clock.wall()
    cache.set("k", 1, ttl=10)
    clock.tick(9.5)
    assert (cache.ttl("k"), clock.wall() - before) == (0.5, 9.5)

    clock.step_wall(100)

    assert (cache.ttl("k"), clock.wall() - before) == (0.5, 109.5)


# -- waiting -----------------------------------------------------------------------------------


def test_what_never_comes_is_not_waited_for_in_vain(wait_until):
    asked = []

    assert wait_until(lambda: asked.append(1), timeout=0.1) is False
    assert len(asked) > 2


def test_what_comes_late_is_waited_for(wait_until):
    answers = iter([False, 0, None, True])

    assert wait_until(lambda: next(answers), timeout=5) is True


def test_an_error_in_the_condition_is_no_yes(wait_until):
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0)


def test_eventually_fails_by_assertion_for_what_never_comes():
    with pytest.raises(AssertionError, match=r"not within 0\.05 seconds"):
        servers.eventually(lambda: 0, 0.05)


def test_eventually_gives_what_came():
    answers = iter([None, 0, "here"])

    assert servers.eventually(lambda: next(answers)) == "here"


def test_seconds_of_a_call_are_those_that_it_took():
    assert servers.seconds_of(lambda: servers.let_pass(0.05)) >= 0.05


# -- threads beside a test ---------------------------------------------------------------------


def test_a_step_that_raises_fails_the_block(meanwhile):
    with pytest.raises(AssertionError, match="ZeroDivisionError"), meanwhile(lambda: 1 / 0):
        pass


def test_a_step_that_raises_once_fails_the_block(meanwhile):
    turns = iter([None, None])
    over = threading.Event()

    def step():
        if next(turns, over) is over:
            over.set()
            raise KeyError("late")

    with pytest.raises(AssertionError, match="late"), meanwhile(step):
        assert over.wait(30)


def test_a_step_that_hangs_fails_the_block(meanwhile, monkeypatch):
    go = threading.Event()
    join = threading.Thread.join
    monkeypatch.setattr(threading.Thread, "join", lambda self, timeout: join(self, 0.1))

    with pytest.raises(AssertionError), meanwhile(lambda: go.wait(30)):
        pass

    go.set()


def test_steps_run_as_long_as_the_block(meanwhile):
    steps, third = [], threading.Event()

    def step():
        steps.append(1)
        if len(steps) == 3:
            third.set()

    with meanwhile(step):
        assert third.wait(30)
    ended = len(steps)

    assert ended == len(steps) > 2


def test_an_error_of_the_block_itself_is_not_lost(meanwhile):
    with pytest.raises(KeyError), meanwhile(lambda: None):
        raise KeyError("of the block")


@pytest.mark.parametrize("error", [KeyError("k"), AssertionError("no"), OSError(28, "full")])
def test_the_error_of_a_call_is_the_one_that_it_raises(error_of, error):
    def fail(given):
        raise given

    assert error_of(fail, error) is error


def test_a_call_that_raises_nothing_has_no_error(error_of):
    assert error_of(print) is None


def test_an_error_that_ends_the_process_is_not_kept(error_of):
    def leave():
        raise SystemExit

    with pytest.raises(SystemExit):
        error_of(leave)


def test_waits_are_as_long_as_the_call_holds_others_up(waits):
    free = threading.Event()
    free.set()

    def hold():
        free.clear()
        servers.let_pass(0.3)
        free.set()

    (longest, _), took = waits(hold, lambda: free.wait(30), lambda: None)

    assert 0.2 < longest < 10
    assert 0.2 < took < 10


def test_a_call_that_holds_nobody_up_takes_no_time(waits):
    (longest,), took = waits(lambda: None, lambda: servers.let_pass(0.001))

    assert 0 < longest < 5
    assert took < 5


# -- invariants --------------------------------------------------------------------------------


@pytest.fixture
def check_invariants(request):
    """Return the function of the top-level conftest: `conftest` is the name of several modules."""
    path = str(request.config.rootpath / "conftest.py")
    return request.config.pluginmanager.get_plugin(path).check_invariants


class Fake:
    """A cache of two live entries, of which one thing may be wrong."""

    def __init__(self, **wrong):
        self.wrong = {"live": ["a", "b"], "left": ["a", "b"], "removed": 0, "counted": 0, **wrong}
        self.cleaned = False

    def stats(self):
        counts = {
            "hits": 0,
            "misses": 0,
            "evictions": 0,
            "expirations": 5,
            "size": 2,
            "max_size": 3,
        }
        counts.update({name: at for name, at in self.wrong.items() if name in counts})
        if self.cleaned:
            counts["expirations"] += self.wrong["counted"]
            counts["size"] = self.wrong.get("size_after", counts["size"])
        return types.SimpleNamespace(**counts)

    def __len__(self):
        return self.wrong.get("length", self.stats().size)

    def keys(self):
        return self.wrong["left" if self.cleaned else "live"]

    def cleanup(self):
        self.cleaned = True
        return self.wrong["removed"]


def test_a_sound_cache_keeps_the_invariants(cache, check_invariants):
    check_invariants(Fake())
    cache.set("k", 1)
    check_invariants(cache)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 4, "live": ["a", "b", "c", "d"], "left": ["a", "b", "c", "d"]},
        {"size": -1, "length": 0},
        {"length": 1},
        {"hits": -1},
        {"misses": -1},
        {"evictions": -1},
        {"expirations": -1},
        {"live": ["a", "a"]},
        {"live": ["a", "b", "c"]},
        {"removed": 1},
        {"removed": 2, "counted": 1},
        {"left": ["a", "b", "c"]},
        {"size_after": 1},
        {"size_after": 3},
    ],
    ids=str,
)
def test_a_cache_that_breaks_an_invariant_is_found_out(check_invariants, wrong):
    with pytest.raises(AssertionError):
        check_invariants(Fake(**wrong))


# -- fleets ------------------------------------------------------------------------------------


def log(number, written=None, read=None):
    return fleet.Log(written or {}, read or {}, [], [], [], 0, {})


def test_who_reads_something_older_after_a_write_is_stale_for_that_long():
    writer = log(0, written={("k", 1): 1.0, ("k", 2): 2.0})
    late, soon = log(1, read={("k", 1): 2.75}), log(2, read={("k", 1): 1.5, ("k", 2): 9.0})

    assert max(fleet.staleness([writer, late])) == 0.75
    assert max(fleet.staleness([writer, soon])) == 0.0


def test_what_is_older_by_two_versions_is_stale_by_both():
    writer = log(0, written={("k", 1): 1.0, ("k", 2): 2.0, ("k", 3): 3.0})
    reader = log(1, read={("k", 1): 5.0})

    assert sorted(fleet.staleness([writer, reader])) == [0.0, 2.0, 3.0]


def test_errors_of_a_fleet_are_noted():
    failed = []

    with fleet.noted(failed):
        raise KeyError("k")

    assert failed == ["KeyError('k')"]


def quiet(number, sender):
    """A process of a fleet that says nothing."""


def test_a_process_that_sends_nothing_is_no_success():
    with fleet.spawned(quiet, 1) as logs, pytest.raises((TimeoutError, EOFError)):
        logs(0.2)


# -- the ledger --------------------------------------------------------------------------------


def writes(*acknowledged):
    return [ledger.Write(at, at + 0.5, said) for at, said in enumerate(acknowledged, 1)]


def account(log, kept, made=()):
    return ledger.account([log], made, {f"ledger:0:{at}" for at in kept})


def ledger_log(acknowledged, last, **more):
    known = dict.fromkeys(ledger.keys_of(0), 0) | last
    fields = {"sums": [], "read": {}, "back": [], "odd": [], "refused": 0, "hits": 1, "total": 0}
    fields |= {"last": known, "health": {}, "number": 0, "writes": writes(*acknowledged)}
    return ledger.Log(**fields | more)


def test_a_ledger_in_which_everything_is_there_is_right():
    found = account(ledger_log([True, True], {"0:1": 1, "0:2": 2}), [1, 2])

    assert (found.wrong, sum(found.lost.values()), found.acknowledged) == ([], 0, 2)


def test_a_write_that_was_acknowledged_and_is_not_there_is_wrong():
    found = account(ledger_log([True, True], {"0:1": 1}), [1])

    assert ["number 2 was lost" in each for each in found.wrong] == [True]


def test_a_write_that_failed_may_be_there_or_not():
    there = account(ledger_log([True, False], {"0:1": 1, "0:2": 2}), [1, 2])
    gone = account(ledger_log([True, False], {"0:1": 1}), [1])

    assert (there.wrong, there.late, gone.wrong, gone.late) == ([], 1, [], 0)


def test_a_loss_that_a_failover_explains_is_counted_by_its_kind():
    failover = failovers.Failover("killed", 2.0, 3.0, 1.0)

    found = account(ledger_log([True, True], {"0:1": 1}), [1], [failover])

    assert (found.wrong, dict(found.lost)) == ([], {"killed": 1})


def test_a_value_that_stays_older_than_the_last_write_is_wrong():
    found = account(
        ledger_log([True] * 6, {"0:1": 1, **{f"0:{at}": at for at in (2, 3, 4)}}), range(1, 7)
    )

    assert [each for each in found.wrong if "0:1 is 1 in the end and not 6" in each] != []


@pytest.mark.parametrize(
    ("results", "total", "fault"),
    [
        ([1, 2], 2, False),
        ([1, 3], 3, True),  # one increment made two
        ([1, 1], 1, True),  # one was lost
        ([1, 2], 1, True),  # … after it was told
        ([1, 2], 3, True),  # one that nobody made
    ],
)
def test_sums_that_the_calls_do_not_explain_are_said(results, total, fault):
    calls = [ledger.Write(at, at + 0.5, True, result) for at, result in enumerate(results, 1)]

    assert bool([*ledger.miscounted(calls, total, [])]) is fault


def test_a_failover_explains_what_it_met_only():
    failover = failovers.Failover("killed", 2.0, 3.0, 1.0)
    at = lambda began, returned: ledger.explained(ledger.Write(began, returned, True), [failover])  # noqa: E731

    assert (at(1.0, 1.9), at(3.1, 4.0)) == (None, None)
    assert at(1.0, 2.0) is at(2.5, 2.6) is at(3.0, math.inf) is failover


# -- faults of the network -----------------------------------------------------------------------


@pytest.fixture
def ends():
    """Return a proxy, and the sockets on both sides of it."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy = stack.enter_context(proxied(server.getsockname()[1]))
        client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
        ours = stack.enter_context(server.accept()[0])
        for end in (client, ours):
            end.settimeout(10)
        yield proxy, client, ours


def test_a_proxy_that_is_silent_passes_nothing_on_until_it_resumes(ends):
    proxy, client, ours = ends
    proxy.silence()
    client.sendall(b"one")
    ours.settimeout(0.1)
    with pytest.raises(TimeoutError):
        ours.recv(3)

    proxy.resume()
    ours.settimeout(10)

    assert ours.recv(3) == b"one"


def test_a_proxy_that_is_mute_passes_questions_on_and_no_answer(ends):
    proxy, client, ours = ends
    proxy.mute()
    client.sendall(b"one")
    assert ours.recv(3) == b"one"

    ours.sendall(b"two")

    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(3)


def test_a_proxy_that_cuts_ends_both_sides(ends):
    proxy, client, ours = ends
    client.sendall(b"one")
    assert ours.recv(3) == b"one"

    proxy.cut()

    assert (client.recv(1), ours.recv(1)) == (b"", b"")
