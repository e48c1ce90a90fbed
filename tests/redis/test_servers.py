"""The servers that the suites start are what they say."""

import pytest
import redis

from tests.servers import Server


def test_a_server_starts_empty_and_answers(server: Server):
    client = server.client()

    assert client.ping()
    assert client.dbsize() == 0


def test_a_killed_server_comes_back_on_its_port_without_its_data(own_server: Server):
    port = own_server.port
    own_server.client().set("k", "v")

    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        own_server.client().ping()
    own_server.restart()

    assert own_server.port == port
    assert own_server.client().get("k") is None


def test_a_frozen_server_does_not_answer_until_it_goes_on(own_server: Server):
    own_server.freeze()
    with pytest.raises(redis.TimeoutError):
        own_server.client(socket_timeout=0.1).ping()

    own_server.thaw()

    assert own_server.client().ping()
