"""Every rule for the suites, over a folder of the project's."""

import pathlib
import re
from collections.abc import Callable
from typing import NamedTuple

from . import assertions, requirements, suites
from .inventory import ROOT

# The rules for each file with tests, by what they forbid.
RULES: dict[str, Callable[[str], list[str]]] = {
    "a test that asserts nothing": assertions.toothless,
    "an assertion that cannot fail": assertions.trivial_assertions,
    "a name that is no claim": suites.misnamed_tests,
    "a function that nothing runs": suites.uncollected,
    "a clock that no test turns": lambda source: suites.real_time(source, requirements.REAL_TIME),
    "sleeping": suites.sleeps,
    "a thread that may never end": suites.unjoined,
    "a test left out": lambda source: suites.unexcused(source, requirements.EXCUSES),
    "a tolerance": lambda source: suites.approximations(
        source, requirements.EXACT, requirements.APPROXIMATE
    ),
    "an assertion that depends on a condition": lambda source: suites.conditional(
        source, requirements.CONDITIONAL
    ),
    "a decorator of its own": suites.decorated,
    "strictness taken away": suites.loosened,
    "a helper that always says the same": suites.deaf,
    "a test of time without the clock": lambda source: suites.without_clock(
        source, requirements.TIMED
    ),
}


class Suites(NamedTuple):
    """The files with tests and those with fixtures, each by its path with its text."""

    tests: dict[str, str]
    fixtures: dict[str, str]

    @property
    def requirements(self) -> dict[str, str]:
        """The files that are each about one requirement."""
        return self._matching(r"tests/test_r\d+.*")

    @property
    def contractual(self) -> dict[str, str]:
        """The files that are run on any cache."""
        return self._matching(r"tests/(test_r\d+|process/).*")

    @property
    def black_box(self) -> dict[str, str]:
        """The files that read nothing private."""
        return {f: text for f, text in self.tests.items() if f not in requirements.WHITE_BOX}

    def _matching(self, pattern: str) -> dict[str, str]:
        return {f: text for f, text in self.tests.items() if re.fullmatch(pattern, f)}


def read(root: pathlib.Path = ROOT) -> Suites:
    """Read the suites of the project in a folder."""

    def texts(paths: list[pathlib.Path]) -> dict[str, str]:
        return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in paths}

    conftests = [root / "conftest.py", *sorted((root / "tests").rglob("conftest.py"))]
    return Suites(texts(sorted((root / "tests").rglob("test_*.py"))), texts(conftests))


def survey(found: Suites) -> list[str]:
    """Return all breaches of all rules."""
    clauses = requirements.CLAUSES
    names = [pathlib.PurePath(file).name for file in found.requirements]
    breaches = [
        *suites.uncovered(found.tests.values(), clauses),
        *suites.uncovered(found.requirements.values(), clauses),
        *suites.misnamed_files(names, clauses),
        *suites.duplicates(found.tests),
        *suites.missing_fixtures(found.fixtures["conftest.py"]),
    ]
    for file, source in found.requirements.items():
        misplaced = suites.misplaced_tests(source, requirement_of(file))
        breaches += [f"{file}: unmarked: {test}" for test in misplaced]
    for file, source in found.contractual.items():
        breaches += [f"{file}: {breach}" for breach in contract_breaches(source)]
    for file, source in found.black_box.items():
        breaches += [f"{file}: private: {name}" for name in suites.private_names(source)]
    for rule, check in RULES.items():
        for file, source in found.tests.items():
            breaches += [f"{file}: {rule}: {breach}" for breach in check(source)]
    for file, source in found.fixtures.items():
        breaches += [f"{file}: {breach}" for breach in fixture_breaches(source)]
    return breaches


def contract_breaches(source: str) -> list[str]:
    """Return what a suite that is run on any cache does as if there were only ours."""
    public = suites.public_names((ROOT / "cache" / "__init__.py").read_text("utf-8"))
    return [
        *suites.inner_imports(source, public),
        *suites.shadowed_fixtures(source),
        *suites.patched(source, requirements.PATCHING),
    ]


def fixture_breaches(source: str) -> list[str]:
    """Return what fixtures do against the rules that hold for them as well."""
    return [
        *assertions.trivial_assertions(source),
        *suites.sleeps(source, polling=["wait_until"]),
        *suites.unjoined(source),
        *suites.unexcused(source, requirements.EXCUSES),
        *suites.patched(source),
        *suites.loosened(source),
        *suites.deaf(source),
    ]


def requirement_of(file: str) -> str:
    """Return the requirement that a suite is about, by its name."""
    return f"R{int(pathlib.PurePath(file).name[6:8])}"
