"""Somebody who listens to the writes on a server, and writes down what is told."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import redis

from cache.near import Near
from cache.remote.dial import followed, servers
from cache.remote.link import link_to
from cache.tracking import Tracking
from tests.servers import PATIENCE, eventually

HEARTBEAT = 0.3  # seconds, where a test waits for its end
CALM = 1.5  # seconds, where no test should see it end, on a machine that is busy


class Sink:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.until = 0.0

    def reset(self) -> None:
        """Note that everything may have been written."""
        assert not self.trusted()
        self.told.append("reset")

    def trust(self, until: float) -> None:
        """Note until when it is trusted."""
        self.until = until

    def distrust(self) -> None:
        """Note that it is trusted no more."""
        self.until = 0.0

    def invalidate(self, keys: Any) -> None:
        """Note keys that were written."""
        self.told.append(sorted(keys))

    def trusted(self) -> bool:
        """Tell whether it is trusted now."""
        return self.until > time.monotonic()

    def left(self) -> float:
        """Return the seconds for which it is trusted."""
        return self.until - time.monotonic()


class Tracked:
    """A sink, the tracking that feeds it, and a client to write with past both."""

    def __init__(
        self, port: int, prefix: bytes = b"ns:", heartbeat: float = CALM, **options: Any
    ) -> None:
        self.sink = Sink()
        self.client = redis.Redis(port=port, **options)
        self.tracking = Tracking(
            self.sink,
            partial(servers, link_to(self.client)),
            prefix,
            lambda name: name[len(prefix) :].decode(),
            heartbeat,
        )

    def told(self) -> Any:
        """Return what is told next, once."""
        eventually(lambda: self.sink.told)
        return self.sink.told.pop(0)

    def begin(self) -> Self:
        """Start, and wait until writes are told."""
        self.tracking.start()
        eventually(self.sink.trusted)
        assert self.told() == "reset"
        return self

    def close(self) -> None:
        """End tracking and the client."""
        self.tracking.close()
        self.client.close()


class Follower:
    """A near cache over a server, as a `RedisCache` has one: texts that are got and set.

    It asks by one client of redis-py and listens by another, where a test puts a proxy in between.
    """

    def __init__(self, client: Any, told: Any = None, heartbeat: float = CALM) -> None:
        self.client = client
        self._told = told or client
        whom = followed(link_to(self._told), heartbeat)
        self.near: Near[bytes] = Near(1000, 60.0)
        self.tracking = Tracking(
            self.near,
            whom.servers,
            b"ns:",
            lambda name: name[3:].decode(),
            heartbeat,
            whom.question,
            whom.changed,
        )
        self.asked = 0  # how often the server was

    def begin(self) -> Self:
        """Start, and wait until it is trusted."""
        self.tracking.start()
        eventually(self.near.trusted)
        return self

    def get(self, key: str) -> bytes | None:
        """Return the text at `key`."""
        with contextlib.suppress(KeyError):
            return self.near.read(key)
        with self.near.fetching([key]) as tokens:
            self.asked += 1
            raw: bytes | None = self.client.get(f"ns:{key}")
            if raw is None:
                self.near.drop(tokens.pop(key))
            else:
                self.near.store(tokens.pop(key), raw, raw, math.inf)
            return raw

    def set(self, key: str, value: bytes | str) -> None:
        """Put `value` at `key`."""
        try:
            self.client.set(f"ns:{key}", value)
        finally:
            self.near.wrote([key])

    def close(self) -> None:
        """End tracking, near cache and client."""
        self.tracking.close()
        self.near.close()
        self.client.close()
        self._told.close()


class Scripted:
    """A server whose every word the test says."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []  # of the connections that were made, in their order
        self.make: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair

    def dial(self) -> socket.socket:
        """Let somebody connect."""
        theirs, ours = self.make()
        ours.settimeout(PATIENCE)
        self.ends.append(ours)
        return theirs

    def hears(self, words: bytes) -> None:
        """Wait until `words` were said over the last connection, and take them for read."""
        eventually(lambda: self.ends)
        heard = b""
        while words not in heard:
            data = self.ends[-1].recv(4096)
            assert data, f"closed after {heard!r}"
            heard += data

    def says(self, data: bytes) -> None:
        """Say something over the last connection."""
        self.ends[-1].sendall(data)

    def welcomes(self) -> None:
        """Have tracking begin."""
        self.hears(b"TRACKING")
        self.says(b"+OK\r\n")

    def is_left(self) -> None:
        """Wait until the other side closes the first connection."""
        with contextlib.suppress(ConnectionResetError):  # there was something left to read
            while self.ends[0].recv(4096):
                pass

    def close(self) -> None:
        """End all connections."""
        for end in self.ends:
            end.close()


def listeners() -> list[threading.Thread]:
    """Return the threads that listen now."""
    return [thread for thread in threading.enumerate() if thread.name == "cache-tracking"]
