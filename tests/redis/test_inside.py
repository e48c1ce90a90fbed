"""Calls from the middle of other calls of the same thread, and forks in the middle of others'.

A finalizer runs wherever the garbage collector starts: inside the near cache, inside redis-py. What
it calls must wait for no other thread, which may wait for what this one holds.
"""

import contextlib
import gc
import inspect
import math
import os
import queue
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from cache import CacheUnavailable
from cache.breaker import Breaker
from cache.redis_cache import RedisCache
from cache.remote.calls import Calls
from cache.remote.link import link_to
from cache.remote.twins import twin
from tests.servers import PATIENCE, SERVICE, clustered, eventually, replicated

VERBS: dict[str, Callable[[RedisCache[Any]], Any]] = {
    "get": lambda cache: cache.get("k"),
    "get_many": lambda cache: cache.get_many(["k", "l"]),
    "exists": lambda cache: cache.exists("k"),
    "ttl": lambda cache: cache.ttl("l"),
    "keys": lambda cache: sorted(cache.keys()),
    "set": lambda cache: cache.set("s", [1], ttl=60),
    "add": lambda cache: cache.add("a", 1),
    "replace": lambda cache: cache.replace("k", "w"),
    "set_many": lambda cache: cache.set_many({"m": 1, "o": 2}),
    "increment": lambda cache: cache.increment("n"),
    "touch": lambda cache: cache.touch("k", 60),
    "pop": lambda cache: cache.pop("k"),
    "delete": lambda cache: cache.delete("k"),
    "delete_pattern": lambda cache: cache.delete_pattern("?"),
    "get_or_set": lambda cache: cache.get_or_set("made", lambda: 1),
    "len": len,
}
EXPECTED = {
    "get": "v",
    "get_many": {"k": "v", "l": 1},
    "exists": True,
    "ttl": math.inf,
    "keys": ["k", "l"],
    "set": None,
    "add": True,
    "replace": True,
    "set_many": None,
    "increment": 1,
    "touch": True,
    "pop": "v",
    "delete": True,
    "delete_pattern": 2,
    "get_or_set": 1,
    "len": 2,
}


class Pool(redis.ConnectionPool):
    """A pool in which one thread stays, with its lock, when it makes a connection."""

    held, go = None, None

    def stay(self) -> None:
        """Ask for a connection, and stay until `go` is set; `held` is set meanwhile."""
        self.held, self.go = threading.Event(), threading.Event()
        self.staying = threading.get_ident()
        self.release(self.get_connection())

    def make_connection(self) -> Any:
        if self.go is not None and self.staying == threading.get_ident():
            self.held.set()
            assert self.go.wait(2 * PATIENCE)
        return super().make_connection()


@contextlib.contextmanager
def staying(pool: Pool) -> Iterator[None]:
    """Have another thread hold the lock of the pool for the length of a `with` block."""
    with ThreadPoolExecutor(1) as holder:
        stay = holder.submit(pool.stay)
        eventually(lambda: pool.held is not None and pool.held.is_set())
        try:
            yield
        finally:
            pool.go.set()
            stay.result(PATIENCE)


def in_the_middle(client: Any, call: Callable[[], Any], number: int = 1) -> list[Any]:
    """Have `call` made in the middle of a command to come; return a list that gets its result."""
    results: list[Any] = []
    execute = client.execute_command
    left = [None] * number

    def execute_and_call(*command: Any, **options: Any) -> Any:
        if left:
            left.pop()
            if not left:
                results.append(call())
        return execute(*command, **options)

    client.execute_command = execute_and_call
    return results


@pytest.fixture(params=[None, 100], ids=["far", "near"])
def make(request, server) -> Iterator[Callable[..., tuple[RedisCache[Any], Any]]]:
    """Return a function that makes a cache with two keys and its client, whose pool is empty."""
    with contextlib.ExitStack() as stack, RedisCache(server.client(), namespace="ns") as other:

        def cache_and_client(**options: Any) -> tuple[RedisCache[Any], Any]:
            client = redis.Redis.from_pool(Pool(port=server.port, socket_timeout=PATIENCE))
            cache = RedisCache(client, namespace="ns", near=request.param, **options)
            other.set_many({"k": "v", "l": 1})
            return stack.enter_context(cache), stack.enter_context(client)

        yield cache_and_client


@pytest.mark.parametrize("verb", VERBS)
def test_a_call_from_the_middle_of_another_waits_for_no_lock_of_the_clients(make, verb):
    cache, client = make()

    def call():
        with staying(client.connection_pool):
            return VERBS[verb](cache)

    results = in_the_middle(client, call)

    cache.exists("x")
    assert results == [EXPECTED[verb]]


def locks_of(part: Any, known: set[int]) -> set[int]:
    """Return the identities of the locks of a cache, and of all its parts."""
    known.add(id(part))
    found = set()
    for each in gc.get_referents(part):
        if isinstance(each, type(threading.RLock())):
            found.add(id(each))
        elif id(each) not in known and (
            isinstance(each, dict) or type(each).__module__.startswith("cache.")
        ):
            found |= locks_of(each, known)
    return found


def test_one_lock_guards_all_of_a_cache_and_one_who_pays_its_debts(make):
    """With two, each of two threads could hold one and run a finalizer that waits for the other."""
    cache, _ = make()
    parts: set[int] = set()

    assert len(locks_of(cache, parts)) == 2
    assert len(parts) > 5


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_factory_runs_at_once_in_the_middle_of_its_own_keys_call(make, step):
    """`get_or_set` reads, takes the lease, and lands."""
    cache, client = make()
    results = in_the_middle(client, lambda: cache.get_or_set("made", lambda: "inside"), step)

    value = cache.get_or_set("made", lambda: "outside")

    assert value in ("inside", "outside")
    assert (results, cache.get("made")) == (["inside"], "inside")


def test_a_factory_runs_at_once_in_the_middle_of_what_leads_to_its_keys_own(make, monkeypatch):
    """Where no command is under way: the thread that renews leases is being started."""
    cache, _ = make()
    start, results = threading.Thread.start, []

    def start_and_call(thread):
        start(thread)
        results.append(cache.get_or_set("made", lambda: "inside"))

    monkeypatch.setattr(threading.Thread, "start", start_and_call)

    assert cache.get_or_set("made", lambda: "outside") == "outside"
    assert (results, cache.get("made")) == (["inside"], "inside")


def test_a_call_from_the_middle_of_another_waits_for_no_factory(make):
    cache, client = make()
    running, go = threading.Event(), threading.Event()

    def factory():
        running.set()
        assert go.wait(PATIENCE)
        return "outside"

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(cache.get_or_set, "made", factory)
        assert running.wait(PATIENCE)
        results = in_the_middle(client, lambda: cache.get_or_set("made", lambda: "inside"))

        cache.exists("x")
        go.set()

        assert (results, leader.result(PATIENCE)) == (["inside"], "outside")
    assert cache["made"] == "inside"


@pytest.fixture
def calls(server) -> Iterator[Callable[..., Calls]]:
    """Return a function that makes the calls to a server, over an empty pool, and their lock."""
    with redis.Redis.from_pool(Pool(port=server.port, socket_timeout=PATIENCE / 4)) as client:
        lock = threading.RLock()
        link = link_to(client)
        yield Calls(link, Breaker(99, 60.0), 3, PATIENCE, "*", lock), link, lock


def test_who_holds_the_caches_lock_waits_for_no_lock_of_the_clients(server, calls):
    made, link, lock = calls
    server.client().set("k", "v")

    with staying(link.client.connection_pool), lock:
        assert made.make(link.get, b"k") == b"v"


@pytest.mark.parametrize(("way", "times"), [("make", 1), ("make_once", 2)])
def test_a_call_apart_is_not_repeated_later_and_touches_no_connection(calls, way, times):
    made, link, lock = calls
    came = []

    def refused():
        came.append(link.client)
        raise redis.ReadOnlyError("READONLY on purpose")

    with staying(link.client.connection_pool), lock, pytest.raises(CacheUnavailable):
        getattr(made, way)(refused)

    assert len(came) == times
    assert link.client not in came


def test_a_call_apart_may_have_another_in_its_middle(calls):
    made, link, lock = calls
    clients = []

    def outer():
        clients.append(link.client)
        made.make(lambda: clients.append(link.client))
        clients.append(link.client)

    with lock:
        made.make(outer)

    assert clients[0] is clients[2]
    assert len({id(client) for client in (*clients, link.client)}) == 3


def test_a_fork_in_the_middle_of_a_call_apart_ends_it_in_the_child(calls):
    made, link, lock = calls
    clients = []

    def fork():
        clients.append(link.client)
        link.after_fork_in_child()
        clients.append(link.client)

    with lock:
        made.make(fork)
    clients.append(link.client)

    assert clients[0] is not clients[1]
    assert clients[1] is clients[2]


def test_what_is_owed_is_not_waited_for_by_who_may_not_wait(calls):
    made, _, lock = calls
    raised = []

    def settle_too():
        with pytest.raises(CacheUnavailable, match="cannot wait"):
            made.settle(print)
        raised.append(made.inside())

    def remove(pattern):
        settle_too()  # a finalizer in the middle of it
        with ThreadPoolExecutor(1) as pool:

            def with_the_lock():
                with lock:
                    settle_too()

            pool.submit(with_the_lock).result(PATIENCE)

    made.owe_matching("k*")
    made.settle(remove)

    assert (raised, made.owed, made.inside()) == ([True, True], 0, False)


def test_whoever_may_not_wait_pays_what_nobody_pays_just_now(server, calls):
    made, _, lock = calls
    server.client().set("k", "old")
    made.owe([b"k"])

    with lock:
        made.settle(print)

    assert (made.owed, server.client().exists("k")) == (0, 0)


SIMPLE = (str, int, float, bool, type(None))
# What redis-py gives its connections and changes nowhere, though it is an object.
CONSTANT = {"retry", "driver_info", "socket_keepalive_options", "maint_notifications_config"}
POOLS = {
    "tcp": lambda: redis.ConnectionPool(
        host="h", port=5, db=3, password="p", socket_timeout=0.25, max_connections=7, protocol=3
    ),
    "unix": lambda: redis.ConnectionPool.from_url("unix:///s?db=2"),
    "tls": lambda: redis.ConnectionPool.from_url("rediss://h", ssl_ca_certs="/ca"),
    "blocking": lambda: redis.BlockingConnectionPool(
        max_connections=2, timeout=3, queue_class=queue.Queue
    ),
    "own": lambda: Pool(port=6),
}


@pytest.mark.parametrize("kind", POOLS)
def test_a_twin_knows_what_the_client_was_told(kind):
    pool = POOLS[kind]()

    with twin(redis.Redis(connection_pool=pool)) as client:
        other = client.connection_pool

    def settings(of):
        told = {n: v for n, v in of.connection_kwargs.items() if isinstance(v, SIMPLE)}
        names = ("max_connections", "connection_class", "timeout", "queue_class")
        return told, type(of), [getattr(of, name, None) for name in names]

    assert settings(other) == settings(pool)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_twin_shares_nothing_that_changes(protocol):
    dispatcher = redis.event.EventDispatcher()
    pool = redis.ConnectionPool(protocol=protocol, event_dispatcher=dispatcher)

    with twin(redis.Redis(connection_pool=pool)) as client:
        told = client.connection_pool.connection_kwargs.items()

    given = pool.connection_kwargs
    shared = {name for name, value in told if value is given.get(name)}
    assert {name for name in shared if not isinstance(given[name], SIMPLE)} <= CONSTANT


def test_a_twin_over_sentinel_asks_the_same_sentinels(binary, tmp_path):
    with replicated(binary, tmp_path) as service:
        sentinel = Sentinel([("127.0.0.1", service.sentinel.port)], socket_timeout=PATIENCE)
        main = sentinel.master_for(SERVICE, check_connection=True)
        with main as client, twin(client) as other:
            other.set("k", "v")

            assert other.connection_pool.check_connection
            assert client.get("k") == b"v"
            assert other.connection_pool.master_address == client.connection_pool.master_address
            pools = (other.connection_pool, client.connection_pool)
            sentinels = [pool.sentinel_manager.sentinels[0] for pool in pools]
            assert sentinels[0] is not sentinels[1]
        with twin(sentinel.slave_for(SERVICE)) as other:
            assert other.info("replication")["role"] == "slave"


@pytest.fixture(scope="module")
def cluster(binary, tmp_path_factory) -> Iterator[int]:
    """Run three primaries that share the slots; return the port of one."""
    with clustered(binary, tmp_path_factory.mktemp("cluster"), timeout=2.0) as nodes:
        yield nodes[0].port


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_works_apart_on_a_cluster(cluster, verb):
    with RedisCluster(host="127.0.0.1", port=cluster, socket_timeout=PATIENCE) as client:
        cache: RedisCache[Any] = RedisCache(client, namespace=f"apart-{verb}")
        cache.set_many({"k": "v", "l": 1})
        results = in_the_middle(client, lambda: VERBS[verb](cache))

        cache.exists("x")

        assert results == [EXPECTED[verb]]


@pytest.mark.parametrize("flag", [False, True])
def test_a_twin_of_a_clusters_client_is_as_that_is(cluster, flag):
    options: dict[str, Any] = {
        "require_full_coverage": flag,
        "dynamic_startup_nodes": flag,
        "load_balancing_strategy": LoadBalancingStrategy.ROUND_ROBIN if flag else None,
        "retry": Retry(NoBackoff(), 7),
        "reinitialize_steps": 9,
        "socket_timeout": 7.5,
        "address_remap": lambda address: ("127.0.0.1", address[1]),
        "redis_connect_func": print,
    }

    def flags(client):
        return inspect.getmembers(client.nodes_manager, lambda value: isinstance(value, bool))

    nodes = [ClusterNode("127.0.0.1", cluster)]
    with RedisCluster(startup_nodes=nodes, **options) as client, twin(client) as other:
        assert other.nodes_manager.connection_kwargs["socket_timeout"] == 7.5
        assert other.nodes_manager.address_remap is options["address_remap"]
        assert other.load_balancing_strategy is client.load_balancing_strategy
        assert (other.reinitialize_steps, other.retry) == (9, client.retry)
        assert other.user_on_connect_func is print
        assert flags(other) == flags(client)
        assert other.nodes_manager is not client.nodes_manager


@pytest.mark.parametrize("replicas", [False, True])
def test_a_twin_reads_from_replicas_where_the_client_does(cluster, recwarn, replicas):
    options = {"read_from_replicas": True} if replicas else {}
    with RedisCluster(host="127.0.0.1", port=cluster, **options) as client:
        recwarn.clear()
        with twin(client) as other:
            assert other.read_from_replicas is replicas
            assert len(recwarn) == replicas


@pytest.mark.parametrize("known", ["startup_nodes", "nodes_cache"])
def test_a_twin_asks_whatever_nodes_a_clusters_client_knows(cluster, known):
    options = {"host": "127.0.0.1", "port": cluster, "dynamic_startup_nodes": False}
    with RedisCluster(**options) as client:
        there = {node.name for node in client.get_primaries()}
        getattr(client.nodes_manager, known).clear()

        with twin(client) as other:
            assert {node.name for node in other.get_primaries()} == there


def test_what_a_clusters_client_is_taught_its_twins_are_too(cluster):
    def taught(client):
        return {each.__module__ for each in (client.get_node, client.nodes_manager.initialize)}

    with RedisCluster(host="127.0.0.1", port=cluster) as client:
        link = link_to(client)
        found = [taught(client)]
        with link.apart():
            found.append(taught(link.client))
        link.after_fork_in_child()
        with link.client as other:
            found.append(taught(other))

    assert found == [{"cache.remote.nodes"}] * 3


def test_no_connection_is_the_first_to_import_how_hosts_are_encoded():
    """Another one, made by a finalizer in the middle of that import, would not find it."""
    look = "import sys, cache.redis_cache; sys.exit('encodings.idna' not in sys.modules)"

    assert subprocess.run([sys.executable, "-c", look], timeout=PATIENCE).returncode == 0


def in_a_child(work: Callable[[], bool]) -> int:
    """Fork, and return how the child ended: 0 where `work` was true, within PATIENCE seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(int(PATIENCE))
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@needs_fork
def test_a_child_waits_for_no_lock_that_a_thread_of_its_parent_held(make):
    cache, client = make()

    def work():
        cache["child"] = cache.get_or_set("made", lambda: 2)
        return cache.get("k") == "v" and cache.health()["connected"]

    with staying(client.connection_pool):
        assert in_a_child(work) == 0

    assert cache.get_many(["child", "made"]) == {"child": 2, "made": 2}


@needs_fork
def test_a_child_closes_a_cache_that_it_has_not_used(make):
    cache, client = make()

    with staying(client.connection_pool):
        assert in_a_child(lambda: cache.close() is None) == 0

    assert cache["k"] == "v"


@needs_fork
@pytest.mark.parametrize("near", [None, 100])
def test_a_child_waits_for_no_thread_that_asked_for_a_clusters_nodes(cluster, near):
    here, go, parent = threading.Event(), threading.Event(), os.getpid()
    stays: list[int] = []

    def remap(address):
        if stays and os.getpid() == parent:
            here.set()
            assert go.wait(2 * PATIENCE)
        return address

    def work():
        cache["child"] = 1
        return cache["k"] == "v" and (not near or eventually(lambda: cache.health()["tracking"]))

    with (
        RedisCluster(host="127.0.0.1", port=cluster, address_remap=remap) as client,
        RedisCache(client, namespace="forked", near=near) as cache,
        ThreadPoolExecutor(1) as pool,
    ):
        cache["k"] = "v"
        if near:
            eventually(lambda: cache.health()["tracking"])
        stays.append(1)
        asking = pool.submit(client.nodes_manager.initialize)
        assert here.wait(PATIENCE)
        code = in_a_child(work)
        stays.clear()
        go.set()
        asking.result(PATIENCE)

        assert (code, cache["child"]) == (0, 1)


class Knot:
    """Garbage that only the collector finds, and that calls the cache as it goes."""

    def __init__(self, cache, errors):
        self.itself, self.cache, self.errors = self, cache, errors

    def __del__(self):
        try:
            random.choice(list(VERBS.values()))(self.cache)
        except BaseException as error:
            self.errors.append(error)


@pytest.mark.timeout(120)
def test_finalizers_in_the_middle_of_anything_hold_nobody_up(make):
    """Garbage is made inside redis-py, so that collections begin in there, in four threads."""
    cache, client = make()
    execute, errors, verbs = client.execute_command, [], list(VERBS.values())

    def litter(*command, **options):
        if random.random() < 0.2:
            Knot(cache, errors)
        return execute(*command, **options)

    def work():
        for number in range(100):
            cache.get_or_set(f"m{number % 5}", lambda: None)
            cache.delete(f"m{(number + 2) % 5}")
            random.choice(verbs)(cache)

    client.execute_command = litter
    former = gc.get_threshold()
    gc.set_threshold(31)
    try:
        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        gc.set_threshold(*former)

    assert (errors, [thread for thread in threads if thread.is_alive()]) == ([], [])
