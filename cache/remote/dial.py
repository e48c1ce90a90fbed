"""How to open connections of one's own to the servers that a client of redis-py leads to."""

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

_PATIENCE = 0.5  # seconds, where the client has no timeouts of its own
_REST = 20  # times as long as a question to the sentinels took, before the next one
# What is another number when a node has joined, has been promoted or demoted, or has got slots.
_STATE = re.compile(rb"cluster_(?:known_nodes|size|current_epoch|my_epoch):\d+")

Dials = Mapping[Any, Callable[[], socket.socket]]


class Followed(NamedTuple):
    """What a `Tracking` has to know of the servers."""

    servers: Callable[[], Dials]
    question: Sequence[bytes] = (b"PING",)
    changed: Callable[[Any, Any], bool] = lambda name, answer: False


def followed(link: Link, pause: float) -> Followed:
    """Return how to follow the servers that are written to over `link`.

    Sentinels are asked at most every `pause` seconds.
    """
    if isinstance(link, ClusterLink):
        cluster = _Cluster(link)
        return Followed(cluster.servers, (b"CLUSTER", b"INFO"), cluster.changed)
    if link.moves:
        return Followed(_Watched(link, pause).servers)
    return Followed(partial(servers, link))


def servers(link: Link) -> Dials:
    """Return a function by which to connect to the server that is written to over `link`.

    With Sentinel that is whoever is the primary when the function is called; the name is another
    one when the client has learned of another primary.
    """
    pool = link.client.connection_pool
    return {getattr(pool, "master_address", None): partial(_dial, pool)}


class _Watched:
    """The primary that sentinels watch over. One thread asks.

    Sentinel lets a primary whose replica it promotes go on for some ten seconds more, and no
    connection to it tells. What the sentinels say the client's pool learns too, which then closes
    the connections to the former primary.
    """

    def __init__(self, link: Link, pause: float) -> None:
        self._link = link
        self._pause = pause
        self._due = 0.0

    def servers(self) -> Dials:
        """Do what `servers` does, and ask the sentinels first, if it is time."""
        began = monotonic()
        if began >= self._due:
            # None may answer, or know: whoever is followed tells by its silence whether it is gone.
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
        self._look = True  # whether the nodes have to be asked who is a primary
        self._states: dict[Any, list[bytes]] = {}  # by the name of the node that told

    def servers(self) -> Dials:
        """Return a function for each primary, by which to connect to it."""
        try:
            client = self._link.client
        except Exception as error:  # a child's has to ask the nodes first, and none answers
            return {None: partial(_refuse, error)}
        nodes = client.get_primaries()
        if self._look:
            self._dials = {}
            try:
                nodes = [primary.node for primary in primaries(client).values()]
                self._look = False
            except Exception:  # redis-py's, among others
                pass  # once more the next time; they are those that the client knows
        for node in nodes:
            # One that the client has got a key from stays, whatever it forgets meanwhile.
            self._dials.setdefault(node.name, partial(self._dial, node))
        return self._dials

    def changed(self, name: Any, answer: bytes) -> bool:
        """Tell whether a node says something new of its cluster."""
        state = _STATE.findall(answer)
        if self._states.get(name) == state:
            return False
        self._states[name] = state
        self._look = True
        return True

    def _dial(self, node: Any) -> socket.socket:
        def check(connection: Any) -> None:
            # What is new to us may be newer than who we took for the primaries: look again.
            connection.send_command("CLUSTER", "INFO")
            self.changed(node.name, connection.read_response(disable_decoding=True))
            connection.send_command("CLUSTER", "NODES")
            if b"myself,master" not in connection.read_response(disable_decoding=True):
                raise redis.ConnectionError("the node is no primary any more")

        try:
            return _dial(self._link.client.get_redis_connection(node).connection_pool, check)
        except Exception:
            self._look = True
            raise


def _refuse(error: Exception) -> NoReturn:
    raise error


def _dial(pool: Any, check: Callable[[Any], object] = lambda connection: None) -> socket.socket:
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
    try:
        connection.connect()
        check(connection)
    except BaseException:
        connection.disconnect()
        raise
    # The connection would close it when it is collected.
    taken, connection._sock = connection._sock, None
    return taken  # type: ignore[no-any-return]
