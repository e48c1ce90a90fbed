"""Patterns: code that is found by its shape, whatever its locals are called and how it is laid out.

A pattern is an expression, statements in a row, a keyword argument or an exception handler. In it,
`...` stands for any expression, as a body for any body, and as the last argument of a call for any
further arguments; a header alone (`if value < 1:`) has any body. A name that is local to the
function where it is looked for may be another there: the first try is by the names as they are,
and only where that fits nowhere each local name stands for any one.

The replacement is written in the pattern's names, and each `...` in it is what that of the pattern
met, in their order.
"""

import ast
import builtins
from collections.abc import Iterator
from typing import Any

_ANY = "..."
_BRANCHING = (ast.If, ast.While, ast.For)
_HEADERS = ("if ", "while ", "for ", "with ", "except", "else:", "finally:", "try:")


def replaced(where: ast.AST, old: str, new: str) -> None:
    """Put `new` in the place of `old`, which has to fit once; LookupError otherwise."""
    try:
        pattern, fresh = _parsed(old), _parsed(new)
    except SyntaxError as error:
        raise LookupError(f"no code is {error.text!r}") from error
    if isinstance(pattern, ast.expr) and not isinstance(fresh, ast.expr):
        pattern = [ast.Expr(pattern)]
    patterns = [pattern]
    if isinstance(pattern, list) and len(pattern) == 1 and _is_keyword(pattern[0]):
        patterns.append(_keyword(pattern[0]))
    for free in (set(), _locals(where)):
        found = [place for each in patterns for place in _places(where, each, free)]
        if found:
            break
    if len(found) != 1:
        raise LookupError(f"it has {len(found)} times {old!r}")
    holder, name, start, end, met = found[0]
    if end is None:
        if isinstance(fresh, list):  # a keyword argument
            fresh = _keyword(fresh[0])
        _put(holder, name, start, _Renaming(met).visit(fresh))
    else:
        statements = fresh if isinstance(fresh, list) else [ast.Expr(fresh)]
        getattr(holder, name)[start:end] = _Renaming(met).body(statements)


def _parsed(text: str) -> Any:
    """Return an expression, an exception handler or a list of statements."""
    text = text.strip("\n")
    last = text.rsplit("\n", 1)[-1]
    if last.lstrip().startswith(_HEADERS) and last.endswith(":"):
        text += " ..."
    if text.startswith("except"):
        return ast.parse(f"try: ...\n{text}").body[0].handlers[0]  # type: ignore[attr-defined]
    body = ast.parse(text).body
    if len(body) == 1 and isinstance(body[0], ast.Expr):
        return body[0].value
    return body


def _is_keyword(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)


def _keyword(assignment: Any) -> ast.keyword:
    return ast.keyword(assignment.targets[0].id, assignment.value)


def _put(holder: ast.AST, name: str, at: int | None, node: Any) -> None:
    if at is None:
        setattr(holder, name, node)
    else:
        getattr(holder, name)[at] = node


def _places(where: ast.AST, pattern: Any, free: set[str]) -> Iterator[tuple[Any, ...]]:
    """Yield holder, field, where in it, and what the pattern's names and `...` met."""
    for node in ast.walk(where):
        for name, value in ast.iter_fields(node):
            if isinstance(pattern, list):
                if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                    for at in range(len(value) - len(pattern) + 1):
                        met: dict[str, Any] = {}
                        if _fits(pattern, value[at : at + len(pattern)], free, met):
                            yield node, name, at, at + len(pattern), met
                continue
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, item in items:
                met = {}
                if isinstance(item, ast.AST) and _fits(pattern, item, free, met):
                    yield node, name, index, None, met


def _fits(pattern: Any, node: Any, free: set[str], met: dict[str, Any]) -> bool:
    """Tell whether a node has the pattern's shape; note in `met` what stands for what."""
    if isinstance(pattern, list):
        if not isinstance(node, list):
            return False
        if node and isinstance(node[0], ast.stmt) and _is_any(pattern):
            met.setdefault(_ANY, []).append((node, []))
            return True
        return len(pattern) == len(node) and all(
            _fits(part, each, free, met) for part, each in zip(pattern, node, strict=True)
        )
    if isinstance(node, ast.expr) and _is_dots(pattern):
        met.setdefault(_ANY, []).append(node)
        return True
    if type(pattern) is not type(node):
        return False
    if not isinstance(pattern, ast.AST):
        return bool(pattern == node)
    if isinstance(pattern, ast.Name):
        if pattern.id in met:
            return bool(met[pattern.id] == node.id)
        if node.id in met.values():
            return False
        if pattern.id != node.id and (node.id not in free or hasattr(builtins, pattern.id)):
            return False
        met[pattern.id] = node.id
        return True
    if isinstance(pattern, ast.Call) and pattern.args and _is_dots(pattern.args[-1]):
        given = pattern.args[:-1]
        if not _fits(pattern.func, node.func, free, met):
            return False
        if not _fits(given, node.args[: len(given)], free, met):
            return False
        met.setdefault(_ANY, []).append((node.args[len(given) :], node.keywords))
        return True
    left_out = {"ctx", "type_comment", "kind"}
    if _is_any(getattr(pattern, "body", None)) and isinstance(pattern, _BRANCHING):
        left_out |= {"body", "orelse"}
        met.setdefault(_ANY, []).append((node.body, node.orelse))
    return all(
        _fits(getattr(pattern, name, None), getattr(node, name, None), free, met)
        for name in pattern._fields
        if name not in left_out
    )


def _is_dots(node: Any) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _is_any(body: Any) -> bool:
    return (
        isinstance(body, list)
        and len(body) == 1
        and isinstance(body[0], ast.Expr)
        and _is_dots(body[0].value)
    )


def _locals(where: ast.AST) -> set[str]:
    """Return the names that are bound in a function."""
    names = {node.arg for node in ast.walk(where) if isinstance(node, ast.arg)}
    return (names - {"self"}) | {
        node.id
        for node in ast.walk(where)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


class _Renaming(ast.NodeTransformer):
    """Writes a replacement in the names of the place where it goes."""

    def __init__(self, met: dict[str, Any]) -> None:
        self.met = met
        self.any = iter(met.get(_ANY, ()))

    def body(self, statements: list[Any]) -> list[Any]:
        if _is_any(statements):
            return list(next(self.any)[0])
        return [self.visit(statement) for statement in statements]

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.met.get(node.id, node.id), node.ctx)

    def visit_Constant(self, node: ast.Constant) -> Any:
        return next(self.any) if node.value is ... else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        rest = bool(node.args) and _is_dots(node.args[-1])
        if rest:
            node.args.pop()
        self.generic_visit(node)
        if rest:
            positional, keywords = next(self.any)
            node.args += positional
            node.keywords += keywords
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, _BRANCHING) and _is_any(node.body) and not node.orelse:
            node.body, node.orelse = next(self.any)
            for expression in ("test", "target", "iter"):
                if hasattr(node, expression):
                    setattr(node, expression, self.visit(getattr(node, expression)))
            return node
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, name, self.body(value))
            elif isinstance(value, list):
                fresh = [self.visit(each) if isinstance(each, ast.AST) else each for each in value]
                setattr(node, name, fresh)
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        return node
