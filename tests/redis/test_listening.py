"""The listener, word by word: a server that says what the test says, and time that is turned."""

import logging
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace

import pytest
import redis

from cache.remote.dial import followed, servers
from cache.remote.link import ClusterLink
from cache.tracking import Tracking
from tests.listening import Scripted, Sink, listeners
from tests.servers import PATIENCE, eventually, seconds_of

HEARTBEAT = 0.75  # seconds that the tests turn; a third, and a sixth, are exact too
PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"


def invalidation(*names):
    body = b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in names)
    return b">2\r\n$10\r\ninvalidate\r\n*%d\r\n%b" % (len(names), body)


@pytest.fixture
def make_server():
    made = []

    def make_server():
        made.append(Scripted())
        return made[-1]

    yield make_server
    for server in made:
        server.close()


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def sink(clock):
    return Sink()


@pytest.fixture
def listen(sink, server, wait_until):
    """Return a function that makes tracking of servers; by default there is one."""
    made = []

    def listen(servers=lambda: {"server": server.dial}, **said):
        name = {"key_of": lambda name: name[3:].decode(), "prefix": b"ns:"}
        made.append(Tracking(sink, servers, heartbeat=HEARTBEAT, **name, **said))
        return made[-1]

    yield listen
    for tracking in made:
        tracking.close()
    assert wait_until(lambda: not listeners())


@pytest.fixture
def tracking(server, sink, listen, wait_until):
    """Return tracking that has begun."""
    tracking = listen()
    tracking.start()
    server.welcomes()
    assert wait_until(sink.trusted)
    assert sink.told.pop() == "reset"
    return tracking


def beat(server, clock):
    """Let the time for a PING come."""
    clock.tick(HEARTBEAT / 3)
    server.hears(PING)


def test_it_asks_for_the_writes_to_its_prefix_and_no_others(server, listen, wait_until):
    listen().start()

    said = server.ends[0].recv(4096) if wait_until(lambda: server.ends) else b""

    assert said.split()[2::2] == [b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", b"ns:"]


def test_nothing_is_trusted_until_the_server_has_said_yes(server, sink, listen, wait_until):
    listen().start()
    server.hears(b"TRACKING")
    for part in (b"+", b"O", b"K\r"):
        server.says(part)
        assert not sink.trusted()

    server.says(b"\n")

    assert wait_until(sink.trusted)
    assert sink.left() == HEARTBEAT


def test_what_is_held_is_let_go_of_once_the_server_tells_of_writes(
    server, make_server, sink, listen, wait_until
):
    """A reset before that would leave what is fetched until then, and is written unheard."""
    other = make_server()
    listen(lambda: {"a": server.dial, "b": other.dial}).start()
    server.hears(b"TRACKING")
    told = [*sink.told]
    server.says(b"+OK\r\n")
    other.hears(b"TRACKING")
    told += sink.told
    other.says(b"+OK\r\n")

    assert wait_until(sink.trusted)
    assert (told, sink.told) == ([], ["reset"])


def still_open(end):
    """Tell whether the other side has not closed a connection; there is nothing to read."""
    end.setblocking(False)
    try:
        return bool(end.recv(1))
    except BlockingIOError:
        return True
    finally:
        end.setblocking(True)


@pytest.mark.parametrize("fault", ["silence", "an error", "a sink that fails", "another server"])
def test_trust_ends_before_the_connection_does(server, make_server, sink, listen, clock, fault):
    """Who sees the connection closed may write, and count on that nobody reads the older value."""
    there, seen, left = {"a": server.dial}, [], threading.Event()
    distrust, trusted = sink.distrust, threading.Event()

    def look():
        if trusted.is_set():
            seen.append(still_open(server.ends[0]))
            left.set()
        distrust()

    listen(lambda: there).start()
    server.welcomes()
    eventually(sink.trusted)
    sink.distrust = look
    trusted.set()

    if fault == "silence":
        beat(server, clock)
        clock.tick(HEARTBEAT + 0.001)
    elif fault == "an error":
        server.says(b"-ERR on purpose\r\n")
    elif fault == "a sink that fails":
        sink.invalidate = lambda keys: 1 // 0
        server.says(invalidation(b"ns:k"))
    else:
        there["b"] = make_server().dial
        del there["a"]

    assert left.wait(PATIENCE)
    server.is_left()
    assert seen[0]


def test_what_was_written_is_told_before_the_trust_moves_on(
    tracking, server, sink, clock, wait_until
):
    """They may come in one piece."""
    beat(server, clock)
    left, invalidate = [], sink.invalidate

    def note(keys):
        left.append(sink.left())
        invalidate(keys)

    sink.invalidate = note
    server.says(invalidation(b"ns:k") + PONG + invalidation(b"ns:l"))

    assert wait_until(lambda: sink.left() == HEARTBEAT)
    assert left == [HEARTBEAT * 2 / 3] * 2
    assert sink.told == [["k"], ["l"]]


def test_a_server_that_is_said_to_be_another_one_has_told_all_before_it_is_left(
    server, sink, listen, clock, wait_until
):
    listen(changed=lambda *said: True).start()
    server.welcomes()
    assert wait_until(sink.trusted)
    beat(server, clock)

    server.says(invalidation(b"ns:k") + PONG)

    server.is_left()
    assert sink.told[:2] == ["reset", ["k"]]


def test_closed_in_the_middle_of_a_beginning_it_is_not_trusted_again(
    server, sink, listen, wait_until
):
    """The thread is told to end before it is woken, and so connects to nobody."""
    tracking = listen()
    tracking.start()
    server.welcomes()
    assert wait_until(sink.trusted)
    ended, distrust = [], sink.distrust

    def look():
        if not ended:
            server.says(b"+word\r\n")  # which wakes the thread, too
            ended.append(wait_until(lambda: not listeners(), 2))
        distrust()

    sink.distrust = look
    tracking.close()

    assert wait_until(lambda: not listeners())
    assert ended == [True]
    assert len(server.ends) == 1
    assert not sink.trusted()


def test_a_server_that_hangs_up_at_once_is_asked_again_after_a_pause(
    server, sink, listen, wait_until, clock
):
    listen().start()
    server.hears(b"TRACKING")
    server.ends[0].close()

    assert not wait_until(lambda: len(server.ends) > 1, 0.2)
    clock.tick(1.0)
    assert wait_until(lambda: len(server.ends) == 2)
    server.welcomes()

    assert wait_until(sink.trusted)


def test_trust_counts_from_when_the_answered_question_was_asked(
    tracking, server, sink, clock, wait_until
):
    beat(server, clock)
    clock.tick(0.125)
    assert sink.left() == HEARTBEAT - 0.375

    server.says(PONG)

    assert wait_until(lambda: sink.left() == HEARTBEAT - 0.125)
    assert tracking.lag == 0.125


def test_silence_is_borne_for_exactly_a_heartbeat(tracking, server, sink, clock, wait_until):
    beat(server, clock)
    clock.tick(HEARTBEAT)
    server.says(PONG)  # just in time
    assert wait_until(lambda: tracking.lag == HEARTBEAT)
    assert len(server.ends) == 1

    server.hears(PING)
    clock.tick(HEARTBEAT + 0.001)

    server.is_left()
    assert not sink.trusted()
    assert wait_until(lambda: clock.tick(0.1) or len(server.ends) == 2)


def test_a_server_with_much_to_tell_is_not_silent(tracking, server, sink, clock, wait_until):
    beat(server, clock)
    for number in range(5):
        clock.tick(HEARTBEAT)
        server.says(invalidation(b"ns:%d" % number))
        assert wait_until(lambda number=number: sink.told[-1:] == [[str(number)]])
        assert not sink.trusted()
    assert len(server.ends) == 1

    server.says(PONG)
    server.hears(PING)
    server.says(PONG)

    assert wait_until(sink.trusted)
    assert "reset" not in sink.told


def test_an_answer_that_nobody_asked_for_proves_nothing(tracking, server, sink, clock, wait_until):
    clock.tick(0.125)

    server.says(PONG + invalidation(b"ns:k"))

    assert wait_until(lambda: sink.told == [["k"]])
    assert sink.left() == HEARTBEAT - 0.125


def test_messages_of_other_kinds_are_passed_over(tracking, server, sink, wait_until):
    server.says(b">3\r\n+message\r\n+channel\r\n+text\r\n>0\r\n" + invalidation(b"ns:k"))

    assert wait_until(lambda: sink.told == [["k"]])


@pytest.mark.parametrize("words", [b"-NOPERM not any more\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
def test_a_server_that_says_no_later_is_left(tracking, server, sink, clock, words, wait_until):
    beat(server, clock)

    server.says(words)

    server.is_left()
    assert not sink.trusted()
    assert not tracking.connected
    assert wait_until(lambda: len(server.ends) == 2)
    server.welcomes()
    assert wait_until(sink.trusted)
    assert sink.told == ["reset"]


class Halting(socket.socket):
    """A socket like one of TLS, where something to read is not yet something to have."""

    halts = 3

    def recv(self, *args):
        if self.gettimeout() == 0 and self.halts:
            self.halts -= 1
            raise ssl.SSLWantReadError
        return super().recv(*args)


def test_a_part_of_a_record_of_tls_is_waited_for(server, sink, listen, wait_until):
    def halting():
        theirs, ours = socket.socketpair()
        return Halting(fileno=theirs.detach()), ours

    server.make = halting
    listen().start()
    server.welcomes()
    assert wait_until(sink.trusted)

    server.says(invalidation(b"ns:k"))

    assert wait_until(lambda: sink.told == ["reset", ["k"]])


def test_a_server_that_does_not_say_whether_it_tells_is_left(server, listen):
    listen().start()
    server.hears(b"TRACKING")

    took = seconds_of(server.is_left)

    assert took < PATIENCE / 2


def test_why_a_server_does_not_tell_is_said(server, listen, wait_until, caplog):
    listen().start()
    server.hears(b"TRACKING")
    server.says(b"-ERR not here\r\n")

    assert wait_until(lambda: caplog.records)
    assert [(record.name, record.message) for record in caplog.records] == [
        ("cache", "no near cache, as writes cannot be followed: ERR not here")
    ]


def test_why_a_server_was_left_is_said_to_who_debugs(tracking, server, clock, wait_until, caplog):
    with caplog.at_level(logging.DEBUG, "cache"):
        beat(server, clock)
        clock.tick(HEARTBEAT + 0.001)
        server.is_left()

        assert wait_until(lambda: caplog.records)
    assert caplog.records[0].message == "tracking was cut: the server was silent for 0.75 s"


def test_nothing_is_asked_before_a_third_of_the_heartbeat(tracking, server, clock):
    clock.tick(HEARTBEAT / 3 - 0.001)
    server.ends[0].settimeout(0.3)  # more than the thread sleeps

    with pytest.raises(TimeoutError):
        server.ends[0].recv(4096)


def test_as_long_as_one_server_is_not_followed_there_is_no_lag(
    server, make_server, sink, listen, wait_until
):
    other = make_server()
    tracking = listen(lambda: {"a": server.dial, "b": other.dial})
    before = tracking.lag
    tracking.start()
    server.welcomes()
    other.hears(b"TRACKING")
    meanwhile = tracking.lag
    other.says(b"+OK\r\n")

    assert wait_until(lambda: tracking.connected)
    assert (before, meanwhile, tracking.lag) == (None, None, 0.0)


def test_once_closed_it_is_not_connected(tracking, wait_until):
    assert tracking.connected

    tracking.close()

    assert wait_until(lambda: not listeners())
    assert not tracking.connected


def test_two_threads_that_start_it_start_one_listener_and_none_waits(server, listen, monkeypatch):
    tracking, came, start = listen(), [], threading.Thread.start

    with ThreadPoolExecutor(1) as pool:
        pool.submit(print).result(PATIENCE)  # the pool has its thread then

        def start_slowly(thread):
            came.append(len(wait([pool.submit(tracking.start)], PATIENCE).done))
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_slowly)
        tracking.start()

    (listener,) = listeners()
    assert (came, listener.daemon) == ([1], True)
    server.welcomes()


def test_of_several_servers_all_must_answer(server, make_server, sink, listen, clock, wait_until):
    other = make_server()
    listen(lambda: {"a": server.dial, "b": other.dial}).start()
    server.welcomes()
    other.hears(b"TRACKING")
    assert not sink.trusted()
    other.says(b"+OK\r\n")
    assert wait_until(sink.trusted)
    assert sink.told == ["reset"]

    beat(server, clock)
    server.says(PONG + invalidation(b"ns:k"))
    assert wait_until(lambda: ["k"] in sink.told)
    assert sink.left() == 0.5
    other.hears(PING)
    other.says(PONG)

    assert wait_until(lambda: sink.left() == HEARTBEAT)


def test_servers_that_come_and_go_are_followed_and_left(
    server, make_server, sink, listen, wait_until
):
    """A cluster is resharded: one primary leaves, another one comes."""
    other, there = make_server(), {"a": server}
    listen(lambda: {name: each.dial for name, each in there.items()}).start()
    server.welcomes()
    assert wait_until(sink.trusted)

    there["b"] = other
    assert wait_until(lambda: not sink.trusted())
    other.welcomes()
    assert wait_until(sink.trusted)
    del there["a"]

    server.is_left()
    other.says(invalidation(b"ns:k"))
    assert wait_until(lambda: sink.told == ["reset", "reset", "reset", ["k"]])


def test_a_restart_in_the_middle_of_beginning_is_not_overlooked(server, sink, listen, wait_until):
    """Between the look whether to connect anew and the word that all is well."""
    reset, trust, trusted = sink.reset, sink.trust, []

    def restart_once():
        reset()
        sink.reset = reset
        tracking.restart()

    def note(until):
        trusted.append(len(server.ends))
        trust(until)

    sink.reset, sink.trust = restart_once, note
    tracking = listen()
    tracking.start()
    server.welcomes()

    server.is_left()
    assert wait_until(lambda: len(server.ends) == 2)
    server.welcomes()
    assert wait_until(sink.trusted)
    assert set(trusted) == {2}
    assert sink.told == ["reset", "reset"]


def test_closed_before_it_starts_it_never_starts(listen):
    tracking = listen()
    tracking.close()

    tracking.start()

    assert listeners() == []


def test_a_thread_that_could_not_start_is_started_later(server, listen, monkeypatch):
    tracking = listen()

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patches:
        patches.setattr(threading.Thread, "start", refuse)
        tracking.start()
    assert listeners() == []

    tracking.start()

    assert len(listeners()) == 1
    server.welcomes()


class Connection:
    """What is asked of a connection of redis-py's, whose socket is taken away."""

    def __init__(self, scripted):
        self._scripted = scripted
        self._sock = None

    def connect(self):
        self._sock = self._scripted.dial()


class Client:
    """What `servers` asks of a client of redis-py that follows Sentinel, or a cluster."""

    def __init__(self, scripted, **pool):
        self.connection_pool = SimpleNamespace(
            connection_kwargs={"socket_timeout": None, "maint_notifications_config": 1},
            connection_class=self.connection,
            **pool,
        )
        self.scripted = scripted
        self.asked_for = []

    def connection(self, **options):
        self.asked_for.append(options)
        return Connection(self.scripted)


def test_a_connection_of_its_own_is_as_the_clients_but_for_what_tracking_needs(server):
    client = Client(server)
    ((name, dial),) = servers(SimpleNamespace(client=client)).items()

    dial().close()

    assert name is None
    (options,) = client.asked_for
    assert "maint_notifications_config" not in options
    assert options["protocol"] == 3
    assert 0 < options["socket_timeout"] == options["socket_connect_timeout"] < PATIENCE


class WayBy(ClusterLink):
    """The way to a cluster that a client leads to, which need not be one of redis-py's."""

    client = None

    def __init__(self, client):
        self.client = client


class Changing:
    """A connection to a node of a cluster that is demoted once it has answered a question."""

    def __init__(self, scripted):
        self._scripted, self._sock, self.answers = scripted, None, []
        self.epoch, self.role = 1, b"master"

    def connect(self):
        self._sock = self._scripted.dial()

    def disconnect(self):
        self._sock.close()

    def send_command(self, *words):
        self.answers.append(
            b"cluster_current_epoch:%d" % self.epoch
            if words == ("CLUSTER", "INFO")
            else b"id 127.0.0.1:1@2 myself,%b - 0" % self.role
        )
        self.epoch, self.role = 2, b"slave"

    def read_response(self, **options):
        return self.answers.pop(0)


def test_a_node_that_is_demoted_while_it_is_asked_is_not_taken_for_a_primary(server):
    """What tells of changes is read first: what comes after it is a change, or is seen at once."""
    client = Client(server)
    client.connection_pool.connection_class = lambda **options: Changing(server)
    client.get_primaries = lambda: [SimpleNamespace(name="a")]
    client.get_redis_connection = lambda node: client
    ((_, dial),) = followed(WayBy(client), 1.0).servers().items()

    with pytest.raises(redis.ConnectionError, match="no longer a primary"):
        dial()


def test_the_primaries_are_asked_for_again_where_that_failed(server, monkeypatch):
    client = Client(server)
    client.get_primaries = lambda: [SimpleNamespace(name="known")]
    follow, answers = followed(WayBy(client), 1.0).servers, []

    def primaries(client):
        answers.append("asked")
        if len(answers) == 1:
            raise redis.ConnectionError("on purpose")
        return {"new": SimpleNamespace(node=SimpleNamespace(name="new"))}

    monkeypatch.setattr("cache.remote.dial.primaries", primaries)

    assert [set(follow()) for _ in range(2)] == [{"known"}, {"new"}]
    assert len(answers) == 2


def test_sentinels_are_asked_before_it_is_said_who_the_primary_is(server):
    client = Client(server, master_address=("a", 1))

    def ask():
        client.connection_pool.master_address = ("b", 1)

    client.connection_pool.get_master_address = ask
    link = SimpleNamespace(client=client, moves=True)

    assert list(followed(link, 1.0).servers()) == [("b", 1)]


def test_another_primary_is_another_server(server, sink, listen, wait_until):
    """Sentinel told the client of a failover; the old primary may still answer."""
    client = Client(server, master_address=("a", 1))
    listen(lambda: servers(SimpleNamespace(client=client))).start()
    server.welcomes()
    assert wait_until(sink.trusted)

    client.connection_pool.master_address = ("b", 1)

    server.is_left()
    assert wait_until(lambda: len(server.ends) == 2)
    server.welcomes()
    assert wait_until(sink.trusted)
    assert sink.told == ["reset", "reset"]


def test_a_server_whose_answer_says_that_there_may_be_others_is_connected_to_anew(
    server, sink, listen, clock, wait_until
):
    said = {"question": (b"WHO", b"IS THERE"), "changed": lambda *said: said == ("server", b"two")}
    listen(**said).start()
    server.welcomes()
    assert wait_until(sink.trusted)
    for answer in (b"one", b"two"):
        clock.tick(HEARTBEAT / 3)
        server.hears(b"*2\r\n$3\r\nWHO\r\n$8\r\nIS THERE\r\n")
        assert sink.told == ["reset"]
        server.says(b"$3\r\n%b\r\n" % answer)

    server.is_left()
    assert wait_until(lambda: len(server.ends) == 2)
    server.welcomes()
    assert wait_until(sink.trusted)
    assert sink.told == ["reset", "reset"]
