"""The parts of `RedisCache` that need no server."""

import contextlib
import logging
import math
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace

import pytest
import redis

from cache.breaker import Breaker
from cache.errors import CacheUnavailable, SnapshotError
from cache.patterns import compile_glob
from cache.plain import Codec
from cache.remote import lives
from cache.remote.calls import Calls
from cache.remote.leases import Leases
from cache.remote.link import Bell, ClusterLink, failure, link_to
from cache.remote.names import Names
from cache.remote.nodes import ask_one_at_a_time
from cache.remote.values import Values
from tests.servers import let_pass

PATIENCE = 10


@pytest.mark.parametrize(
    "life", [0.001, 1, 10.5, 86_400, 2**52 / 1000, 1e13, 8.64e13, 1e100, 1e308, sys.float_info.max]
)
def test_a_finite_life_comes_back(life):
    ticks = int(lives.ticks(life, 1000))

    assert 0 < ticks < 10**17
    assert lives.seconds(ticks, 1000) == pytest.approx(life)


def test_longer_lives_are_more_ticks():
    ticks = [int(lives.ticks(2.0**power, 1000)) for power in range(-9, 1024)]

    assert ticks == sorted(set(ticks))


def test_for_ever_is_for_ever():
    assert lives.ticks(math.inf, 1000) == b""
    assert lives.seconds(-1, 1000) == math.inf


def test_the_shortest_life_is_a_tick():
    assert lives.ticks(1e-9, 1000) == b"1"


@pytest.mark.parametrize("keys", [["a", "ü"], ["a\n", "\n", "b"], ["\ud800", "a"], [""], ["\n"]])
@pytest.mark.parametrize("namespace", ["shop", "a\nb", "\ud800"])
def test_keys_that_are_named_together_are_called_what_each_is(keys, namespace):
    """Those without newlines and lone surrogates are encoded in one piece."""
    names = Names(namespace)

    assert names.name_all(keys) == [names.name(key) for key in keys]


@pytest.mark.parametrize(
    ("namespace", "one_slot", "prefix"),
    [
        ("shop", {}, b"shop:"),
        ("shop", {"one_slot": True}, b"{shop}:"),
        ("a:b", {}, b"a%3Ab:"),
        ("a%3Ab", {}, b"a%253Ab:"),
        ("{a}", {}, b"%7Ba%7D:"),
        ("ü\ud800", {}, b"\xc3\xbc\xed\xa0\x80:"),
    ],
)
def test_a_namespace_is_escaped_as_in_urls(namespace, one_slot, prefix):
    assert Names(namespace, **one_slot).name("k") == prefix + b"k"


@pytest.mark.parametrize("key", ["k", "", "a:b", "ü", "\ud800"])
def test_a_name_leads_back_to_its_key(key):
    names = Names("shop")

    assert names.name_all([key]) == [names.name(key)]
    assert names.key(names.name(key)) == key
    assert names.scan_pattern(compile_glob(key)) == names.name(key) + b"*"


def test_a_namespace_is_not_empty_and_is_kept_as_it_was_given():
    with pytest.raises(ValueError, match="must not be empty"):
        Names("")

    assert Names("a:b").namespace == "a:b"


def test_a_namespace_of_another_type_is_named():
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        Names(b"shop")


@pytest.mark.parametrize(
    ("pattern", "selected"), [("ab", [b"n:ab"]), ("ab*", [b"n:ab", b"n:abc"]), ("a?c", [b"n:abc"])]
)
def test_of_the_names_that_a_scan_finds_those_that_match_are_selected(pattern, selected):
    assert Names("n").selected([b"n:ab", b"n:abc"], compile_glob(pattern)) == selected


def test_two_names_that_are_a_text_only_together_are_none_of_ours():
    names = [b"n:a\xc3", b"\xa9:b"]

    assert Names("n").selected(names, compile_glob("a*")) == []


def test_a_sealed_value_of_which_any_byte_was_changed_is_refused():
    values = Values(Codec(), b"secret")
    raw = values.encode([1], "k", b"k")

    for at, byte in enumerate(raw):
        changed = raw[:at] + bytes([byte ^ 1]) + raw[at + 1 :]
        with pytest.raises(SnapshotError, match="not sealed with this cache's secret"):
            values.decode(changed, b"k")


@pytest.mark.parametrize("sign", [1, -1])
def test_ints_of_64_bits_are_digits_on_the_server_and_larger_ones_are_not(sign):
    values = Values(Codec())

    assert values.encode(sign * (2**63 - 1), "k", b"k") == b"%d" % (sign * (2**63 - 1))
    assert values.encode(sign * 2**63, "k", b"k")[:1] == b"\x80"


def test_a_sealed_value_is_what_other_versions_wrote():
    """A server keeps its content through a deploy."""
    raw = bytes.fromhex(
        "0014baeda13695db82d65a927da531fd9152a41c12ca16a7022e0fb73cfb06d718"
        "80059506000000000000005d944b01612e"
    )

    assert Values(Codec(), b"secret").encode([1], "k", b"shop:k") == raw


@pytest.mark.parametrize("text", ["a", "ü", "\ud800", "\U0001f600", "\0"])
def test_a_text_of_any_length_comes_back_as_the_codec_reads_it(text):
    """Short ones are read without the codec, up to where their pickles take another form."""
    values = Values(Codec())
    texts = [text * size for size in range(260)]

    raw = [values.encode(each, "k", b"k") for each in texts]

    assert [values.decode(each, b"k") for each in raw] == texts
    assert [Codec().loads(each) for each in raw] == texts


@pytest.mark.parametrize(
    ("like_a_text", "value"),
    [
        (pickle.dumps(["abc"], 5), ["abc"]),
        (pickle.dumps(b"abc", 5), b"abc"),
        (pickle.dumps("abc", 4), "abc"),
        (pickle.dumps("abc", 5).replace(b"\x95\x07" + b"\0" * 7, b""), "abc"),
        (pickle.dumps("abc", 5).replace(b"\x07", b"\x06").replace(b"\x94", b""), "abc"),
        (pickle.dumps("abc", 5).replace(b"\x94", b"\x85"), ("abc",)),
        # As long as a text of four bytes, but of three and an opcode.
        (pickle.dumps("abc", 5).replace(b"\x07", b"\x08").replace(b"\x94", b"\x94\x94"), "abc"),
    ],
    ids=["a list", "bytes", "protocol 4", "no frame", "no memo", "a tuple", "two memos"],
)
def test_what_only_resembles_a_text_is_the_codecs(like_a_text, value):
    assert Values(Codec()).decode(like_a_text, b"k") == value


def test_what_is_as_long_as_a_text_of_any_length_comes_back():
    values = Values(Codec())
    lists = [["a" * size] for size in range(260)]

    assert [values.decode(values.encode(each, "k", b"k"), b"k") for each in lists] == lists


@pytest.mark.parametrize(
    ("raw", "said"), [(b"\x00" + b"s" * 40, "sealed with a secret"), (b"<html>", "no value of a")]
)
def test_what_is_no_value_without_a_secret_is_said(raw, said):
    with pytest.raises(SnapshotError, match=said):
        Values(Codec()).decode(raw, b"k")


class Way:
    """A way to a server that takes what it is given."""

    patience, moves = 0.0, False

    def __init__(self):
        self.removed, self.dropped, self.aparts = [], 0, 0

    def unlink(self, names):
        self.removed += names

    def drop_connections(self):
        self.dropped += 1

    def after_fork_in_child(self):
        self.dropped += 1

    @contextlib.contextmanager
    def apart(self):
        self.aparts += 1
        yield


class Answers:
    """A step whose answers are these, one after the other; errors are raised."""

    def __init__(self, *answers, seconds=0.0):
        self.left, self.seconds = list(answers), seconds

    def __call__(self):
        let_pass(self.seconds)
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def way():
    return Way()


@pytest.fixture
def calls_over(way):
    def make(threshold=2, attempts=1, deadline=1.0, everything="*", lock=None):
        lock = lock or threading.RLock()
        return Calls(way, Breaker(threshold, 60.0), attempts, deadline, everything, lock)

    return make


def test_what_the_server_refuses_is_tried_once_more_over_other_connections(calls_over, way):
    step = Answers(redis.ReadOnlyError("READONLY on purpose"), 5)

    assert calls_over().make_once(step) == 5
    assert way.dropped == 1


@pytest.mark.parametrize(("moves", "dropped"), [(False, 0), (True, 1)])
def test_idle_connections_are_dropped_where_another_server_may_have_come(
    calls_over, way, moves, dropped
):
    way.moves = moves

    with pytest.raises(CacheUnavailable):
        calls_over().make_once(Answers(redis.ConnectionError("cut")))

    assert way.dropped == dropped


def test_of_the_connections_only_idle_ones_are_dropped(server):
    client = server.client()
    pool = client.connection_pool
    used, idle = pool.get_connection(), pool.get_connection()

    def number_of(connection):
        connection.send_command("CLIENT", "ID")  # which connects anew where that is needed
        return connection.read_response()

    before = number_of(used), number_of(idle)
    pool.release(idle)

    link_to(client).drop_connections()

    assert number_of(used) == before[0]
    assert number_of(idle) != before[1]
    client.close()


def test_connections_are_dropped_in_a_call_too(calls_over, way, monkeypatch):
    """Their pool has a lock, and a finalizer may run while it is held."""
    calls, inside = calls_over(), []
    monkeypatch.setattr(way, "drop_connections", lambda: inside.append(calls.inside()))

    calls.make_once(Answers(redis.ReadOnlyError("READONLY on purpose"), 5))

    assert (inside, calls.inside()) == ([True], False)


def test_a_step_that_does_no_harm_twice_is_made_until_it_succeeds(calls_over):
    cut = redis.ConnectionError("cut")
    step = Answers(cut, cut, 5, 6)

    assert calls_over(threshold=9, attempts=3, deadline=PATIENCE).make(step) == 5
    assert step.left == [6]


def test_a_success_ends_the_failures_in_a_row(calls_over):
    calls = calls_over(threshold=2)
    cut = redis.ConnectionError("cut")

    for answer in (cut, 5, cut):
        with contextlib.suppress(CacheUnavailable):
            calls.make_once(Answers(answer))

    assert calls.breaker.state == "closed"


def test_an_error_of_the_callers_ends_the_failures_in_a_row(calls_over):
    calls = calls_over(threshold=2)
    cut, wrong = redis.ConnectionError("cut"), redis.ResponseError("ERR on purpose")

    for error in (cut, wrong, cut):
        with pytest.raises((CacheUnavailable, redis.ResponseError)):
            calls.make_once(Answers(error))

    assert calls.breaker.state == "closed"


def test_calls_apart_count_for_the_breaker_as_others_do(calls_over, way):
    lock = threading.RLock()
    calls, states = calls_over(threshold=2, lock=lock), []

    with lock:
        for fails in (True, False, True, True):
            answer = redis.ConnectionError("cut") if fails else 1
            with contextlib.suppress(CacheUnavailable):
                calls.make(Answers(answer))
            states.append(calls.breaker.state)

    assert (states, way.aparts) == (["closed", "closed", "closed", "open"], 4)


def test_the_first_attempt_counts_towards_the_deadline(calls_over):
    step = Answers(*[redis.ConnectionError("cut")] * 9, seconds=0.25)

    with pytest.raises(CacheUnavailable):
        calls_over(threshold=99, attempts=9, deadline=0.2).make(step)

    assert len(step.left) == 9 - 1  # it took longer than the deadline


def test_names_that_are_owed_are_removed_and_owed_no_more(calls_over, way):
    calls, patterns = calls_over(), []
    calls.owe([b"a", b"b"])
    before = calls.owed

    calls.settle(patterns.append)
    calls.settle(patterns.append)

    assert (before, calls.owed, way.removed, patterns) == (2, 0, [b"a", b"b"], [])


def test_what_could_not_be_removed_is_owed_still(calls_over, way, monkeypatch):
    calls = calls_over(threshold=99)
    calls.owe([b"a"])

    def fail(*given):
        raise redis.ConnectionError("cut")

    def fail_to_remove(pattern):
        calls.make(fail)

    monkeypatch.setattr(way, "unlink", fail)
    with pytest.raises(CacheUnavailable):
        calls.settle(print)
    names = calls.owed
    calls.owe_matching("k*")
    with pytest.raises(CacheUnavailable):
        calls.settle(fail_to_remove)

    assert (names, calls.owed) == (1, 2)


@pytest.mark.parametrize("what", ["a name", "a pattern", "a name of many"])
def test_what_fails_anew_while_it_is_removed_is_owed_anew(calls_over, way, what):
    """The removal may have come before the write that failed."""
    calls, removed = calls_over(), []

    def owe():
        if what == "a pattern":
            calls.owe_matching("k*")
        else:
            calls.owe([b"k", b"l"] if what == "a name of many" else [b"k"])

    def unlink(names):
        removed.extend(names)
        if len(removed) == 2:
            calls.owe([b"k"])

    def remove(pattern):
        removed.append(pattern)
        if len(removed) == 1:
            owe()

    way.unlink = unlink
    if what == "a name":
        calls.owe([b"k"])
        way.unlink = lambda names: (removed.extend(names), len(removed) == 1 and owe())
    else:
        owe()
    calls.settle(remove)

    if what == "a pattern":
        assert (removed, calls.owed) == (["k*"], 1)
        calls.settle(remove)
        assert removed == ["k*"] * 2
    elif what == "a name":
        assert removed == [b"k", b"k"]
    else:
        assert removed == [b"k", b"l", b"k"]
    assert calls.owed == 0


def test_no_other_thread_comes_between_a_look_at_a_debt_and_its_end(calls_over):
    came = []

    class Watched(bytes):
        def __hash__(self):
            if armed:
                came.append(wait([pool.submit(calls.owe, [b"other"])], 0.02).done)
            return super().__hash__()

    calls, armed = calls_over(), []
    calls.owe([Watched(b"k")])
    with ThreadPoolExecutor(1) as pool:
        armed.append(1)
        calls.settle(print)
        armed.clear()

    assert came[0] == set()


def test_nothing_is_read_while_what_is_owed_is_removed(calls_over):
    calls = calls_over()
    calls.owe_matching("k*")

    with ThreadPoolExecutor(1) as pool:

        def remove(pattern):
            came.append(wait([pool.submit(calls.settle, print)], 0.05).done)

        came = []
        calls.settle(remove)

    assert came == [set()]


def test_there_is_no_moment_in_which_a_debt_is_forgotten(calls_over):
    """As the names make place for the pattern that stands for all."""
    owed = []

    class Watched(str):
        def __hash__(self):
            owed.append(calls.owed)
            return super().__hash__()

    calls = calls_over(everything=Watched("*"))
    calls.owe(b"%d" % number for number in range(10_001))

    assert min(owed) > 0
    assert calls.owed == 1


def test_begun_anew_it_asks_a_server_that_was_given_up_before(calls_over):
    calls = calls_over(threshold=1)
    with pytest.raises(CacheUnavailable):
        calls.make_once(Answers(redis.ConnectionError("cut")))
    before = calls.breaker.state

    calls.after_fork_in_child()

    assert (before, calls.breaker.state) == ("open", "closed")


def test_begun_anew_it_owes_the_same_and_waits_for_no_other_thread(calls_over, way):
    calls = calls_over(threshold=1)
    calls.owe([b"a"])
    calls.owe_matching("k*")
    held, over, removed = threading.Event(), threading.Event(), []

    def remove(pattern):
        held.set()
        assert over.wait(PATIENCE)

    with ThreadPoolExecutor(1) as parent, ThreadPoolExecutor(1) as child:
        settling = parent.submit(calls.settle, remove)
        assert held.wait(PATIENCE)
        with pytest.raises(CacheUnavailable):
            calls.make_once(Answers(redis.ConnectionError("cut")))

        calls.after_fork_in_child()
        settled = child.submit(calls.settle, removed.append)
        done = wait([settled], PATIENCE).done
        over.set()
        settling.result(PATIENCE)

    assert done == {settled}
    assert (removed, way.removed) == (["k*"], [b"a"])
    assert way.dropped == 1  # the link begins anew, too


@pytest.mark.parametrize(("life", "ms"), [(10.0, b"10000"), (0.0014, b"1"), (1e-9, b"1")])
def test_a_lease_lives_for_whole_milliseconds_one_at_least(life, ms):
    assert Leases(life, print, threading.RLock()).ms == ms


def test_a_lease_that_is_not_renewed_is_logged_and_the_next_one_is_tried(caplog, wait_until):
    renewed = []

    def renew(name, token):
        renewed.append(name)
        if len(renewed) < 3:
            raise ZeroDivisionError("on purpose")

    leases = Leases(0.03, renew, threading.RLock())
    with caplog.at_level(logging.ERROR, "cache"), leases.holding(b"k", b"token"):
        assert wait_until(lambda: len(renewed) > 3)

    assert caplog.text.count("ZeroDivisionError: on purpose") == 2
    assert {record.name for record in caplog.records} == {"cache"}
    assert wait_until(lambda: not renewers())


@pytest.mark.parametrize("error", [CacheUnavailable("gone"), ZeroDivisionError("on purpose")])
def test_one_lease_that_is_not_renewed_keeps_no_other_from_it(wait_until, error):
    renewed = []

    def renew(name, token):
        if name == b"first":
            raise error
        renewed.append(name)

    leases = Leases(0.03, renew, threading.RLock())
    with leases.holding(b"first", b"one"), leases.holding(b"second", b"other"):
        assert wait_until(lambda: len(renewed) > 2)

    assert set(renewed) == {b"second"}


def test_a_lease_is_held_before_there_is_a_thread_to_renew_it(wait_until, monkeypatch):
    """A thread that finds nothing to renew ends at once."""
    renewed, came, start = [], [], threading.Thread.start
    leases = Leases(0.03, lambda name, token: renewed.append(name), threading.RLock())

    def start_and_wait(thread):
        start(thread)
        came.append(wait_until(lambda: renewed, 2))

    monkeypatch.setattr(threading.Thread, "start", start_and_wait)
    with leases.holding(b"k", b"token"):
        pass

    assert came == [True]


def renewers():
    """Return the threads that renew leases now."""
    return [each for each in threading.enumerate() if each.name == "cache-leases"]


def test_a_lease_is_renewed_though_the_thread_of_an_earlier_one_has_ended(wait_until):
    renewed = []
    leases = Leases(0.03, lambda name, token: renewed.append(token), threading.RLock())

    for token in (b"one", b"other"):
        with leases.holding(b"k", token):
            assert wait_until(lambda token=token: token in renewed)
            assert [each.daemon for each in renewers()] == [True]
        assert wait_until(lambda: not renewers())


def test_no_lock_is_held_while_a_lease_is_renewed(wait_until):
    lock, came = threading.RLock(), []

    def look():
        with lock:
            return True

    def renew(name, token):
        came.append(len(wait([pool.submit(look)], PATIENCE / 4).done))

    leases = Leases(0.03, renew, lock)
    with ThreadPoolExecutor(1) as pool:
        with leases.holding(b"k", b"token"):
            assert wait_until(lambda: came)
        assert wait_until(lambda: not renewers())

    assert set(came) == {1}


def test_one_thread_renews_all_leases(wait_until):
    renewed, threads = [], set()

    def renew(name, token):
        renewed.append((name, token))
        threads.add(threading.get_ident())

    leases = Leases(0.03, renew, threading.RLock())
    with leases.holding(b"k", b"one"), leases.holding(b"l", b"other"):
        assert wait_until(lambda: len(renewed) > 4)

    assert set(renewed) == {(b"k", b"one"), (b"l", b"other")}
    assert len(threads) == 1


def test_two_leases_are_not_taken_at_once():
    """Else a thread that finds none to renew could end as one begins that counts on it."""
    leases, came = Leases(0.03, lambda name, token: None, threading.RLock()), []

    def hold():
        with leases.holding(b"k", b"other"):
            pass

    with ThreadPoolExecutor(1) as pool:

        class Watched(bytes):
            def __hash__(self):
                came.append(wait([pool.submit(hold)], 0.02).done)
                return super().__hash__()

        with leases.holding(b"k", Watched(b"token")):
            pass

    assert came[0] == set()


def test_the_thread_does_not_end_while_a_lease_is_taken(wait_until):
    """Whoever takes one has the lock, and counts on the thread that runs."""
    lock = threading.RLock()
    leases = Leases(0.03, lambda name, token: None, lock)

    with leases.holding(b"k", b"token"):
        lock.acquire()
    ended = wait_until(lambda: not renewers(), 0.1)
    lock.release()

    assert not ended
    assert wait_until(lambda: not renewers())


class Told:
    """A lock that calls `released`, once, when a thread that renews leases has let go of it."""

    def __init__(self):
        self.lock, self.released = threading.RLock(), None

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()
        if self.released and threading.current_thread().name == "cache-leases":
            released, self.released = self.released, None
            released()


def test_a_lease_that_is_taken_as_the_thread_ends_is_renewed(wait_until):
    """It begins another thread, or the thread that is there has not looked yet."""
    renewed, lock = [], Told()
    leases = Leases(0.03, lambda name, token: renewed.append(token), lock)
    with contextlib.ExitStack() as stack:
        with leases.holding(b"k", b"one"):
            assert wait_until(lambda: renewed)
        lock.released = lambda: stack.enter_context(leases.holding(b"k", b"other"))

        assert wait_until(lambda: b"other" in renewed, 2)

    assert wait_until(lambda: not renewers())


def test_a_lease_is_renewed_three_times_in_its_life(wait_until, monkeypatch):
    paused, wait_for = [], threading.Event.wait

    def wait(event, timeout=None):
        if timeout and threading.current_thread().name == "cache-leases":
            paused.append(timeout)
            return False
        return wait_for(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", wait)
    with Leases(12.0, lambda name, token: None, threading.RLock()).holding(b"k", b"token"):
        assert wait_until(lambda: paused)

    assert set(paused) == {4.0}


def test_begun_anew_it_renews_no_lease_from_before(wait_until):
    """As in a forked child, whose parent has the leases, and the thread."""
    renewed = []
    leases = Leases(0.15, lambda name, token: renewed.append(token), threading.RLock())

    with leases.holding(b"k", b"parent's"):
        leases.reset()
        renewed.clear()
        with leases.holding(b"k", b"child's"):
            assert wait_until(lambda: len(renewed) > 2)

    assert set(renewed) == {b"child's"}


def test_where_no_thread_starts_a_factory_still_runs(monkeypatch):
    def refuse(thread):
        tried.append(thread.name)
        raise RuntimeError("can't create new thread at interpreter shutdown")

    leases = Leases(10.0, lambda name, token: None, threading.RLock())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    ran, tried = [], []

    for number in (1, 2):  # the second one tries to start it again
        with leases.holding(b"k", b"token"):
            ran.append(number)

    assert ran == [1, 2]
    assert tried == ["cache-leases"] * 2


@pytest.mark.parametrize(("timeout", "patience"), [(2.5, 2.5), (None, 0.0)])
def test_an_attempt_takes_as_long_as_the_clients_timeout(timeout, patience):
    with redis.Redis(port=1, socket_timeout=timeout) as client:
        assert link_to(client).patience == patience


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"redis_version": "6.2.14"}, "redis 6.2.14"),
        (
            {"server_name": "valkey", "valkey_version": "8.1.0", "redis_version": "7.2.4"},
            "valkey 8.1.0",
        ),
    ],
)
def test_the_version_names_the_engine(info, version):
    with redis.Redis(port=1) as client:
        client.info = lambda section: info

        assert link_to(client).version() == version


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.ConnectionError("why"), "the server cannot be reached: why"),
        (redis.TimeoutError("why"), "the server cannot be reached: why"),
        (redis.ReadOnlyError("why"), "the server refuses: why"),
        (redis.exceptions.ClusterDownError("why"), "the server refuses: why"),
        (redis.ResponseError("MISCONF why"), "the server refuses: MISCONF why"),
    ],
)
def test_why_the_server_does_not_answer_is_said(error, said):
    assert str(failure(error)) == said


def test_an_error_of_the_callers_is_passed_on():
    assert failure(redis.ResponseError("WRONGTYPE why")) is None


class Stepwise(ClusterLink):
    """A way to a cluster whose pipelines others may come into: before the command `number`."""

    client = SimpleNamespace(keyslot=id)

    def __init__(self, entries, write, number):
        self.entries, self.write, self.number = entries, write, number

    def _each(self, commands):
        answers = []
        for at, (verb, name) in enumerate(commands):
            if at == self.number:
                self.entries[b"k"] = self.write
            value, ms = self.entries.get(name) or (None, -2)
            answers.append(value if verb == "GET" else ms)
        return answers


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("later", [(b"v2", -1), (b"v2", 9000), (b"v2", 5), None])
@pytest.mark.parametrize("former", [(b"v1", -1), (b"v1", 5000), (b"v1", 7), None])
def test_no_value_comes_with_a_later_deadline_than_its_own(former, later, number):
    """Key by key, as on a cluster, another client may write between a value and its life."""
    link = Stepwise({b"k": former}, later, number)

    rows = link.rows([b"k", b"other"])

    own = {value[0]: value[1] for value in (former, later) if value}
    assert len(rows) <= 1
    for name, value, ms in rows:
        assert name == b"k"
        assert own[value] == -1 or 0 < ms <= own[value]
    if former and later and (former[1] > 0 or later[1] > 0):
        assert rows[0][2] <= max(former[1], later[1])
    if number == 3:
        assert rows == ([(b"k", *former)] if former else [])


def test_a_walk_asks_who_has_taken_slots_over_when_it_has_been_everywhere(monkeypatch):
    """A key may move at any time before that, to a node where the walk has been."""
    log = []

    def connection(node):
        def execute_command(verb, at, *rest):
            log.append(f"{node} {at}")
            return (5 if at == 0 else 0), []

        return SimpleNamespace(execute_command=execute_command)

    class Way(ClusterLink):
        client = SimpleNamespace(get_redis_connection=connection)

        def __init__(self):
            pass

    def primaries(client):
        log.append("who is there")
        return {name: SimpleNamespace(node=name) for name in "ab"}

    def took_over(client, before):
        log.append(f"who took over, of {sorted(before)}")
        return ["a"]

    monkeypatch.setattr("cache.remote.nodes.primaries", primaries)
    monkeypatch.setattr("cache.remote.nodes.which_took_over", took_over)
    link, cursor = Way(), None
    while True:
        cursor, _ = link.scan(cursor, b"*")
        if cursor is None:
            break

    assert log == [
        *("who is there", "a 0", "a 5", "b 0", "b 5"),
        *("who took over, of ['a', 'b']", "a 0", "a 5"),
    ]


def test_after_one_asked_in_vain_for_the_slots_owners_the_next_one_asks():
    asked = []

    def ask():
        asked.append(1)
        raise redis.ConnectionError("on purpose")

    manager = SimpleNamespace(startup_nodes={"a": 1}, initialize=ask)
    ask_one_at_a_time(SimpleNamespace(nodes_manager=manager))

    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            manager.initialize()

    assert len(asked) == 2


def test_a_bell_without_a_server_leaves_nothing_open():
    with redis.Redis(port=1) as client, pytest.raises(redis.ConnectionError):
        link_to(client).bell(b"k")


def test_a_bell_that_hears_nothing_of_its_subscription_is_closed():
    closed = []

    def cut(timeout):
        raise redis.ConnectionError("cut")

    pubsub = SimpleNamespace(
        subscribe=lambda channel: None, get_message=cut, close=lambda: closed.append(True)
    )

    with pytest.raises(redis.ConnectionError):
        Bell(pubsub, b"k")

    assert closed == [True]
