"""Near cache and listener together on real servers: what is read is what the server has."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cache.redis_cache import RedisCache
from tests.listening import HEARTBEAT, Follower, listeners
from tests.proxy import proxied
from tests.servers import PATIENCE, eventually


@pytest.fixture
def follow():
    made = []

    def follow(port, listens=None, **options):
        # No call is repeated: a test sees each one fail.
        clients = [
            redis.Redis(port=each, socket_timeout=5.0, retry=Retry(NoBackoff(), 0))
            for each in (port, listens or port)
        ]
        made.append(Follower(*clients, **options))
        return made[-1].begin()

    yield follow
    for follower in made:
        follower.close()
    eventually(lambda: not listeners())


@pytest.fixture
def writer(server):
    return server.client()


@pytest.fixture
def follower(server, follow):
    return follow(server.port)


def warm(follower, *keys):
    """Read keys until they come from the near cache."""
    for key in keys:

        def near(key=key):
            before = follower.asked
            follower.get(key)
            return follower.asked == before

        eventually(near)


def test_what_others_write_is_read(follower, writer):
    writer.set("ns:k", "v1")
    warm(follower, "k")

    writer.set("ns:k", "v2")

    assert eventually(lambda: follower.get("k") == b"v2")


def test_what_others_remove_is_gone(follower, writer):
    writer.set("ns:k", "v1")
    warm(follower, "k")

    writer.delete("ns:k")

    assert eventually(lambda: follower.get("k") is None)


def test_an_own_write_is_read_by_the_next_line(follower):
    for number in range(500):
        follower.set("k", str(number))
        assert follower.get("k") == b"%d" % number
        assert follower.get("k") == b"%d" % number


def test_an_unchanged_key_is_asked_for_once(follower, writer):
    writer.set("ns:k", "v1")
    warm(follower, "k")
    before = follower.asked

    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(follower.get, ["k"] * 1000))

    assert set(read) == {b"v1"}
    assert follower.asked == before


def test_an_answer_that_its_invalidation_overtakes_is_not_kept(server, writer, follow):
    with proxied(server.port) as proxy, ThreadPoolExecutor(1) as pool:
        follower = follow(proxy.port, listens=server.port)
        writer.set("ns:k", "v1")
        follower.get("other")  # connects
        bell = follower.near.bell("k")

        proxy.mute()
        slow = pool.submit(follower.get, "k")
        eventually(lambda: proxy.held)
        writer.set("ns:k", "v2")
        bell.wait(PATIENCE)
        proxy.resume()

        assert slow.result(PATIENCE) == b"v1"  # it began before v2 was written
        assert follower.near.keys() == []
        assert follower.get("k") == b"v2"


def test_while_the_listener_hears_nothing_the_server_is_asked(server, writer, follow):
    with proxied(server.port) as proxy:
        follower = follow(server.port, listens=proxy.port, heartbeat=HEARTBEAT)
        writer.set("ns:k", "v1")
        warm(follower, "k")

        proxy.silence()
        writer.set("ns:k", "v2")  # nobody tells
        eventually(lambda: not follower.near.trusted())

        assert follower.get("k") == b"v2"
        assert follower.near.keys() == []
        proxy.resume()
        warm(follower, "k")


def test_staleness_without_news_ends_with_the_heartbeat(server, writer, follow, waits):
    with proxied(server.port) as proxy:
        follower = follow(server.port, listens=proxy.port, heartbeat=HEARTBEAT)
        writer.set("ns:k", "v1")
        warm(follower, "k")

        proxy.mute()
        writer.set("ns:k", "v2")
        _, stale = waits(lambda: eventually(lambda: follower.get("k") == b"v2"))

        assert stale < HEARTBEAT + 0.2


@pytest.mark.parametrize("fault", ["cut", "half_close"])
def test_after_a_cut_nothing_from_before_it_is_read(server, writer, follow, fault):
    with proxied(server.port) as proxy:
        follower = follow(server.port, listens=proxy.port)
        writer.set("ns:k", "v1")
        warm(follower, "k")

        getattr(proxy, fault)()
        eventually(lambda: proxy.connections == 2)
        writer.set("ns:k", "v2")
        eventually(follower.near.trusted)

        eventually(lambda: follower.get("k") == b"v2")
        warm(follower, "k")
        assert follower.get("k") == b"v2"


def test_everything_flushed_is_gone(follower, writer):
    keys = [f"k{number}" for number in range(100)]
    writer.mset({f"ns:{key}": "v" for key in keys})
    warm(follower, *keys)

    writer.flushall()

    eventually(lambda: not follower.near.keys())
    assert [follower.get(key) for key in keys] == [None] * 100


def test_after_a_restart_of_the_server_nothing_old_is_read(own_server, follow):
    follower = follow(own_server.port)
    follower.set("k", "v1")
    warm(follower, "k")

    own_server.kill()
    eventually(lambda: not follower.near.trusted())
    with pytest.raises(redis.ConnectionError):
        follower.get("k")
    assert follower.near.get("k") == b"v1"  # for who prefers it to nothing
    own_server.restart()
    own_server.client().set("ns:l", "v2")

    eventually(follower.near.trusted)
    assert follower.get("k") is None
    assert follower.get("l") == b"v2"


def test_a_forked_child_starts_empty_and_is_coherent_by_itself(follower, writer):
    """Before it listens itself it asks the server: nobody tells it anything."""
    writer.set("ns:k", "v1")
    warm(follower, "k")
    token = follower.near.begin("slow")
    ours, childs = multiprocessing.Pipe()

    def read():
        follower.tracking.after_fork_in_child()
        childs.send((follower.near.keys(), follower.near.trusted(), follower.get("k")))
        assert follower.near.begin("slow").fetches is not token.fetches
        follower.begin()
        warm(follower, "k")
        childs.send(follower.get("k"))
        eventually(lambda: follower.get("k") == b"v2")
        childs.send(follower.get("k"))

    child = multiprocessing.get_context("fork").Process(target=read)
    child.start()
    with ours, childs:
        told = []
        for _ in range(2):
            assert ours.poll(PATIENCE)
            told.append(ours.recv())
        assert told == [([], False, b"v1"), b"v1"]
        assert follower.near.keys() == ["k"]
        writer.set("ns:k", "v2")
        assert ours.poll(PATIENCE)
        assert ours.recv() == b"v2"
    child.join(PATIENCE)

    assert child.exitcode == 0
    eventually(lambda: follower.get("k") == b"v2")
    follower.near.abandon(token)


def test_no_reader_sees_a_key_go_back_in_time(follower, server):
    """Another process writes numbers that grow; a reader knows what any other has read before."""
    seen, over, back = {"a": 0, "b": 0}, threading.Event(), []

    def write():
        client = server.client()
        for number in range(1, 2001):
            client.set(f"ns:{'ab'[number % 2]}", number)

    def read(key):
        while not over.is_set():
            least = seen[key]
            found = int(follower.get(key) or 0)
            if found < least:
                back.append((key, least, found))
            seen[key] = max(seen[key], found)

    writer = multiprocessing.get_context("fork").Process(target=write)
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, key) for key in [*seen] * 2]
        writer.start()
        writer.join(PATIENCE)
        eventually(lambda: seen == {"a": 2000, "b": 1999})
        over.set()
        for done in readers:
            done.result(PATIENCE)

    assert back == []
    assert follower.near.stats().hits > 0
    assert follower.asked > 2


@pytest.mark.parametrize("ask", ["exists", "ttl"])
def test_a_key_that_was_said_to_be_gone_is_not_read_from_near(deaf, ask):
    cache, writer, _ = deaf
    assert cache.get("k") == "v1"
    writer.delete("k")
    assert cache.get("k") == "v1"  # nobody has told it

    assert not getattr(cache, ask)("k")

    assert cache.get("k") is None


def test_a_key_that_was_said_to_end_soon_is_not_read_from_near_for_longer(deaf):
    cache, writer, _ = deaf
    cache.get("k")
    writer.touch("k", 0.05)

    assert cache.ttl("k") <= 0.05
    eventually(lambda: not writer.exists("k"))

    assert cache.get("k") is None


def test_a_value_that_another_process_made_is_not_followed_by_an_older_one(deaf):
    """While one call waits for a lease, another one fetches, and then somebody writes again."""
    cache, writer, _ = deaf
    writer.delete("k")
    cache.exists("k")
    leased, over = threading.Event(), threading.Event()

    def slow():
        leased.set()
        over.wait(PATIENCE)
        return "late"

    with ThreadPoolExecutor(2) as pool:
        owner = pool.submit(writer.get_or_set, "k", slow)
        assert leased.wait(PATIENCE)
        waiting = pool.submit(cache.get_or_set, "k", lambda: "never")
        eventually(lambda: cache.stats().misses)
        writer.set("k", "v4")
        assert cache.get("k") == "v4"
        writer.set("k", "v5")
        found = waiting.result(PATIENCE)
        over.set()
        owner.result(PATIENCE)

    assert found <= cache.get("k")


def test_forked_children_of_a_busy_process_have_near_caches_of_their_own(server, writer):
    """Other threads are in the middle of reads and writes whenever it forks."""
    over = threading.Event()
    with RedisCache(server.client(), namespace="ns", near=100) as cache:
        eventually(lambda: cache.health()["tracking"])
        cache.set("shared", 0)

        def work(key):
            number = 0
            while not over.is_set():
                number += 1
                cache.set(key, number)
                assert cache.get(key) == number
                over.wait(0.001)

        def child(number):
            before = cache.get("shared")
            cache.set(f"child {number}", number)
            assert cache.get(f"child {number}") == number
            eventually(lambda: cache.health()["tracking"])
            hits = cache.stats().hits
            eventually(lambda: cache.get("shared") is not None and cache.stats().hits > hits)
            eventually(lambda: cache.get("shared") > before)

        with ThreadPoolExecutor(2) as pool:
            working = [pool.submit(work, key) for key in ("a", "b")]
            fork = multiprocessing.get_context("fork")
            children = [fork.Process(target=child, args=(number,)) for number in range(8)]
            for process in children:
                process.start()
            codes = []
            for process in children:
                while process.exitcode is None:
                    cache.increment("shared")
                    process.join(0.02)
                codes.append(process.exitcode)
            over.set()
            for done in working:
                done.result(PATIENCE)

        assert codes == [0] * 8
        assert cache.get_many([f"child {number}" for number in range(8)]) == {
            f"child {number}": number for number in range(8)
        }
        assert cache.health()["tracking"]
    eventually(lambda: not listeners())


def test_a_forked_child_reads_nothing_that_was_changed_after_the_fork(server):
    """What its parent had near is true for a heartbeat yet, for somebody who is told of writes."""
    keys = [f"k{number}" for number in range(20)]
    over, fork = threading.Event(), multiprocessing.get_context("fork")
    options = {"namespace": "ns", "heartbeat": PATIENCE}
    with (
        RedisCache(server.client(), near=100, **options) as cache,
        RedisCache(server.client(), **options) as writer,
        ThreadPoolExecutor(3) as pool,
    ):
        eventually(lambda: cache.health()["tracking"])

        def work(number):
            while not over.is_set():
                cache.get_many(keys)
                cache.set(f"own {number}", number)
                for key in keys:
                    cache.get(key)

        def child(go, found):
            assert go.wait(PATIENCE)
            found.send([cache.get(key) for key in keys] + [cache.get(key) for key in keys])

        read = []
        writer.set_many(dict.fromkeys(keys, 0))
        working = [pool.submit(work, number) for number in range(3)]
        for number in range(1, 21):
            eventually(
                lambda number=number: cache.get_many(keys) == dict.fromkeys(keys, number - 1)
            )
            go, (ours, childs) = fork.Event(), fork.Pipe(duplex=False)
            with ours, childs:
                process = fork.Process(target=child, args=(go, childs))
                process.start()
                writer.set_many(dict.fromkeys(keys, number))
                go.set()
                assert ours.poll(PATIENCE)
                read.append({*ours.recv()})
                process.join(PATIENCE)
        over.set()
        for done in working:
            done.result(PATIENCE)

    assert read == [{number} for number in range(1, 21)]
    eventually(lambda: not listeners())
