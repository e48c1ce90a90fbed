"""`RedisCache` on a cluster that changes: failovers, slots that move, nodes that come."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.cluster import key_slot

from cache import CacheUnavailable, connect
from cache.remote.link import ClusterLink
from tests.servers import (
    PATIENCE,
    Move,
    Server,
    clustered,
    clusternode,
    eventually,
    fail_over,
    is_primary,
    join,
    let_pass,
    seconds_of,
)

TIMEOUT, DEADLINE = 0.3, 1.0
# An attempt waits for a node, and may then wait for it once more, to learn who owns the slots.
LONGEST = DEADLINE + 2 * TIMEOUT + 1.0  # seconds; the last is for a machine that is busy
KEYS = [f"k{n}" for n in range(90)]


@pytest.fixture(scope="module")
def nodes(binary, tmp_path_factory) -> Iterator[list[Server]]:
    """Run three primaries and a replica of the first, that may change their parts."""
    with clustered(binary, tmp_path_factory.mktemp("pairs"), replicas=1) as servers:
        yield servers


@pytest.fixture
def pair(nodes) -> tuple[Server, Server]:
    """Return the primary that has a replica, and that."""
    first, last = nodes[0], nodes[3]
    return (first, last) if is_primary(first) else (last, first)


@pytest.fixture
def fragile(binary, tmp_path) -> Iterator[list[Server]]:
    """Run the same for one test alone, that fails over soon."""
    with clustered(binary, tmp_path, replicas=1, timeout=0.7) as servers:
        yield servers


@pytest.fixture(scope="module")
def steady(binary, tmp_path_factory) -> Iterator[list[Server]]:
    """Run three primaries that do not mind if one is silent."""
    with clustered(binary, tmp_path_factory.mktemp("steady"), timeout=15.0) as servers:
        yield servers


@pytest.fixture(scope="module")
def primaries(binary, tmp_path_factory) -> Iterator[list[Server]]:
    """Run three primaries for tests that leave their slots anywhere."""
    with clustered(binary, tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(scope="module")
def strangers(binary, tmp_path_factory, primaries) -> Iterator[Iterator[tuple[str, Server]]]:
    """Have primaries without slots in the cluster, and a key for each to get the slot of."""
    with contextlib.ExitStack() as stack:
        folders = [tmp_path_factory.mktemp("stranger") for _ in range(4)]
        new = [stack.enter_context(clusternode(binary, folder)) for folder in folders]
        join(primaries, *new)
        yield iter([*zip(KEYS, new, strict=False)])


def url(servers: list[Server]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


def open_cache(servers: list[Server], **options: Any) -> Any:
    limits = {"timeout": TIMEOUT, "deadline": DEADLINE, "threshold": 1000}
    return connect(url(servers), **{**limits, **options})


def slot_of(key: str, namespace: str = "cache") -> int:
    return int(key_slot(f"{namespace}:{key}".encode()))


def owner_of(slot: int, servers: list[Server]) -> Server:
    """Return the primary that has the slot, when all of them know who that is."""

    def told(server: Server) -> Any:
        with server.client() as client:
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return port
        return None

    eventually(lambda: len({told(server) for server in servers}) == 1)
    return next(server for server in servers if server.port == told(server))


def check_every_verb(cache: Any, tmp_path: Any) -> None:
    """Use each verb on keys of all slots, and see that it does what it says."""
    cache.clear()
    cache.set_many(dict.fromkeys(KEYS, 1), ttl=60)
    for key in KEYS:
        cache.set(key, cache.get(key) + 1)
    assert [cache.increment(key, 2) for key in KEYS] == [4] * len(KEYS)
    assert cache.get_many(KEYS) == cache.get_many(KEYS) == dict.fromkeys(KEYS, 4)
    assert all(cache.exists(key) and cache.ttl(key) is not None for key in KEYS)
    assert sorted(cache.keys()) == sorted(KEYS)
    cache.save(tmp_path / "snapshot")
    assert [cache.pop(key) for key in KEYS[:10]] == [4] * 10
    assert [cache.delete(key) for key in KEYS[:20]] == [False] * 10 + [True] * 10
    assert cache.delete_many(KEYS[:30]) == 10
    assert [cache.get_or_set(key, lambda: 5) for key in KEYS[:30]] == [5] * 30
    assert [cache.add(key, 6) for key in KEYS] == [False] * len(KEYS)
    assert all(cache.touch(key, 60) and cache.replace(key, 7) for key in KEYS)
    assert (cache.delete_pattern("k1*"), len(cache)) == (11, len(KEYS) - 11)
    cache.load(tmp_path / "snapshot")
    assert (len(cache), cache.health()["connected"]) == (len(KEYS), True)
    cache.clear()
    assert cache.keys() == []


@pytest.mark.parametrize("near", [None, 1000])
def test_every_verb_works_again_after_a_failover_without_loss(nodes, pair, near, tmp_path):
    with open_cache(nodes, near=near) as cache:
        check_every_verb(cache, tmp_path)

        fail_over(pair[1])

        check_every_verb(cache, tmp_path)


@pytest.mark.parametrize(
    ("fault", "near"),
    [
        pytest.param("kill", None, marks=pytest.mark.soak),
        ("kill", 1000),
        pytest.param("freeze", 1000, marks=pytest.mark.soak),
    ],
)
def test_every_verb_works_again_after_a_primary_was_lost(fragile, fault, near, tmp_path):
    """A call ends in time meanwhile, with what it is for or CacheUnavailable."""
    with open_cache(fragile, near=near) as cache:
        cache.set_many(dict.fromkeys(KEYS, 1))
        with fragile[0].client() as client, fragile[3].client() as copy:
            eventually(lambda: client.dbsize() == copy.dbsize())

        getattr(fragile[0], fault)()
        ended = False
        while not ended:
            for verb in VERBS:
                assert seconds_of(lambda verb=verb: failing(verb, cache)) < LONGEST
            ended = is_primary(fragile[3])

        eventually(lambda: not failing(cache.get_many, KEYS))
        assert cache.get_many(KEYS) == dict.fromkeys(KEYS, 1)
        check_every_verb(cache, tmp_path)
        if fault == "kill":
            fragile[0].restart()
        else:
            fragile[0].thaw()
        eventually(lambda: not is_primary(fragile[0]))
        check_every_verb(cache, tmp_path)


VERBS: list[Callable[[Any], Any]] = [
    lambda cache: [cache.get(key) for key in KEYS[:5]],
    lambda cache: cache.get_many(KEYS),
    lambda cache: cache.set("other", 1),
    lambda cache: cache.set_many({"other": 1, **dict.fromkeys(KEYS, 1)}, ttl=100),
    lambda cache: cache.delete_many([f"other{n}" for n in range(20)]),
    lambda cache: cache.increment("others"),
    lambda cache: cache.keys(),
    lambda cache: cache.delete_pattern("other*"),
    lambda cache: cache.get_or_set("other", lambda: 1),
    lambda cache: cache.ttl("k1"),
    lambda cache: cache.health(),
]


def failing(verb: Callable[..., Any], *given: Any) -> bool:
    try:
        verb(*given)
    except CacheUnavailable:
        return True
    return False


@pytest.mark.parametrize("near", [None, 1000])
def test_every_verb_works_while_a_slot_moves(primaries, near, tmp_path):
    with open_cache(primaries, near=near) as cache:
        check_every_verb(cache, tmp_path)

        with moving(primaries, slot_of(KEYS[-1])) as move:
            with move.target.client() as client:
                client.script_flush()
            check_every_verb(cache, tmp_path)

        check_every_verb(cache, tmp_path)


@pytest.mark.parametrize(("one_slot", "near"), [(False, None), (True, 1000)])
def test_a_slot_that_is_half_moved_is_all_there(primaries, one_slot, near):
    """What steps with several keys of it say is TRYAGAIN, all the time."""
    with open_cache(primaries, near=near, one_slot=one_slot, namespace="half") as cache:
        keys = [f"{{t}}{n}" for n in range(40)]
        cache.set_many(dict.fromkeys(keys, 1))
        slot = key_slot(b"half") if one_slot else key_slot(b"t")
        with moving(primaries, slot) as move:
            with move.target.client() as client:
                client.script_flush()
            assert move.carry(20) == 20

            assert [cache.increment(key) for key in keys] == [2] * 40
            assert [cache.get(key) for key in keys] == [2] * 40
            assert (sorted(cache.keys()), len(cache)) == (sorted(keys), 40)
            for many in (
                lambda: cache.get_many(["{t}x", *keys]),
                lambda: cache.set_many(dict.fromkeys(keys, 3), 60),
                lambda: cache.delete_many(["{t}x", *keys]),
            ):
                with pytest.raises(CacheUnavailable, match="refuses"):
                    many()
            assert cache.pop(keys[-1]) == cache.pop(keys[0]) == 2
            assert cache.delete_pattern("{t}1?") == 10

        assert cache.get_many(keys) == dict.fromkeys((*keys[1:10], *keys[20:-1]), 2)
        cache.clear()
        assert cache.keys() == []


def test_a_lease_that_moved_is_no_value_and_is_its_owners_still(primaries):
    with open_cache(primaries, namespace="leased") as cache:
        cache["l"] = 1

        def factory() -> Any:
            with moving(primaries, slot_of("k", "leased")):
                pass
            return cache.get_many(["k", "l"]), cache.keys()

        assert cache.get_or_set("k", factory) == cache["k"] == ({"l": 1}, ["l"])
        cache.clear()


@contextlib.contextmanager
def moving(primaries: list[Server], slot: int) -> Iterator[Move]:
    """Have a slot on its way for the length of a `with` block, and arrived after it."""
    source = owner_of(slot, primaries)
    target = next(server for server in primaries if server is not source)
    move = Move(slot, source, target).begin()
    try:
        yield move
    finally:
        move.end()


@pytest.mark.parametrize("number", range(3))
def test_a_walk_finds_what_moves_to_where_it_has_been(primaries, number, monkeypatch, tmp_path):
    walk, moves, movable = ClusterLink.scan, [], iter(KEYS[number::3])

    def scan(link: Any, *given: Any) -> Any:
        found = walk(link, *given)
        while len(moves) < 5:
            slot = slot_of(next(movable), "walk")
            source = owner_of(slot, primaries)
            if source is not primaries[number]:
                moves.append(Move(slot, source, primaries[number]).begin())
                moves[-1].carry()
                if len(moves) == 1:
                    moves[0].end()
        return found

    monkeypatch.setattr(ClusterLink, "scan", scan)
    with open_cache(primaries, namespace="walk") as cache:
        for verb in (
            lambda: len(cache.keys()),
            lambda: cache.save(tmp_path / "snapshot") or len(cache),
            lambda: cache.delete_pattern("*"),
        ):
            cache.set_many(dict.fromkeys(KEYS, 1))

            assert verb() == len(KEYS)

            for move in moves:
                move.end()
            moves.clear()


@pytest.mark.parametrize("near", [None, 1000])
def test_a_new_node_is_used_from_its_first_key_on(primaries, strangers, near, tmp_path):
    key, stranger = next(strangers)
    with open_cache(primaries, near=near) as cache, open_cache(primaries) as other:
        cache.set_many(dict.fromkeys(KEYS, 1))
        move = Move(slot_of(key), owner_of(slot_of(key), primaries), stranger).begin()
        move.carry()

        assert sorted(other.keys()) == sorted(KEYS)
        assert (cache.get(key), cache.increment(key), other.increment(key)) == (1, 2, 3)
        check_every_verb(cache, tmp_path)
        other.set_many(dict.fromkeys(KEYS, 1))
        move.end()

        assert sorted(cache.keys()) == sorted(KEYS)
        assert other.delete_pattern("*") == len(KEYS)
        check_every_verb(cache, tmp_path)


@pytest.mark.parametrize("late", [False, True])
def test_writes_on_a_new_node_are_heard(primaries, strangers, late):
    key, stranger = next(strangers)
    with open_cache(primaries, near=1000) as cache, open_cache(primaries) as other:
        cache.set_many(dict.fromkeys(KEYS, 0))
        warm(cache, [*primaries, stranger])
        move = Move(slot_of(key), owner_of(slot_of(key), primaries), stranger).begin()
        move.carry()
        for number in range(1, 10):
            if number == 2 + late:
                move.end()

            other.set(key, number)

            assert eventually(lambda number=number: cache.get(key) == number, BOUND)
            warm(cache, [*primaries, stranger])


BOUND = 1.5  # seconds: the heartbeat, and some for a machine that is busy


def warm(cache: Any, servers: list[Server], keys: Sequence[str] = KEYS) -> None:
    """Read until all reads are near."""

    def near() -> bool:
        before = fetches(servers)
        for key in keys:
            cache.get(key)
        return fetches(servers) == before

    eventually(near)


def fetches(servers: list[Server]) -> int:
    """Return how often the servers were asked for values, be it by a script."""
    found = 0
    for server in servers:
        with server.client() as client:
            told = client.info("commandstats")
            found += sum(told.get(f"cmdstat_{verb}", {"calls": 0})["calls"] for verb in VERBS_READ)
    return found


VERBS_READ = ("get", "mget", "evalsha")


def listened_to(server: Server) -> bool:
    """Tell whether somebody is told of the writes on a server."""
    with server.client() as client:
        return bool(client.info("clients")["tracking_clients"])


def test_a_near_cache_follows_the_new_primary_though_nobody_misses_a_key(nodes, pair):
    """All reads are near, so nothing that redis-py is asked for would lead it there."""
    with open_cache(nodes, near=1000) as cache, open_cache(nodes) as other:
        cache.set_many(dict.fromkeys(KEYS, 1))
        warm(cache, nodes)
        before = fetches(nodes)

        fail_over(pair[1])

        eventually(lambda: listened_to(pair[1]) and not listened_to(pair[0]))
        eventually(lambda: cache.health()["tracking"])
        assert cache.get_many(KEYS) == dict.fromkeys(KEYS, 1)
        assert [cache.get(key) for key in KEYS] == [1] * len(KEYS)
        assert fetches(nodes) > before
        warm(cache, nodes)
        other.set_many(dict.fromkeys(KEYS, 2))
        assert eventually(lambda: cache.get_many(KEYS) == dict.fromkeys(KEYS, 2), BOUND)


@pytest.mark.parametrize("fault", ["kill", pytest.param("freeze", marks=pytest.mark.soak)])
def test_a_near_cache_comes_back_though_no_key_of_the_lost_primary_is_used(fragile, fault):
    with open_cache(fragile, near=1000) as cache, open_cache(fragile) as other:
        for server in fragile:  # or the others would refuse, which leads redis-py on
            with server.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        keys = [key for key in KEYS if owner_of(slot_of(key), fragile) is fragile[1]]
        cache.set_many(dict.fromkeys(keys, 1))
        warm(cache, fragile[1:2], keys)

        getattr(fragile[0], fault)()

        before = fetches(fragile[1:2])
        eventually(lambda: cache.get_many(keys) and fetches(fragile[1:2]) > before, BOUND)
        eventually(lambda: is_primary(fragile[3]))
        eventually(lambda: listened_to(fragile[3]))
        warm(cache, fragile[1:2], keys)
        for number in range(2, 12):
            other.set_many(dict.fromkeys(keys, number))
            assert eventually(lambda: set(cache.get_many(keys).values()) == {number}, BOUND)
        fragile[0].restart() if fault == "kill" else fragile[0].thaw()
        eventually(lambda: not is_primary(fragile[0]))
        warm(cache, fragile[1:2], keys)
        assert listened_to(fragile[3])
        assert eventually(lambda: not listened_to(fragile[0]))


@contextlib.contextmanager
def silent(servers: list[Server]) -> Iterator[None]:
    """Have servers say nothing in a `with` block, and do what they have heard after it."""
    for server in servers:
        server.freeze()
    try:
        yield
    finally:
        for server in servers:
            server.thaw()


def test_threads_do_not_wait_in_line_for_silent_nodes(steady):
    with open_cache(steady) as cache:
        cache.set_many(dict.fromkeys(KEYS, 1))
        for verb in (lambda: cache.get_many(KEYS), cache.keys):
            with silent(steady), ThreadPoolExecutor(20) as pool:
                calls = [
                    pool.submit(lambda verb=verb: seconds_of(lambda: failing(verb)))
                    for _ in range(20)
                ]
                # Each of the three is asked for the slots' owners.
                assert max(call.result(PATIENCE) for call in calls) < LONGEST + 2 * TIMEOUT
        assert eventually(lambda: cache.health()["connected"])


def test_an_increment_is_not_sent_twice_when_no_node_says_who_owns_its_slot(steady, monkeypatch):
    drop = ClusterLink.drop_connections

    def back_again(link: Any) -> None:
        for server in steady:
            server.thaw()
        drop(link)

    # As when the nodes are back as soon as it is taken for refused, and not done.
    monkeypatch.setattr(ClusterLink, "drop_connections", back_again)
    with open_cache(steady, namespace="once") as cache:
        cache["n"] = cache.increment("known") - 1
        with silent(steady):
            failing(cache.increment, "n")

        assert eventually(lambda: cache.get("n")) == 1
        let_pass(0.3)  # for another one that may be on its way
        assert cache["n"] == 1


def test_every_verb_works_when_the_cache_has_been_closed(steady, tmp_path):
    cache = open_cache(steady, near=1000)
    cache["k"] = 1
    cache.close()

    check_every_verb(cache, tmp_path)
    cache.close()


def test_a_cluster_of_one_node_that_has_met_no_other_works(binary, tmp_path):
    with clusternode(binary, tmp_path / "node") as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            eventually(lambda: b"state:ok" in client.execute_command("CLUSTER", "INFO"))
        with open_cache([server], near=1000) as cache:
            cache.set_many(dict.fromkeys(KEYS, 1))
            warm(cache, [server])

            check_every_verb(cache, tmp_path)
