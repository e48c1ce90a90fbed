"""Learns from the server which keys were written: CLIENT TRACKING, over separate connections.

One daemon thread reads them. It uses RESP3 (Redis 6.2 and newer, Valkey) in broadcasting mode: the
server keeps no list of what this process has read, and reports each write to a key of the namespace
by any client. NOLOOP would have no effect: writes use other connections, which the server takes for
other clients. The process records its own writes itself, before they return.
"""

import contextlib
import logging
import os
import random
import selectors
import socket
import ssl
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from .remote.resp3 import Push, Reader, ReplyError

logger = logging.getLogger("cache")

Dial = Callable[[], socket.socket]

_TICK = 0.5  # seconds after which the thread wakes at the latest
_CHUNK = 65_536  # bytes; a much larger buffer would be mapped anew for each read
_PATIENCE = 0.5  # seconds to wait for the reply to CLIENT TRACKING
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between two attempts to connect


class Sink(Protocol):
    """The receiver of what a `Tracking` learns."""

    def reset(self) -> None:
        """Drop everything: writes went unnoticed, or all keys were removed."""

    def trust(self, until: float) -> None:
        """Trust the entries until the monotonic clock reads `until`, at the longest."""

    def distrust(self) -> None:
        """Trust nothing from now on."""

    def invalidate(self, keys: Sequence[str]) -> None:
        """Drop the entries at keys that somebody wrote."""


class _Line:
    """A connection to one server that reports writes."""

    def __init__(
        self,
        connection: socket.socket,
        prefix: bytes,
        heartbeat: float,
        question: Sequence[bytes],
    ) -> None:
        """Make the server report writes. Raises OSError or ReplyError if it does not."""
        self.socket = connection
        self._question = _command(*question)
        self.answer: Any = None  # the last answer to the question
        self._reader = Reader()
        self._heartbeat = heartbeat
        self.asked: float | None = None  # when the question was sent, if the answer is missing
        self.heard = 0.0  # when data arrived last
        self.due = self.until = 0.0
        self.lag = 0.0  # seconds that the last answer took
        began = time.monotonic()
        connection.settimeout(_PATIENCE)
        connection.sendall(_command(b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", prefix))
        replies: list[Any] = []
        while not replies:
            replies = self._reader.feed(self._received())
        if isinstance(replies[0], ReplyError):
            raise replies[0]
        connection.setblocking(False)
        self._answered(began)

    def _received(self) -> bytes:
        data = self.socket.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.heard = time.monotonic()
        return data

    def _answered(self, asked: float) -> None:
        """Record an answer: all writes before `asked` have been reported."""
        self.asked = None
        self.lag = time.monotonic() - asked
        self.until = asked + self._heartbeat
        self.due = asked + self._heartbeat / 3

    def pushes(self) -> Iterator[Push]:
        """Yield what the server has sent so far. Raises OSError or ReplyError."""
        try:
            data = self._received()
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        for message in self._reader.feed(data):
            if isinstance(message, Push):
                yield message
            elif isinstance(message, ReplyError):
                raise message
            elif self.asked is not None:
                self.answer = message
                self._answered(self.asked)

    def beat(self) -> None:
        """Send the question if it is due. Raises OSError if the last one was not answered.

        A server that is still reporting a million keys, before its answer, is not silent.
        """
        now = time.monotonic()
        if self.asked is not None:
            if now - max(self.asked, self.heard) > self._heartbeat:
                raise TimeoutError(f"the server was silent for {self._heartbeat} s")
        elif now >= self.due:
            self.asked = now
            self.socket.send(self._question)


class Tracking:
    """Follows the writes to keys that begin with `prefix`, and reports them to `sink`, held weakly.

    `servers` returns, by name, a function that connects to each present server: one, or the
    primaries of a cluster. A connection is ready to use: HELLO 3 has been sent. `key_of` turns a
    name on the server into a key, or raises UnicodeDecodeError for a foreign name. `changed` tells,
    from a server's name and its answer to the `question`, whether there may be other servers now.

    `lock` is the sink's own, if it has one.

    The sink may trust its entries as long as every server has answered a question that was sent
    within the last `heartbeat` seconds. A connection that is cut, or silent for that long, is
    replaced, and then the sink starts empty.
    """

    def __init__(
        self,
        sink: Sink,
        servers: Callable[[], Mapping[Any, Dial]],
        prefix: bytes,
        key_of: Callable[[bytes], str],
        heartbeat: float,
        question: Sequence[bytes] = (b"PING",),
        changed: Callable[[Any, Any], bool] = lambda name, answer: False,
        *,
        lock: "threading.RLock | None" = None,
    ) -> None:
        self._lock = lock or threading.RLock()
        self._servers = servers
        self._question = question
        self._changed = changed
        self._prefix = prefix
        self._key_of = key_of
        self._heartbeat = heartbeat
        self._closed = False
        self._begin()
        self._sink = weakref.ref(sink, self._end)

    def _begin(self) -> None:
        self._ended = threading.Lock()  # released when the thread is to end
        self._ended.acquire()
        self._started = False  # guarded by _lock
        self._anew = False  # guarded by _lock; the connections must be replaced
        # The rest is used by the thread only.
        self._selector: selectors.BaseSelector | None = None
        self._lines: dict[Any, _Line] = {}
        self._complete = False  # all servers are followed, and the sink trusts its entries
        self._failures = 0  # consecutive
        self._retry_at = 0.0
        self._said = ""

    # -- from any thread -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread if it is not running."""
        if self._started:
            return
        with self._lock:
            if self._started or self._closed or sys.is_finalizing():
                return
            self._started = True
        thread = threading.Thread(target=self._run, name="cache-tracking", daemon=True)
        try:
            # Without the lock: `start` waits for the thread, and a finalizer there may need it.
            thread.start()
        except RuntimeError:  # an interpreter that shuts down starts none
            self._started = False

    def restart(self) -> None:
        """Replace all connections: the server may be another one now."""
        sink = self._sink()
        with self._lock:
            self._anew = True
            if sink is not None:
                sink.distrust()
        for line in list(self._lines.values()):
            with contextlib.suppress(OSError):
                line.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread

    def close(self) -> None:
        """End the thread and its connections, soon and for good; twice is fine."""
        self._closed = True
        self._end()
        self.restart()

    def _end(self, _: object = None, told_already: type[Exception] = RuntimeError) -> None:
        # A plain lock: this also runs as a weakref callback, in any thread at any allocation. At
        # the interpreter's exit the globals of this module may be gone by then.
        try:  # noqa: SIM105
            self._ended.release()
        except told_already:
            pass

    @property
    def connected(self) -> bool:
        """Tell whether all servers are followed now."""
        return self._complete

    @property
    def lag(self) -> float | None:
        """Return the longest time of a last answer, in seconds; None while one is not followed."""
        lines = list(self._lines.values())
        return max(line.lag for line in lines) if self._complete and lines else None

    def after_fork_in_child(self) -> None:  # pragma: no cover - in children
        """Start again: thread and connections are the parent's, which must not be disturbed."""
        for line in list(self._lines.values()):
            with contextlib.suppress(OSError):
                os.close(line.socket.detach())
        if self._selector is not None:
            self._selector.close()
        self._begin()

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        selector = self._selector = selectors.DefaultSelector()
        try:
            while True:
                ready = [key.data for key, _ in selector.select(self._tick())]
                sink = self._sink()
                if sink is None or self._ended.acquire(blocking=False):
                    return
                try:
                    self._step(sink, selector, ready)
                except Exception:
                    sink.distrust()
                    self._drop_all(selector)
                    self._failed("tracking failed; it starts again", exception=True)
                del sink  # otherwise this thread would keep it alive while it waits
        finally:
            self._drop_all(selector)
            selector.close()
            self._complete = False

    def _tick(self) -> float:
        """Return how long to wait for data at most, in seconds."""
        if not self._complete:
            return min(max(self._retry_at - time.monotonic(), 0.001), _TICK)
        return min(self._heartbeat / 6, _TICK)

    def _step(self, sink: Sink, selector: selectors.BaseSelector, ready: list[Any]) -> None:
        """Do one round: read, look for other servers, ask, connect, and extend or end the trust."""
        servers = self._servers()
        with self._lock:
            anew, self._anew = self._anew, False
        if anew:
            self._drop_all(selector)
        for name in [name for name in list(self._lines) if name not in servers]:
            sink.distrust()
            self._drop(selector, name)
        for name, line in list(self._lines.items()):
            try:
                if name in ready:
                    waiting = line.asked is not None
                    for push in line.pushes():
                        self._tell(sink, push)
                    if waiting and line.asked is None and self._changed(name, line.answer):
                        raise ConnectionError("there may be other servers now")
                line.beat()
            except (OSError, ReplyError) as error:
                sink.distrust()
                self._drop(selector, name)
                logger.debug("tracking was cut: %s", error)
        if len(self._lines) < len(servers):
            self._complete = False
            sink.distrust()
            if time.monotonic() < self._retry_at:
                return
            for name, dial in servers.items():
                if name not in self._lines and not self._connect(selector, name, dial):
                    return
        if not self._complete:
            sink.reset()
            self._complete = True
            self._failures, self._said = 0, ""
        with self._lock:
            if not self._anew:
                sink.trust(min(line.until for line in list(self._lines.values())))

    def _tell(self, sink: Sink, push: Push) -> None:
        if push[:1] != [b"invalidate"]:
            return
        names = push[1]
        if names is None:
            sink.reset()
            return
        keys = []
        for name in names:
            with contextlib.suppress(UnicodeDecodeError):
                keys.append(self._key_of(name))
        sink.invalidate(keys)

    def _connect(self, selector: selectors.BaseSelector, name: Any, dial: Dial) -> bool:
        connection = None
        try:
            connection = dial()
            line = _Line(connection, self._prefix, self._heartbeat, self._question)
            selector.register(connection, selectors.EVENT_READ, name)
        except Exception as error:  # errors of redis-py among others
            if connection is not None:
                connection.close()
            self._failed(f"no near cache, as writes cannot be followed: {error}")
            return False
        self._lines[name] = line
        return True

    def _failed(self, said: str, exception: bool = False) -> None:
        """Wait before the next attempt, longer each time; log each reason once."""
        pause = min(_FIRST_PAUSE * 2 ** min(self._failures, 10), _LONGEST_PAUSE)
        self._failures += 1
        self._retry_at = time.monotonic() + pause * random.uniform(0.5, 1.0)
        self._complete = False
        if said != self._said:
            self._said = said
            logger.warning(said, exc_info=exception)

    def _drop(self, selector: selectors.BaseSelector, name: Any) -> None:
        self._complete = False
        line = self._lines.pop(name)
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(line.socket)
        line.socket.close()

    def _drop_all(self, selector: selectors.BaseSelector) -> None:
        for name in list(self._lines):
            self._drop(selector, name)


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)
