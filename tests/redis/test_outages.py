"""What `RedisCache` does about a server that is slow, gone, back, or another one."""

import contextlib
import os
import signal
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from cache import CacheUnavailable, connect
from cache.redis_cache import RedisCache
from tests.proxy import Proxy, proxied
from tests.servers import Server, eventually, let_pass, seconds_of

QUICK = {"timeout": 0.2, "connect_timeout": 0.2, "deadline": 1.0}


def leave(proxy: Proxy) -> None:
    """Cut the way to the server: connections close as soon as they are made."""
    proxy.target = 1
    proxy.cut()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with proxied(server.port) as proxy:
        yield proxy


@pytest.fixture
def open_cache(proxy: Proxy) -> Iterator[Callable[..., Any]]:
    """Return a maker of caches that reach the server through the proxy."""
    made = []

    def make(**options: Any) -> Any:
        url = f"redis://127.0.0.1:{proxy.port}"
        made.append(connect(url, **{**QUICK, "threshold": 1000, **options}))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def test_a_silent_server_is_given_up_in_time(open_cache, proxy):
    cache = open_cache(deadline=0.5)
    cache["k"] = 1
    proxy.silence()

    def ask() -> None:
        with pytest.raises(CacheUnavailable, match="cannot be reached"):
            cache.get("k")

    assert seconds_of(ask) < 1.5
    with pytest.raises(ConnectionError):
        cache.increment("k")


def test_what_reads_and_what_may_be_repeated_survives_a_cut(open_cache, proxy):
    cache = open_cache()
    cache["k"] = 1
    for cut in (proxy.cut, proxy.half_close):
        for verb in (lambda: cache.get("k") == 1, lambda: cache.set("k", 1) is None, cache.keys):
            cut()
            assert verb()


def test_an_increment_is_never_sent_twice(open_cache, proxy, server):
    cache = open_cache(attempts=10)
    cache["n"] = cache.increment("known") - 1  # the server knows the script
    proxy.delay = 0.15  # so that a request arrives, and its answer comes too late

    with pytest.raises(CacheUnavailable):
        cache.increment("n")

    proxy.delay = 0.0
    eventually(lambda: int(server.client().get("cache:n")) == 1)
    proxy.cut()
    let_pass(0.3)
    assert int(server.client().get("cache:n")) == 1


def test_a_client_of_the_users_does_not_send_an_increment_twice_either(proxy, server):
    client = redis.Redis(port=proxy.port, socket_timeout=0.2)  # with redis-py's own retries
    with RedisCache(client, deadline=0.5) as cache:
        cache["n"] = cache.increment("known") - 1
        proxy.delay = 0.15

        with pytest.raises(CacheUnavailable):
            cache.increment("n")

        proxy.delay = 0.0
    let_pass(0.3)
    assert int(server.client().get("cache:n")) == 1


def test_the_breaker_opens_and_closes_again(open_cache, proxy, server):
    cache = open_cache(threshold=2, cooldown=0.3, attempts=1)
    cache["k"] = 1
    leave(proxy)
    for _ in range(2):
        with pytest.raises(CacheUnavailable, match="cannot be reached"):
            cache.get("k")

    before = proxy.connections
    with pytest.raises(CacheUnavailable, match="failed too often"):
        cache.get("k")

    assert (cache.health()["breaker"], proxy.connections) == ("open", before)
    assert cache.health()["connected"] is False
    proxy.target = server.port
    assert eventually(lambda: cache.health()["connected"])
    assert (cache["k"], cache.health()["breaker"]) == (1, "closed")


def test_an_error_of_the_callers_is_no_failure_of_the_server(open_cache, server):
    cache = open_cache(threshold=1)
    server.client().rpush("cache:list", "x")

    assert cache.get("list") is None
    assert cache.health()["breaker"] == "closed"


VERBS: dict[str, Callable[[Any], Any]] = {
    "get": lambda cache: cache.get("k"),
    "get_many": lambda cache: cache.get_many(["k"]),
    "exists": lambda cache: cache.exists("k"),
    "ttl": lambda cache: cache.ttl("k"),
    "keys": lambda cache: cache.keys(),
    "len": len,
    "stats": lambda cache: cache.stats(),
    "set": lambda cache: cache.set("k", 1),
    "set_many": lambda cache: cache.set_many({"k": 1, "l": 2}, ttl=60),
    "add": lambda cache: cache.add("k", 1),
    "increment": lambda cache: cache.increment("n"),
    "touch": lambda cache: cache.touch("k"),
    "get_or_set": lambda cache: cache.get_or_set("k", list),
    "pop": lambda cache: cache.pop("k"),
    "delete": lambda cache: cache.delete("k"),
    "delete_pattern": lambda cache: cache.delete_pattern("k"),
    "clear": lambda cache: cache.clear(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_without_the_server_every_verb_says_so(open_cache, proxy, verb):
    cache = open_cache(attempts=1)
    leave(proxy)

    with pytest.raises(CacheUnavailable):
        VERBS[verb](cache)

    assert cache.health()["pending_invalidations"] == 0


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_finds_by_itself_that_the_server_is_back(open_cache, proxy, server, verb):
    """The breaker lets one call through as a probe, however many round trips that makes."""
    cache = open_cache(threshold=1, cooldown=0.02, attempts=1)
    leave(proxy)
    with pytest.raises(CacheUnavailable):
        cache.get("k")
    proxy.target = server.port

    def answers() -> bool:
        with contextlib.suppress(CacheUnavailable):
            VERBS[verb](cache)
            return True
        return False

    assert eventually(answers)


HTTP = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        *((verb, HTTP) for verb in VERBS),
        ("get", b":5\r\n"),
        ("get", b"$five\r\n"),
        ("get", b"*1\r\n" * 5_000),
        ("get_many", b"$1\r\na\r\n"),
        ("get_many", b"*1\r\n:5\r\n"),
        ("get_many", b"*0\r\n"),
        ("keys", b"*1\r\n:0\r\n"),
        *((verb, b"*0\r\n") for verb in ("ttl", "add", "touch", "pop", "delete", "clear")),
        ("set_many", b":5\r\n"),
        ("increment", b"$1\r\n1\r\n"),
        ("get_or_set", b":0\r\n"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure_of_the_server(verb, answer):
    with (
        saying(answer) as port,
        # In RESP2 the answers to what begins a connection do not matter.
        RedisCache(redis.Redis(port=port, protocol=2), attempts=1) as cache,
        pytest.raises(CacheUnavailable, match="makes no sense"),
    ):
        VERBS[verb](cache)


@contextlib.contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """Run a server that has one answer to everything; give its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                while self.request.recv(65_536):
                    self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)
            assert not thread.is_alive()


def test_without_a_lease_no_factory_runs(proxy):
    client = redis.Redis(port=proxy.port, socket_timeout=0.2)
    execute = client.execute_command
    ran = []

    def and_leave(*words: Any, **options: Any) -> Any:
        answer = execute(*words, **options)
        leave(proxy)  # between the look and the lease
        return answer

    client.execute_command = and_leave  # type: ignore[method-assign]
    with RedisCache(client, attempts=1) as cache, pytest.raises(CacheUnavailable):
        cache.get_or_set("k", lambda: ran.append(1))

    assert ran == []


@pytest.mark.parametrize("near", [None, 100])
def test_without_the_server_a_lenient_cache_goes_on(open_cache, proxy, near, tmp_path):
    cache = open_cache(on_error="miss", near=near, attempts=1)
    cache.set_many({"k": 1, "n": 5})
    leave(proxy)

    cache.set("s", 1)
    cache.set_many({"a": 1})
    answers = [
        cache.get("x", "default"),
        cache.get_many(["x", "y"]),
        cache.exists("k"),
        cache.ttl("k"),
        cache.keys(),
        len(cache),
        cache.add("a", 1),
        cache.replace("k", 2),
        cache.increment("n", 3),
        cache.touch("k", 5),
        cache.pop("k", "gone"),
        cache.delete("k"),
        cache.delete_many(["k", "l"]),
        cache.delete_pattern("p*"),
        cache.get_or_set("made", lambda: "value"),
        cache.cleanup(),
    ]

    expected: list[Any] = ["default", {}, False, None, [], 0, False, False, 3, False]
    assert answers == [*expected, "gone", False, 0, 0, "value", 0]
    with pytest.raises(KeyError):
        cache.increment("n", create=False)
    for verb in (cache.save, cache.load):
        with pytest.raises((CacheUnavailable, FileNotFoundError)):
            verb(tmp_path / "s")


def test_failed_writes_and_removals_bring_no_old_value_back(open_cache, proxy, server):
    cache = open_cache(on_error="miss", attempts=1)
    keys = ["set", "many", "add", "pop", "delete", "p1", "touch", "n", "kept"]
    cache.set_many(dict.fromkeys(keys, 1))
    leave(proxy)
    cache.set("set", 2)
    cache.set_many({"many": 2})
    cache.pop("pop")
    cache.delete("delete")
    cache.delete_pattern("p[0-9]")
    cache.touch("touch")
    cache.increment("n")
    assert cache.health()["pending_invalidations"] == 6 + 1

    proxy.target = server.port

    assert eventually(lambda: cache.get_many(keys)) == {"add": 1, "kept": 1}
    assert cache.health()["pending_invalidations"] == 0
    assert server.client().dbsize() == 2


@pytest.mark.parametrize("verb", ["clear", "many"])
def test_after_a_failed_clear_nothing_is_left(open_cache, proxy, server, verb):
    cache = open_cache(on_error="miss", attempts=1, threshold=1, cooldown=0.2)
    cache["k"] = 1
    leave(proxy)
    if verb == "clear":
        cache.clear()
    else:  # so many that the whole of the namespace is owed
        cache.set_many({f"k{n}": n for n in range(10_001)})
    assert cache.health()["pending_invalidations"] == 1
    assert cache.get("k") is None

    proxy.target = server.port

    assert eventually(lambda: cache.health()["connected"])
    assert (cache.get("k"), len(cache)) == (None, 0)


def test_without_the_server_reads_are_answered_from_near_within_the_bound(
    open_cache, proxy, server, wait_until
):
    cache = open_cache(on_error="miss", near=100, staleness=2.0, heartbeat=0.5, attempts=1)
    cache.set_many({"k": 1, "l": 2})
    assert wait_until(lambda: cache.health()["tracking"])
    assert cache.get_many(["k", "l"]) == cache.get_many(["k", "l"]) == {"k": 1, "l": 2}
    leave(proxy)
    assert wait_until(lambda: not cache.health()["tracking"])

    cache.set("l", 3)

    assert [cache.get("k"), cache.get("l"), cache.get_many(["k", "l"])] == [1, None, {"k": 1}]
    assert wait_until(lambda: cache.get("k") is None, 4)
    proxy.target = server.port
    assert wait_until(lambda: cache.get("k") == 1, 10)
    assert cache.get("l") is None


def test_read_only_is_not_done_and_tried_once_more(open_cache, server):
    cache = open_cache(attempts=1)
    cache["n"] = 1
    server.client().config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(CacheUnavailable, match="refuses"):
            cache.increment("n")
        with pytest.raises(CacheUnavailable, match="refuses"):
            cache.set("n", 5)
    finally:
        server.client().config_set("min-replicas-to-write", 0)

    assert cache.increment("n") == 2


def test_a_demoted_server_is_left(open_cache, own_server, proxy, server):
    cache = open_cache()
    cache["k"] = 1
    before = proxy.connections
    own_server.client().replicaof("127.0.0.1", server.port)
    eventually(lambda: own_server.client().get("cache:k"))
    proxy.target, primary = own_server.port, proxy.target
    proxy.cut()

    with pytest.raises(CacheUnavailable, match="refuses"):
        cache["k"] = 2

    assert proxy.connections >= before + 2  # each attempt over a connection of its own
    proxy.target = primary
    cache["k"] = 3
    assert cache["k"] == 3


def test_a_killed_server_that_comes_back_is_found(own_server):
    with connect(own_server.url, near=10, on_error="miss", cooldown=0.1) as cache:
        cache["k"] = 1
        own_server.kill()
        assert cache.get("x") is None
        cache["k"] = 2

        own_server.restart()

        eventually(lambda: cache.health()["connected"] and cache.health()["tracking"])
        cache["k"] = 3
        assert cache["k"] == cache["k"] == 3


# -- leases ----------------------------------------------------------------------------------------

OWNER = """
import sys, time
from cache import connect
cache = connect(sys.argv[1], lease=float(sys.argv[2]))
def factory():
    print("running", flush=True)
    sys.stdin.readline()
    return "theirs"
print(cache.get_or_set("k", factory), flush=True)
"""


@pytest.fixture
def owner(program, server) -> Iterator[subprocess.Popen[str]]:
    """Run another process, whose factory runs until it is written to."""
    run = program(OWNER, server.url, 0.6)
    pipe = subprocess.PIPE
    with subprocess.Popen(run, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        yield process
        process.kill()


@pytest.mark.parametrize("near", [None, 100])
def test_one_factory_runs_in_the_fleet(owner, server, near, wait_until):
    with connect(server.url, near=near, lease=0.6) as cache:
        if near:
            assert wait_until(lambda: cache.health()["tracking"])
        got: list[Any] = []
        ask = lambda: got.append(cache.get_or_set("k", lambda: "ours"))  # noqa: E731
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        let_pass(1.5)  # longer than a lease: it is renewed
        assert (got, "k" in cache, cache.keys()) == ([], False, [])

        owner.stdin.write("go\n")
        owner.stdin.flush()

        for thread in threads:
            thread.join(20)
        assert got == ["theirs"] * 3
        assert owner.stdout.readline() == "theirs\n"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_owners_lease_passes_on(owner, server, end):
    with connect(server.url) as cache:
        os.kill(owner.pid, end)

        assert cache.get_or_set("k", lambda: "ours") == "ours"

        assert cache["k"] == "ours"


def test_a_write_meanwhile_stays(owner, server):
    with connect(server.url) as cache:
        cache["k"] = "written"
        owner.stdin.write("go\n")
        owner.stdin.flush()

        assert owner.stdout.readline() == "theirs\n"

        assert cache["k"] == "written"


@pytest.mark.parametrize("remove", ["delete", "pop", "delete_pattern", "clear"])
def test_a_removal_meanwhile_stays(owner, server, remove):
    with connect(server.url) as cache:
        cache.clear() if remove == "clear" else getattr(cache, remove)("k")
        owner.stdin.write("go\n")
        owner.stdin.flush()

        assert owner.stdout.readline() == "theirs\n"

        assert "k" not in cache


def test_a_failing_factory_frees_the_lease(server):
    with connect(server.url) as one, connect(server.url) as other:

        def fail() -> None:
            raise LookupError("no luck")

        with pytest.raises(LookupError):
            one.get_or_set("k", fail)

        waited = seconds_of(lambda: other.get_or_set("k", lambda: 1))

        assert other["k"] == 1
        assert waited < 5  # a lease lives for ten seconds


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_a_value_made_while_the_server_went_is_not_lost_on_a_lenient_caller(
    open_cache, proxy, on_error
):
    cache = open_cache(on_error=on_error, attempts=1, lease=0.3)

    def factory() -> str:
        leave(proxy)
        let_pass(0.3)  # it cannot be renewed
        return "made"

    if on_error == "miss":
        assert cache.get_or_set("k", factory) == "made"
    else:
        with pytest.raises(CacheUnavailable):
            cache.get_or_set("k", factory)
