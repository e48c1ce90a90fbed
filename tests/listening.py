"""Somebody who listens to the writes on a server, and writes down what is told."""

import threading
import time
from typing import Any, Self

import redis

from cache.remote.dial import servers
from cache.tracking import Tracking
from tests.servers import eventually

HEARTBEAT = 0.3  # seconds


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

    def __init__(self, port: int, prefix: bytes = b"ns:", **options: Any) -> None:
        self.sink = Sink()
        self.client = redis.Redis(port=port, **options)
        self.tracking = Tracking(
            self.sink,
            lambda: servers(self.client),
            prefix,
            lambda name: name[len(prefix) :].decode(),
            HEARTBEAT,
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


def listeners() -> list[threading.Thread]:
    """Return the threads that listen now."""
    return [thread for thread in threading.enumerate() if thread.name == "cache-tracking"]
