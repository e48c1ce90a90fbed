"""Servers for the suites of `RedisCache`; each suite runs on every engine that is here."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import redis

from cache.redis_cache import RedisCache
from tests.listening import listeners
from tests.proxy import proxied
from tests.servers import PATIENCE, Server, binaries, eventually, running

ENGINES = binaries()


@pytest.fixture(scope="session", params=["redis", "valkey"])
def binary(request: pytest.FixtureRequest) -> str:
    """Return the path of a server's binary."""
    if request.param not in ENGINES:
        pytest.skip(f"no {request.param}-server here")
    return ENGINES[request.param]


@pytest.fixture(scope="session")
def shared_server(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one server for all tests that do it no harm."""
    with running(binary, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """Return a server that holds nothing."""
    shared_server.client().flushall()
    return shared_server


@pytest.fixture
def own_server(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server for one test alone, which may kill it."""
    with running(binary, tmp_path_factory.mktemp("server")) as server:
        yield server


class Deaf(NamedTuple):
    """A cache whose listener hears nothing for now, its client, and a cache of another process."""

    cache: RedisCache[Any]
    writer: RedisCache[Any]
    client: redis.Redis


@pytest.fixture
def deaf(server: Server) -> Iterator[Deaf]:
    """Return a cache with a key that is trusted, though its listener hears nothing, and a writer.

    So what the cache has near is what it had before, and its calls reach the server.
    """
    with proxied(server.port) as proxy:
        client = redis.Redis(port=proxy.port, socket_timeout=5.0)
        with RedisCache(client, namespace="ns", near=100, heartbeat=PATIENCE) as cache:
            cache.set("k", "v1")
            eventually(lambda: cache.health()["tracking"])
            pool = client.connection_pool
            pool.connection_kwargs["port"] = server.port
            pool.disconnect()
            pool.reset()
            proxy.mute()
            with RedisCache(server.client(), namespace="ns") as writer:
                yield Deaf(cache, writer, client)
        eventually(lambda: not listeners())
        client.close()
