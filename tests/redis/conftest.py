"""Servers for the suites of `RedisCache`; each suite runs on every engine that is here."""

from collections.abc import Iterator

import pytest

from tests.servers import Server, binaries, running

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
