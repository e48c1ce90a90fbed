"""The kit's options: another cache under the suites, some of the clauses, and a table at the end.

    pytest tests --cache-impl=package.module:Factory --clauses=R1,R2.3 --except-clauses=R2.2

How to use them stands in docs/conformance.md.
"""

import argparse
import importlib
import operator
import pathlib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests import isolation

OURS = "cache:DistributedCache"
CONTRACT = pathlib.Path(__file__).parent / "docs" / "contract.md"
SUITES = pathlib.Path(__file__).parent / "tests"
UNMARKED, OTHERS, EXCEPTED = "about no clause", "about other clauses", "excepted"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("conformance", "the contract of a cache")
    group.addoption(
        "--cache-impl",
        metavar="MODULE:FACTORY",
        help="the callable that makes the caches under test, in place of ours",
    )
    group.addoption(
        "--clauses",
        metavar="R1,R2.3",
        help="run only the tests that are marked with one of these clauses",
    )
    group.addoption(
        "--except-clauses",
        metavar="R2.2",
        help="leave out every test that is marked with one of these clauses, and name it",
    )
    group.addoption(
        "--no-isolation",
        action="store_true",
        help="run the suites in this process, though the cache may end it; for debuggers",
    )
    group.addoption(isolation.OPTION, help=argparse.SUPPRESS)


def pytest_configure(config: pytest.Config) -> None:
    """Put the kit to work; what is wrong with an option is said before any test is collected."""
    options = [config.getoption(name) for name in ("cache_impl", "clauses", "except_clauses")]
    kit = Kit(*options)
    config.pluginmanager.register(kit, "kit")
    if told := config.getoption(isolation.OPTION):
        config.pluginmanager.register(isolation.Told(config, told))
    elif kit.foreign and not any(
        config.getoption(name) for name in ("no_isolation", "collectonly", "usepdb")
    ):
        config.pluginmanager.register(kit.parts)


class Kit:
    """What the options chose, and how each clause fares."""

    def __init__(self, impl: str | None, clauses: str | None, excepted: str | None) -> None:
        self.foreign = impl is not None
        self.name = impl or OURS
        self.factory = _loaded(self.name)
        contract = re.findall(r"^- \*\*(R\d+\.\d+)\*\*", CONTRACT.read_text("utf-8"), re.MULTILINE)
        self.chosen = contract if clauses is None else _chosen("--clauses", clauses, contract)
        self.excepted = [] if excepted is None else _chosen("--except-clauses", excepted, contract)
        self.reporting = any(option is not None for option in (impl, clauses, excepted))
        self.marked_only = self.foreign or clauses is not None
        self.order: list[str] = []  # of the test cases
        self.parts = isolation.Parts()
        self.left_out: Counter[tuple[str, str]] = Counter()  # cases by reason and test

    def import_line(self) -> str:
        """Return the lines by which a program names the class under test `DistributedCache`."""
        module, _, attribute = self.name.partition(":")
        return (
            "import importlib, operator\n"
            f"DistributedCache = operator.attrgetter({attribute!r})"
            f"(importlib.import_module({module!r}))\n"
        )

    def pytest_ignore_collect(self, collection_path: pathlib.Path) -> bool | None:
        """Leave the suites that are about us alone where another cache is judged."""
        inside = collection_path.is_relative_to(SUITES) and collection_path != SUITES
        about_any = re.match(r"test_r\d\d_|process$", collection_path.name) or (
            collection_path.parent.name == "process"
        )
        return True if self.foreign and inside and not about_any else None

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out what the options do not choose; note each case's clauses for the table."""
        kept, left_out = [], []
        for item in items:
            clauses = [name for mark in item.iter_markers("clause") for name in mark.args]
            item.user_properties.append(("clauses", clauses))
            reason = self.reason_against(clauses)
            if reason is None:
                kept.append(item)
                self.order.append(item.nodeid)
            else:
                left_out.append(item)
                self.left_out[reason, item.nodeid.partition("[")[0]] += 1
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = kept

    def reason_against(self, clauses: list[str]) -> str | None:
        """Return why a test of these clauses does not run, or None."""
        if not clauses:
            return UNMARKED if self.marked_only else None
        if not set(clauses) & set(self.chosen):
            return OTHERS
        excepted = [clause for clause in clauses if clause in self.excepted]
        return f"{EXCEPTED} ({', '.join(excepted)})" if excepted else None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Write the table, and by name what was left out or skipped."""
        if not self.reporting:
            return
        outcomes: dict[str, str] = {}  # a case that both passes and fails, at its end, fails
        clauses: dict[str, list[str]] = {}
        notes = [f"The process ended in {test}" for test in self.parts.ended]
        for outcome in ("passed", "skipped", "failed", "error"):
            for report in terminalreporter.stats.get(outcome, []):
                properties = getattr(report, "user_properties", ())  # a file's report has none
                clauses[report.nodeid] = dict(properties).get("clauses", [])
                outcomes[report.nodeid] = "failed" if outcome == "error" else outcome
                if outcome == "skipped":
                    notes.append(f"{report.longrepr[2]}: {report.nodeid}")
        ends = Counter(
            (clause, outcome) for case, outcome in outcomes.items() for clause in set(clauses[case])
        )
        first: dict[str, str] = {}  # the failed test of each clause that ran first
        for case in self.order:
            if outcomes.get(case) == "failed":
                first = dict.fromkeys(clauses[case], case) | first
        write = terminalreporter.write_line
        terminalreporter.section(f"the contract, and what {self.name} keeps")
        write(f"{'clause':<8}{'tests':>7}{'passed':>8}{'failed':>8}  the first test that failed")
        for clause in self.chosen:
            passed, failed = ends[clause, "passed"], ends[clause, "failed"]
            remark = first.get(clause, "" if passed else "no test ran")
            remark = "excepted" if clause in self.excepted else remark
            row = f"{clause:<8}{passed + failed:>7}{passed:>8}{failed:>8}  {remark}"
            write(row.rstrip())
        for note in sorted(notes):
            write(note)
        for (reason, test), cases in self.left_out.items():
            if reason.startswith(EXCEPTED):
                write(f"Left out, {reason}: {test} ({cases})")
        for general in (UNMARKED, OTHERS):
            if cases := sum(n for (reason, _), n in self.left_out.items() if reason == general):
                write(f"Left out, {general}: {cases} test cases")


def _loaded(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise pytest.UsageError(f"--cache-impl: {name!r} is not of the form package.module:Factory")
    try:
        factory = operator.attrgetter(attribute)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"--cache-impl: cannot import {name!r}: {error}") from error
    if not callable(factory):
        raise pytest.UsageError(f"--cache-impl: {name!r} is not callable")
    return factory  # type: ignore[no-any-return]


def _chosen(option: str, text: str, contract: list[str]) -> list[str]:
    """Return the clauses that `text` names; a requirement, R2, stands for all of its own."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not any(name in (clause, clause.partition(".")[0]) for clause in contract):
            raise pytest.UsageError(f"{option}: the contract has no clause {name!r}")
    return [clause for clause in contract if clause in names or clause.partition(".")[0] in names]
