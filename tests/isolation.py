"""The kit's tests in processes of their own, so that a cache that ends its process ends no run.

A process runs the tests of one file and writes down what it begins and what came of it. Where it
ends early, the test that it was running has failed, and another process goes on with the next one.
"""

import contextlib
import itertools
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

OPTION = "--isolated-part"  # how a process is told its part; not for users
_SILENCE = 400.0  # seconds; more than the longest timeout of a test


class Parts:
    """Runs each file's tests in a process, and tells pytest what it reports."""

    def __init__(self) -> None:
        self.ended: list[str] = []  # the tests whose process ended, with the reason

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests in place of pytest's own loop."""
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} error(s) during collection")
        for _, items in itertools.groupby(session.items, key=lambda item: item.path):
            self._run(session, list(items))
        return True

    def _run(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        waiting = {item.nodeid: item for item in items}
        while waiting:
            running = None
            with tempfile.TemporaryDirectory() as folder:
                part = Part(pathlib.Path(folder), list(waiting))
                for entry in part.entries(session.config):
                    if "begun" in entry:
                        running = waiting[entry["begun"]]
                        _tell(session, "logstart", running)
                    elif "ended" in entry:
                        running = None
                        _tell(session, "logfinish", waiting.pop(entry["ended"]))
                    else:
                        _report(session, _restored(session.config, entry))
                if waiting:  # it ended in the middle of a test, or between two
                    item = running or next(iter(waiting.values()))
                    self.ended.append(f"{item.nodeid} ({part.reason})")
                    text = f"the process ended here: {part.reason}\n\n{part.last_words}"
                    _report(session, _failed(item, text))
                    _tell(session, "logfinish", waiting.pop(item.nodeid))


class Part:
    """One process and what it has to say."""

    def __init__(self, folder: pathlib.Path, tests: list[str]) -> None:
        self._told, self._said, self._output = (folder / name for name in ("told", "said", "out"))
        self._told.write_text(json.dumps({"tests": tests, "said": str(self._said)}))
        self._said.touch()
        self.reason = ""

    def entries(self, config: pytest.Config) -> Iterator[dict[str, Any]]:
        """Run the process, and yield what it says as it says it."""
        given = config.invocation_params
        command = [sys.executable, "-m", "pytest", *map(str, given.args), OPTION, str(self._told)]
        with (
            open(self._output, "wb") as output,
            open(self._said, encoding="utf-8") as said,
            subprocess.Popen(
                command, cwd=given.dir, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            ) as process,
        ):
            silent, rest = 0.0, ""
            try:
                while silent < _SILENCE:
                    over = process.poll() is not None  # asked first: nothing is written after it
                    *lines, rest = (rest + said.read()).split("\n")  # the last may be half a line
                    yield from map(json.loads, lines)
                    if over:
                        break
                    silent = 0.0 if lines else silent + 0.05
                    _pause(process)
            finally:
                process.kill()
        self.reason = _named(process.returncode) if silent < _SILENCE else "it hung"

    @property
    def last_words(self) -> str:
        """What the process wrote at the end, the traceback of faulthandler for one."""
        return self._output.read_text("utf-8", "replace")[-4_000:]


class Told:
    """In such a process: runs its part only, and writes down what happens."""

    def __init__(self, config: pytest.Config, told: str) -> None:
        part = json.loads(pathlib.Path(told).read_text("utf-8"))
        self._config = config
        self._tests = set(part["tests"])
        self._files = {(config.rootpath / test.partition("::")[0]) for test in self._tests}
        self._said = pathlib.Path(part["said"])

    def _say(self, **entry: Any) -> None:
        with open(self._said, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, default=str) + "\n")

    def pytest_ignore_collect(self, collection_path: pathlib.Path) -> bool | None:
        """Import no other file of tests."""
        is_another = collection_path.is_file() and collection_path not in self._files
        return True if is_another and collection_path.name.startswith("test_") else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what is not in this part."""
        items[:] = [item for item in items if item.nodeid in self._tests]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test is running."""
        self._say(begun=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pass the report on."""
        config = self._config
        self._say(report=config.hook.pytest_report_to_serializable(config=config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note that the test is over."""
        self._say(ended=nodeid)


def _pause(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.05)


def _tell(session: pytest.Session, hook: str, item: pytest.Item) -> None:
    call = getattr(session.config.hook, f"pytest_runtest_{hook}")
    call(nodeid=item.nodeid, location=item.location)


def _report(session: pytest.Session, report: pytest.TestReport) -> None:
    session.config.hook.pytest_runtest_logreport(report=report)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)


def _restored(config: pytest.Config, entry: dict[str, Any]) -> pytest.TestReport:
    report = config.hook.pytest_report_from_serializable(config=config, data=entry["report"])
    if isinstance(report.longrepr, list):  # JSON has no tuples
        report.longrepr = tuple(report.longrepr)
    return report  # type: ignore[no-any-return]


def _failed(item: pytest.Item, text: str) -> pytest.TestReport:
    return pytest.TestReport(
        item.nodeid, item.location, {}, "failed", text, "call", user_properties=item.user_properties
    )


def _named(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
