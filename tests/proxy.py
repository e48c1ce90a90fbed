"""A TCP proxy that does what networks do: it delays, cuts, half-closes and goes silent."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator


class Proxy:
    """Passes on what comes in on `port`, to and from the server's port, until told otherwise."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0  # seconds that each piece is held back, in either direction
        self.accepting = True
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """Return how many connections were ever made."""
        return len(self._pairs)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                if not self.accepting:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                if self._listener.fileno() < 0:
                    return
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self.delay:
                    time.sleep(self.delay)
                self._flowing.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def silence(self) -> None:
        """Pass nothing on; connections stay open, and new ones are accepted."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on again, first what was held back."""
        self._flowing.set()

    def cut(self) -> None:
        """Close all connections, on both sides."""
        for pair in list(self._pairs):
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def half_close(self) -> None:
        """End what the server says to the clients, who can go on to talk to it."""
        for client, _ in list(self._pairs):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.resume()
        self.cut()


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """Run a proxy to a server's port for the length of a `with` block."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
