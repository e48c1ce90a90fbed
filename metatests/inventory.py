"""What the suites hold, test by test, so that no edit of them goes unseen.

    python -m metatests.inventory            # compare with inventory.txt
    python -m metatests.inventory --write    # record anew, for the review to see what changed

A line for each function and class: its clauses, how many of its assertions can fail, a digest of
its code without comments and docstrings, file and name. The rest of a file is one more line.
"""

import ast
import hashlib
import pathlib
import sys
from collections.abc import Iterator

from .assertions import Function, assertions
from .suites import markers

ROOT = pathlib.Path(__file__).parent.parent
RECORD = pathlib.Path(__file__).with_name("inventory.txt")


def entries(file: str, source: str) -> Iterator[str]:
    """Yield the lines for a file, in its order; the same name twice makes two lines."""
    rest = []
    for node in ast.parse(source).body:
        if isinstance(node, (Function, ast.ClassDef)):
            functions = [each for each in ast.walk(node) if isinstance(each, Function)]
            clauses = ",".join(markers(node)) if isinstance(node, Function) else ""
            # A nested function is reached from the one around it.
            outer = [node] if isinstance(node, Function) else functions
            count = sum(1 for each in outer for _ in assertions(each))
            yield f"{clauses or '-':<24} {count:>3} {_digest(node)} {file}::{node.name}"
        else:
            rest.append(node)
    yield f"{'-':<24} {'-':>3} {_digest(*rest)} {file}"


def _digest(*nodes: ast.AST) -> str:
    return hashlib.blake2b(repr([*map(_shape, nodes)]).encode(), digest_size=6).hexdigest()


def _shape(node: object) -> object:
    """Return a syntax tree as tuples, the same on every Python: neither `dump` nor `unparse` is."""
    if isinstance(node, list):
        return [_shape(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, (Function, ast.ClassDef)) and ast.get_docstring(node) is not None:
        del node.body[0]
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return type(node).__name__, [
        (name, _shape(v)) for name, v in fields if name not in ("ctx", "kind")
    ]


def inventory(root: pathlib.Path = ROOT) -> list[str]:
    """Return the lines for all suites and their fixtures."""
    files = [*sorted(root.glob("*.py")), *sorted((root / "tests").rglob("*.py"))]
    return [
        line
        for file in files
        for line in entries(file.relative_to(root).as_posix(), file.read_text("utf-8"))
    ]


def differences(recorded: list[str], found: list[str]) -> list[str]:
    """Return the lines that went, with a minus, and those that came, with a plus."""
    gone, new = list(recorded), []
    for line in found:
        if line in gone:
            gone.remove(line)
        else:
            new.append(line)
    return [f"- {line}" for line in gone] + [f"+ {line}" for line in new]


def main(arguments: list[str]) -> int:
    """Compare with the record, or write it; return the exit status."""
    found = inventory()
    if arguments == ["--write"]:
        RECORD.write_text("".join(f"{line}\n" for line in found), "utf-8")
        return 0
    changed = differences(RECORD.read_text("utf-8").splitlines(), found)
    print("\n".join(changed or ["The suites are as recorded."]))
    return bool(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
