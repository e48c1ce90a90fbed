"""One process of the fleet: the documentation service, on a cache shared with the others."""

import argparse
import collections
import pathlib
import threading
from typing import Any
from urllib.parse import unquote

from cache import connect

from ..docs_service.server import PAGE_LIFE, Handler, render, serve


class FleetHandler(Handler):
    """Pages come in editions. POST /<module> says that there is another one."""

    editions: pathlib.Path  # a file for each page that was ever edited, with its edition's number
    rendered = collections.Counter[str]()  # guarded by _counting

    _counting = threading.Lock()

    def page(self, module: str) -> str:
        """Return a module's page below the number of its edition."""
        return self.cache.get_or_set(module, lambda: self._render(module), PAGE_LIFE)

    def _render(self, module: str) -> str:
        with self._counting:
            self.rendered[module] += 1
        try:
            edition = self.editions.joinpath(module).read_text()
        except FileNotFoundError:
            edition = "0"
        return f"{edition}\n{render(module)}"

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it so
        """Let go of the former edition, in all processes."""
        try:
            self.cache.delete(unquote(self.path[1:]))
        except Exception as error:
            self.answer(500, f"{type(error).__name__}: {error}")
        else:
            self.answer(200, "")

    def stats(self) -> dict[str, Any]:
        """Return how often this process rendered each page."""
        with self._counting:
            return dict(self.rendered)


def main() -> None:
    """Serve until killed; print the port first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where the cache's server is")
    parser.add_argument("editions", type=pathlib.Path, help="the folder with the editions")
    parser.add_argument("--bound", type=float, help="seconds that a copy may stay in a process")
    options = parser.parse_args()
    FleetHandler.cache = connect(
        options.url, namespace="docs", near=1000, staleness=options.bound, on_error="miss"
    )
    FleetHandler.editions = options.editions
    serve(FleetHandler)


if __name__ == "__main__":
    main()
