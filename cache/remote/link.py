"""The way to one server: the few commands that a cache sends, each one round trip.

The one module, beside those that make clients, that knows redis-py. Its connections survive a fork
and are made anew where they are cut.
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

# What redis-py and what is here raise where an answer is none that such a server gives.
_UNCLEAR = (
    InvalidResponse,
    *(AttributeError, LookupError, RecursionError, TypeError, ValueError),
)
ServerError = (redis.RedisError, RedisClusterException, *_UNCLEAR)
_TEXTS = {bytes, type(None)}

_CONFIRMED = 0.5  # seconds to wait for a subscription to begin
SCAN_STEP = 10_000  # keys that one SCAN looks at: some two milliseconds of the server

# The last is what a cluster's client says of a command that failed, perhaps once it was sent, and
# after which the nodes could not be asked for the slots' owners.
_CUT = (redis.ConnectionError, redis.TimeoutError, RedisClusterException)
# The server is there, and does not do this now. ClusterError: it was sent on or told to wait so
# often that the client gave up.
_REFUSED = (ReadOnlyError, OutOfMemoryError, ClusterError, TryAgainError, SlotNotCoveredError)
# What a node answers, or fails with, where the client's way with a single command may help.
_AGAIN = (
    *(redis.ConnectionError, redis.TimeoutError),
    *(AskError, TryAgainError, ClusterDownError),  # an AskError may be a MovedError
)
# Their codes where redis-py has no class for them, or where they come out of a script.
_REFUSALS = ("BUSY ", "MISCONF ", "NOREPLICAS ", "OOM command not allowed", "READONLY ")


class Refused(CacheUnavailable):
    """The server is there, and does not do this now: what was asked has not been done."""


class Link:
    """A client, and how it is asked."""

    def __init__(self, client: Any) -> None:
        """Turn the client's own retries off: it would send an INCRBY twice."""
        if client.get_encoder().decode_responses:
            raise ValueError("the client must not have decode_responses: values are bytes")
        self._model = self._own = self._prepared(client)
        self._apart: dict[int, Any] = {}  # by thread; the client of a call that is made apart
        #: Whether another server may take the place of this one, which may be there still.
        self.moves = hasattr(getattr(client, "connection_pool", None), "get_master_address")
        options = client.get_connection_kwargs()
        #: The seconds that an attempt may take, 0.0 where it has no bound.
        self.patience: float = options.get("socket_timeout") or 0.0

    def _prepared(self, client: Any) -> Any:
        client.set_retry(Retry(NoBackoff(), 0))
        return client

    @property
    def client(self) -> Any:
        """Return the client by which this thread is to ask now."""
        if self._apart:
            apart = self._apart.get(get_ident())
            if apart is not None:
                return apart
        if self._own is None:  # in a child
            self._own = self._prepared(twin(self._model))
        return self._own

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Have this thread ask over a client of its own for the length of a `with` block.

        For a call from the middle of another one, which may hold locks of the client, or that waits
        for none, as it holds the cache's.
        """
        me = get_ident()
        outer = self._apart.get(me)
        client = self._apart[me] = self._prepared(twin(self._model))
        try:
            yield
        finally:
            if outer is None:
                self._apart.pop(me, None)  # a fork has cleared it, if there was one
            else:
                self._apart[me] = outer
            client.close()

    def after_fork_in_child(self) -> None:
        """Have another client made: the locks of this one may be held by the parent's threads."""
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
        """Return the texts at `names`, as they are at one moment."""
        return _texts(self.client.execute_command("MGET", *names), names)

    def set(self, name: bytes, value: bytes, ms: bytes) -> None:
        """Put `value` at `name`, for so many milliseconds; b"" is for ever."""
        if ms:
            self.client.execute_command("SET", name, value, "PX", ms)
        else:
            self.client.execute_command("SET", name, value)

    def set_many(self, entries: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Put all values at their names, each for its milliseconds, as one step."""
        if not any(ms for _, _, ms in entries):
            pairs = [text for name, value, _ in entries for text in (name, value)]
            self.client.execute_command("MSET", *pairs)
            return
        given = [text for _, value, ms in entries for text in (value, ms)]
        self.run(scripts.PUT_ALL, [name for name, _, _ in entries], *given)

    def row(self, name: bytes) -> tuple[bytes, int] | None:
        """Return the text at `name` and the milliseconds that it has left, -1 for ever."""
        text, ms = self.run(scripts.ROWS, (name,))
        return None if text is None else (text, ms)

    def exists(self, name: bytes) -> bool:
        """Tell whether there is a live entry."""
        return bool(self.client.execute_command("TYPE", name) in (b"string", "string"))

    def remove(self, names: Sequence[bytes]) -> int:
        """Remove what is at `names`, as one step; return how many entries that were."""
        return int(self.run(scripts.REMOVE, names))

    def rows(self, names: Sequence[bytes]) -> list[tuple[bytes, bytes, int]]:
        """Return name, value and milliseconds left (-1 for ever) of those that are live."""
        answer = self.run(scripts.ROWS, names)
        rows = zip(names, answer[::2], answer[1::2], strict=True)
        return [(name, value, ms) for name, value, ms in rows if value is not None]

    def scan(self, cursor: Any, pattern: bytes, kind: str | None = None) -> tuple[Any, list[bytes]]:
        """Return some of the names that match, some perhaps twice, and a cursor for the next.

        The cursor is None for the first and after the last. `kind` is a type of the server's.
        """
        chosen = () if kind is None else ("TYPE", kind)
        cursor, names = self.client.execute_command(
            "SCAN", cursor or 0, "MATCH", pattern, "COUNT", SCAN_STEP, *chosen
        )
        return int(cursor) or None, names

    def unlink(self, names: Iterable[bytes]) -> int:
        """Remove what is at `names`, whatever it is; return how many names that were."""
        return int(self.client.execute_command("UNLINK", *names))

    def run(self, script: Script, names: Sequence[bytes], *arguments: Any) -> Any:
        """Run a script in one round trip, or two where the server has forgotten it."""
        given = len(names), *names, *arguments
        try:
            answer = self.client.execute_command("EVALSHA", script.digest, *given)
        except NoScriptError:
            answer = self.client.execute_command("EVAL", script.text, *given)
        if isinstance(answer, script.answer):
            return answer
        raise InvalidResponse(f"{type(answer).__name__} from a script")

    def bell(self, name: bytes) -> "Bell":
        """Return what rings when a script publishes on the channel `name`; close it in the end."""
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
        """Let go of connections that are not in use: they may lead to a server that was demoted."""
        self.client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close the connections. A later call opens others."""
        if self._own is not None:  # pragma: no branch - a child that has not asked yet
            self._close(self._own)

    def _close(self, client: Any) -> None:
        client.close()


class Bell:
    """Waits for a message on a channel, over a connection of its own."""

    def __init__(self, pubsub: Any, channel: bytes) -> None:
        self._pubsub = pubsub
        try:
            pubsub.subscribe(channel)
            self.wait(_CONFIRMED)
        except BaseException:
            pubsub.close()
            raise

    def wait(self, seconds: float) -> None:
        """Return when a message comes, the server's word that it listens included, or `seconds`."""
        self._pubsub.get_message(timeout=seconds)

    def close(self) -> None:
        """Let go of the connection."""
        self._pubsub.close()


def failure(error: Exception) -> CacheUnavailable | None:
    """Return what to raise for an error that comes from the server's state and not from ours."""
    if isinstance(error, _REFUSED) or any(code in str(error) for code in _REFUSALS):
        return Refused(f"the server refuses: {error}")
    if isinstance(error, _CUT):
        return CacheUnavailable(f"the server cannot be reached: {error}")
    if isinstance(error, _UNCLEAR):
        return CacheUnavailable(f"the server's answer makes no sense: {error!r}")
    return None


class ClusterLink(Link):
    """The way to a cluster: steps with keys of one slot are one moment, others go key by key."""

    def _prepared(self, client: Any) -> Any:
        """Have the client know nodes without slots too, and not wait in line to ask for others."""
        nodes.meet_strangers(client)
        nodes.ask_one_at_a_time(client)
        return super()._prepared(client)

    def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the texts at `names`, in one trip to each node."""
        if self._in_one_slot(names):
            return super().get_many(names)
        return _texts(self._each([("GET", name) for name in names]), names)

    def set_many(self, entries: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Put all values at their names, in one trip to each node."""
        if self._in_one_slot([name for name, _, _ in entries]):
            super().set_many(entries)
            return
        commands = [
            ("SET", name, value, *((b"PX", ms) if ms else ())) for name, value, ms in entries
        ]
        self._each(commands)

    def remove(self, names: Sequence[bytes]) -> int:
        """Remove what is at `names`, slot by slot; return how many entries that were."""
        slots: dict[int, list[bytes]] = {}
        for name in names:
            slots.setdefault(self.client.keyslot(name), []).append(name)
        return sum(super(ClusterLink, self).remove(part) for part in slots.values())

    def rows(self, names: Sequence[bytes]) -> list[tuple[bytes, bytes, int]]:
        """Return name, value and milliseconds left of those that are live, as `get_many` does."""
        if self._in_one_slot(names):
            return super().rows(names)
        # The life before the value and after it, and then the shorter one: another value may be set
        # in between, and none comes with a deadline later than its own.
        commands = [(verb, name) for name in names for verb in ("PTTL", "GET", "PTTL")]
        answers = self._each(commands)
        rows = zip(names, answers[1::3], answers[::3], answers[2::3], strict=True)
        return [
            (name, value, _shorter(before, after))
            for name, value, before, after in rows
            if value is not None and -2 not in (before, after)
        ]

    def scan(self, cursor: Any, pattern: bytes, kind: str | None = None) -> tuple[Any, list[bytes]]:
        """Do what a single server does, on one primary after the other.

        A key on its way to a node that has been walked over is not missed: who took slots over
        meanwhile is walked over again.
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
        """Remove what is at `names`, in one trip to each node; return how many names that were."""
        return sum(self._each([("UNLINK", name) for name in names]))

    def drop_connections(self) -> None:
        """Ask the nodes who is a primary now."""
        with contextlib.suppress(*ServerError):
            self.client.nodes_manager.initialize()

    def _close(self, client: Any) -> None:
        client.close()
        # Without one redis-py sends commands anywhere, and its pipelines fail.
        for node in client.get_primaries()[:1]:
            client.set_default_node(node)

    def _asked(self) -> dict[str, Any]:
        # By the client, which looks for other nodes where this one is gone.
        found: dict[str, Any] = self.client.info(target_nodes=RedisCluster.RANDOM)
        return found

    def _in_one_slot(self, names: Sequence[bytes]) -> bool:
        return len({self.client.keyslot(name) for name in names}) == 1

    def _each(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Make commands of one key each, together."""
        make: Any = PipelineCommand  # which redis-py has no types for
        stack = [make(command, position=at) for at, command in enumerate(commands)]
        with self.client.pipeline() as pipeline:
            answers = pipeline.send_cluster_commands(
                stack, raise_on_error=False, allow_redirections=False
            )
        # Those sent on, one by one, but no further than the first that fails: redis-py itself would
        # wait for a silent node once for each of its keys.
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
    """Return an answer, or raise it; there is no text to GET where there is a lease."""
    if isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _shorter(one: int, other: int) -> int:
    """Return the shorter of two lives in milliseconds, -1 being for ever."""
    return max(one, other) if -1 in (one, other) else min(one, other)


def _texts(answer: Any, names: Sequence[bytes]) -> list[bytes | None]:
    """Return an answer that has a text, or None, for each of the names."""
    if type(answer) is list and len(answer) == len(names) and set(map(type, answer)) <= _TEXTS:
        return answer
    raise InvalidResponse(f"{type(answer).__name__} for {len(names)} texts")


def link_to(client: Any) -> Link:
    """Return the way to the server or the cluster that the client knows."""
    return (ClusterLink if hasattr(client, "get_primaries") else Link)(client)
