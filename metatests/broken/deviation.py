"""What a broken cache is: small edits of the real source, and the clause that they break."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One piece of code that another takes the place of.

    `place` is a module of `cache/`, or a class or function in it: "core", "core.Cache.get". `old`
    has to be there exactly once, as `ast.unparse` writes it: without comments, a statement to a
    line, whatever the file's own layout.
    """

    place: str
    old: str
    new: str

    @property
    def module(self) -> str:
        """The module of `cache/` that is edited."""
        return self.place.partition(".")[0]

    def apply(self, source: str) -> str:
        """Return the module's source with the edit made; LookupError where it does not fit."""
        tree = ast.parse(source)
        path = self.place.split(".")[1:]
        if not path:
            return self._replaced(ast.unparse(tree))
        found = [(body, at) for body, at, names in _definitions(tree, []) if names == path]
        if not found:
            raise LookupError(f"there is no {self.place}")
        body, at = found[-1]  # the others are its overloads
        body[at : at + 1] = ast.parse(self._replaced(ast.unparse(body[at]))).body
        return ast.unparse(tree)

    def _replaced(self, text: str) -> str:
        if text.count(self.old) != 1:
            raise LookupError(f"{self.place} has {text.count(self.old)} times {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Deviation:
    """A cache that breaks `clause`, as `name` says."""

    clause: str
    name: str
    edits: tuple[Edit, ...]

    def __str__(self) -> str:
        """Name it for the report of a test run."""
        return f"{self.clause} {self.name}"


def breaks(clause: str, name: str, *edits: tuple[str, str, str]) -> Deviation:
    """Return the deviation that makes `edits`, each a place, the old code and the new."""
    return Deviation(clause, name, tuple(Edit(*edit) for edit in edits))


def _definitions(
    node: ast.AST, above: list[str]
) -> Iterator[tuple[list[ast.stmt], int, list[str]]]:
    """Yield every class and function: the body it stands in, where, and its dotted name's parts."""
    for at, statement in enumerate(getattr(node, "body", [])):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            names = [*above, statement.name]
            yield node.body, at, names  # type: ignore[attr-defined]
            yield from _definitions(statement, names)
