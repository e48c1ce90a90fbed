"""The way to one server: the few commands that a cache sends, each one round trip.

The one module, beside those that make clients, that knows redis-py. Its connections survive a fork
and are made anew where they are cut.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    TryAgainError,
)
from redis.retry import Retry

from ..errors import CacheUnavailable
from . import scripts
from .scripts import Script

ServerError = redis.RedisError

_CONFIRMED = 0.5  # seconds to wait for a subscription to begin
SCAN_STEP = 10_000  # keys that one SCAN looks at: some two milliseconds of the server

_CUT = (redis.ConnectionError, redis.TimeoutError)
# The server is there, and does not do this now.
_REFUSED = (
    *(ReadOnlyError, OutOfMemoryError, ClusterDownError, TryAgainError),
    RedisClusterException,
)
# Their codes where redis-py has no class for them, or where they come out of a script.
_REFUSALS = ("BUSY ", "MISCONF ", "NOREPLICAS ", "OOM command not allowed", "READONLY ")


class Refused(CacheUnavailable):
    """The server is there, and does not do this now: what was asked has not been done."""


class Link:
    """A client, and how it is asked."""

    def __init__(self, client: Any) -> None:
        """Turn the client's own retries off: it would send an INCRBY twice."""
        self._client = client
        if client.get_encoder().decode_responses:
            raise ValueError("the client must not have decode_responses: values are bytes")
        client.set_retry(Retry(NoBackoff(), 0))
        options = client.get_connection_kwargs()
        #: The seconds that an attempt may take, 0.0 where it has no bound.
        self.patience: float = options.get("socket_timeout") or 0.0

    def get(self, name: bytes) -> bytes | None:
        """Return the text at `name`."""
        try:
            return self._client.execute_command("GET", name)  # type: ignore[no-any-return]
        except redis.ResponseError as error:
            if str(error).startswith("WRONGTYPE"):  # a lease: a factory runs
                return None
            raise

    def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the texts at `names`, as they are at one moment."""
        return self._client.execute_command("MGET", *names)  # type: ignore[no-any-return]

    def set(self, name: bytes, value: bytes, ms: bytes) -> None:
        """Put `value` at `name`, for so many milliseconds; b"" is for ever."""
        if ms:
            self._client.execute_command("SET", name, value, "PX", ms)
        else:
            self._client.execute_command("SET", name, value)

    def set_many(self, entries: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Put all values at their names, each for its milliseconds, as one step."""
        if not any(ms for _, _, ms in entries):
            pairs = [text for name, value, _ in entries for text in (name, value)]
            self._client.execute_command("MSET", *pairs)
            return
        given = [text for _, value, ms in entries for text in (value, ms)]
        self.run(scripts.PUT_ALL, [name for name, _, _ in entries], *given)

    def row(self, name: bytes) -> tuple[bytes, int] | None:
        """Return the text at `name` and the milliseconds that it has left, -1 for ever."""
        text, ms = self.run(scripts.ROWS, (name,))
        return None if text is None else (text, ms)

    def exists(self, name: bytes) -> bool:
        """Tell whether there is a live entry."""
        return bool(self._client.execute_command("TYPE", name) in (b"string", "string"))

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
        cursor, names = self._client.execute_command(
            "SCAN", cursor or 0, "MATCH", pattern, "COUNT", SCAN_STEP, *chosen
        )
        return int(cursor) or None, names

    def unlink(self, names: Iterable[bytes]) -> int:
        """Remove what is at `names`, whatever it is; return how many names that were."""
        return int(self._client.execute_command("UNLINK", *names))

    def run(self, script: Script, names: Sequence[bytes], *arguments: Any) -> Any:
        """Run a script in one round trip, or two where the server has forgotten it."""
        try:
            return self._client.execute_command(
                "EVALSHA", script.digest, len(names), *names, *arguments
            )
        except NoScriptError:
            return self._client.execute_command("EVAL", script.text, len(names), *names, *arguments)

    def bell(self, name: bytes) -> "Bell":
        """Return what rings when a script publishes on the channel `name`; close it in the end."""
        return Bell(self._client.pubsub(), name)

    def version(self) -> str:
        """Return the engine and its version."""
        found: dict[str, Any] = self._client.info("server")
        engine = found.get("server_name", "redis")
        return f"{engine} {found.get('valkey_version') or found['redis_version']}"

    def drop_connections(self) -> None:
        """Let go of connections that are not in use: they may lead to a server that was demoted."""
        self._client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close the connections. A later call opens others."""
        self._client.close()


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


def failure(error: redis.RedisError) -> CacheUnavailable | None:
    """Return what to raise for an error that comes from the server's state and not from ours."""
    if isinstance(error, _CUT):
        return CacheUnavailable(f"the server cannot be reached: {error}")
    if isinstance(error, _REFUSED) or any(code in str(error) for code in _REFUSALS):
        return Refused(f"the server refuses: {error}")
    return None


def link_to(client: Any) -> Link:
    """Return the way to the server or the cluster that the client knows."""
    return Link(client)
