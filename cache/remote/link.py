"""The link to one server: the few commands that a cache sends, each one round trip.

Only this module and those that create clients use redis-py. A forked child uses new connections,
and broken ones are replaced.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from threading import get_ident
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import PipelineCommand, RedisCluster
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    InvalidResponse,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.retry import Retry

from ..errors import CacheUnavailable
from . import nodes, scripts
from .scripts import Script
from .twins import twin

# What redis-py and this module raise for an answer that such a server does not give.
_UNCLEAR = (
    InvalidResponse,
    *(AttributeError, LookupError, RecursionError, TypeError, ValueError),
)
ServerError = (redis.RedisError, RedisClusterException, *_UNCLEAR)
_TEXTS = {bytes, type(None)}

_CONFIRMED = 0.5  # seconds to wait for a subscription to begin
SCAN_STEP = 10_000  # keys that one SCAN looks at: takes the server about two milliseconds

# A cluster's client raises the last one for a command that failed, perhaps after it was sent, if
# the nodes could then not be asked for the slots' owners.
_CUT = (redis.ConnectionError, redis.TimeoutError, RedisClusterException)
# The server answers, but refuses this now. ClusterError: the client was redirected, or told to
# wait, so often that it gave up.
_REFUSED = (ReadOnlyError, OutOfMemoryError, ClusterError, TryAgainError, SlotNotCoveredError)
# Errors of a pipelined command after which the client may succeed with it as a single command.
_AGAIN = (
    *(redis.ConnectionError, redis.TimeoutError),
    *(AskError, TryAgainError, ClusterDownError),  # an AskError may be a MovedError
)
# Their codes, if redis-py has no class for them or they come out of a script.
_REFUSALS = ("BUSY ", "MISCONF ", "NOREPLICAS ", "OOM command not allowed", "READONLY ")


class Refused(CacheUnavailable):
    """The server answers, but refuses the command now: it was not executed."""


class Link:
    """A client, and the commands that are sent through it."""

    def __init__(self, client: Any) -> None:
        """Turn off the client's own retries, which would send an INCRBY twice."""
        if client.get_encoder().decode_responses:
            raise ValueError("the client must not have decode_responses: values are bytes")
        self._model = self._own = self._prepared(client)
        self._apart: dict[int, Any] = {}  # by thread; the client of a re-entrant call
        #: Whether another server may replace this one while it still runs (Sentinel).
        self.moves = hasattr(getattr(client, "connection_pool", None), "get_master_address")
        options = client.get_connection_kwargs()
        #: The seconds that an attempt may take; 0.0 means no bound.
        self.patience: float = options.get("socket_timeout") or 0.0

    def _prepared(self, client: Any) -> Any:
        client.set_retry(Retry(NoBackoff(), 0))
        return client

    @property
    def client(self) -> Any:
        """Return the client that this thread must use now."""
        if self._apart:
            apart = self._apart.get(get_ident())
            if apart is not None:
                return apart
        if self._own is None:  # in a child
            self._own = self._prepared(twin(self._model))
        return self._own

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Give this thread a client of its own during a `with` block.

        For a re-entrant call: the outer call may hold locks of the client; and a call that holds
        the cache's lock must not wait for other locks.
        """
        me = get_ident()
        outer = self._apart.get(me)
        client = self._apart[me] = self._prepared(twin(self._model))
        try:
            yield
        finally:
            if outer is None:
                self._apart.pop(me, None)  # a fork may have cleared it
            else:
                self._apart[me] = outer
            client.close()

    def after_fork_in_child(self) -> None:
        """Discard the client, whose locks may be held for ever; the next call creates one."""
        self._own = None
        self._apart.clear()

    def get(self, name: bytes) -> bytes | None:
        """Return the text at `name`."""
        try:
            text = self.client.execute_command("GET", name)
        except redis.ResponseError as error:
            text = _answer(error)
        if text is None or type(text) is bytes:
            return text
        raise InvalidResponse(f"{type(text).__name__} for a text")

    def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the texts at `names`, all of one moment."""
        return _texts(self.client.execute_command("MGET", *names), names)

    def set(self, name: bytes, value: bytes, ms: bytes) -> None:
        """Store `value` at `name` for so many milliseconds; b"" means for ever."""
        if ms:
            self.client.execute_command("SET", name, value, "PX", ms)
        else:
            self.client.execute_command("SET", name, value)

    def set_many(self, entries: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Store all values at their names, each for its milliseconds, in one step."""
        if not any(ms for _, _, ms in entries):
            pairs = [text for name, value, _ in entries for text in (name, value)]
            self.client.execute_command("MSET", *pairs)
            return
        given = [text for _, value, ms in entries for text in (value, ms)]
        self.run(scripts.PUT_ALL, [name for name, _, _ in entries], *given)

    def row(self, name: bytes) -> tuple[bytes, int] | None:
        """Return the text at `name` and its remaining milliseconds; -1 means for ever."""
        text, ms = self.run(scripts.ROWS, (name,))
        return None if text is None else (text, ms)

    def exists(self, name: bytes) -> bool:
        """Tell whether there is a live entry."""
        return bool(self.client.execute_command("TYPE", name) in (b"string", "string"))

    def remove(self, names: Sequence[bytes]) -> int:
        """Remove what is stored at `names`, in one step; return how many entries that were."""
        return int(self.run(scripts.REMOVE, names))

    def rows(self, names: Sequence[bytes]) -> list[tuple[bytes, bytes, int]]:
        """Return name, value and remaining milliseconds (-1: for ever) of the live ones."""
        answer = self.run(scripts.ROWS, names)
        rows = zip(names, answer[::2], answer[1::2], strict=True)
        return [(name, value, ms) for name, value, ms in rows if value is not None]

    def scan(self, cursor: Any, pattern: bytes, kind: str | None = None) -> tuple[Any, list[bytes]]:
        """Return some of the names that match, possibly with duplicates, and the next cursor.

        The cursor is None for the first call and after the last. `kind` is a type name of Redis.
        """
        chosen = () if kind is None else ("TYPE", kind)
        cursor, names = self.client.execute_command(
            "SCAN", cursor or 0, "MATCH", pattern, "COUNT", SCAN_STEP, *chosen
        )
        return int(cursor) or None, names

    def unlink(self, names: Iterable[bytes]) -> int:
        """Remove what is stored at `names`, of any type; return how many names that were."""
        return int(self.client.execute_command("UNLINK", *names))

    def run(self, script: Script, names: Sequence[bytes], *arguments: Any) -> Any:
        """Run a script in one round trip, or in two if the server does not have it."""
        given = len(names), *names, *arguments
        try:
            answer = self.client.execute_command("EVALSHA", script.digest, *given)
        except NoScriptError:
            answer = self.client.execute_command("EVAL", script.text, *given)
        if isinstance(answer, script.answer):
            return answer
        raise InvalidResponse(f"{type(answer).__name__} from a script")

    def bell(self, name: bytes) -> "Bell":
        """Return a latch that opens when a script publishes on the channel `name`; to be closed."""
        return Bell(self.client.pubsub(), name)

    def version(self) -> str:
        """Return the engine and its version."""
        found = self._asked()
        engine = found.get("server_name", "redis")
        return f"{engine} {found.get('valkey_version') or found['redis_version']}"

    def _asked(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.info("server")
        return found

    def drop_connections(self) -> None:
        """Close idle connections: they may lead to a server that was demoted."""
        self.client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        if self._own is not None:  # pragma: no branch - a child that has made no call yet
            self._close(self._own)

    def _close(self, client: Any) -> None:
        client.close()


class Bell:
    """A latch: waits for a message on a channel, over a connection of its own."""

    def __init__(self, pubsub: Any, channel: bytes) -> None:
        self._pubsub = pubsub
        try:
            pubsub.subscribe(channel)
            self.wait(_CONFIRMED)
        except BaseException:
            pubsub.close()
            raise

    def wait(self, seconds: float) -> None:
        """Return after the next message (the confirmation of the subscription too) or `seconds`."""
        self._pubsub.get_message(timeout=seconds)

    def close(self) -> None:
        """Close the connection."""
        self._pubsub.close()


def failure(error: Exception) -> CacheUnavailable | None:
    """Return the exception for an error caused by the server's state; None for any other."""
    if isinstance(error, _REFUSED) or any(code in str(error) for code in _REFUSALS):
        return Refused(f"the server refuses: {error}")
    if isinstance(error, _CUT):
        return CacheUnavailable(f"the server cannot be reached: {error}")
    if isinstance(error, _UNCLEAR):
        return CacheUnavailable(f"the server's answer makes no sense: {error!r}")
    return None


class ClusterLink(Link):
    """The link to a cluster: steps with keys of one slot are atomic; others go key by key."""

    def _prepared(self, client: Any) -> Any:
        """Make the client know nodes without slots, and not queue to ask for owners."""
        nodes.meet_strangers(client)
        nodes.ask_one_at_a_time(client)
        return super()._prepared(client)

    def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the texts at `names`, in one round trip to each node."""
        if self._in_one_slot(names):
            return super().get_many(names)
        return _texts(self._each([("GET", name) for name in names]), names)

    def set_many(self, entries: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Store all values at their names, in one round trip to each node."""
        if self._in_one_slot([name for name, _, _ in entries]):
            super().set_many(entries)
            return
        commands = [
            ("SET", name, value, *((b"PX", ms) if ms else ())) for name, value, ms in entries
        ]
        self._each(commands)

    def remove(self, names: Sequence[bytes]) -> int:
        """Remove what is stored at `names`, slot by slot; return how many entries that were."""
        slots: dict[int, list[bytes]] = {}
        for name in names:
            slots.setdefault(self.client.keyslot(name), []).append(name)
        return sum(super(ClusterLink, self).remove(part) for part in slots.values())

    def rows(self, names: Sequence[bytes]) -> list[tuple[bytes, bytes, int]]:
        """Return name, value and remaining milliseconds of the live ones, as `get_many` does."""
        if self._in_one_slot(names):
            return super().rows(names)
        # The ttl is read before and after the value, and the shorter one is used: another value may
        # be set in between, and no value may come with a deadline later than its own.
        commands = [(verb, name) for name in names for verb in ("PTTL", "GET", "PTTL")]
        answers = self._each(commands)
        rows = zip(names, answers[1::3], answers[::3], answers[2::3], strict=True)
        return [
            (name, value, _shorter(before, after))
            for name, value, before, after in rows
            if value is not None and -2 not in (before, after)
        ]

    def scan(self, cursor: Any, pattern: bytes, kind: str | None = None) -> tuple[Any, list[bytes]]:
        """Scan one primary after the other.

        A key that moves to a node that has already been scanned is not missed: nodes that received
        slots meanwhile are scanned again.
        """
        if cursor is None:
            found = nodes.primaries(self.client)
            cursor = [primary.node for primary in found.values()], None, found
        left, at, before = cursor
        chosen = () if kind is None else ("TYPE", kind)
        at, names = self.client.get_redis_connection(left[0]).execute_command(
            "SCAN", at or 0, "MATCH", pattern, "COUNT", SCAN_STEP, *chosen
        )
        if not int(at):
            left, at = left[1:], None
            if not left and before is not None:
                left = nodes.which_took_over(self.client, before)
                before = None
        return ((left, at, before) if left else None), names

    def unlink(self, names: Iterable[bytes]) -> int:
        """Remove what is stored at `names`, in one round trip to each node; return how many."""
        return sum(self._each([("UNLINK", name) for name in names]))

    def drop_connections(self) -> None:
        """Ask the nodes which of them are primaries now."""
        with contextlib.suppress(*ServerError):
            self.client.nodes_manager.initialize()

    def _close(self, client: Any) -> None:
        client.close()
        # Without a default node redis-py sends commands to any node, and its pipelines fail.
        for node in client.get_primaries()[:1]:
            client.set_default_node(node)

    def _asked(self) -> dict[str, Any]:
        # Sent by the client, which tries other nodes if one is gone.
        found: dict[str, Any] = self.client.info(target_nodes=RedisCluster.RANDOM)
        return found

    def _in_one_slot(self, names: Sequence[bytes]) -> bool:
        return len({self.client.keyslot(name) for name in names}) == 1

    def _each(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Send commands of one key each, together."""
        make: Any = PipelineCommand  # redis-py has no types for it
        stack = [make(command, position=at) for at, command in enumerate(commands)]
        with self.client.pipeline() as pipeline:
            answers = pipeline.send_cluster_commands(
                stack, raise_on_error=False, allow_redirections=False
            )
        # Redirected commands are sent again one by one, up to the first that fails: redis-py itself
        # would wait for a silent node once for each of its keys.
        return [
            self._again(*command.args) if isinstance(answer, _AGAIN) else _answer(answer)
            for command, answer in zip(stack, answers, strict=True)
        ]

    def _again(self, *command: Any) -> Any:
        try:
            return self.client.execute_command(*command)
        except redis.ResponseError as error:
            return _answer(error)


def _answer(answer: Any) -> Any:
    """Return an answer, or raise it if it is an error; None where a lease is instead of a text."""
    if isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _shorter(one: int, other: int) -> int:
    """Return the shorter of two ttls in milliseconds; -1 means for ever."""
    return max(one, other) if -1 in (one, other) else min(one, other)


def _texts(answer: Any, names: Sequence[bytes]) -> list[bytes | None]:
    """Return the answer after checking that it has a text or None for each name."""
    if type(answer) is list and len(answer) == len(names) and set(map(type, answer)) <= _TEXTS:
        return answer
    raise InvalidResponse(f"{type(answer).__name__} for {len(names)} texts")


def link_to(client: Any) -> Link:
    """Return the way to the server or the cluster that the client knows."""
    return (ClusterLink if hasattr(client, "get_primaries") else Link)(client)
