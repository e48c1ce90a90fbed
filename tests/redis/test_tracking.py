"""The listener hears of every write, or says that it cannot: on real servers, without a cache."""

import gc
import logging
import multiprocessing
import weakref

import pytest

from tests.listening import HEARTBEAT, Tracked, listeners
from tests.proxy import proxied
from tests.servers import PATIENCE, eventually


@pytest.fixture
def follow():
    made = []

    def follow(*args, **options):
        made.append(Tracked(*args, **options))
        return made[-1]

    yield follow
    for tracked in made:
        tracked.close()
    eventually(lambda: not listeners(), 2)


@pytest.fixture
def writer(server):
    return server.client()


@pytest.fixture
def tracked(server, follow):
    return follow(server.port).begin()


@pytest.mark.parametrize(
    "write",
    [
        lambda client: client.set("ns:k", 1),
        lambda client: client.set("ns:k", 1, px=100_000),
        lambda client: client.delete("ns:k"),
        lambda client: client.unlink("ns:k"),
        lambda client: client.incr("ns:k"),
        lambda client: client.pexpire("ns:k", 100_000),
        lambda client: client.pexpire("ns:k", 1),
        lambda client: client.eval("redis.call('SET', KEYS[1], 1)", 1, "ns:k"),
        lambda client: client.rename("ns:k", "other"),
    ],
)
def test_each_kind_of_write_is_told(server, writer, follow, write):
    writer.set("ns:k", 0)
    tracked = follow(server.port).begin()

    write(writer)

    assert tracked.told() == ["k"]


def test_expiry_is_told(server, writer, follow):
    writer.set("ns:k", 0, px=50)
    tracked = follow(server.port).begin()

    eventually(lambda: not writer.exists("ns:k"))

    assert tracked.told() == ["k"]


def test_keys_of_one_step_are_told_as_one(tracked, writer):
    writer.mset({"ns:a": 1, "ns:b": 2, "other:c": 3})

    assert tracked.told() == ["a", "b"]


def test_other_namespaces_are_not_told(tracked, writer):
    writer.set("other:k", 1)
    writer.set("n", 1)
    writer.set("ns:last", 1)

    assert tracked.told() == ["last"]


def test_writes_of_the_same_client_are_told_too(tracked):
    tracked.client.set("ns:k", 1)

    assert tracked.told() == ["k"]


def test_names_that_are_no_keys_are_passed_over(tracked, writer):
    # They are told in the order of their bytes: one of ours stands on either side.
    writer.mset({"ns:k": 1, b"ns:\x80": 1, "ns:\xe9": 1})

    assert tracked.told() == ["k", "\xe9"]


def test_removing_everything_resets(tracked, writer, caplog):
    tracked.sink.reset = lambda: tracked.sink.told.append("all")

    writer.flushall()

    assert tracked.told() == "all"
    assert tracked.sink.trusted()
    assert caplog.records == []


def test_a_hundred_thousand_removals_are_told(tracked, writer):
    names = [f"ns:{number}" for number in range(100_000)]
    writer.mset(dict.fromkeys(names, 1))
    seen = set()

    while len(seen) < len(names):
        seen.update(tracked.told())
    writer.unlink(*names)
    gone = set()
    while len(gone) < len(names):
        gone.update(tracked.told())

    assert gone == {name[3:] for name in names}
    eventually(tracked.sink.trusted)


def test_an_idle_connection_stays_trusted(server, follow):
    tracked = follow(server.port, heartbeat=HEARTBEAT).begin()
    until = tracked.sink.until

    eventually(lambda: tracked.sink.until > until + 3 * HEARTBEAT)

    assert tracked.sink.told == []
    assert tracked.tracking.connected
    assert 0 < tracked.tracking.lag < HEARTBEAT


def test_trust_ends_with_the_heartbeat_when_the_server_is_silent(own_server, follow, waits):
    tracked = follow(own_server.port, heartbeat=HEARTBEAT).begin()

    own_server.freeze()
    _, lasted = waits(lambda: eventually(lambda: not tracked.sink.trusted()))
    eventually(lambda: not tracked.tracking.connected)
    own_server.thaw()

    assert lasted < HEARTBEAT + 0.2
    eventually(tracked.sink.trusted)
    assert tracked.told() == "reset"


def test_a_killed_server_is_told_at_once_and_found_again(own_server, follow):
    tracked = follow(own_server.port).begin()

    own_server.kill()
    eventually(lambda: not tracked.sink.trusted())
    assert not tracked.tracking.connected
    assert tracked.tracking.lag is None
    own_server.restart()

    eventually(tracked.sink.trusted)
    assert tracked.told() == "reset"
    own_server.client().set("ns:k", 1)
    assert tracked.told() == ["k"]


def test_a_server_that_comes_late_is_found(own_server, follow, caplog):
    own_server.kill()
    tracked = follow(own_server.port)
    tracked.tracking.start()
    eventually(lambda: caplog.records)
    assert not tracked.sink.trusted()

    own_server.restart()

    eventually(tracked.sink.trusted)
    said = [(record.name, record.levelno) for record in caplog.records]
    assert said == [("cache", logging.WARNING)]


def test_a_client_killed_by_the_server_begins_anew(tracked, writer):
    writer.client_kill_filter(_type="normal", skipme=True)

    assert tracked.told() == "reset"
    eventually(tracked.sink.trusted)
    tracked.client.close()
    writer.set("ns:k", 1)
    assert tracked.told() == ["k"]


@pytest.mark.parametrize("fault", ["cut", "half_close"])
def test_a_cut_connection_begins_anew(server, writer, follow, fault):
    with proxied(server.port) as proxy:
        tracked = follow(proxy.port).begin()

        getattr(proxy, fault)()

        assert tracked.told() == "reset"
        eventually(tracked.sink.trusted)
        writer.set("ns:k", 1)
        assert tracked.told() == ["k"]
        assert proxy.connections == 2


def test_a_connection_that_goes_silent_is_given_up(server, writer, follow):
    with proxied(server.port) as proxy:
        tracked = follow(proxy.port, heartbeat=HEARTBEAT).begin()

        proxy.silence()
        writer.set("ns:k", 1)  # nobody hears of it
        eventually(lambda: not tracked.sink.trusted())
        eventually(lambda: proxy.connections > 1)
        assert tracked.sink.told == []
        proxy.resume()

        eventually(tracked.sink.trusted)
        assert tracked.told() == "reset"


def test_a_slow_connection_is_trusted_for_less(server, writer, follow):
    """What an answer proves is how things were when it was asked for."""
    with proxied(server.port) as proxy:
        tracked = follow(proxy.port, heartbeat=HEARTBEAT).begin()
        proxy.delay = 0.05

        eventually(lambda: (tracked.tracking.lag or 0) >= 0.1)
        most = max(tracked.sink.left() for _ in range(100_000))

        assert 0 < most <= HEARTBEAT - 0.1


def test_a_restart_connects_anew(tracked, writer):
    def listens():
        return {each["id"] for each in writer.client_list() if each["flags"] == "tB"}

    before = listens()
    tracked.tracking.restart()

    assert tracked.told() == "reset"
    eventually(tracked.sink.trusted)
    assert eventually(listens).isdisjoint(before)
    writer.set("ns:k", 1)
    assert tracked.told() == ["k"]


def test_a_server_that_refuses_is_never_trusted_and_said_once(server, writer, follow, caplog):
    writer.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-client")
    with proxied(server.port) as proxy:
        tracked = follow(proxy.port, username="blind", password="pw")
        tracked.tracking.start()
        eventually(lambda: proxy.connections >= 3)
        tracked.close()
        eventually(lambda: not listeners())
    writer.execute_command("ACL", "DELUSER", "blind")

    assert not tracked.sink.trusted()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "no near cache" in said[0]


def test_an_error_in_the_sink_is_logged_and_it_begins_anew(tracked, writer, caplog):
    tracked.sink.invalidate = lambda keys: 1 / 0

    writer.set("ns:k", 1)

    assert tracked.told() == "reset"
    eventually(tracked.sink.trusted)
    assert "ZeroDivisionError" in caplog.text


def test_one_thread_however_often_it_is_started(tracked):
    for _ in range(3):
        tracked.tracking.start()

    assert len(listeners()) == 1


def test_the_thread_ends_with_its_sink(server, follow):
    tracked = follow(server.port).begin()
    gone = weakref.ref(tracked.sink)

    del tracked.sink
    gc.collect()

    assert gone() is None
    eventually(lambda: not listeners(), 2)


def test_close_ends_thread_and_connection(server, writer, follow):
    connections = len(writer.client_list())
    tracked = follow(server.port).begin()
    assert len(writer.client_list()) == connections + 1

    tracked.tracking.close()
    tracked.tracking.close()

    assert not tracked.sink.trusted()
    eventually(lambda: not listeners(), 2)
    eventually(lambda: len(writer.client_list()) == connections)
    tracked.tracking.start()
    assert not listeners()


def test_a_forked_child_follows_by_itself_and_leaves_its_parents_connection_alone(tracked, writer):
    ours, childs = multiprocessing.Pipe()

    def follow_too():
        tracked.sink.distrust()
        tracked.tracking.after_fork_in_child()
        tracked.begin()
        childs.send("ready")
        childs.send(tracked.told())

    child = multiprocessing.get_context("fork").Process(target=follow_too)
    child.start()
    with ours, childs:
        assert ours.poll(PATIENCE)
        assert ours.recv() == "ready"
        writer.set("ns:k", 1)
        assert tracked.told() == ["k"]
        assert ours.poll(PATIENCE)
        assert ours.recv() == ["k"]
    child.join(PATIENCE)

    assert child.exitcode == 0
    assert tracked.sink.told == []
    assert tracked.tracking.connected
    writer.set("ns:l", 1)
    assert tracked.told() == ["l"]
