"""What `RedisCache` promises beyond the contract: one trip a verb, native numbers, no code run."""

import copyreg
import inspect
import logging
import math
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from cache import CacheStats, DistributedCache, Health, SnapshotError, connect
from cache.near import Near
from cache.redis_cache import RedisCache
from tests.servers import Server

NAMESPACES = ["shop", "*", "[a", "ü", "a:b", "{a}", "%", "?", "\\"]


@pytest.fixture
def make(server: Server) -> Iterator[Callable[..., RedisCache[Any]]]:
    """Return a maker of caches on the server."""
    made: list[RedisCache[Any]] = []

    def make(**options: Any) -> RedisCache[Any]:
        made.append(RedisCache(server.client(), **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def cache(make) -> RedisCache[Any]:
    return make()


class Wire:
    """A client's connection that counts what goes over it."""

    def __init__(self, client: redis.Redis) -> None:
        self.commands: list[Any] = []
        execute = client.execute_command

        def counting(*words: Any, **options: Any) -> Any:
            self.commands.append(words)
            return execute(*words, **options)

        client.execute_command = counting  # type: ignore[method-assign]


VERBS: dict[str, Callable[[RedisCache[Any]], Any]] = {
    "get": lambda cache: cache.get("k"),
    "get of nothing": lambda cache: cache.get("x"),
    "cache[key]": lambda cache: cache["k"],
    "exists": lambda cache: cache.exists("k"),
    "in": lambda cache: "k" in cache,
    "ttl": lambda cache: cache.ttl("k"),
    "get_many": lambda cache: cache.get_many(["k", "l", "x"]),
    "set": lambda cache: cache.set("k", [1], ttl=5),
    "set for ever": lambda cache: cache.set("k", [1]),
    "add": lambda cache: cache.add("a", 1),
    "replace": lambda cache: cache.replace("k", 1),
    "set_many": lambda cache: cache.set_many({"a": 1, "b": 2}, ttl=5),
    "set_many for ever": lambda cache: cache.set_many({"a": 1, "b": 2}),
    "increment": lambda cache: cache.increment("n"),
    "increment by a float": lambda cache: cache.increment("n", 0.5),
    "decrement": lambda cache: cache.decrement("n"),
    "touch": lambda cache: cache.touch("k", 5),
    "pop": lambda cache: cache.pop("k"),
    "delete": lambda cache: cache.delete("k"),
    "delete_many": lambda cache: cache.delete_many(["k", "l"]),
    "keys": lambda cache: cache.keys("k*"),
    "get_or_set, a hit": lambda cache: cache.get_or_set("k", list),
}


@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_one_round_trip(server, verb, near):
    client = server.client()
    with RedisCache(client, near=near) as cache:
        for each in VERBS.values():  # the server knows the scripts then
            cache.set_many({"k": "v", "l": [2], "n": 1})
            each(cache)
        cache.set_many({"k": "v", "l": [2], "n": 1})
        wire = Wire(client)

        VERBS[verb](cache)

    assert len(wire.commands) == 1, wire.commands


def test_the_defaults_of_the_options():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(RedisCache).parameters.items()
        if name != "client"
    }

    assert defaults == {
        "namespace": "cache",
        "default_ttl": None,
        "trust": (),
        "secret": None,
        "near": None,
        "staleness": 60.0,
        "heartbeat": 1.0,
        "lease": 10.0,
        "on_error": "raise",
        "attempts": 3,
        "deadline": 2.0,
        "threshold": 5,
        "cooldown": 1.0,
        "one_slot": False,
    }


@pytest.mark.parametrize("near", [None, 100])
def test_a_new_cache_has_counted_nothing_and_knows_no_bound(make, near):
    assert make(near=near).stats() == CacheStats(0, 0, 0, 0, size=0, max_size=2**63 - 1)


def test_numbers_are_the_servers_own(server, cache):
    cache.set_many({"int": 5, "float": 2.5, "bool": True})
    cache.increment("int", 2)

    texts = [server.client().get(f"cache:{key}") for key in ("int", "float")]

    assert texts == [b"7", b"2.5"]
    assert server.client().incrby("cache:int", 3) == 10 == cache["int"]
    assert server.client().get("cache:bool")[:1] == b"\x80"


@pytest.mark.parametrize(
    ("verb", "rest"),
    [
        *[(verb, ()) for verb in ("get", "exists", "ttl", "increment", "touch", "pop", "delete")],
        *[(verb, (1,)) for verb in ("set", "add", "replace", "decrement")],
        ("get_or_set", (list,)),
    ],
)
@pytest.mark.parametrize("key", [5, b"k", None])
def test_every_verb_refuses_a_key_that_is_no_str(cache, verb, rest, key):
    with pytest.raises(TypeError, match="key"):
        getattr(cache, verb)(key, *rest)


def test_more_keys_than_one_scan_looks_at_are_found(cache):
    keys = {f"k{number}" for number in range(25_000)}
    cache.set_many(dict.fromkeys(keys, 1))

    assert set(cache.keys()) == keys
    assert cache.delete_pattern("*") == 25_000
    assert len(cache) == 0


@pytest.mark.parametrize("near", [None, 100])
def test_what_is_asked_for_without_a_server_is_missed(near):
    with connect("redis://127.0.0.1:1", on_error="miss", attempts=1, near=near) as cache:
        assert cache.get_many(["a", "b", "a"]) == {}
        stats = cache.stats()

    assert (stats.hits, stats.misses) == (0, 3)


def test_a_life_is_counted_in_milliseconds_on_the_server(server, cache):
    cache.set("k", 1, ttl=1000)

    assert 900_000 < server.client().pttl("cache:k") <= 1_000_000


@pytest.mark.parametrize("value", ["5", True, None, [1], b"5"])
def test_what_is_no_number_is_not_counted_with_and_stays(server, cache, value):
    cache.set("k", value, ttl=60)
    before = server.client().get("cache:k")

    with pytest.raises(
        ValueError, match=f"the value at 'k' is a {type(value).__name__}, not a number"
    ):
        cache.increment("k")

    assert (server.client().get("cache:k"), cache["k"]) == (before, value)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (2**63 - 1, 1),
        (-(2**63) + 1, -5),
        (2**70, 1),
        (1, 2**70),
        (2**53 + 1, 0.5),
        (0.1, 0.2),
        (3.0, 1),
        (1, 2.0),
        (1e308, 1e308),
        (math.inf, 1),
        (5e-324, 5e-324),
        (1e16, 1.0),
        (1.5, 2**60),
    ],
)
def test_sums_are_those_of_python(cache, value, amount):
    cache.set("k", value, ttl=60)

    total = cache.increment("k", amount)

    assert (total, type(total)) == (value + amount, type(value + amount))
    assert (cache["k"], type(cache["k"])) == (total, type(total))
    assert cache.ttl("k") == pytest.approx(60, abs=5)


def test_large_ints_are_counted_by_all_threads_exactly(make):
    caches = [make() for _ in range(4)]
    caches[0].set("k", 2**80)

    def count(cache):
        for _ in range(25):
            cache.increment("k")

    threads = [threading.Thread(target=count, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert caches[0]["k"] == 2**80 + 100


def test_a_number_that_cannot_be_read_is_not_counted_with(make):
    make(trust=[Point]).set("k", Point())

    with pytest.raises(ValueError, match=r"'k' cannot be read: .*Point is neither plain"):
        make().increment("k")


def test_scripts_are_sent_again_after_the_server_has_forgotten_them(server, cache):
    cache.set("k", 1)
    for _ in range(2):
        assert cache.increment("k") > 1
        server.client().script_flush()

    assert cache.pop("k") == 3


class Point:
    pass


class Bomb:
    went_off: list[int] = []

    def __reduce__(self):
        return Bomb.went_off.append, (1,)


def extension_bomb() -> bytes:
    return (
        pickle.PROTO + b"\x05" + pickle.EXT1 + b"\xf0" + pickle.EMPTY_TUPLE + pickle.REDUCE + b"."
    )


HOSTILE = {
    "a reduction": pickle.dumps(Bomb(), 5),
    "a function": b"\x80\x05cos\nsystem\n(S'true'\ntR.",
    "a function of ours": b"\x80\x05ccache\nconnect\n(S'memory://'\ntR.",
    "an extension": extension_bomb(),
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "a text that is no UTF-8": pickle.dumps("ab", 5).replace(b"ab", b"\xff\xfe"),
    "half a pickle": pickle.dumps([1, 2, 3], 5)[:-4],
    "nothing": b"",
    "text": b"hello",
    "too long a number": b"9" * 10_000,
    "a sealed value": b"\x00" + b"s" * 40,
}


@pytest.mark.parametrize("secret", [None, b"secret"])
@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_a_hostile_server_holds_runs_nothing_and_is_a_miss(server, make, text, near, secret):
    copyreg.add_extension("os", "system", 0xF0)
    try:
        cache = make(near=near, secret=secret)
        server.client().set("cache:k", text)

        found = [
            cache.get("k", "default"),
            cache.get_many(["k"]),
            cache.get_or_set("k", lambda: "made"),
            cache.get("k"),
        ]
        server.client().set("cache:k", text)
        popped = cache.pop("k", "default")
    finally:
        copyreg.remove_extension("os", "system", 0xF0)

    assert (found, popped) == (["default", {}, "made", "made"], "default")
    assert Bomb.went_off == []
    assert cache.health()["unreadable"] >= 4


def test_an_unreadable_value_is_logged_once_for_each_type_and_counted(make, caplog):
    writer, reader = make(trust=[Point]), make()
    writer.set_many({"a": Point(), "b": Point()})

    with caplog.at_level(logging.WARNING, "cache"):
        assert [reader.get(key) for key in "abab"] == [None] * 4

    assert [record.message.rpartition(":")[2] for record in caplog.records] == [
        f" {__name__}.Point is neither plain data nor trusted"
    ]
    assert {record.name for record in caplog.records} == {"cache"}
    assert reader.health()["unreadable"] == reader.stats().misses == 4
    assert isinstance(writer.get("a"), Point)


def test_what_is_not_trusted_is_not_stored(server, cache):
    cache.set("k", "old")

    for write in (cache.set, cache.add, cache.replace, lambda k, v: cache.set_many({"x": 1, k: v})):
        with pytest.raises(SnapshotError, match=r"'k' cannot be stored: .*Point"):
            write("k", Point())
    with pytest.raises(SnapshotError, match="'made'"):
        cache.get_or_set("made", Point)

    assert sorted(cache.get_many(["k", "x", "made"]).items()) == [("k", "old")]
    assert server.client().keys() == [b"cache:k"]  # and no lease


def test_a_sealed_value_is_nobody_elses_and_of_no_other_key(server, make):
    ours, theirs, unsealed = make(secret=b"ours"), make(secret=b"theirs"), make()
    ours.set_many({"a": ["ours"], "n": 5})
    server.client().copy("cache:a", "cache:b")

    assert (ours["a"], ours.increment("n")) == (["ours"], 6)
    assert [ours.get("b"), theirs.get("a"), unsealed.get("a")] == [None] * 3
    unsealed["a"] = ["forged"]
    assert ours.get("a") is None


@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_namespace_is_alone(make, server, namespace, near):
    cache = make(namespace=namespace, near=near)
    others = [make(namespace=other) for other in NAMESPACES if other != namespace]
    others += [
        make(namespace=namespace + "x"),
        make(namespace=namespace + ":x"),
        make(namespace="x"),
    ]
    for other in others:
        other.set_many({"k": "other", "*": "other", "ü": "other"})
    cache.set_many({"k": 1, "l": 2, "*": 3})

    assert sorted(cache) == ["*", "k", "l"]
    assert (cache.delete_pattern("[k]"), cache.delete_pattern("*"), len(cache)) == (1, 2, 0)
    cache.clear()

    assert all(len(other) == 3 and other["k"] == "other" for other in others)


def test_names_that_are_none_of_ours_are_left_alone(server, cache):
    server.client().set(b"cache:\xff", "x")
    server.client().rpush("cache:list", "x")
    cache["k"] = 1

    assert (cache.keys(), cache.delete_pattern("*")) == (["k"], 1)
    assert server.client().exists(b"cache:\xff", "cache:list") == 2


def test_a_client_that_decodes_is_refused(server):
    with server.client(decode_responses=True) as client, pytest.raises(ValueError, match="decode"):
        RedisCache(client)


@pytest.mark.parametrize("secret", [None, b"secret"])
def test_a_snapshot_moves_between_engines(make, tmp_path, secret):
    cache = make(secret=secret)
    cache.set_many({f"k{n}": [n] for n in range(1500)})
    cache.set("short", "v", ttl=100)
    cache.get("k1")
    with DistributedCache(5000, secret=secret) as local:
        cache.save(tmp_path / "s")
        local.load(tmp_path / "s")

        assert sorted(local) == sorted(cache)
        assert local["k7"] == [7]
        assert local.ttl("short") == pytest.approx(100, abs=5)
        local["new"] = 2.5
        local.save(tmp_path / "t")

    cache["gone"] = 1
    cache.load(tmp_path / "t")

    assert (len(cache), cache["new"], "gone" in cache) == (1502, 2.5, False)
    assert cache.ttl("short") == pytest.approx(100, abs=5)
    assert cache.ttl("new") == math.inf
    assert (cache.stats().hits, cache.stats().misses) == (3, 0)


def test_what_cannot_be_read_is_left_out_of_a_snapshot(make, tmp_path):
    make(trust=[Point]).set("point", Point())
    cache = make()
    cache["k"] = 1

    cache.save(tmp_path / "s")
    cache.load(tmp_path / "s")

    assert cache.keys() == ["k"]


def test_a_snapshot_of_what_is_not_trusted_changes_nothing(make, tmp_path):
    with DistributedCache(trust=[Point]) as local:
        local["k"] = Point()
        local.save(tmp_path / "s")
    cache = make()
    cache["old"] = 1

    with pytest.raises(SnapshotError, match="Point"):
        cache.load(tmp_path / "s")

    assert cache.get_many(["k", "old"]) == {"old": 1}


def test_keys_are_any_text(cache):
    keys = ["", " ", "ü", "\ud800", "\0", "a" * 10_000, "{x}", "*", "\r\n"]

    cache.set_many(dict.fromkeys(keys, 1))

    assert sorted(cache) == sorted(keys)
    assert all(cache.delete(key) for key in keys)


def test_a_near_hit_asks_nobody(server, make, wait_until):
    client = server.client()
    with RedisCache(client, near=10) as cache:
        cache["k"] = ["v"]
        assert wait_until(lambda: cache.health()["tracking"])
        assert wait_until(lambda: cache.get("k") is cache.get("k"))
        wire = Wire(client)
        before = cache.stats().hits
        del wire.commands[:]

        assert cache.get("k") == cache["k"] == cache.get_many(["k"])["k"] == ["v"]
        assert cache.get_or_set("k", list) == ["v"]

        assert wire.commands == []
        assert cache.stats().hits == before + 4
        cache.reset_stats()
        assert cache.stats()[:2] == (0, 0)


def test_a_snapshot_has_counted_the_hits_near_by_too(make, wait_until, tmp_path):
    cache = make(near=10)
    cache["k"] = ["v"]
    assert wait_until(lambda: cache.get("k") is cache.get("k"))
    counted = cache.stats()[:2]

    cache.save(tmp_path / "s")

    with DistributedCache() as local:
        local.load(tmp_path / "s")
        assert local.stats()[:2] == counted


def test_own_writes_are_seen_at_once(make, wait_until):
    cache = make(near=100)
    assert wait_until(lambda: cache.health()["tracking"])
    writes: list[tuple[Callable[[], Any], Any]] = [
        (lambda: cache.set("k", 1), 1),
        (lambda: cache.replace("k", 2), 2),
        (lambda: cache.increment("k"), 3),
        (lambda: cache.increment("k", 2**80), 3 + 2**80),
        (lambda: cache.set_many({"k": 5}), 5),
        (lambda: cache.delete("k"), None),
        (lambda: cache.add("k", 6), 6),
        (lambda: cache.pop("k"), None),
        (lambda: cache.get_or_set("k", lambda: 7), 7),
        (lambda: cache.delete_pattern("[k]"), None),
        (lambda: cache.set("k", 8), 8),
        (lambda: cache.clear(), None),
    ]
    for _ in range(20):
        for write, expected in writes:
            cache.get("k")
            write()
            assert cache.get("k") == expected


def test_load_empties_the_near_cache(make, tmp_path, wait_until):
    cache = make(near=100)
    cache["k"] = "saved"
    cache.save(tmp_path / "s")
    cache["k"] = "new"
    assert wait_until(lambda: cache.health()["tracking"])
    assert cache.get("k") == cache.get("k") == "new"

    cache.load(tmp_path / "s")

    assert cache["k"] == "saved"


def test_a_write_elsewhere_is_seen_soon(make, wait_until):
    here, there = make(near=100), make()
    there["k"] = 1
    assert wait_until(lambda: here.health()["tracking"])
    assert here.get("k") == here.get("k") == 1

    there["k"] = 2

    assert wait_until(lambda: here["k"] == 2, 5)


def test_health_says_how_things_are(make, wait_until):
    cache = make(near=100)
    assert wait_until(lambda: cache.health().tracking)

    health = cache.health()

    engine, _, version = health.server.partition(" ")
    assert engine in ("redis", "valkey")
    assert version[0].isdigit()
    assert 0 <= health.lag < 5
    assert health == Health(
        status="ok",
        reasons=(),
        connected=True,
        server=health.server,
        breaker="closed",
        tracking=True,
        lag=health.lag,
    )
    assert make().health().lag is None


@pytest.mark.parametrize(("on_error", "status"), [("raise", "failing"), ("miss", "degraded")])
def test_health_says_that_a_server_is_gone(on_error, status):
    with connect("redis://127.0.0.1:1", on_error=on_error, near=100) as cache:
        health = cache.health()

    assert (health.status, health.connected, health.server) == (status, False, None)
    assert health.reasons == (
        "the server does not answer",
        "the near cache is not told of writes, and is not read",
    )


def test_health_says_what_is_still_to_be_undone(server):
    with connect("redis://127.0.0.1:1", on_error="miss", attempts=1) as cache:
        cache.set_many({"k": 1, "l": 2})

        assert cache.health().pending_invalidations == 2
        assert cache.health().reasons[1:] == ("invalidations of failed writes are pending",)


def test_a_name_that_a_walk_meets_twice_is_one_entry(server, tmp_path):
    """A server's walk may give a name again, on another page too."""
    client = server.client()
    execute = client.execute_command

    def twice(*words, **options):
        if words[0] == "SCAN" and words[1] == 0:
            return 7, execute(*words, **options)[1] * 2
        if words[0] == "SCAN":
            return execute("SCAN", 0, *words[2:], **options)
        return execute(*words, **options)

    client.execute_command = twice
    with RedisCache(client) as cache, DistributedCache() as local:
        cache.set_many({"k": 1, "l": 2})
        found = sorted(cache.keys()), len(cache), cache.stats().size

        cache.save(tmp_path / "s")
        local.load(tmp_path / "s")

        assert found == (["k", "l"], 2, 2)
        assert local.get_many(["k", "l"]) == {"k": 1, "l": 2}
        with open(tmp_path / "s", "rb") as file:
            assert pickle.load(file)["entries"] == 2
        assert cache.delete_pattern("*") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("near", [None, 100])
def test_a_forked_child_has_a_cache_of_its_own(make, wait_until, near):
    cache = make(near=near)
    cache["k"] = 1
    if near:
        assert wait_until(lambda: cache.health()["tracking"])
        assert cache.get("k") == cache.get("k") == 1
    child = os.fork()
    if child == 0:
        try:
            good = cache["k"] == 1
            cache["k"] = 2
            cache["child"] = cache.get_or_set("made", lambda: 3)
            good = good and cache["k"] == 2
            if near:
                good = good and wait_until(lambda: cache.health()["tracking"], 5)
            os._exit(0 if good else 1)
        except BaseException:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert wait_until(lambda: cache["k"] == 2, 5)
    assert cache.get_many(["child", "made"]) == {"child": 3, "made": 3}


def test_nothing_is_asked_for_nothing(server):
    client = server.client()
    with RedisCache(client) as cache:
        wire = Wire(client)

        assert (cache.get_many([]), cache.delete_many([]), cache.set_many({})) == ({}, 0, None)

        assert wire.commands == []


def test_a_default_ttl_is_the_servers(server, make):
    cache = make(default_ttl=50)

    cache["k"] = 1

    assert 45 < server.client().ttl("cache:k") <= 50


def test_what_has_expired_since_is_not_loaded(cache, tmp_path, wait_until):
    cache.set("k", 1, ttl=0.05)
    cache.save(tmp_path / "s")
    assert wait_until(lambda: "k" not in cache)

    cache.load(tmp_path / "s")

    assert cache.keys() == []


def test_the_mappings_face(cache):
    assert cache
    with pytest.raises(KeyError):
        cache["k"]
    with pytest.raises(KeyError):
        del cache["k"]
    cache["k"] = 1
    del cache["k"]
    assert "k" not in cache
    with pytest.raises(TypeError, match=r"save\(path\)"):
        pickle.dumps(cache)
    with pytest.raises(TypeError, match="factory must be callable"):
        cache.get_or_set("k", 1)


def test_memoize_keeps_results_on_the_server(make):
    calls = []
    one, other = make(), make()

    def double(number):
        calls.append(number)
        return 2 * number

    for cache in (one, other):
        memoized = cache.memoize(ttl=60)(double)
        assert [memoized(1), memoized(2), memoized(1)] == [2, 4, 2]

    assert calls == [1, 2]
    assert memoized.invalidate_all() == 2


def test_what_the_server_forbids_is_said_as_it_is(server):
    server.client().acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+get"])
    with connect(server.url.replace("//", "//guest:x@"), threshold=1) as cache:
        assert cache.get("k") is None

        with pytest.raises(redis.ResponseError, match="permission"):
            cache.set("k", 1)

        assert cache.get("k") is None  # which is no failure of the server's


def test_statistics_are_of_one_moment_whatever_is_read_meanwhile(make, wait_until, monkeypatch):
    cache = make(near=100)
    cache["k"] = 1
    assert wait_until(lambda: cache.health()["tracking"])
    assert cache["k"] == cache["k"] == 1
    meanwhile = [lambda: (cache["k"], cache.get("x"))]
    hits, misses = cache.stats()[:2]
    stats = Near.stats

    def interrupted(near):
        found = stats(near)
        if meanwhile:
            meanwhile.pop()()
        return found

    monkeypatch.setattr(Near, "stats", interrupted)

    assert cache.stats()[:2] == (hits + 1, misses + 1)
