"""Ask the documentation service for pages, kill it, restart it warm, and tell what it took.

Eight threads ask over HTTP for modules in the order in which the standard library's own sources
import them: a real stream of references that is found on every machine.
"""

import argparse
import ast
import http.client
import importlib.util
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator

# They open windows or browsers, print, need what is not everywhere, or are not meant to be read.
LEFT_OUT = {
    *("antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo"),
    *("msilib", "winreg", "winsound", "msvcrt", "nt", "_winapi", "__main__"),
}
THREADS = 8


def imports() -> Iterator[str]:
    """Yield the modules that the standard library's sources import, in their order."""
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for source in sorted([*library.glob("*.py"), *library.glob("*/*.py")]):
        top = source.relative_to(library).parts[0].removesuffix(".py")
        if top in LEFT_OUT or top == "site-packages":
            continue
        try:
            tree = ast.parse(source.read_bytes())
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module


def references(most: int) -> list[str]:
    """Return the first `most` imports of modules that exist on this machine."""
    known: dict[str, bool] = {}

    def exists(name: str) -> bool:
        top = name.split(".")[0]
        if top in LEFT_OUT or top not in sys.stdlib_module_names:
            return False
        try:
            return importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            return False

    def wanted(name: str) -> bool:
        if name not in known:
            known[name] = exists(name)
        return known[name]

    return list(itertools.islice(filter(wanted, imports()), most))


class Service:
    """The server's process."""

    def __init__(self, snapshot: pathlib.Path, max_size: int) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "examples.docs_service.server",
                str(snapshot),
                "--max-size",
                str(max_size),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, no goodbye."""
        self._process.kill()
        self._process.communicate()

    def stats(self) -> dict[str, int]:
        """Return the counters of its cache."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/-/stats")
        counters: dict[str, int] = json.loads(connection.getresponse().read())
        connection.close()
        return counters


def ask(port: int, modules: list[str], label: str) -> tuple[float, list[float], list[str]]:
    """Ask for all modules with eight threads; return seconds, latencies and failures."""
    turn = itertools.count()
    latencies: list[float] = []
    failures: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while (at := next(turn)) < len(modules):
            began = time.perf_counter()
            connection.request("GET", f"/{modules[at]}")
            response = connection.getresponse()
            response.read()
            latencies.append(time.perf_counter() - began)
            if response.status != 200:
                failures.append(modules[at])
        connection.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        threads[0].join(0.2)
        for thread in threads:
            thread.join(0.02)
        print(f"\r{label:<8} {len(latencies):>6,} of {len(modules):,} pages", end="", flush=True)
    print()
    return time.perf_counter() - began, latencies, failures


def row(label: str, seconds: float, latencies: list[float], difference: dict[str, int]) -> str:
    """Return a line of the table."""
    cuts = statistics.quantiles(latencies, n=100)
    counts = "".join(f"{difference[name]:>11,}" for name in ("hits", "misses", "evictions"))
    rate = len(latencies) / seconds
    return f"{label:<16}{rate:>12,.0f}{cuts[49] * 1000:>10.2f}{cuts[98] * 1000:>10.2f}{counts}"


def main() -> int:
    """Run the three rounds; return 0 where every page came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--max-size", type=int, default=280)
    options = parser.parse_args()
    modules = references(options.requests)
    print(f"{len(modules):,} references to {len(set(modules)):,} modules, {THREADS} threads")
    lines: list[str] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        snapshot = pathlib.Path(folder, "pages.snapshot")
        service = Service(snapshot, options.max_size)
        try:
            before = service.stats()
            for label in ("cold", "warm", "restarted"):
                if label == "restarted":
                    time.sleep(1.2)  # more than two intervals of its snapshots
                    service.kill()
                    service = Service(snapshot, options.max_size)
                    before = service.stats()
                    print(f"killed with SIGKILL, restarted with {before['size']} pages")
                seconds, latencies, failed = ask(service.port, modules, label)
                failures += failed
                after = service.stats()
                counted = {name: after[name] - before[name] for name in after}
                lines.append(row(label, seconds, latencies, counted))
                before = after
        finally:
            service.kill()
    head = "".join(f"{name:>10}" for name in ("p50 ms", "p99 ms"))
    counts = "".join(f"{name:>11}" for name in ("hits", "misses", "evictions"))
    print(f"\n{'':<16}{'requests/s':>12}{head}{counts}", *lines, sep="\n")
    if failures:
        print(f"{len(failures)} requests failed: {', '.join(sorted(set(failures)))}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
