"""Ask the documentation service for pages, kill it, restart it warm, and tell what it took.

Eight threads ask over HTTP for modules in the order in which the standard library's own sources
import them.
"""

import argparse
import http.client
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

from .references import references

ROOT = pathlib.Path(__file__).parents[2]
THREADS = 8
PATIENCE = 30.0  # seconds that anything may take


class Service:
    """The server's process; `kill` must be called in the end."""

    def __init__(self, snapshot: pathlib.Path, max_size: int) -> None:
        self._snapshot = snapshot
        module = f"{__package__}.server"
        # It ends when its standard input does, so it does not outlive us even if we are killed.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(snapshot), "--max-size", str(max_size)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if not first:
            self.kill()
            raise SystemExit("the server did not start; what it said stands above")
        self.port = int(first)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, no goodbye."""
        self._process.kill()
        self._process.communicate()

    def stats(self) -> dict[str, int]:
        """Return the counters of its cache."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", "/-/stats")
        counters: dict[str, int] = json.loads(connection.getresponse().read())
        connection.close()
        return counters

    def wait_for_a_snapshot(self) -> None:
        """Wait until it has saved what it holds now.

        That is two saves: the first to end may have begun before we asked.
        """
        patience = time.monotonic() + PATIENCE
        for _ in range(2):
            before = self._saved_at()
            while self._saved_at() == before:
                if time.monotonic() > patience:
                    raise SystemExit(f"the server saved no snapshot in {PATIENCE:.0f} seconds")
                time.sleep(0.05)

    def _saved_at(self) -> int:
        try:
            return self._snapshot.stat().st_mtime_ns
        except FileNotFoundError:
            return 0


class Round(NamedTuple):
    """What asking for all pages once took."""

    seconds: float
    latencies: list[float]
    failures: list[str]


def ask(port: int, modules: list[str], label: str) -> Round:
    """Ask for all modules with eight threads, and show how far they are."""
    turn = itertools.count()
    latencies: list[float] = []
    failures: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        while (at := next(turn)) < len(modules):
            began = time.perf_counter()
            try:
                connection.request("GET", f"/{modules[at]}")
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{modules[at]}: {error!r}")
                connection.close()
            else:
                if response.status != 200:
                    failures.append(f"{modules[at]}: {response.status}, {body.decode()}")
            latencies.append(time.perf_counter() - began)
        connection.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
            print(f"\r{label:<10}{len(latencies):>6,} of {len(modules):,} pages", end="")
            sys.stdout.flush()
    print()
    return Round(time.perf_counter() - began, latencies, failures)


HEAD = (
    f"{'':<16}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'hits':>11}{'misses':>11}"
    f"{'evictions':>11}"
)


def row(label: str, took: Round, before: dict[str, int], after: dict[str, int]) -> str:
    """Return a line of the table."""
    cuts = statistics.quantiles(took.latencies, n=100)
    times = f"{cuts[49] * 1000:>10.2f}{cuts[98] * 1000:>10.2f}"
    names = ("hits", "misses", "evictions")
    counts = "".join(f"{after[name] - before[name]:>11,}" for name in names)
    return f"{label:<16}{len(took.latencies) / took.seconds:>12,.0f}{times}{counts}"


def main() -> int:
    """Run the three rounds; return 0 where every page came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="at least 2")
    parser.add_argument(
        "--max-size", type=int, help="pages that the cache holds; some fewer than there are"
    )
    options = parser.parse_args()
    modules = references(options.requests)
    max_size = options.max_size or max(round(len(set(modules)) * 0.97), 1)
    print(f"{len(modules):,} references to {len(set(modules)):,} modules, {THREADS} threads")
    lines: list[str] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        snapshot = pathlib.Path(folder, "pages.snapshot")
        service = Service(snapshot, max_size)
        try:
            for label in ("cold", "warm", "restarted"):
                if label == "restarted":
                    service.wait_for_a_snapshot()
                    service.kill()
                    service = Service(snapshot, max_size)
                    print(f"killed with SIGKILL, restarted with {service.stats()['size']} pages")
                before = service.stats()
                took = ask(service.port, modules, label)
                lines.append(row(label, took, before, service.stats()))
                failures += took.failures
        finally:
            service.kill()
    print("", HEAD, *lines, sep="\n")
    for failure in failures[:10]:
        print("failed:", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
