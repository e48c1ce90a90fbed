"""Processes that each own a copy of the project, put one mutant after another in it and try it.

A worker has imported all that the tests need but `cache`. For each mutant it forks: the child
imports the mutated package and runs the tests, the worker reads from a pipe which one runs. A
mutant is killed when a test fails, when `cache` cannot be imported, when the interpreter crashes,
and when a test takes many times as long as it ought to.
"""

import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from .plugin import ARGUMENTS, Chosen, files_of, settle, write_bytecode

IGNORED = [".git", ".venv*", ".build", "build", "__pycache__", ".*_cache", ".hypothesis"]
GRACE = 10.0  # seconds beyond a test's limit in which it may still report
STARTUP = 60.0  # seconds until the first test begins
MEMORY = 8 << 30
FILE = 2 << 30
_age = itertools.count(10, 10)  # seconds by which each mutant's file is newer than the true one


@dataclasses.dataclass(frozen=True)
class Trial:
    """A module's source and the tests to run on it, in that order, until one fails.

    Where `tests` is None, all are run, whatever fails: a control, of the true source.
    """

    path: str
    source: bytes
    tests: list[str] | None


@dataclasses.dataclass
class Outcome:
    """How a trial ended: `survives`, `fails`, `hangs`, `crashes` or `breaks` at import."""

    verdict: str
    test: str = ""  # the one that noticed
    costs: dict[str, float] = dataclasses.field(default_factory=dict)  # seconds, by test
    failed: set[str] = dataclasses.field(default_factory=set)
    seconds: float = 0.0


def copied(project: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """Copy the project, without what is made from it, and return where."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(project, to, ignore=shutil.ignore_patterns(*IGNORED))
    return to


class Worker:
    """One process and its copy of the project."""

    pipes: ClassVar[list[Any]] = []  # our ends, of which no worker may keep one open

    def __init__(self, folder: pathlib.Path, suites: list[str]) -> None:
        self.ours, theirs = multiprocessing.Pipe()
        self.pipes.append(self.ours)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_work, args=(folder, suites, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def try_(self, trial: Trial) -> None:
        """Begin a trial; `ours` has its Outcome later."""
        self.ours.send(trial)

    def know(self, costs: dict[str, float]) -> None:
        """Tell the worker what each test costs, in seconds, so that it knows what hangs."""
        self.ours.send(costs)

    def close(self) -> None:
        """End the process."""
        self.pipes.remove(self.ours)
        self.ours.close()
        self.process.join(30)


def tried(
    workers: list[Worker], trials: Iterable[tuple[Any, Trial]]
) -> Iterator[tuple[Any, Outcome]]:
    """Let the workers try all trials, and yield what each was named and how it ended."""
    waiting = iter(trials)
    busy: dict[Any, tuple[Worker, Any]] = {}
    free = list(workers)
    while True:
        while free:
            following = next(waiting, None)
            if following is None:
                break
            worker = free.pop()
            worker.try_(following[1])
            busy[worker.ours] = worker, following[0]
        if not busy:
            return
        for pipe in multiprocessing.connection.wait(list(busy)):
            worker, name = busy.pop(pipe)
            free.append(worker)
            yield name, worker.ours.recv()


def _work(folder: pathlib.Path, suites: list[str], pipe: Any) -> None:
    for inherited in Worker.pipes:
        inherited.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(folder)
    sys.path[:0] = [str(folder)]
    # Another copy's modules must not come with the ones that the pool was started from.
    sys.path[:] = [path for path in sys.path if path not in ("", str(folder.parents[2]))]
    settle()
    _import_what_tests_need()
    costs: dict[str, float] = {}
    with contextlib.suppress(EOFError):
        while True:
            message = pipe.recv()
            if isinstance(message, Trial):
                pipe.send(_outcome(folder, message, suites, costs))
            else:
                costs = message


def _import_what_tests_need() -> None:
    import _hypothesis_pytestplugin  # noqa: F401
    import freezegun.api  # noqa: F401
    import hypothesis.stateful  # noqa: F401
    import pytest  # noqa: F401
    import pytest_timeout  # noqa: F401

    with contextlib.suppress(ImportError):  # the tests that need it are skipped then
        import redis  # noqa: F401

    assert not any(name.partition(".")[0] == "cache" for name in sys.modules)


def _outcome(
    folder: pathlib.Path, trial: Trial, suites: list[str], costs: dict[str, float]
) -> Outcome:
    """Put a mutant in its place, try it and take it away again."""
    file = folder / trial.path
    former, status = file.read_bytes(), file.stat()
    began = time.monotonic()
    file.write_bytes(trial.source)
    # No bytecode but its own may be taken for the mutant's: programs that tests start may write it.
    os.utime(file, (status.st_atime, status.st_mtime + next(_age)))
    try:
        outcome = _forked(folder, trial, suites, costs)
    finally:
        file.write_bytes(former)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    outcome.seconds = time.monotonic() - began
    return outcome


def _forked(
    folder: pathlib.Path, trial: Trial, suites: list[str], costs: dict[str, float]
) -> Outcome:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _try(folder, trial, suites, costs, writing)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(99)
    os.close(writing)
    outcome = Outcome("breaks")
    try:
        with open(reading, "rb", buffering=0) as lines:
            for word, test, value in _told(lines.fileno(), outcome):
                if word == "began":
                    outcome.test = test
                elif word == "failed":
                    outcome.verdict, outcome.test = value, test
                    outcome.failed.add(test)
                    if trial.tests is not None:
                        break
                elif word == "ended":
                    outcome.costs[test] = value
                elif value == 0 or outcome.failed:
                    outcome.verdict, outcome.test = ("fails" if value else "survives"), ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if outcome.verdict == "breaks" and outcome.test:
        outcome.verdict = "crashes"
    return outcome


def _told(descriptor: int, outcome: Outcome) -> Iterator[tuple[str, str, Any]]:
    """Yield what the child tells, until it ends or is silent for too long."""
    pending, patience = b"", STARTUP
    while True:
        ready, _, _ = select.select([descriptor], [], [], patience)
        if not ready:
            outcome.verdict = "hangs"
            return
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            word, test, value = json.loads(line)
            patience = STARTUP if word == "ended" else GRACE
            if word == "began":
                patience += value
            yield word, test, value
            if word == "exit":
                return


def _try(
    folder: pathlib.Path, trial: Trial, suites: list[str], costs: dict[str, float], writing: int
) -> None:
    """Run the tests, in a child."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    import pytest

    def tell(*words: Any) -> None:
        os.write(writing, json.dumps(words).encode() + b"\n")

    def limit(test: str) -> float:
        return 6 + 10 * costs.get(test, 5.0)

    ranks = None if trial.tests is None else {test: rank for rank, test in enumerate(trial.tests)}
    if ranks is None:
        write_bytecode(True)  # once, for all trials that follow
    arguments = [*ARGUMENTS, "--tb=short", f"--basetemp={folder}.tmp"]
    files = suites if ranks is None else files_of(ranks)
    status = pytest.main([*arguments, *files], plugins=[Chosen(ranks, limit, tell)])
    tell("exit", "", int(status))
    sys.stdout.flush()
