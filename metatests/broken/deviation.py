"""What a broken cache is: the true one with a change, and the clause or the module that it breaks.

Most changes wrap a public verb, and so know nothing of what the class is made of. The rest edits
the source where a piece of code of a certain shape stands.
"""

import ast
import functools
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .pattern import replaced

INSTALL = "\n__import__('metatests.broken', fromlist=['install']).install({name!r}, __name__)\n"


@dataclass(frozen=True)
class Edit:
    """One piece of code that another takes the place of.

    `place` is a module of `cache/`, or a class or function in it: "core", "core.Cache.get",
    "remote/leases.Leases.reset". `old` is a pattern, as `pattern` says, that fits one place there.
    """

    place: str
    old: str
    new: str

    @property
    def path(self) -> str:
        """The file in `cache/` that is edited."""
        return self.place.partition(".")[0] + ".py"

    def apply(self, source: str) -> str:
        """Return the module's source with the edit made; LookupError where it does not fit."""
        tree = ast.parse(source)
        path = self.place.split(".")[1:]
        node: ast.AST = tree
        if path:
            found = [node for node, names in _definitions(tree, []) if names == path]
            if not found:
                raise LookupError(f"there is no {self.place}")
            node = found[-1]  # the others are its overloads
        try:
            replaced(node, self.old, self.new)
        except LookupError as error:
            raise LookupError(f"{self.place}: {error}") from None
        return ast.unparse(ast.fix_missing_locations(tree))


@dataclass(frozen=True)
class Deviation:
    """A cache that breaks `clause`, as `name` says.

    On the server's side, where a clause has many modules, `clause` is the module: "remote/leases".
    """

    clause: str
    name: str
    edits: tuple[Edit, ...] = ()
    #: Changes the package `cache`, once it is imported.
    install: Callable[[Any], None] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Name it for the report of a test run."""
        return f"{self.clause} {self.name}"

    def sources(self, package: pathlib.Path) -> dict[str, str]:
        """Return the changed files of the package, by their path in it."""
        changed: dict[str, str] = {}
        for edit in self.edits:
            former = changed.get(edit.path) or (package / edit.path).read_text("utf-8")
            changed[edit.path] = edit.apply(former)
        if self.install is not None:
            former = (package / "__init__.py").read_text("utf-8")
            changed["__init__.py"] = former + INSTALL.format(name=str(self))
        return changed


class Deviations(list[Deviation]):
    """The deviations of one requirement, or of the server's side."""

    def edit(self, clause: str, name: str, *edits: tuple[str, str, str]) -> None:
        """Add the one that makes `edits`, each a place, the old code and the new."""
        self.append(breaks(clause, name, *edits))

    def wrap(self, clause: str, name: str, *verbs: str) -> Callable[[Callable[..., Any]], None]:
        """Add the one in which the decorated function takes the place of the class's `verbs`.

        It gets what the verb was, and what the verb is given.
        """

        def add(wrapper: Callable[..., Any]) -> None:
            def install(package: Any) -> None:
                for verb in verbs:
                    wrap(package.DistributedCache, verb, wrapper)

            self.append(Deviation(clause, name, install=install))

        return add

    def patch(self, clause: str, name: str) -> Callable[[Callable[[Any], None]], None]:
        """Add the one that the decorated function makes of the package `cache`."""

        def add(install: Callable[[Any], None]) -> None:
            self.append(Deviation(clause, name, install=install))

        return add


def breaks(clause: str, name: str, *edits: tuple[str, str, str]) -> Deviation:
    """Return the deviation that makes `edits`, each a place, the old code and the new."""
    return Deviation(clause, name, tuple(Edit(*edit) for edit in edits))


def wrap(owner: Any, verb: str, wrapper: Callable[..., Any]) -> None:
    """Put `wrapper` in the place of a method; it gets the former one before the arguments."""
    former = getattr(owner, verb)

    @functools.wraps(former)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(former, *args, **kwargs)

    setattr(owner, verb, wrapped)


def _definitions(node: ast.AST, above: list[str]) -> Iterator[tuple[ast.AST, list[str]]]:
    """Yield every class and function and the parts of its dotted name."""
    for statement in getattr(node, "body", []):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            names = [*above, statement.name]
            yield statement, names
            yield from _definitions(statement, names)
