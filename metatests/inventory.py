"""The record of the suites: it says what they hold, and never less than before.

    python -m metatests.inventory            # compare with inventory.txt and floors.txt
    python -m metatests.inventory --write    # record anew; refused where a suite has become weaker

`inventory.txt` has a line for each test, and for each other function that asserts: its clauses, its
assertions and their weight (strength.py), its cases in the quick run and those that only the long
one has, its file and name. `floors.txt` has numbers that may not sink (deviations of a clause,
how much a test does) and ceilings that may not rise (what an assertion leaves open, pragmas, listed
exceptions). What is meant to be weaker is entered in `requirements.LOWERED`, with the reason.
"""

import ast
import contextlib
import io
import math
import pathlib
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import pytest

from . import requirements, strength
from .assertions import Function
from .suites import markers

ROOT = pathlib.Path(__file__).parent.parent
RECORD = pathlib.Path(__file__).with_name("inventory.txt")
FLOORS = pathlib.Path(__file__).with_name("floors.txt")
# What in `cache/` keeps coverage, mypy or ruff from a line or a file.
_WAIVER = r"# (pragma|type: ignore|noqa|mypy:|ruff:|pyright:|fmt:)"
CEILINGS = (
    "open",
    "exceptions",
    "pragma",
    "type: ignore",
    "noqa",
    "mypy",
    "ruff",
    "pyright",
    "fmt",
)


class Entry(NamedTuple):
    """What a test is made of; of another function that asserts, the cases are none."""

    clauses: tuple[str, ...]
    assertions: int
    weight: int
    quick: int
    long: int

    def line(self, name: str) -> str:
        """Return the line of the record."""
        clauses = ",".join(self.clauses) or "-"
        cases = f"{self.quick}+{self.long}" if self.long else str(self.quick)
        return f"{clauses:<20} {self.assertions}/{self.weight} {cases} {name}"

    @property
    def numbers(self) -> tuple[int, ...]:
        """What may not sink; a case that moves to the long version is one less in the quick one."""
        return self.assertions, self.weight, self.quick, self.quick + self.long


# -- reading the suites ------------------------------------------------------------------------


class _Collector:
    """A plugin that counts the cases of each test, in the quick run and in the long one."""

    def __init__(self) -> None:
        self.quick, self.all = Counter[str](), Counter[str]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.all.update(_name(item) for item in items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.quick.update(_name(item) for item in session.items)


def _name(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def collected(root: pathlib.Path = ROOT) -> tuple[Counter[str], Counter[str]]:
    """Return how many cases of each test pytest runs as configured, and with the long versions."""
    plugin, output = _Collector(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.chdir(root):
        code = pytest.main(["--collect-only", "-qq"], [plugin])
    if code != pytest.ExitCode.OK:
        raise RuntimeError(f"pytest does not collect the suites:\n{output.getvalue()}")
    return plugin.quick, plugin.all


def files(root: pathlib.Path = ROOT) -> list[pathlib.Path]:
    """Return the files of the suites and of the metatests."""
    suites = [*(root / "tests").rglob("*.py"), *(root / "metatests").glob("test_*.py")]
    return sorted([*root.glob("*.py"), *suites])


def functions(file: str, tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Yield the functions and methods of a file, by the names that pytest has for tests."""
    for node in tree.body:
        if isinstance(node, Function):
            yield f"{file}::{node.name}", node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Function):
                    yield f"{file}::{node.name}::{inner.name}", inner


def entries(
    file: str, source: str, quick: Mapping[str, int], every: Mapping[str, int]
) -> Iterator[tuple[str, Entry]]:
    """Yield what a file holds: its tests, what else asserts, and the steps of state machines."""
    tree = ast.parse(source)
    for name, function in functions(file, tree):
        count, weight = strength.asserted(function)
        steps = re.search(r"\b(rule|invariant|initialize)\b", _decorators(function))
        if name in every or count or steps:
            long = every.get(name, 0) - quick.get(name, 0)
            marked = tuple(markers(function))
            yield name, Entry(marked, count, weight, quick.get(name, 0), long)
    known = {name for name, _ in functions(file, tree)}
    for name in every:
        if name.startswith(f"{file}::") and name not in known:  # made by a base class
            yield name, Entry((), 0, 0, quick.get(name, 0), every[name] - quick.get(name, 0))
    outside = [node for node in tree.body if isinstance(node, ast.Assign)]
    texts = [each for node in outside for each in strength.texts(node)]
    if programs := sum(map(strength.program_assertions, texts)):
        yield file, Entry((), programs, 0, 0, 0)


def _decorators(function: Function) -> str:
    return " ".join(map(ast.unparse, function.decorator_list))


def inventory(root: pathlib.Path = ROOT) -> dict[str, Entry]:
    """Return what all suites hold."""
    quick, every = collected(root)
    return {
        name: entry
        for path in files(root)
        for name, entry in entries(
            path.relative_to(root).as_posix(), path.read_text("utf-8"), quick, every
        )
    }


def numbers(file: str, source: str) -> Iterator[tuple[str, float]]:
    """Yield the floors and ceilings of a file of the suites."""
    tree = ast.parse(source)
    known = strength.constants(tree)
    for name, function in functions(file, tree):
        mine = strength.known_in(function, known)
        yield f"size {name}", strength.size(function, mine)
        yield f"open {name}", strength.slack(function, mine)
    rest = ast.Module([node for node in tree.body if not isinstance(node, Function)], [])
    yield f"size {file}", strength.size(rest, known) + strength.data(tree)


def floors(root: pathlib.Path = ROOT) -> dict[str, float]:
    """Return all floors and ceilings."""
    from .broken import DEVIATIONS

    found = Counter[str]()
    for path in files(root):
        file = path.relative_to(root).as_posix()
        if file.startswith("metatests"):
            continue
        found.update(dict(numbers(file, path.read_text("utf-8"))))
    for path in (root / "cache").rglob("*.py"):
        for pragma in re.findall(_WAIVER, path.read_text("utf-8")):
            found[f"{pragma} {path.relative_to(root).as_posix()}"] += 1
    found.update(f"deviations {deviation.clause}" for deviation in DEVIATIONS)
    found["deviations"] = len(DEVIATIONS)
    found["timed clauses"] = len(requirements.TIMED)
    found["exact clauses"] = len(requirements.EXACT)
    for name in requirements.EXCEPTIONS:
        found[f"exceptions {name}"] = len(getattr(requirements, name))
    return dict(found)


# -- comparing with the record -----------------------------------------------------------------


def read(lines: Iterable[str]) -> dict[str, Entry]:
    """Return what the lines of a record say."""
    found = {}
    for line in lines:
        clauses, asserted, cases, name = line.split(maxsplit=3)
        assertions, weight = asserted.split("/")
        quick, _, long = cases.partition("+")
        marked = tuple(clauses.split(",")) if clauses != "-" else ()
        counts = (int(assertions), int(weight), int(quick), int(long or 0))
        found[name] = Entry(marked, *counts)
    return found


def weaker(
    before: Mapping[str, Entry], after: Mapping[str, Entry], lowered: Mapping[str, str]
) -> list[str]:
    """Return what has become less, tests by name and clauses by their sums, unless it is meant.

    A test may get another name or place: then its clauses have no less than before.
    """
    found, counted = [], {}
    for name, old in before.items():
        new = after.get(name)
        if new is None and f"gone {name}" in lowered:
            continue
        counted[name] = old
        if new is not None and any(map(int.__lt__, new.numbers, old.numbers)):
            line = " ".join(new.line(name).split())
            if line not in lowered:
                found.append(line)
            counted[name] = new
    now = _sums(after)
    for clause, least in _sums(counted).items():
        if any(map(int.__lt__, now.get(clause, [0] * 5), least)):
            found += [
                f"gone {name}"
                for name, old in counted.items()
                if clause in (old.clauses or ("-",))
                and (name not in after or clause not in (after[name].clauses or ("-",)))
            ]
    return list(dict.fromkeys(found))


def _sums(held: Mapping[str, Entry]) -> dict[str, list[int]]:
    """Return for each clause, and for what is about none, the number of tests and their sums."""
    found: dict[str, list[int]] = {}
    for entry in held.values():
        for clause in entry.clauses or ("-",):
            sums = found.setdefault(clause, [0] * 5)
            sums[:] = map(sum, zip(sums, (1, *entry.numbers), strict=True))
    return found


def lower(
    before: Mapping[str, float],
    after: Mapping[str, float],
    lowered: Mapping[str, str],
    known: Collection[str],
) -> list[str]:
    """Return the floors that have sunk and the ceilings that have risen, unless it is meant.

    What is said of a function that has gone, or that was not `known`, is no matter of these.
    """
    found = []
    for name in before | after:
        kind, _, subject = name.partition(" ")
        unknown = name not in after or (name not in before and subject not in known)
        if kind in ("size", "open") and unknown:
            continue
        old, new = before.get(name, 0.0), after.get(name, 0.0)
        worse = new > old if name.startswith(CEILINGS) else new < old
        if (
            worse
            and not math.isclose(new, old, rel_tol=1e-8)
            and f"{name} {new:.10g}" not in lowered
        ):
            found.append(f"{name} {new:.10g}")
    return found


def differences(recorded: list[str], found: list[str]) -> list[str]:
    """Return the lines that went, with a minus, and those that came, with a plus."""
    gone, new = Counter(recorded) - Counter(found), Counter(found) - Counter(recorded)
    return [f"- {line}" for line in gone.elements()] + [f"+ {line}" for line in new.elements()]


REFUSED = """{}

The suites are weaker than recorded, in each of these. Make up for it; or, if it is meant, enter the
line in `requirements.LOWERED`, with the reason for a reviewer, and record anew."""


def main(arguments: list[str], root: pathlib.Path = ROOT) -> int:
    """Compare with the record, or write it; return the exit status."""
    found, least = inventory(root), floors(root)
    tests = [entry.line(name) for name, entry in sorted(found.items())]
    bounds = [f"{name} {number:.10g}" for name, number in sorted(least.items()) if number]
    recorded, bounded = (path.read_text("utf-8").splitlines() for path in (RECORD, FLOORS))
    before = read(recorded)
    old = {name: float(number) for name, _, number in (line.rpartition(" ") for line in bounded)}
    worse = weaker(before, found, requirements.LOWERED)
    worse += lower(old, least, requirements.LOWERED, before)
    if worse:
        rest = [f"… and {len(worse) - 40} more"] if len(worse) > 40 else []
        print(REFUSED.format("\n".join(worse[:40] + rest)))
        return 1
    if arguments == ["--write"]:
        RECORD.write_text("".join(f"{line}\n" for line in tests), "utf-8")
        FLOORS.write_text("".join(f"{line}\n" for line in bounds), "utf-8")
        return 0
    changed = differences(recorded, tests) + differences(bounded, bounds)
    hint = "\nIf this is meant: python -m metatests.inventory --write"
    print("\n".join(changed) + hint if changed else "The suites are as recorded.")
    return bool(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
