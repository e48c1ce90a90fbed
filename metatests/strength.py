"""How strong a test is, in numbers of which each may only grow, or only sink."""

import ast
import re
from collections.abc import Iterator, Mapping

from .assertions import Function, approximate, assertions, is_raises

# What is repeated as often, or is as many, as an argument says.
_REPEATS = {
    *("range", "Barrier", "BoundedSemaphore", "Semaphore", "ThreadPoolExecutor", "settings"),
    *("ProcessPoolExecutor", "islice", "repeat", "binary", "text", "lists", "dictionaries"),
}
_WAITS = {"join", "wait", "result", "acquire", "poll", "settimeout", "eventually"}
_AWAITS = {"eventually", "wait_until"}
_TOLERANCES = {"approx", "isclose", "timeout", "eventually"}
_RANGE = re.compile(r"\brange\((\d[\d_]*)\)")
_BELOW, _ABOVE = (ast.Lt, ast.LtE), (ast.Gt, ast.GtE)
_COLLECTION = (ast.List, ast.Tuple, ast.Set, ast.Dict)

Constants = Mapping[str, float]


def asserted(function: Function) -> tuple[int, int]:
    """Return how many assertions can fail, and how much they weigh.

    `assert a == b` weighs three, `assert (a, b) == (1, 2)` six, `assert a == approx(b)` two;
    `assert a`, `assert a <= b` and `assert a in b` weigh one; `assert a is not None` and
    `assert a or b` nothing; `pytest.raises(KeyError, match="k")` weighs two, without `match` one.
    Assertions in programs of the test are counted too; conditions that it waits for are weighed.
    """
    found = [*assertions(function)]
    programs = sum(map(program_assertions, texts(function)))
    awaited = [
        call.args[0].body
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and _name(call) in _AWAITS
        if call.args and isinstance(call.args[0], ast.Lambda)
    ]
    return len(found) + programs, sum(map(_weight, [*found, *awaited]))


def program_assertions(text: str) -> int:
    """Return how many assertions a text has that is a program."""
    return len(re.findall(r"^\s*assert\b", text, re.MULTILINE))


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts in a piece of a suite."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _weight(node: ast.AST) -> int:
    if isinstance(node, ast.Assert):
        return _weight(node.test)
    if isinstance(node, ast.BoolOp):
        return sum(map(_weight, node.values)) if isinstance(node.op, ast.And) else 0
    if isinstance(node, (ast.IfExp, ast.Constant)):
        return 0
    if isinstance(node, ast.Compare):
        sides = zip(node.ops, node.comparators, strict=True)
        equal = [side for operator, side in sides if isinstance(operator, (ast.Eq, ast.Is))]
        if approximate(node):
            return 1 + bool(equal)
        anything = isinstance(node.ops[0], ast.IsNot)
        return 3 * sum(map(_width, equal)) if equal else int(not anything)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "all" and node.args:
        return _weight(getattr(node.args[0], "elt", node.args[0]))
    if isinstance(node, ast.expr) and not is_raises(node):
        return 1
    calls = [each for each in ast.walk(node) if isinstance(each, ast.Call) and is_raises(each)]
    return 1 + any(keyword.arg == "match" for keyword in calls[0].keywords)


def _width(node: ast.expr) -> int:
    """Return how many values a comparison with the expression compares."""
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return max(1, sum(map(_width, node.elts)))
    if isinstance(node, ast.Dict):
        return max(1, sum(map(_width, node.values)))
    return 1


def constants(tree: ast.Module) -> dict[str, float]:
    """Return the numbers that a file gives names to."""
    known: dict[str, float] = {}
    for node in tree.body:
        known |= _assigned(node, known)
    return known


def _assigned(node: ast.stmt, known: Constants) -> dict[str, float]:
    if not isinstance(node, ast.Assign):
        return {}
    target, value = node.targets[0], node.value
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = [*zip(target.elts, value.elts, strict=False)]
    found = {}
    for name, each in pairs:
        number = value_of(each, known)
        if isinstance(name, ast.Name) and number is not None:
            found[name.id] = number
    return found


def value_of(node: ast.expr, known: Constants) -> float | None:
    """Return the number that an expression is, where the file alone tells."""
    if isinstance(node, ast.Constant):
        plain = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
        return node.value if plain else None  # type: ignore[return-value]
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.BinOp):
        left, right = value_of(node.left, known), value_of(node.right, known)
        if left is None or right is None:
            return None
        operations = {ast.Add: left + right, ast.Sub: left - right, ast.Mult: left * right}
        if isinstance(node.op, ast.Pow) and abs(right) < 64:
            return float(left) ** right
        if isinstance(node.op, (ast.Div, ast.FloorDiv)) and right:
            return left / right
        return operations.get(type(node.op))  # type: ignore[arg-type]
    return None


def known_in(function: Function, known: Constants) -> dict[str, float]:
    """Return the numbers that a function's names stand for: its file's, its cases', its own."""
    found = dict(known)
    for names, cases in _parametrized(function):
        for at, name in enumerate(names):
            numbers = [
                number for case in cases if (number := value_of(case[at], known)) is not None
            ]
            if numbers:
                found[name] = sum(numbers)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            found |= _assigned(node, found)
    return found


def _parametrized(function: Function) -> Iterator[tuple[list[str], list[list[ast.expr]]]]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("parametrize"):
            names, values = [*decorator.args, *(each.value for each in decorator.keywords)][:2]
            try:
                said = ast.literal_eval(names)
            except ValueError:
                continue
            listed = said.replace(",", " ").split() if isinstance(said, str) else [*said]
            if isinstance(values, (ast.List, ast.Tuple)):
                yield listed, [_case(each, len(listed)) for each in values.elts]


def _case(node: ast.expr, width: int) -> list[ast.expr]:
    if isinstance(node, ast.Call):  # pytest.param
        return [*node.args] + [ast.Constant(None)] * (width - len(node.args))
    values = [*node.elts] if width > 1 and isinstance(node, (ast.Tuple, ast.List)) else [node]
    return values + [ast.Constant(None)] * (width - len(values))


def size(node: ast.AST, known: Constants) -> float:
    """Return a measure of how often and with how much a piece of a suite does what it does.

    It adds up the numbers that say so: how often a loop runs, how many threads meet, how many
    examples are tried, the items that are gone through one by one; in programs of the test as well.
    Where there is any, the test's fixtures and decorators count too: they prepare what is repeated.
    """
    total = sum(float(number) for text in texts(node) for number in _RANGE.findall(text))
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and ast.unparse(each.func).startswith("st."):
            total += _name(each) not in ("just", "none", "nothing")
        if isinstance(each, ast.Call) and _name(each) in _REPEATS:
            given = [*each.args, *(keyword.value for keyword in each.keywords)]
            numbers = [value_of(argument, known) for argument in given]
            total += sum(number for number in numbers if number is not None and number > 0)
        elif isinstance(each, ast.BinOp) and isinstance(each.op, ast.Mult):
            sides = [value_of(side, known) for side in (each.left, each.right)]
            if sides.count(None) == 1:
                total += max(0.0, *(side for side in sides if side is not None))
        elif isinstance(each, (ast.For, ast.comprehension)) and isinstance(each.iter, _COLLECTION):
            total += len(getattr(each.iter, "elts", getattr(each.iter, "keys", ())))
        elif isinstance(each, ast.Call) and _name(each) not in _WAITS:
            # What helpers are told to do as often as a name of the file's says.
            total += sum(
                known[argument.id]
                for argument in [*each.args, *(keyword.value for keyword in each.keywords)]
                if isinstance(argument, ast.Name)
                and argument.id in known
                and known[argument.id] > 1
            )
    if isinstance(node, Function) and total:
        marks = [ast.unparse(each) for each in node.decorator_list]
        total += len(node.args.args) + sum("mark.timeout" not in mark for mark in marks)
    return total


def data(tree: ast.Module) -> float:
    """Return how many items the collections of a file have that stand outside its functions."""
    return float(
        sum(
            len(getattr(each, "elts", getattr(each, "keys", ())))
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            for each in ast.walk(node.value)
            if isinstance(each, _COLLECTION)
        )
    )


def slack(node: ast.AST, known: Constants) -> float:
    """Return how much the assertions of a piece of a suite leave open, and how long it may take.

    It adds up the limits that something is to be below, takes away those that it is to be above,
    and adds tolerances and timeouts. To loosen any of them makes it more.
    """
    total = 0.0
    for each in ast.walk(node):
        if isinstance(each, ast.Assert):
            for compare in ast.walk(each.test):
                if isinstance(compare, ast.Compare):
                    total += _open(compare, known)
        elif isinstance(each, ast.Call) and _name(each) in _TOLERANCES:
            given = [keyword.value for keyword in each.keywords]
            given += each.args if _name(each) == "timeout" else each.args[1:2]
            total += sum(_amount(argument, known) for argument in given)
    return total


def _open(compare: ast.Compare, known: Constants) -> float:
    total, left = 0.0, compare.left
    for operator, right in zip(compare.ops, compare.comparators, strict=True):
        if isinstance(operator, _BELOW):
            total += _amount(right, known) - _amount(left, known)
        elif isinstance(operator, _ABOVE):
            total += _amount(left, known) - _amount(right, known)
        left = right
    return total


def _amount(node: ast.expr, known: Constants) -> float:
    """Return the number that an expression is, or else the numbers in it, added up."""
    whole = value_of(node, known)
    if whole is not None:
        return whole
    if isinstance(node, ast.Subscript):
        return 0.0
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_amount(node.operand, known)
    return sum(
        _amount(child, known) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)
    )


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]
