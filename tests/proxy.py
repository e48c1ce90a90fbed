"""A TCP proxy that does what networks do: it delays, cuts, half-closes and goes silent."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

_PATIENCE = 10.0  # seconds


class Proxy:
    """Passes on what comes in on `port`, to and from the server's port, until told otherwise."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0  # seconds that each piece is held back, in either direction
        self.held = 0  # answers that are held back
        self._asking, self._answering = threading.Event(), threading.Event()
        self.resume()
        self._closing = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    @property
    def connections(self) -> int:
        """Return how many connections were ever made."""
        return len(self._pairs)

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closing:
                client.close()
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((client, server))
            self._run(self._ask, client, server)
            self._run(self._answer, server, client)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                if self.delay:
                    time.sleep(self.delay)
                self._asking.wait()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                if self.delay:
                    time.sleep(self.delay)
                self.held += 1
                self._answering.wait()
                self.held -= 1
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def silence(self) -> None:
        """Pass nothing on; connections stay open, and new ones are accepted."""
        self._asking.clear()
        self._answering.clear()

    def mute(self) -> None:
        """Pass no answers on, while the server hears what it is asked."""
        self._answering.clear()

    def resume(self) -> None:
        """Pass on again, first what was held back."""
        self._asking.set()
        self._answering.set()

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
        """End it: no thread and no socket stays."""
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes who accepts
        self._threads[0].join(_PATIENCE)
        self._listener.close()
        self.resume()
        self.cut()
        for thread in self._threads:
            thread.join(_PATIENCE)
        for pair in self._pairs:
            for one in pair:
                one.close()


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """Run a proxy to a server's port for the length of a `with` block."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
