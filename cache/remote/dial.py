"""Opens separate connections to the servers that a client of redis-py uses."""

import contextlib
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, NoReturn

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .link import ClusterLink, Link
from .nodes import primaries

_PATIENCE = 0.5  # seconds, if the client has no timeouts
_REST = 20  # the pause between two questions to the sentinels, as a multiple of what one took
# Numbers that change when a node joins, is promoted or demoted, or gets slots.
_STATE = re.compile(rb"cluster_(?:known_nodes|size|current_epoch|my_epoch):\d+")

Dials = Mapping[Any, Callable[[], socket.socket]]


class Followed(NamedTuple):
    """What a `Tracking` has to know about the servers."""

    servers: Callable[[], Dials]
    question: Sequence[bytes] = (b"PING",)
    changed: Callable[[Any, Any], bool] = lambda name, answer: False


def followed(link: Link, pause: float) -> Followed:
    """Return how to follow the servers to which `link` writes.

    Sentinels are asked at most every `pause` seconds.
    """
    if isinstance(link, ClusterLink):
        cluster = _Cluster(link)
        return Followed(cluster.servers, (b"CLUSTER", b"INFO"), cluster.changed)
    if link.moves:
        return Followed(_Watched(link, pause).servers)
    return Followed(partial(servers, link))


def servers(link: Link) -> Dials:
    """Return a function that connects to the server to which `link` writes.

    With Sentinel, that is the primary at the time of the call. The name changes when the client
    learns of another primary.
    """
    pool = link.client.connection_pool
    return {getattr(pool, "master_address", None): partial(_dial, pool)}


class _Watched:
    """The primary that sentinels watch. One thread asks.

    After Sentinel has promoted a replica, the former primary still serves for some ten seconds, and
    no connection to it tells. The client's pool learns the sentinels' answer too, and then closes
    the connections to the former primary.
    """

    def __init__(self, link: Link, pause: float) -> None:
        self._link = link
        self._pause = pause
        self._due = 0.0

    def servers(self) -> Dials:
        """Return what `servers` returns, after asking the sentinels if it is time."""
        began = monotonic()
        if began >= self._due:
            # It does not matter if none answers: the silence of the server that is followed tells.
            with contextlib.suppress(redis.RedisError):
                self._link.client.connection_pool.get_master_address()
            now = monotonic()
            self._due = now + max(self._pause, _REST * (now - began))
        return servers(self._link)


class _Cluster:
    """The primaries of a cluster. One thread asks."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._dials: dict[str, Callable[[], socket.socket]] = {}
        self._look = True  # whether to ask the nodes which of them are primaries
        self._states: dict[Any, list[bytes]] = {}  # by the name of the node that answered

    def servers(self) -> Dials:
        """Return for each primary a function that connects to it."""
        try:
            client = self._link.client
        except Exception as error:  # a child's client asks the nodes first, and none answered
            return {None: partial(_refuse, error)}
        nodes = client.get_primaries()
        if self._look:
            self._dials = {}
            try:
                nodes = [primary.node for primary in primaries(client).values()]
                self._look = False
            except Exception:  # redis-py's, among others
                pass  # asked again the next time; until then, the nodes that the client knows
        for node in nodes:
            # Nodes that the client has read keys from stay, even if it forgets them.
            self._dials.setdefault(node.name, partial(self._dial, node))
        return self._dials

    def changed(self, name: Any, answer: bytes) -> bool:
        """Tell whether a node reports a change of its cluster."""
        state = _STATE.findall(answer)
        if self._states.get(name) == state:
            return False
        self._states[name] = state
        self._look = True
        return True

    def _dial(self, node: Any) -> socket.socket:
        def check(connection: Any) -> None:
            # A change may be newer than the list of primaries: look again.
            connection.send_command("CLUSTER", "INFO")
            self.changed(node.name, connection.read_response(disable_decoding=True))
            connection.send_command("CLUSTER", "NODES")
            if b"myself,master" not in connection.read_response(disable_decoding=True):
                raise redis.ConnectionError("the node is no longer a primary")

        try:
            return _dial(self._link.client.get_redis_connection(node).connection_pool, check)
        except Exception:
            self._look = True
            raise


def _refuse(error: Exception) -> NoReturn:
    raise error


def _dial(pool: Any, check: Callable[[Any], object] = lambda connection: None) -> socket.socket:
    """Connect as the pool does, in RESP3, and return the socket, which the caller owns."""
    options = dict(pool.connection_kwargs)
    # Maintenance notices are for the pool's connections; here they would arrive as pushes.
    for name in [name for name in options if "maint_notifications" in name]:
        del options[name]
    for name in ("socket_timeout", "socket_connect_timeout"):
        options[name] = options.get(name) or _PATIENCE
    connection = pool.connection_class(
        **{**options, "protocol": 3, "retry": Retry(NoBackoff(), 0), "retry_on_timeout": False}
    )
    try:
        connection.connect()
        check(connection)
    except BaseException:
        connection.disconnect()
        raise
    # Otherwise the connection would close the socket when it is collected.
    taken, connection._sock = connection._sock, None
    return taken  # type: ignore[no-any-return]
