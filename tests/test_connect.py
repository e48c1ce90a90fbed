"""`connect` turns a URL into a cache, or says at once what is wrong with it."""

import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from cache import CacheUnavailable, DistributedCache, connect, redis_cache
from cache.redis_cache import RedisCache
from cache.remote import clients


def test_memory_is_a_distributed_cache_with_the_options_of_the_query():
    with connect("memory://?max_size=2&default_ttl=2.5") as cache:
        cache["k"] = "v"

        assert isinstance(cache, DistributedCache)
        assert cache.stats().max_size == 2
        assert 2 < cache.ttl("k") <= 2.5


def test_options_may_be_keywords():
    with connect("memory://", max_size=3, secret=b"s", trust=["decimal"]) as cache:
        assert cache.stats().max_size == 3


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("mongo://host", {}, "unknown scheme 'mongo'; there are memory://, redis://, rediss://,"),
        ("memory:///path", {}, "no host or path"),
        ("memory://#1", {}, "no host or path"),
        ("memory://?cleanup_interval=0", {}, "cleanup_interval must be above zero"),
        ("no url", {}, "unknown scheme"),
        ("memory://?max_size=many", {}, "'max_size' cannot be 'many'"),
        ("memory://?max_size=", {}, "'max_size' cannot be ''"),
        ("memory://?max_sise=5", {}, "'max_sise' is unknown; there are cleanup_interval, default"),
        ("memory://", {"max_sise": 5}, "unknown option 'max_sise'; there are cleanup_interval, "),
        ("memory://?max_size=5", {"max_size": 5}, "'max_size' is given twice"),
        ("memory://?max_size=5&max_size=5", {}, "'max_size' is given twice"),
        ("memory://?secret=s", {}, "'secret' belongs into no URL"),
        ("memory://host", {}, "no host"),
        ("memory://?max_size=0", {}, "at least 1"),
        ("memory://?default_ttl=nan", {}, "NaN"),
        ("redis://localhost/shop", {}, "a database must be a number, not 'shop'"),
        ("redis://localhost/²", {}, "a database must be a number"),
        ("redis://localhost:port", {}, "a port must be a number"),
        ("redis://localhost:٣", {}, "a port must be a number"),
        ("redis://localhost:65536", {}, "from 1 to 65535, not '65536'"),
        ("redis://[::1]:0", {}, "from 1 to 65535"),
        ("redis://one,two", {}, "redis:// takes one host"),
        ("redis://localhost#1", {}, "redis:// takes no #fragment"),
        ("redis://?timeout=soon", {}, "'timeout' cannot be 'soon'"),
        ("redis://?timeout=0", {}, "timeout must be above zero"),
        ("redis://", {"connect_timeout": -1}, "connect_timeout must be above zero"),
        ("redis://?max_connections=0", {}, "max_connections must be at least 1"),
        ("redis://?near=0", {}, "near must be at least 1"),
        ("redis://?staleness=inf&near=1", {}, "must be finite"),
        ("redis://?attempts=0", {}, "attempts must be at least 1"),
        ("redis://?threshold=0", {}, "threshold must be at least 1"),
        ("redis://?default_ttl=nan", {}, "default_ttl must be above zero, not NaN"),
        ("redis://?cooldown=0", {}, "cooldown must be above zero"),
        ("redis://?deadline=0", {}, "deadline must be above zero"),
        ("redis://?lease=0", {}, "lease must be above zero"),
        ("redis://?heartbeat=0&near=1", {}, "heartbeat must be above zero"),
        ("redis://?on_error=ignore", {}, "on_error must be 'raise' or 'miss', not 'ignore'"),
        ("redis://?one_slot=perhaps", {}, "'one_slot' cannot be 'perhaps'"),
        ("redis://?namespace=", {}, "a namespace must not be empty"),
        ("redis://?max_size=5", {}, "'max_size' is unknown"),
        ("redis://?ssl_ca_certs=ca.pem", {}, "'ssl_ca_certs' is unknown"),
        ("redis://", {"ssl_cert_reqs": "none"}, "unknown option 'ssl_cert_reqs'"),
        ("rediss://?ssl_cert_reqs=maybe", {}, "'ssl_cert_reqs' cannot be 'maybe'"),
        ("rediss://", {"ssl_cert_reqs": "maybe"}, "must be 'none', 'optional' or 'required'"),
        ("rediss://?ssl_check_hostname=perhaps", {}, "'ssl_check_hostname' cannot be 'perhaps'"),
        ("valkeys://?ssl_password=s", {}, "'ssl_password' belongs into no URL"),
        ("valkey://?secret=s", {}, "'secret' belongs into no URL"),
        ("unix://host/run/redis.sock", {}, "unix:// takes a path and no host"),
        ("unix://", {}, "unix:// takes a path"),
        ("redis+sentinel://localhost", {}, "needs a service"),
        ("redis+sentinel://localhost/main/x", {}, "a database must be a number"),
        ("redis+cluster://localhost/1", {}, "a cluster has no numbered databases"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_at_once(url, options, said):
    with pytest.raises(ValueError, match=said):
        connect(url, **options)


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://", {"namespace": 5}, "a namespace must be a str"),
        ("redis://", {"near": 10.0}, "near must be an int"),
        ("redis://", {"timeout": "1"}, "timeout must be an int or float"),
    ],
)
def test_an_option_of_another_type_is_a_type_error(url, options, said):
    with pytest.raises(TypeError, match=said):
        connect(url, **options)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://h:7/2", {"host": "h", "port": 7, "db": 2}),
        ("redis://u%40:p%2F@[::1]:8/", {"host": "::1", "port": 8, "username": "u@"}),
        ("redis://:p%2F@h", {"host": "h", "password": "p/"}),
        ("unix:///run/a%20b.sock", {"path": "/run/a b.sock"}),
        ("rediss://h", {"host": "h", "ssl_ca_certs": "ca.pem"}),
        ("redis+sentinel://a,b:7/main/3", {"db": 3}),
    ],
)
def test_a_servers_url_says_how_to_connect(url, expected):
    given = {"ssl_ca_certs": "ca.pem"} if url.startswith("rediss") else {}

    with clients.client(urlsplit(url), socket_timeout=0.5, **given) as client:
        options = client.get_connection_kwargs()

    assert {**options, **expected} == options
    assert options["socket_timeout"] == 0.5
    assert options["retry"].get_retries() == 0


def test_sentinels_are_asked_with_the_timeouts_and_not_with_what_the_service_wants():
    parts = urlsplit("redis+sentinel://user:word@a,b:7/main/3")

    with clients.client(parts, socket_timeout=0.5, max_connections=3) as client:
        sentinels = client.connection_pool.sentinel_manager.sentinels
        asked = [sentinel.get_connection_kwargs() for sentinel in sentinels]

    assert [(options["host"], options["port"]) for options in asked] == [("a", 26379), ("b", 7)]
    for options in asked:
        assert options["socket_timeout"] == 0.5
        assert options["retry"].get_retries() == 0
        assert [options.get(name) for name in ("username", "password", "db")] == [None, None, 0]
    assert client.connection_pool.max_connections == 3


def test_why_a_cluster_is_not_reached_is_said():
    with pytest.raises(CacheUnavailable, match=r"cannot be reached: .+"):
        connect("redis+cluster://127.0.0.1:1")


@pytest.fixture
def given(monkeypatch):
    """Return the options that the next cache over a server is given, and those of its client."""
    given = {}

    def client(parts, **options):
        given["scheme"], given["client"] = parts.scheme, options

    monkeypatch.setattr(clients, "client", client)
    monkeypatch.setattr(redis_cache, "RedisCache", lambda client, **options: given.update(options))
    return given


def test_a_url_gives_all_options_that_are_numbers_or_words(given):
    connect(
        "redis://?namespace=shop&default_ttl=1.5&near=2&staleness=3&heartbeat=4&lease=5"
        "&on_error=miss&attempts=6&deadline=7&threshold=8&cooldown=9&one_slot=no",
        trust=["decimal"],
        secret=b"s",
    )

    assert given == {
        "scheme": "redis",
        "client": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
        "namespace": "shop",
        "default_ttl": 1.5,
        "near": 2,
        "staleness": 3.0,
        "heartbeat": 4.0,
        "lease": 5.0,
        "on_error": "miss",
        "attempts": 6,
        "deadline": 7.0,
        "threshold": 8,
        "cooldown": 9.0,
        "one_slot": False,
        "trust": ["decimal"],
        "secret": b"s",
    }


def test_a_url_gives_the_options_of_connections(given):
    connect(
        "valkeys://?timeout=1&connect_timeout=2&max_connections=3&client_name=shop"
        "&ssl_ca_certs=a&ssl_certfile=b&ssl_keyfile=c"
    )

    assert given == {
        "scheme": "rediss",
        "client": {
            "socket_timeout": 1.0,
            "socket_connect_timeout": 2.0,
            "max_connections": 3,
            "client_name": "shop",
            "ssl_ca_certs": "a",
            "ssl_certfile": "b",
            "ssl_keyfile": "c",
        },
    }


@pytest.mark.parametrize(
    ("text", "flag"),
    [("true", True), ("YES", True), ("1", True), ("False", False), ("no", False), ("0", False)],
)
def test_a_url_says_yes_and_no_in_these_words(given, text, flag):
    connect(f"redis://?one_slot={text}")

    assert given["one_slot"] is flag


def test_an_import_that_fails_without_a_name_is_said_as_it_is(monkeypatch):
    def fails(name):
        raise ImportError("on purpose")

    monkeypatch.setattr(sys.modules["cache.connect"], "import_module", fails)

    with pytest.raises(ImportError, match=r"^on purpose$"):
        connect("redis://")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
def test_a_server_is_connected_to_when_it_is_first_asked(scheme):
    with connect(f"{scheme}://127.0.0.1:1?namespace=shop&one_slot=yes") as cache:
        assert isinstance(cache, RedisCache)
        with pytest.raises(CacheUnavailable, match="cannot be reached"):
            cache.get("k")
        with pytest.raises(ConnectionError):
            cache.set("k", 1)


def test_limits_of_connections_may_be_named():
    url = "redis://127.0.0.1:1?max_connections=3&client_name=shop&timeout=2&connect_timeout=1"

    with connect(url) as cache:
        assert repr(cache) == "<RedisCache of the namespace 'cache'>"


def test_a_missing_extra_is_named():
    look = (
        "import sys; sys.modules['redis'] = None\n"
        "from cache import connect\n"
        "try: connect('redis://')\n"
        "except ImportError as error: print(error)"
    )

    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=30)

    assert "pip install 'distributed-cache[redis]'" in done.stdout, done.stderr


def test_a_missing_extra_is_an_import_error(monkeypatch):
    monkeypatch.delitem(sys.modules, "cache.remote.clients")
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ImportError, match="redis:// needs redis-py; install the extra"):
        connect("redis://")


def test_another_missing_module_is_said_as_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "cache.remote.clients", None)

    with pytest.raises(ImportError, match=r"cache\.remote\.clients"):
        connect("redis://")


def test_a_url_must_be_a_str():
    with pytest.raises(TypeError, match="not bytes"):
        connect(b"memory://")


def test_nothing_optional_is_imported_with_the_package():
    look = "import sys, cache; print({'redis', 'cachetools'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=30)

    assert done.stdout == "set()\n", done.stderr
