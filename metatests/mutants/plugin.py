"""What pytest is given besides the suites: for finding what tests reach, and for running few."""

import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import coverage
import pytest

# No plugin comes by itself. They are imported before pytest begins, and have nothing to rewrite.
ARGUMENTS = ["-q", "-c", "setup.cfg", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
ARGUMENTS += ["-p", "_hypothesis_pytestplugin", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
ENGINE = re.compile("(redis|valkey)-server")  # knows nothing of `cache/`
OUTSIDE = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec")


class Reach:
    """Notes the test that runs as coverage's context, and which tests start other processes."""

    def __init__(self) -> None:
        self.running = ""
        self.outside: set[str] = set()
        sys.addaudithook(self.watch)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in OUTSIDE and not ENGINE.search(repr(arguments[:1])):
            self.outside.add(self.running)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        measured = coverage.Coverage.current()
        assert measured is not None
        self.running = item.nodeid
        measured.switch_context(item.nodeid)
        yield
        measured.switch_context("")
        self.running = ""


class Chosen:
    """Runs the chosen tests in the order of their ranks, each within its limit of seconds.

    `tell` is told of each test as it begins, with its limit, and of its end.
    """

    def __init__(
        self,
        ranks: dict[str, int] | None,
        limit: Callable[[str], float],
        tell: Callable[..., None],
    ) -> None:
        self.ranks = ranks
        self.limit = limit
        self.tell = tell
        self.began = 0.0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        ranks = self.ranks
        if ranks is not None:
            items[:] = sorted(
                (item for item in items if item.nodeid in ranks),
                key=lambda item: ranks[item.nodeid],
            )
        for item in items:
            # A test whose own limit is longer would take minutes to find that a mutant hangs.
            item.add_marker(pytest.mark.timeout(self.limit(item.nodeid)), append=False)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.began = real_time()
        self.tell("began", nodeid, self.limit(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            hangs = "Timeout (>" in report.longreprtext
            self.tell("failed", report.nodeid, "hangs" if hangs else "fails")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.tell("ended", nodeid, real_time() - self.began)


real_time = time.perf_counter  # bound before any test freezes the clock


def files_of(tests: Collection[str]) -> list[str]:
    """Return the files that hold the tests, each once."""
    return sorted({test.partition("::")[0] for test in tests})


def settle() -> None:
    """Make what is random in the suites the same in every run; load no plugin by itself."""
    from hypothesis import settings

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

    settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
    settings.load_profile("mutants")
    write_bytecode(False)


def write_bytecode(write: bool) -> None:
    """Let this process and those that it starts write bytecode, or not; they read it either way."""
    sys.dont_write_bytecode = not write
    os.environ["PYTHONDONTWRITEBYTECODE"] = "" if write else "1"
