"""Running the tests of a clause, or of a module, against a copy of the project with a broken cache.

Each process of the pool owns a copy and has imported all that the tests need but `cache`. For each
trial it puts the broken files into its copy and forks; the child imports the cache and runs the
tests until one fails by assertion. The test that noticed last time is tried first, and alone: it
costs a fraction of collecting all tests of the clause.
"""

import ast
import contextlib
import json
import multiprocessing
import os
import pathlib
import py_compile
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from .deviation import Deviation
from .verdict import Watch

ROOT = pathlib.Path(__file__).parents[2]
SUBJECT = ("cache", "tests", "docs", "metatests/broken", "conftest.py", "conformance.py")
NOTICED = pathlib.Path(__file__).with_name("noticed.json")
TIMEOUT = 400.0  # seconds; the true cache runs all suites
ARGUMENTS = [
    *("-q", "-c", "setup.cfg", "--tb=short", "-o", "timeout=60"),
    # No plugin is loaded by itself. They are imported before pytest starts: nothing to rewrite.
    *("-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
]
# The tests of each module of the server's side, in tests/redis.
SUITES = {
    "breaker": ("test_breaker.py", "test_outages.py"),
    "near": ("test_near.py", "test_redis_cache.py", "test_orders.py"),
    "tracking": ("test_listening.py", "test_tracking.py"),
    "redis_cache": (
        *("test_orders.py", "test_redis_cache.py", "test_coherence.py", "test_outages.py"),
        "test_promises.py",
    ),
    "remote/calls": ("test_remote_parts.py", "test_orders.py", "test_inside.py", "test_outages.py"),
    "remote/leases": ("test_remote_parts.py", "test_orders.py", "test_redis_cache.py"),
    "remote/link": (
        *("test_remote_parts.py", "test_inside.py", "test_redis_cache.py", "test_outages.py"),
        *("test_orders.py", "test_redis_cache_fleets.py", "test_cluster_changes.py"),
    ),
}

_numbers = iter(
    range(10, 10**9, 10)
)  # seconds by which each trial's files are newer than the last's
_folder = ROOT  # this process's copy of the project


@dataclass(frozen=True)
class Trial:
    """Files of `cache/` to change, by their path in it, and the tests to run.

    `clauses` is what `--clauses` takes, or None where `files` hold the tests of a module.
    """

    sources: dict[str, str]
    clauses: str | None
    files: tuple[str, ...]
    first: str | None = None


@dataclass
class Verdict:
    """How the tests of a clause ended."""

    passed: bool
    noticed_by: str | None = None  # the test that has failed by assertion
    report: str = ""
    seconds: float = field(default=0.0, compare=False)


def trial_of(deviation: Deviation, noticed: dict[str, str]) -> Trial:
    """Return the trial of a deviation."""
    sources = deviation.sources(ROOT / "cache")
    first = noticed.get(str(deviation))
    if deviation.clause in SUITES:
        files = tuple(f"tests/redis/{name}" for name in _present(SUITES[deviation.clause]))
        return Trial(sources, None, files, first)
    return Trial(sources, deviation.clause, tuple(suites(deviation.clause)), first)


def control(clauses: str) -> Trial:
    """Return the trial of the true cache, written as edited modules are: by `ast.unparse`."""
    package = ROOT / "cache"
    sources = {
        file.relative_to(package).as_posix(): ast.unparse(ast.parse(file.read_text("utf-8")))
        for file in package.rglob("*.py")
    }
    return Trial(sources, clauses, tuple(suites(clauses)))


def _present(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (ROOT / "tests" / "redis" / name).exists()]


def suites(clauses: str) -> list[str]:
    """Return the files with tests of `clauses`, those most likely to notice first.

    To collect the others too, only to leave them out, would take most of a run's time.
    """
    tests = ROOT / "tests"
    files = [*tests.glob("test_r[0-9][0-9]_*.py"), *(tests / "process").glob("test_*.py")]
    marks = [f'"{clause}"' for clause in clauses.split(",")]
    own = "test_r{:>02}_".format(clauses[1:].partition(".")[0])

    def later(file: pathlib.Path) -> tuple[int, bool, pathlib.Path]:
        return len(file.parts), not file.name.startswith(own), file

    return [
        str(file.relative_to(ROOT))
        for file in sorted(files, key=later)
        if any(mark in file.read_text("utf-8") for mark in marks)
    ]


def noticed() -> dict[str, str]:
    """Return which test noticed which deviation last, as far as that is on record."""
    if not NOTICED.exists():
        return {}
    found: dict[str, str] = json.loads(NOTICED.read_text("utf-8"))
    return found


@contextlib.contextmanager
def pool(folder: pathlib.Path, processes: int | None = None) -> Iterator["Pool"]:
    """Run the processes that try deviations, each in a copy of the project in `folder`."""
    # Not threads: on CPython 3.11 two of them cannot parse at a time (python/cpython#106905).
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes or os.cpu_count(), context, _begin, (folder,))
    try:
        yield Pool(executor)
    finally:
        executor.shutdown(cancel_futures=True)


class Pool:
    """Processes that try deviations."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    def begin(self, trial: Trial) -> "Future[Verdict]":
        """Begin a trial as soon as a process is free."""
        return self._executor.submit(run, trial)


def _begin(folder: pathlib.Path) -> None:
    """Make this process ready: a copy of the project, and what its tests import."""
    global _folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _folder = copied(folder / f"copy-{os.getpid()}")
    os.chdir(_folder)
    sys.path[:] = [str(_folder), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "PYTHONPA"))]:
        del os.environ[name]
    settle()
    _import_what_tests_need()
    # Bytecode is written once, here: of what trials change, none must be taken for the true one's.
    for module in (_folder / "cache").rglob("*.py"):
        py_compile.compile(str(module), doraise=True)
    _forked(["--collect-only", "tests"], 60.0, write=True)


def copied(folder: pathlib.Path) -> pathlib.Path:
    """Copy to `folder` what the trials need of the project, and return it."""
    litter = shutil.ignore_patterns("__pycache__")
    for name in SUBJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=litter)
        else:
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(ROOT / "metatests" / "__init__.py", folder / "metatests")
    shutil.copy2(ROOT / "setup.cfg", folder)
    return folder


def settle() -> None:
    """Make what is random in the suites the same in every run; load no plugin by itself."""
    from hypothesis import settings

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    settings.register_profile("trials", derandomize=True, database=None, deadline=None)
    settings.load_profile("trials")
    write_bytecode(False)


def write_bytecode(write: bool) -> None:
    """Let this process and those that it starts write bytecode, or not; they read it either way."""
    sys.dont_write_bytecode = not write
    os.environ["PYTHONDONTWRITEBYTECODE"] = "" if write else "1"


def _import_what_tests_need() -> None:
    import _hypothesis_pytestplugin  # noqa: F401
    import freezegun.api  # noqa: F401
    import hypothesis.stateful  # noqa: F401
    import pytest  # noqa: F401
    import pytest_timeout  # noqa: F401

    with contextlib.suppress(ImportError):  # the tests that need it are skipped then
        pass

    assert not any(name.partition(".")[0] == "cache" for name in sys.modules)


def run(trial: Trial) -> Verdict:
    """Put the changed files in place, try the tests and take the files away again."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for path, source in trial.sources.items():
            _put(stack, _folder / "cache" / path, source)
        chosen = [] if trial.clauses is None else [f"--clauses={trial.clauses}"]
        verdict = Verdict(False)
        if trial.first is not None:
            verdict = _forked([*chosen, trial.first], 90.0)
        if verdict.noticed_by is None:
            verdict = _forked([*chosen, *trial.files], TIMEOUT)
    verdict.seconds = time.monotonic() - began
    return verdict


def _put(stack: contextlib.ExitStack, file: pathlib.Path, source: str) -> None:
    former, status = file.read_bytes(), file.stat()

    def restore() -> None:
        file.write_bytes(former)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    stack.callback(restore)
    file.write_text(source, "utf-8")
    # Neither the true file's bytecode nor that of a former trial must be taken for this one's.
    os.utime(file, (status.st_atime, status.st_mtime + next(_numbers)))


def _forked(arguments: list[str], seconds: float, write: bool = False) -> Verdict:
    """Run pytest in a child, until a test fails by assertion, for so many seconds at the most."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _child(arguments, writing, write)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(99)
    os.close(writing)
    failures, status = [], None
    try:
        for told in _told(reading, seconds):
            if "status" in told:
                status = told["status"]
                break
            failures.append(told)
            if told["asserted"]:
                break
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # threads that a broken cache has stopped, servers
        os.waitpid(child, 0)
    noticed = [failure["test"] for failure in failures if failure["asserted"]]
    errors = "\n".join(f"{failure['test']}: {failure['error']}" for failure in failures)
    log = pathlib.Path(f"{_folder}.log").read_text("utf-8", "replace")
    return Verdict(status == 0, noticed[0] if noticed else None, f"{errors}\n{log[-3000:]}")


def _told(descriptor: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what the child tells, until it ends or time is up."""
    pending, end = b"", time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        yield from map(json.loads, lines)


def _child(arguments: list[str], writing: int, write: bool) -> None:
    """Run the tests, in a child."""
    os.setpgid(0, 0)
    log = os.open(f"{_folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    write_bytecode(write)
    import pytest

    def tell(**told: Any) -> None:
        os.write(writing, json.dumps(told).encode() + b"\n")

    status = pytest.main([*ARGUMENTS, f"--basetemp={_folder}.tmp", *arguments], [Watch(tell)])
    sys.stdout.flush()
    tell(status=int(status))
