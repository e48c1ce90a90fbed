"""A documentation service: pages rendered by pydoc, cached, kept over restarts in a snapshot."""

import argparse
import contextlib
import importlib
import io
import json
import os
import pydoc
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from cache import DistributedCache

PAGE_LIFE = 600.0  # seconds
SNAPSHOT_INTERVAL = 0.5  # seconds


def render(module: str) -> str:
    """Return pydoc's page for a module of the standard library, as text."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydoc.plain(pydoc.render_doc(importlib.import_module(module)))
        except ImportError as error:
            return f"{module} cannot be imported on this system: {error}"


class Handler(BaseHTTPRequestHandler):
    """Answer GET /<module> with its page and GET /-/stats with the cache's counters."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cache: DistributedCache[str]

    def do_GET(self) -> None:
        path = unquote(self.path[1:])
        if path == "-/stats":
            self._answer(200, json.dumps(self.cache.stats()._asdict()))
        elif path.split(".")[0] not in sys.stdlib_module_names:
            self._answer(404, "no module of the standard library")
        else:
            try:
                self._answer(200, self.cache.get_or_set(path, lambda: render(path), PAGE_LIFE))
            except Exception as error:
                self._answer(500, f"{type(error).__name__}: {error}")

    def _answer(self, status: int, text: str) -> None:
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


def main() -> None:
    """Serve until killed; print the port first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("snapshot", help="file to start warm from, and to save to")
    parser.add_argument("--max-size", type=int, default=500)
    options = parser.parse_args()
    Handler.cache = DistributedCache(options.max_size)
    if os.path.exists(options.snapshot):
        Handler.cache.load(options.snapshot)
    server = Server(("127.0.0.1", 0), Handler)

    def keep_saving() -> None:
        pause = threading.Event()
        while not pause.wait(SNAPSHOT_INTERVAL):
            Handler.cache.save(options.snapshot)

    threading.Thread(target=keep_saving, daemon=True).start()
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
