"""How to open a connection of one's own to the servers that a client of redis-py leads to."""

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

_PATIENCE = 0.5  # seconds, where the client has no timeouts of its own


def servers(client: Any) -> Mapping[Any, Callable[[], socket.socket]]:
    """Return a function for each server that `client` writes to, by which to connect to it.

    Of a cluster these are the primaries that the client knows of now. With Sentinel it is whoever
    is the primary when the function is called; the name is another one when the client has learned
    of another primary.
    """
    if not hasattr(client, "get_primaries"):
        pool = client.connection_pool
        return {getattr(pool, "master_address", None): partial(_dial, pool)}
    return {node.name: partial(_dial_node, client, node) for node in client.get_primaries()}


def _dial_node(client: Any, node: Any) -> socket.socket:
    return _dial(client.get_redis_connection(node).connection_pool)


def _dial(pool: Any) -> socket.socket:
    """Connect as the pool does, in RESP3, and return the socket, which is the caller's then."""
    options = dict(pool.connection_kwargs)
    # Its notices of maintenance are for the pool's connections; they would come as pushes.
    for name in [name for name in options if "maint_notifications" in name]:
        del options[name]
    for name in ("socket_timeout", "socket_connect_timeout"):
        options[name] = options.get(name) or _PATIENCE
    connection = pool.connection_class(
        **{**options, "protocol": 3, "retry": Retry(NoBackoff(), 0), "retry_on_timeout": False}
    )
    connection.connect()
    # The connection would close it when it is collected.
    taken, connection._sock = connection._sock, None
    return taken  # type: ignore[no-any-return]
