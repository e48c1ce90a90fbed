"""What is known of mutants without trying them: former verdicts, and what is listed as equivalent.

A verdict is kept as long as the function around the mutant is the same, and the test that noticed
it, or, where none did, all tests. Changes elsewhere in `cache/` may make it untrue; `--fresh` tries
everything anew.
"""

import ast
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator

from .operators import Mutant, bare
from .workers import Outcome

EQUIVALENT = pathlib.Path(__file__).with_name("equivalent.txt")


class Verdicts:
    """The file of former verdicts."""

    def __init__(self, file: pathlib.Path, tests: dict[str, str]) -> None:
        """Read `file`; `tests` gives a digest of each test's source, and of all by ""."""
        self._file = file
        self._tests = tests
        self._known: dict[str, list[str]] = {}
        if file.exists():
            self._known = json.loads(file.read_text())

    def known(self, mutant: Mutant, outdated: bool = False) -> Outcome | None:
        """Return how a mutant fared, if that still tells something.

        What breaks at import does so whatever the tests are. `outdated` says that what survived
        other tests is told too.
        """
        verdict, test, digest = self._known.get(mutant.key, ["", "", ""])
        anyway = verdict == "breaks" or (outdated and verdict == "survives")
        if verdict and (anyway or digest == self._digest(test)):
            return Outcome(verdict, test)
        return None

    def note(self, mutant: Mutant, outcome: Outcome) -> None:
        """Remember how a mutant fared."""
        digest = self._digest(outcome.test)
        self._known[mutant.key] = [outcome.verdict, outcome.test, digest]

    def save(self) -> None:
        """Write the file."""
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(self._known, indent=0))
        unfinished.replace(self._file)

    def _digest(self, test: str) -> str:
        return self._tests.get(test.partition("[")[0] if test else "", "gone")


def digests(project: pathlib.Path, chosen: str) -> dict[str, str]:
    """Return a digest of each test function's source by its id, and one of everything by ""."""
    found, everything = {}, hashlib.sha256(chosen.encode())
    for file in [project / "conftest.py", *sorted(project.glob("tests/**/*.py"))]:
        source = file.read_text()
        everything.update(source.encode())
        name = file.relative_to(project).as_posix()
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.get_source_segment(source, node) or ""
                found[f"{name}::{node.name}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    found[""] = everything.hexdigest()[:16]
    return found


@dataclasses.dataclass(frozen=True)
class Listed:
    """One mutant that the list calls equivalent, by what it changes and where."""

    path: str
    place: str
    former: str
    latter: str

    def __str__(self) -> str:
        former = "\n".join(f"  - {line.strip()}" for line in self.former.splitlines())
        latter = "\n".join(f"  + {line.strip()}" for line in self.latter.splitlines()) or "  +"
        return f"{self.path} {self.place}\n{former}\n{latter}"


def listed(mutant: Mutant) -> Listed:
    """Return how the list names a mutant: comments may be put into other words."""
    place = mutant.place if mutant.number == 1 else f"{mutant.place} #{mutant.number}"
    return Listed(mutant.path, place, bare(mutant.former), bare(mutant.latter))


def equivalents(text: str) -> dict[Listed, str]:
    """Return the reasons by mutant. Raises ValueError for what is not of the form.

    The list is made of paragraphs: a reason of one or more lines, then for each mutant of that
    reason its place, its lines before with a `-` and its lines after with a `+`.
    """
    found: dict[Listed, str] = {}
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
        reason = " ".join(line for line in lines if _is_reason(line))
        entries = [line for line in lines if not _is_reason(line)]
        if not lines:
            continue
        if not reason or not entries or lines[0] == entries[0]:
            raise ValueError(f"a reason, and then mutants, are expected: {paragraph!r}")
        for entry in _entries(entries):
            if entry in found:
                raise ValueError(f"listed twice: {entry}")
            found[entry] = reason
    return found


def _is_reason(line: str) -> bool:
    return not line.startswith(("cache/", "  - ", "  + ", "  -", "  +"))


def _entries(lines: list[str]) -> Iterator[Listed]:
    path = place = ""
    former: list[str] = []
    latter: list[str] = []
    for line in [*lines, "cache/ "]:
        if latter and not line.startswith("  +"):
            yield Listed(path, place, "\n".join(former), "\n".join(latter))
            former, latter = [], []
        if line.startswith("  -"):
            former.append(bare(line[3:]))
        elif line.startswith("  +"):
            latter.append(bare(line[3:]))
        else:
            path, _, place = line.partition(" ")
    if former:
        raise ValueError(f"without a + line: {former}")
