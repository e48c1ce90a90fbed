"""Which assertions of a test can fail, by its source alone."""

import ast
import re
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

# An object of the cache that is named and not called is true whatever the cache does.
VERBS = {
    *("get", "set", "add", "replace", "get_or_set", "pop", "delete", "exists", "increment"),
    *("decrement", "ttl", "touch", "keys", "delete_pattern", "get_many", "set_many"),
    *("delete_many", "clear", "stats", "reset_stats", "cleanup", "save", "load", "close"),
}
_ALL = {"AssertionError", "Exception", "BaseException"}


def tests_of(source: str) -> list[Function]:
    """Return the functions of a suite that pytest runs as tests."""
    found = []
    for node in ast.parse(source).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        found += [
            inner
            for inner in inside
            if isinstance(inner, Function) and inner.name.startswith("test")
        ]
    return found


def toothless(source: str) -> list[str]:
    """Return the tests that assert nothing that can fail."""
    helpers = checking_helpers(source)
    return [
        test.name
        for test in tests_of(source)
        if not any(True for _ in assertions(test))
        and not any(
            isinstance(node, ast.Call) and ast.unparse(node.func) in helpers
            for statement in reached(test.body)
            for node in ast.walk(statement)
        )
    ]


def checking_helpers(source: str) -> set[str]:
    """Return the functions of a suite, tests and fixtures apart, that assert something."""
    return {
        node.name
        for node in ast.parse(source).body
        if isinstance(node, Function)
        and not node.name.startswith("test")
        and not node.decorator_list
        and any(True for _ in assertions(node))
    }


def assertions(function: Function) -> Iterator[ast.AST]:
    """Yield what can fail in a function: assertions and expected exceptions that are reached."""
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    yield from _assertions(function.body, used)


def _assertions(body: list[ast.stmt], used: set[str]) -> Iterator[ast.AST]:
    for node in reached(body):
        if isinstance(node, ast.Assert) and not is_trivial(node.test):
            yield node
        elif isinstance(node, Function) and node.name not in used:
            continue
        elif isinstance(node, ast.Try) and any(map(_swallows, node.handlers)):
            for part in (node.orelse, node.finalbody):
                yield from _assertions(part, used)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            calls = [item.context_expr for item in node.items]
            if any(_suppresses(call) for call in calls):
                continue
            if any(is_raises(call) for call in calls) and not raises_by_itself(node):
                yield node
            yield from _assertions(node.body, used)
        else:
            for call in _own_expressions(node):
                if is_raises(call) and len(getattr(call, "args", ())) > 1:
                    yield call
            for part in _bodies(node):
                yield from _assertions(part, used)


def reached(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a block that are not plainly dead."""
    for node in body:
        never = isinstance(node, (ast.If, ast.While)) and _never(node.test)
        if never or (isinstance(node, ast.For) and _is_empty(node.iter)):
            yield from reached(node.orelse)
        else:
            yield node
        if isinstance(node, (ast.Return, ast.Raise, ast.Continue, ast.Break)) or _skips(node):
            return


def trivial_assertions(source: str) -> list[str]:
    """Return what is asserted or expected in a suite though it cannot fail."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and is_trivial(node.test):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and is_raises(node):
            names = {
                inner.id
                for argument in node.args[:1]
                for inner in ast.walk(argument)
                if isinstance(inner, ast.Name)
            }
            if names & _ALL:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.With) and raises_by_itself(node):
            found.append(ast.unparse(node.items[0]))
        elif isinstance(node, ast.Try) and any(map(_swallows, node.handlers)):
            found += [
                f"swallowed: {ast.unparse(inner)}"
                for statement in node.body
                for inner in ast.walk(statement)
                if isinstance(inner, ast.Assert)
                or (
                    isinstance(inner, ast.With)
                    and any(is_raises(i.context_expr) for i in inner.items)
                )
            ]
        elif isinstance(node, ast.With) and any(_suppresses(i.context_expr) for i in node.items):
            found.append(ast.unparse(node.items[0]))
    return found


def is_trivial(test: ast.expr) -> bool:
    """Tell whether an expression is true, or always the same, whatever the cache does."""
    if isinstance(test, ast.BoolOp):
        if isinstance(test.op, ast.Or):
            texts = {ast.unparse(value) for value in test.values}
            return any(map(is_trivial, test.values)) or any(
                f"not {text}" in texts for text in texts
            )
        return all(map(is_trivial, test.values))
    if isinstance(test, ast.UnaryOp):
        return is_trivial(test.operand)
    if isinstance(test, ast.NamedExpr):
        return is_trivial(test.value)
    if isinstance(test, ast.Compare):
        return _is_trivial_comparison(test)
    if isinstance(test, (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Lambda, ast.JoinedStr)):
        return True
    if isinstance(test, ast.Attribute):
        return test.attr in VERBS
    if isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance":
        return "object" in ast.unparse(test.args[-1]).strip("()").split(", ")
    if isinstance(test, ast.Call) and ast.unparse(test.func) in ("any", "all", "bool", "str"):
        return not test.args or _is_constant(test.args[0])
    return _is_constant(test)


def _is_trivial_comparison(test: ast.Compare) -> bool:
    sides = [test.left, *test.comparators]
    if isinstance(test.left, (ast.Compare, ast.BoolOp)) and ast.unparse(sides[1]) == "None":
        return True  # a bool is not None
    if all(map(_is_constant, sides)) or "ANY" in " ".join(map(ast.unparse, sides)).split("."):
        return True
    for left, operator, right in zip(sides, test.ops, test.comparators, strict=False):
        a, b = ast.unparse(left), ast.unparse(right)
        reflexive = isinstance(operator, (ast.Eq, ast.Is, ast.LtE, ast.GtE))
        inside = isinstance(operator, ast.In) and isinstance(right, (ast.List, ast.Tuple, ast.Set))
        same = (reflexive and a == b) or (inside and a in map(ast.unparse, right.elts))
        if not (
            same
            or (isinstance(operator, ast.GtE) and _is_count(left) and b in ("0", "0.0", "-1"))
            or (isinstance(operator, ast.Gt) and _is_count(left) and b == "-1")
            or (isinstance(operator, ast.NotEq) and _is_count(left) and b == "-1")
            or (isinstance(operator, ast.LtE) and _is_count(right) and a in ("0", "0.0", "-1"))
            or (isinstance(operator, ast.Lt) and _is_count(right) and a == "-1")
        ):
            return False
    return True


def approximate(node: ast.AST) -> bool:
    """Tell whether an expression compares no more closely than some tolerance."""
    return any(
        isinstance(each, ast.Call)
        and re.search(r"(^|\.)(approx|isclose|allclose|round|abs)$", ast.unparse(each.func))
        for each in ast.walk(node)
    )


def raises_by_itself(node: ast.With) -> bool:
    """Tell whether a block that expects an exception raises one with its own hands."""
    return any(is_raises(item.context_expr) for item in node.items) and any(
        isinstance(statement, ast.Raise) for statement in node.body
    )


def _is_constant(node: ast.expr) -> bool:
    """Tell whether an expression names nothing, and so always has the same value."""
    return not any(isinstance(inner, (ast.Name, ast.Call)) for inner in ast.walk(node))


def _is_count(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("len", "abs")


def is_raises(node: ast.AST) -> bool:
    """Tell whether a node is the call of what expects an exception or a warning."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in (
        "pytest.raises",
        "pytest.warns",
        "raises",
    )


def _suppresses(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("contextlib.suppress", "suppress")
        and any(ast.unparse(argument) in _ALL for argument in node.args)
    )


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler takes a failed assertion and does nothing with it."""
    names = (
        {inner.id for inner in ast.walk(handler.type) if isinstance(inner, ast.Name)}
        if (handler.type is not None)
        else _ALL
    )
    raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(handler))
    kept = any(
        isinstance(inner, ast.Name) and inner.id == handler.name
        for keeper in ast.walk(handler)
        if _keeps(keeper)
        for inner in ast.walk(keeper)
    )
    return bool(names & _ALL) and not raises and not kept


def _keeps(node: ast.AST) -> bool:
    """Tell whether a statement hands on what it names, so that something else can fail."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("append", "put", "send", "set_exception")
    return isinstance(node, (ast.Return, ast.Assign, ast.Assert))


def _never(test: ast.expr) -> bool:
    return _is_constant(test) and not _value(test)


def _is_empty(iterable: ast.expr) -> bool:
    if isinstance(iterable, ast.Call) and ast.unparse(iterable.func) == "range":
        limits = [_value(argument) for argument in iterable.args]
        return all(isinstance(limit, int) for limit in limits) and not range(*limits)
    return _is_constant(iterable) and not _value(iterable)


def _value(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


def _skips(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in ("pytest.skip", "pytest.xfail", "pytest.exit")
    )


def _bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(node, name, [])
    for handler in getattr(node, "handlers", []):
        yield handler.body


def _own_expressions(node: ast.stmt) -> Iterator[ast.AST]:
    """Walk a statement without the statements in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.stmt, ast.ExceptHandler)):
            yield from ast.walk(child)
