"""Running the tests of a clause against a copy of the project whose cache is broken."""

import ast
import json
import os
import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass

from .deviation import Edit

ROOT = pathlib.Path(__file__).parents[2]
SUBJECT = ("cache", "tests", "docs", "conftest.py", "conformance.py", "setup.cfg")
TIMEOUT = 400  # seconds; the true cache runs all suites


@dataclass(frozen=True)
class Verdict:
    """How the tests of a clause ended."""

    passed: bool
    noticed_by: str | None  # the test that has failed by assertion
    report: str


def copy(folder: pathlib.Path, edits: tuple[Edit, ...]) -> None:
    """Put the project into `folder`, with the edits made in its `cache/`.

    Every module of `cache/` is written as `ast.unparse` has it, edited or not, so that the control
    run sees what that alone does.
    """
    litter = shutil.ignore_patterns("__pycache__")
    for name in SUBJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=litter)
        else:
            shutil.copy(ROOT / name, folder / name)
    shutil.copy(pathlib.Path(__file__).with_name("verdict.py"), folder / "verdict.py")
    for module in (folder / "cache").glob("*.py"):
        source = ast.unparse(ast.parse(module.read_text("utf-8")))
        for edit in edits:
            if edit.module == module.stem:
                source = edit.apply(source)
        module.write_text(source, "utf-8")


def suites(folder: pathlib.Path, clauses: str) -> list[str]:
    """Return the files with tests of `clauses`, those most likely to notice first.

    To collect the others too, only to leave them out, would take most of a run's time.
    """
    tests = folder / "tests"
    files = [*tests.glob("test_r[01]*.py"), *(tests / "process").glob("test_*.py")]
    marks = [f'"{clause}"' for clause in clauses.split(",")]
    own = "test_r{:>02}_".format(clauses[1:].partition(".")[0])

    def later(file: pathlib.Path) -> tuple[int, bool, pathlib.Path]:
        return len(file.parts), not file.name.startswith(own), file

    return [
        str(file.relative_to(folder))
        for file in sorted(files, key=later)
        if any(mark in file.read_text("utf-8") for mark in marks)
    ]


def run(folder: pathlib.Path, clauses: str, edits: tuple[Edit, ...] = ()) -> Verdict:
    """Run the tests of `clauses` in a process of their own, in a copy that `folder` is for."""
    copy(folder, edits)
    notes = folder / "verdict.jsonl"
    notes.touch()
    command = [
        *(sys.executable, "-m", "pytest", *suites(folder, clauses), "-q", "--tb=short"),
        *("-p", "verdict", "-o", "timeout=20"),
        *(f"--clauses={clauses}", f"--basetemp={folder / 'temporary'}"),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPA"))}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**environment, "VERDICT": str(notes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        passed, output = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as error:
        passed, output = False, f"{error}\n{error.stdout!r}"
    failures = [json.loads(line) for line in notes.read_text("utf-8").splitlines()]
    noticed = [failure["test"] for failure in failures if failure["asserted"]]
    errors = "\n".join(f"{failure['test']}: {failure['error']}" for failure in failures)
    return Verdict(passed, noticed[0] if noticed else None, f"{errors}\n{output[-3000:]}")
