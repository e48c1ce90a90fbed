"""The near cache with many servers: Sentinel finds another primary, a cluster has several."""

import pytest
from redis.cluster import RedisCluster
from redis.sentinel import Sentinel

from tests.listening import CALM, HEARTBEAT, Follower, listeners
from tests.servers import SERVICE, clustered, eventually, is_primary, replicated


@pytest.fixture
def fleet(binary, tmp_path):
    with replicated(binary, tmp_path) as fleet:
        yield fleet


@pytest.fixture
def cluster(binary, tmp_path):
    with clustered(binary, tmp_path) as servers:
        yield servers


@pytest.fixture
def follow():
    made = []

    def follow(client, heartbeat=CALM):
        made.append(Follower(client, heartbeat=heartbeat))
        return made[-1].begin()

    yield follow
    for follower in made:
        follower.close()
    eventually(lambda: not listeners())


def primary_of(fleet):
    options = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    watchers = Sentinel([("127.0.0.1", fleet.sentinel.port)], sentinel_kwargs=options, **options)
    return watchers.master_for(SERVICE)


def warm(follower, key, value):
    def near():
        before = follower.asked
        return follower.get(key) == value and follower.asked == before

    eventually(near)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_after_a_failover_the_new_primary_is_read_and_followed(fleet, follow, fault):
    """A frozen one still accepts connections, and nothing but its silence tells."""
    follower = follow(primary_of(fleet), heartbeat=HEARTBEAT)
    follower.set("k", "v1")
    with fleet.replica.client() as copy:
        eventually(lambda: copy.get("ns:k") == b"v1")
    warm(follower, "k", b"v1")

    getattr(fleet.primary, fault)()
    eventually(lambda: not follower.near.trusted())
    eventually(lambda: is_primary(fleet.replica))
    with fleet.replica.client() as promoted:
        promoted.set("ns:k", "v2")
        eventually(follower.near.trusted)

        assert follower.get("k") == b"v2"
        warm(follower, "k", b"v2")
        promoted.set("ns:k", "v3")
        assert eventually(lambda: follower.get("k") == b"v3")


def test_writes_on_every_node_of_a_cluster_are_told(cluster, follow):
    client = RedisCluster(host="127.0.0.1", port=cluster[0].port)
    follower = follow(client)
    keys = [f"k{number}" for number in range(30)]
    for key in keys:
        client.set(f"ns:{key}", "v1")
    for key in keys:
        warm(follower, key, b"v1")
    for server in cluster:
        with server.client() as node:
            assert node.dbsize() > 0

    for key in keys:
        client.set(f"ns:{key}", "v2")

    for key in keys:
        eventually(lambda key=key: follower.get(key) == b"v2")
    assert follower.near.trusted()


def test_one_node_of_a_cluster_that_is_silent_ends_the_trust_in_all(cluster, follow):
    client = RedisCluster(host="127.0.0.1", port=cluster[0].port)
    follower = follow(client, heartbeat=HEARTBEAT)
    client.set("ns:k", "v1")
    warm(follower, "k", b"v1")
    owner = client.get_node_from_key("ns:k").port
    silent = next(server for server in cluster if server.port != owner)

    silent.freeze()
    eventually(lambda: not follower.near.trusted())
    asked = follower.asked
    assert follower.get("k") == b"v1"
    assert follower.asked == asked + 1
    silent.thaw()

    warm(follower, "k", b"v1")
