"""Serve documentation from four processes with near caches on one server, and kill that server.

Eight threads ask all four for pages, while an editor publishes new editions of some. Told is how
often each page was rendered in the whole fleet, whether a request failed, and how long a page was
still given out after the next edition had been published.
"""

import argparse
import http.client
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.servers import Server as CacheServer
from tests.servers import binaries

from ..docs_service.references import references

ROOT = pathlib.Path(__file__).parents[2]
PROCESSES = 4
THREADS = 8
BOUND = 3.0  # seconds that a copy may stay in a near cache
PATIENCE = 30.0  # seconds that anything may take
EDITED = 0.05  # seconds between two new editions


class Process:
    """A process of the fleet; `kill` must be called in the end."""

    def __init__(self, url: str, editions: pathlib.Path) -> None:
        module = f"{__package__}.server"
        # It ends when its standard input does, so it does not outlive us even if we are killed.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, url, str(editions), "--bound", str(BOUND)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> int:
        """Return its port, once it serves."""
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if not first:
            raise SystemExit("a process of the fleet did not start; what it said stands above")
        return int(first)

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Answer(NamedTuple):
    """What a request came to."""

    began: float
    seconds: float
    module: str
    edition: int | None  # None where it failed


class Fleet:
    """The processes from outside: asks them, edits pages, and keeps account of both."""

    def __init__(self, ports: list[int], editions: pathlib.Path) -> None:
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self.published: dict[str, list[float]] = {}  # when each edition after the first was out
        self._ports = ports
        self._editions = editions
        self._local = threading.local()

    def request(self, number: int, method: str, path: str) -> str:
        """Return what process `number` answers, over a connection of this thread's own."""
        connections = vars(self._local).setdefault("connections", {})
        if number not in connections:
            connections[number] = http.client.HTTPConnection(
                "127.0.0.1", self._ports[number], timeout=PATIENCE
            )
        try:
            connections[number].request(method, path)
            response = connections[number].getresponse()
            body: str = response.read().decode()
        except (OSError, http.client.HTTPException):
            connections.pop(number).close()
            raise
        if response.status != 200:
            raise ValueError(f"{response.status}, {body}")
        return body

    def hang_up(self) -> None:
        """Close this thread's connections."""
        for connection in vars(self._local).pop("connections", {}).values():
            connection.close()

    def ask(self, number: int, module: str) -> None:
        """Ask process `number` for a page, and note what comes."""
        began, edition = time.monotonic(), None
        try:
            edition = int(self.request(number, "GET", f"/{module}").partition("\n")[0])
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.failures.append(f"{module}: {error!r}")
        self.answers.append(Answer(began, time.monotonic() - began, module, edition))

    def edit(self, number: int, module: str) -> None:
        """Publish another edition of a page, and tell process `number`."""
        times = self.published.setdefault(module, [])
        file = self._editions / f".{module}"
        file.write_text(str(len(times) + 1))
        file.replace(self._editions / module)
        try:
            self.request(number, "POST", f"/{module}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.failures.append(f"editing {module}: {error!r}")
        times.append(time.monotonic())

    def rendered(self) -> Counter[str]:
        """Return how often each page was rendered, in all processes together."""
        found = Counter[str]()
        for number in range(len(self._ports)):
            found.update(json.loads(self.request(number, "GET", "/-/stats")))
        return found

    def stale(self, answers: list[Answer]) -> list[float]:
        """Return how long the next edition was out when an older one was asked for and given."""
        found = []
        for answer in answers:
            times = self.published.get(answer.module, [])
            if answer.edition is not None and answer.edition < len(times):
                late = answer.began - times[answer.edition]
                found += [late] if late > 0 else []
        return found


def together(work: Callable[[int], None]) -> None:
    """Run `work(number)` in all threads, and wait for them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cold(fleet: Fleet, modules: list[str]) -> None:
    """Ask for every page at all processes at once, twice at each."""

    def work(number: int) -> None:
        for module in modules:
            fleet.ask(number % PROCESSES, module)
        fleet.hang_up()

    together(work)


def busy(fleet: Fleet, modules: list[str], seconds: float) -> None:
    """Ask for pages at random for a while, and edit some of them."""
    end = time.monotonic() + seconds

    def work(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < end:
            fleet.ask(dice.randrange(PROCESSES), dice.choice(modules))
        fleet.hang_up()

    def edit() -> None:
        dice = random.Random(0)
        while time.monotonic() < end:
            fleet.edit(dice.randrange(PROCESSES), dice.choice(modules))
            time.sleep(EDITED)
        fleet.hang_up()

    editor = threading.Thread(target=edit)
    editor.start()
    together(work)
    editor.join()


HEAD = (
    f"{'':<14}{'requests':>10}{'failed':>8}{'p50 ms':>9}{'p99 ms':>9}{'rendered':>10}"
    f"{'edited':>8}{'given stale':>13}{'oldest s':>10}"
)


class Round(NamedTuple):
    """What happened between two looks at the fleet."""

    label: str
    answers: list[Answer]
    rendered: Counter[str]
    edited: int
    stale: list[float]

    def row(self) -> str:
        """Return a line of the table."""
        cuts = statistics.quantiles([answer.seconds for answer in self.answers], n=100)
        failed = sum(answer.edition is None for answer in self.answers)
        return (
            f"{self.label:<14}{len(self.answers):>10,}{failed:>8}"
            f"{cuts[49] * 1000:>9.2f}{cuts[98] * 1000:>9.1f}{self.rendered.total():>10,}"
            f"{self.edited:>8,}{len(self.stale):>13,}{max(self.stale, default=0.0):>10.3f}"
        )


def play(fleet: Fleet, server: CacheServer, modules: list[str], seconds: float) -> Iterator[Round]:
    """Play the four rounds, and yield what happened in each."""
    before = Counter[str]()
    for label in ("cold", "warm", "server killed", "server back"):
        print(f"{label}…", flush=True)
        first, edits = len(fleet.answers), sum(map(len, fleet.published.values()))
        if label == "server killed":
            server.kill()
        elif label == "server back":
            server.restart()
        if label == "cold":
            cold(fleet, modules)
        else:
            busy(fleet, modules, seconds)
        answers, after = fleet.answers[first:], fleet.rendered()
        edited = sum(map(len, fleet.published.values())) - edits
        yield Round(label, answers, after - before, edited, fleet.stale(answers))
        before = after
    fleet.hang_up()


def main() -> int:
    """Return 0 where no request failed, a page was rendered once, and none outlived the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round but the first")
    parser.add_argument("--server", default=next(iter(binaries().values()), None))
    options = parser.parse_args()
    if options.server is None:
        print("There is no redis-server or valkey-server on the PATH.")
        return 1
    modules = list(dict.fromkeys(references(50 * options.pages)))[: options.pages]
    processes: list[Process] = []
    with tempfile.TemporaryDirectory() as folder:
        editions = pathlib.Path(folder, "editions")
        editions.mkdir()
        server = CacheServer(options.server, pathlib.Path(folder, "server")).start()
        try:
            processes += [Process(server.url, editions) for _ in range(PROCESSES)]
            fleet = Fleet([process.wait() for process in processes], editions)
            print(f"{len(modules)} pages, {PROCESSES} processes, {THREADS} threads, one server")
            rounds = list(play(fleet, server, modules, options.seconds))
        finally:
            for process in processes:
                process.kill()
            server.kill()
    most = max(rounds[0].rendered.values())
    oldest = max(max(each.stale, default=0.0) for each in rounds)
    print("", HEAD, *(each.row() for each in rounds), "", sep="\n")
    print(f"Cold, no page was rendered more than {most} time(s) in the whole fleet.")
    print(f"The oldest page was given out {oldest:.3f} s after its next edition; bound {BOUND} s.")
    for failure in fleet.failures[:10]:
        print("failed:", failure)
    return 1 if fleet.failures or oldest > BOUND or most > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
