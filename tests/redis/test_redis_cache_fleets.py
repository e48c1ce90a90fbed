"""`RedisCache` over Sentinel and over a cluster, failovers included."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from cache import CacheUnavailable, connect
from cache.redis_cache import RedisCache
from cache.remote.dial import followed
from cache.remote.link import link_to
from tests.servers import Server, clustered, eventually, let_pass


@pytest.fixture(scope="module")
def cluster(binary, tmp_path_factory) -> Iterator[str]:
    """Run three primaries that share the slots; return the URL."""
    with clustered(binary, tmp_path_factory.mktemp("cluster"), timeout=2.0) as nodes:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        yield f"redis+cluster://{hosts}"


@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("one_slot", [False, True])
def test_every_verb_works_on_a_cluster(cluster, near, one_slot, tmp_path):
    with connect(cluster, near=near, one_slot=one_slot, timeout=5.0) as cache:
        cache.clear()
        keys = [f"k{n}" for n in range(200)]
        cache.set_many({key: [key] for key in keys}, ttl=60)
        cache.set_many({"n": 1, "f": 0.5})

        for _ in range(2):
            assert cache.get_many([*keys, "x"]) == {key: [key] for key in keys}
            assert cache.get("k7") == ["k7"]
        assert (cache.increment("n", 2), cache.increment("f", 0.25)) == (3, 0.75)
        assert sorted(cache) == sorted([*keys, "n", "f"])
        assert 50 < cache.ttl("k1") <= 60
        assert cache.get_or_set("made", lambda: "value") == cache["made"] == "value"
        cache.save(tmp_path / "s")
        assert (cache.delete_pattern("k1?"), cache.delete_many(["k1", "k2", "x"])) == (10, 2)
        assert (cache.pop("k3"), cache.delete("k4"), len(cache)) == (["k3"], True, 189)
        cache.load(tmp_path / "s")
        assert (len(cache), cache["k15"]) == (203, ["k15"])
        health = cache.health()
        assert (health["connected"], health["breaker"]) == (True, "closed")
        cache.clear()
        assert cache.keys() == []


def test_keys_of_a_namespace_spread_unless_asked_not_to(cluster):
    nodes = [int(host.rpartition(":")[2]) for host in cluster.partition("//")[2].split(",")]

    def sizes() -> list[int]:
        found = []
        for port in nodes:
            with redis.Redis(port=port) as client:
                found.append(client.dbsize())
        return found

    entries = {f"k{n}": n for n in range(60)}
    with connect(cluster, namespace="wide") as wide:
        wide.set_many(entries)
        assert min(sizes()) > 0
        wide.clear()
    with connect(cluster, namespace="narrow", one_slot=True) as narrow:
        narrow.set_many(entries)
        assert sorted(sizes()) == [0, 0, 60]
        narrow.clear()


def test_a_lease_on_a_cluster_is_no_value(cluster):
    with connect(cluster, namespace="leased") as cache:
        seen: list[Any] = []

        def factory() -> int:
            seen.append((cache.get_many(["k", "l"]), cache.get("k"), cache.keys()))
            return 1

        assert cache.get_or_set("k", factory) == 1
        assert seen == [({}, None, [])]
        cache.clear()


def test_a_near_cache_hears_all_nodes(cluster, wait_until):
    with connect(cluster, near=100) as here, connect(cluster) as there:
        keys = [f"near{n}" for n in range(30)]
        there.set_many(dict.fromkeys(keys, 1))
        assert wait_until(lambda: here.health()["tracking"])
        assert here.get_many(keys) == here.get_many(keys) == dict.fromkeys(keys, 1)

        there.set_many(dict.fromkeys(keys, 2))

        assert wait_until(lambda: here.get_many(keys) == dict.fromkeys(keys, 2), 5)
        there.clear()


def test_a_walk_goes_on_in_steps_from_node_to_node(cluster, monkeypatch):
    monkeypatch.setattr("cache.remote.link.SCAN_STEP", 10)
    with connect(cluster, namespace="walk") as cache:
        entries = {f"k{n}": n for n in range(300)}
        cache.set_many(entries)

        assert sorted(cache) == sorted(entries)
        assert cache.delete_pattern("k*") == 300


def test_what_a_node_refuses_is_said_and_the_nodes_are_asked_anew(cluster):
    ports = [int(host.rpartition(":")[2]) for host in cluster.partition("//")[2].split(",")]
    with connect(cluster, namespace="refused", attempts=2) as cache:
        for port in ports:
            with redis.Redis(port=port) as node:
                node.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(CacheUnavailable, match="refuses"):
                cache["k"] = 1
            with pytest.raises(CacheUnavailable, match="refuses"):
                cache.set_many({"k": 1, "l": 2})
        finally:
            for port in ports:
                with redis.Redis(port=port) as node:
                    node.config_set("min-replicas-to-write", 0)

        cache["k"] = 2
        assert cache.pop("k") == 2


def test_a_node_that_went_is_said(cluster):
    port = int(cluster.rpartition(":")[2])
    with connect(cluster, namespace="gone", attempts=1, timeout=0.3) as cache:
        entries = {f"k{n}": n for n in range(60)}
        cache.set_many(entries)
        for verb in (cache.get_many, cache.delete_many, lambda keys: cache.keys()):
            with redis.Redis(port=port) as node:
                node.client_pause(700)
            with pytest.raises(CacheUnavailable):
                verb(list(entries))
            with redis.Redis(port=port) as node:
                node.ping()  # which is answered when the pause is over

        assert eventually(lambda: cache.health()["breaker"] == "closed")


def test_any_number_of_caches_may_share_a_clusters_client(cluster):
    port = int(cluster.rpartition(":")[2])
    with RedisCluster(host="127.0.0.1", port=port) as client:
        caches = [RedisCache(client, namespace=f"shared{number}") for number in range(1_500)]

        client.nodes_manager.initialize()
        caches[-1]["k"] = client.get_node(host="127.0.0.1", port=port).port

        assert caches[-1].pop("k") == port


def fail(*command, **options):
    raise redis.ConnectionError("on purpose")


def test_nodes_that_cannot_be_asked_are_those_that_the_client_knows(cluster, monkeypatch):
    with RedisCluster(host="127.0.0.1", port=int(cluster.rpartition(":")[2])) as client:
        follow = followed(link_to(client), 1.0).servers
        known = {node.name for node in client.get_primaries()}

        with monkeypatch.context() as patched:
            patched.setattr(client, "execute_command", fail)
            assert follow().keys() == known

        assert follow().keys() == known


def test_a_child_whose_cluster_is_gone_looks_for_it_again_later(cluster, monkeypatch):
    with RedisCluster(host="127.0.0.1", port=int(cluster.rpartition(":")[2])) as client:
        link = link_to(client)
        follow = followed(link, 1.0).servers
        known = {node.name for node in client.get_primaries()}
        link.after_fork_in_child()

        with monkeypatch.context() as patched:
            patched.setattr("cache.remote.link.twin", fail)
            (dial,) = follow().values()
            with pytest.raises(redis.ConnectionError, match="on purpose"):
                dial()

        assert follow().keys() == known
        link.client.close()


def test_a_cluster_that_is_not_there_is_said_at_once():
    with pytest.raises(CacheUnavailable, match="the cluster cannot be reached"):
        connect("redis+cluster://127.0.0.1:1")


@pytest.fixture
def watched(binary, tmp_path) -> Iterator[tuple[str, Server, Server]]:
    """Run a primary, a replica and a sentinel; return the URL, and the first two."""
    primary, replica = (Server(binary, tmp_path / name) for name in ("primary", "replica"))
    sentinel = Server(binary, tmp_path / "sentinel", sentinel=True)
    with contextlib.ExitStack() as stack:
        for server in (primary, replica, sentinel):
            stack.callback(server.kill)
            server.start()
        replica.client().replicaof("127.0.0.1", primary.port)
        eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
        client = sentinel.client()
        client.execute_command("SENTINEL MONITOR", "main", "127.0.0.1", primary.port, 1)
        for name, value in (("down-after-milliseconds", 300), ("failover-timeout", 2000)):
            client.execute_command("SENTINEL SET", "main", name, value)
        eventually(lambda: client.execute_command("SENTINEL REPLICAS", "main"))
        yield f"redis+sentinel://127.0.0.1:{sentinel.port}/main", primary, replica


def test_after_a_failover_the_new_primary_is_found(watched):
    url, primary, replica = watched
    with connect(url, near=100, deadline=1.0, cooldown=0.1) as cache:
        cache["k"] = "acknowledged"
        eventually(lambda: replica.client().get("cache:k"))
        eventually(lambda: cache.health()["tracking"])
        assert cache["k"] == cache["k"] == "acknowledged"

        primary.kill()

        def written() -> bool:
            with contextlib.suppress(CacheUnavailable):
                cache["k"] = "new"
                return True
            let_pass(0.05)
            return False

        eventually(written, 30)
        assert cache["k"] == "new"
        assert replica.client().get("cache:k") is not None
        eventually(lambda: cache.health()["tracking"])
        assert cache.health()["connected"]
