"""A documentation service: pages rendered by pydoc, cached, kept over restarts in a snapshot."""

import argparse
import importlib
import json
import os
import pathlib
import pydoc
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from cache import Cache, DistributedCache

PAGE_LIFE = 600.0  # seconds
SNAPSHOT_INTERVAL = 0.5  # seconds

# Modules that import each other (asyncio, _asyncio) may come out half made where two threads begin
# at two ends of the circle: the interpreter prefers that to a deadlock. And CPython 3.11 may raise
# a SystemError where two threads parse at once, which pydoc does.
_rendering = threading.Lock()


def render(module: str) -> str:
    """Return pydoc's page for a module of the standard library, as text."""
    with _rendering:
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            return f"{module} cannot be imported on this system: {error}"
        return pydoc.plain(pydoc.render_doc(found))


class Handler(BaseHTTPRequestHandler):
    """Answer GET /<module> with its page and GET /-/stats with the cache's counters."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cache: Cache[str]

    def page(self, module: str) -> str:
        """Return a module's page."""
        return self.cache.get_or_set(module, lambda: render(module), PAGE_LIFE)

    def stats(self) -> dict[str, Any]:
        """Return the cache's counters."""
        return self.cache.stats()._asdict()

    def do_GET(self) -> None:
        path = unquote(self.path[1:])
        if path == "-/stats":
            self.answer(200, json.dumps(self.stats()))
        elif path.split(".")[0] not in sys.stdlib_module_names:
            self.answer(404, "no module of the standard library")
        else:
            try:
                page = self.page(path)
            except Exception as error:
                self.answer(500, f"{type(error).__name__}: {error}")
            else:
                self.answer(200, page)

    def answer(self, status: int, text: str) -> None:
        """Send a text."""
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing: the terminal is the client's."""


class Server(ThreadingHTTPServer):
    """A server that takes all of the client's connections at once."""

    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what goes wrong, but not that a client hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def keep_saving(cache: DistributedCache[str], snapshot: pathlib.Path) -> None:
    """Save again and again, so that a crash costs the pages of half a second."""
    pause = threading.Event()
    while not pause.wait(SNAPSHOT_INTERVAL):
        cache.save(snapshot)


def end_with_the_client() -> None:
    """End the process when whoever started it closes our standard input, be it by dying."""
    sys.stdin.read()
    os._exit(0)


def serve(handler: type[Handler]) -> None:
    """Serve until the client goes; print the port first."""
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=end_with_the_client, daemon=True).start()
    print(server.server_address[1], flush=True)
    # Modules may print or warn when they are imported; the terminal is the client's.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    warnings.simplefilter("ignore")
    server.serve_forever()


def main() -> None:
    """Serve until killed; print the port first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("snapshot", type=pathlib.Path, help="to start warm from, and to save to")
    parser.add_argument("--max-size", type=int, default=1000)
    options = parser.parse_args()
    cache: DistributedCache[str] = DistributedCache(options.max_size)
    if options.snapshot.exists():
        cache.load(options.snapshot)
    Handler.cache = cache
    threading.Thread(target=keep_saving, args=(cache, options.snapshot), daemon=True).start()
    serve(Handler)


if __name__ == "__main__":
    main()
