"""TLS before a server that has none: it is ended here, and what it says passed on."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator

_PATIENCE = 10.0  # seconds
_FAILED = (OSError, ValueError)  # the latter of a socket that was closed


class Ending:
    """Passes on what comes in by TLS, and back; one thread for each connection, as TLS needs it."""

    def __init__(self, target: int, context: ssl.SSLContext) -> None:
        self._target = target
        self._context = context
        self._closing = False
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            plain, _ = self._listener.accept()
            if self._closing:
                plain.close()
                return
            plain.settimeout(_PATIENCE)
            client = self._context.wrap_socket(plain, True, do_handshake_on_connect=False)
            self._sockets.append(client)
            self._threads.append(threading.Thread(target=self._pass, args=(client,), daemon=True))
            self._threads[-1].start()

    def _pass(self, client: ssl.SSLSocket) -> None:
        with client, contextlib.suppress(*_FAILED):
            client.do_handshake()
            with socket.create_connection(("127.0.0.1", self._target), _PATIENCE) as server:
                self._sockets.append(server)
                while True:
                    ready, _, _ = select.select([client, server], [], [])
                    for one, other in ((client, server), (server, client)):
                        if one in ready:
                            data = one.recv(65_536)  # a TLS record is smaller: none stays behind
                            if not data:
                                return
                            other.sendall(data)

    def close(self) -> None:
        """End it: no thread and no socket stays."""
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes who accepts
        self._threads[0].join(_PATIENCE)
        self._listener.close()
        for one in list(self._sockets):
            with contextlib.suppress(*_FAILED):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE)


@contextlib.contextmanager
def tls_before(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Listen for the length of a `with` block, and give the port that does."""
    ending = Ending(port, context)
    try:
        yield ending.port
    finally:
        ending.close()
