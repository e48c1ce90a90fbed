"""`RedisCache` over TLS: who is trusted, who is not, and what is said of it."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import trustme

from cache import CacheUnavailable, connect
from cache.redis_cache import RedisCache
from tests.listening import listeners
from tests.proxy import proxied
from tests.servers import eventually, let_pass, seconds_of
from tests.tls import tls_before

BOUND = 1.5  # seconds: the heartbeat, and some for a machine that is busy
QUICK = {"timeout": 0.3, "connect_timeout": 0.3, "deadline": 1.0}
LONGEST = 2.5  # seconds: deadline, attempt, and some for a machine that is busy


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return the authority that the servers have their certificates from."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path) -> str:
    """Return the path of its certificate."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def serve(authority, server) -> Iterator[Callable[..., int]]:
    """Return a function that puts TLS before the server, under a name, and gives the port.

    After a test all near caches have ended, so that none logs into the next one.
    """
    with contextlib.ExitStack() as stack:

        def serve(name: str = "127.0.0.1", clients: trustme.CA | None = None) -> int:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert(name).configure_cert(context)
            if clients is not None:
                clients.configure_trust(context)
                context.verify_mode = ssl.CERT_REQUIRED
            return stack.enter_context(tls_before(server.port, context))

        yield serve
    eventually(lambda: not listeners())


def check_every_verb(cache: Any, tmp_path: Any) -> None:
    cache.clear()
    cache["k"] = "value" * 10_000
    cache.set_many({f"k{n}": n for n in range(200)}, ttl=60)
    for _ in range(2):
        assert cache.get_many(["k", "k1", "x"]) == {"k": "value" * 10_000, "k1": 1}
        assert cache["k"] == "value" * 10_000
    assert (cache.increment("k1", 2), cache.add("k1", 0), cache.replace("k1", 5)) == (
        3,
        False,
        True,
    )
    assert (cache.pop("k1"), cache.delete("k2"), cache.delete_many(["k3", "k4"])) == (5, True, 2)
    assert (cache.exists("k5"), cache.touch("k5", 9), cache.ttl("k5") <= 9) == (True, True, True)
    assert (len(cache), cache.delete_pattern("k10?")) == (197, 10)
    assert cache.get_or_set("made", lambda: "here") == cache["made"] == "here"
    cache.save(tmp_path / "snapshot")
    cache.load(tmp_path / "snapshot")
    assert (len(cache), cache.health()["connected"]) == (188, True)


@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_every_verb_works_over_tls(serve, ca_file, near, scheme, tmp_path):
    with connect(f"{scheme}://127.0.0.1:{serve()}?ssl_ca_certs={ca_file}", near=near) as cache:
        if near:
            eventually(lambda: cache.health()["tracking"])
        check_every_verb(cache, tmp_path)


def test_a_near_cache_is_told_of_writes_over_tls(serve, ca_file, server):
    with connect(f"rediss://127.0.0.1:{serve()}", near=10_000, ssl_ca_certs=ca_file) as cache:
        check_near(cache, server)


def check_near(cache: Any, server: Any) -> None:
    """See that reads are near, and that writes by others are heard, be they ever so many."""
    client = server.client()
    keys = [f"a key with a name of some length, {n}" for n in range(5000)]
    cache.set_many(dict.fromkeys(keys, 1))
    eventually(lambda: cache.health()["tracking"])
    eventually(lambda: reads_near(cache, keys, server))
    client.mset({f"cache:{key}": 2 for key in keys})
    assert eventually(lambda: cache.get_many(keys) == dict.fromkeys(keys, 2), BOUND)
    eventually(lambda: reads_near(cache, keys, server))
    client.flushall()
    assert eventually(lambda: cache.get_many(keys) == {}, BOUND)


def reads_near(cache: Any, keys: list[str], server: Any) -> bool:
    client = server.client()
    before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    cache.get_many(keys)
    return bool(client.info("commandstats")["cmdstat_evalsha"]["calls"] == before)


@pytest.mark.parametrize("make", ["options", "url"])
def test_a_near_cache_over_a_client_of_the_users_is_told_too(serve, ca_file, server, make):
    port = serve()
    if make == "options":
        client = redis.Redis(port=port, host="127.0.0.1", ssl=True, ssl_ca_certs=ca_file)
    else:
        client = redis.Redis.from_url(f"rediss://127.0.0.1:{port}?ssl_ca_certs={ca_file}")
    with RedisCache(client, near=10_000) as cache:
        check_near(cache, server)


def test_who_waits_for_anothers_factory_is_woken_over_tls(serve, ca_file):
    url = f"rediss://127.0.0.1:{serve()}?ssl_ca_certs={ca_file}"
    began, go_on, got = threading.Event(), threading.Event(), []

    def factory() -> str:
        began.set()
        go_on.wait(10)
        return "made"

    with connect(url) as one, connect(url) as other:
        work = [
            threading.Thread(target=lambda: got.append(one.get_or_set("k", factory))),
            threading.Thread(target=lambda: got.append(other.get_or_set("k", lambda: "again"))),
        ]
        work[0].start()
        assert began.wait(10)
        work[1].start()
        go_on.set()
        for thread in work:
            thread.join(10)

    assert got == ["made", "made"]


def test_a_client_shows_its_certificate(serve, authority, ca_file, tmp_path):
    own = authority.issue_cert("shop.example.org")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in own.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    url = f"rediss://127.0.0.1:{serve(clients=authority)}?ssl_ca_certs={ca_file}"

    with connect(url, **QUICK) as cache, pytest.raises(CacheUnavailable, match="cannot be reached"):
        cache.get("k")

    shown = f"&ssl_certfile={tmp_path / 'cert.pem'}&ssl_keyfile={tmp_path / 'key.pem'}"
    with connect(url + shown, near=10) as cache:
        assert eventually(lambda: cache.health()["tracking"])
        check_every_verb(cache, tmp_path)


@pytest.fixture(params=["of an unknown authority", "of another host"])
def distrusted(request, serve, ca_file) -> tuple[str, str]:
    """Return the URL of a server that isn't who it ought to be, and what is to be said of it."""
    if request.param == "of another host":
        url = f"rediss://127.0.0.1:{serve('shop.example.org')}?ssl_ca_certs={ca_file}"
        return url, "IP address mismatch"
    return f"rediss://127.0.0.1:{serve()}", "certificate verify failed"


def test_a_server_that_is_not_trusted_is_said_at_once(distrusted):
    url, said = distrusted
    with connect(url, threshold=7, cooldown=60, near=10) as cache:

        def ask() -> None:
            with pytest.raises(CacheUnavailable, match=said):
                cache.get("k")

        assert seconds_of(ask) < LONGEST
        health = cache.health()
        assert (health["connected"], health["tracking"]) == (False, False)
        with pytest.raises(CacheUnavailable, match=said):
            cache["k"] = 1
        with pytest.raises(CacheUnavailable, match="failed too often"):
            cache.get("k")


def test_a_server_that_is_not_trusted_is_one_that_is_gone(distrusted, server):
    url, _ = distrusted
    with connect(url, on_error="miss", near=10) as cache:
        cache["k"] = 1

        assert (cache.get("k"), cache.get_or_set("k", lambda: 2)) == (None, 2)
        assert server.client().dbsize() == 0


def test_why_there_is_no_near_cache_is_logged_once(distrusted, caplog):
    url, said = distrusted
    with connect(url, near=10):
        eventually(lambda: caplog.messages)

        assert said in caplog.text
        let_pass(0.3)  # some attempts more
        assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("127.0.0.1", "ssl_cert_reqs=none"),
        ("shop.example.org", "ssl_cert_reqs=none"),
        ("shop.example.org", "ssl_check_hostname=no&ssl_ca_certs="),
    ],
)
def test_what_is_verified_may_be_chosen(serve, ca_file, name, option):
    option += ca_file if option.endswith("=") else ""
    with connect(f"rediss://127.0.0.1:{serve(name)}?{option}", near=10) as cache:
        cache["k"] = 1

        assert cache["k"] == 1
        assert eventually(lambda: cache.health()["tracking"])


def test_an_authority_may_be_given_as_text(serve, authority):
    text = authority.cert_pem.bytes().decode()
    with connect(f"rediss://127.0.0.1:{serve()}", near=10, ssl_ca_data=text) as cache:
        cache["k"] = 1

        assert cache["k"] == 1
        assert eventually(lambda: cache.health()["tracking"])


def test_tls_on_one_side_only_is_said_in_time(serve, server):
    for url in (f"redis://127.0.0.1:{serve()}", f"rediss://127.0.0.1:{server.port}"):
        with connect(url, near=10, **QUICK) as cache:

            def ask(cache: Any = cache) -> None:
                with pytest.raises(CacheUnavailable, match="cannot be reached"):
                    cache.get("k")

            assert seconds_of(ask) < LONGEST
            assert cache.health()["tracking"] is False


def test_a_cut_and_a_silence_are_got_over_with_tls_too(serve, ca_file, server):
    with proxied(serve()) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={ca_file}"
        with connect(url, near=100, heartbeat=0.3, cooldown=0.1, **QUICK) as cache:
            for number, fault in enumerate((proxy.cut, proxy.half_close, proxy.silence)):
                cache["k"] = number
                eventually(lambda: cache.health()["tracking"] and reads_near(cache, ["k"], server))

                before = proxy.connections
                fault()
                eventually(lambda before=before: proxy.connections > before)
                proxy.resume()

                assert eventually(lambda: cache.health()["connected"])
                server.client().set("cache:k", 10)
                assert eventually(lambda: cache["k"] == 10, BOUND)


def test_closing_is_quiet_whatever_comes_in(serve, ca_file, server, caplog):
    url = f"rediss://127.0.0.1:{serve()}?ssl_ca_certs={ca_file}&near=10&timeout=5"
    for _ in range(3):
        with connect(url) as cache:
            assert eventually(lambda cache=cache: cache.health()["tracking"])
            server.client().mset({f"cache:{number}": 1 for number in range(20_000)})

    eventually(lambda: not listeners())
    assert caplog.messages == []


def test_a_file_that_is_not_there_is_said(serve):
    url = f"rediss://127.0.0.1:{serve()}?ssl_ca_certs=/no/ca.pem"
    with connect(url) as cache, pytest.raises(CacheUnavailable, match="No such file"):
        cache.get("k")
