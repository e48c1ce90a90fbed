"""Small edits of Python source: each operator yields what may stand in place of a node.

An edit replaces one stretch of the text, so what is reported is a diff of a line or two. What is
only read by people or type checkers is left alone: docstrings, annotations, protocols and the words
of errors and log lines, though not the values that they name.
"""

import ast
import collections
import copy
import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
SMALL = 9  # an int above it is a size: one neighbour tells as much as two
TYPING = {"TypeVar", "TypeVarTuple", "ParamSpec", "cast"}
Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMMENT = re.compile(r"(^|\s+)# .*$")


class Edit(NamedTuple):
    """`text` in place of the bytes from `start` to `end`."""

    operator: str
    start: int
    end: int
    text: str


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One edit of one module, and where it is."""

    path: str  # of the module, from the project's folder
    place: str  # the qualified name of the function or class around it, or <module>
    lines: range  # of the statement, or of the head of a compound one
    body: range  # of the outermost function around it, or of the statement at import
    at_import: bool
    names: frozenset[str]  # what the statement at import binds
    edit: Edit
    former: str  # the lines that the edit touches, as they were
    latter: str  # and as they are then
    number: int  # from 1 on among those of this place, where these lines are the same
    key: str  # names this mutant as long as the function or statement around it stays as it is

    def apply(self, source: bytes) -> bytes:
        """Return the mutated source."""
        return source[: self.edit.start] + self.edit.text.encode() + source[self.edit.end :]


def bare(text: str) -> str:
    """Return lines of code without their indentation and the comments behind them."""
    return "\n".join(_COMMENT.sub("", line).strip() for line in text.splitlines())


def mutants(path: str, source: bytes) -> list[Mutant]:
    """Return all mutants of a module that compile, none twice."""
    return list(_Module(path, source).mutants())


@dataclasses.dataclass(frozen=True)
class _Around:
    """What stands around a node."""

    place: tuple[str, ...] = ()
    lines: range = range(0)
    outermost: ast.AST | None = None  # function, or else the statement at import
    in_function: bool = False
    bound: frozenset[str] = frozenset()  # the names that a function binds more than once
    words: bool = False  # in a raise or a log line: what people read


class _Module:
    def __init__(self, path: str, source: bytes) -> None:
        self.path = path
        self.source = source
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    # -- places in the text ----------------------------------------------------------------------

    def span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self.starts[node.lineno - 1] + node.col_offset,  # type: ignore[attr-defined]
            self.starts[node.end_lineno - 1] + node.end_col_offset,  # type: ignore[attr-defined]
        )

    def replaced(self, operator: str, node: ast.AST, new: ast.AST) -> Edit:
        text = ast.unparse(new)
        atom = (ast.stmt, ast.Constant, ast.Name, ast.Call, ast.Attribute, ast.Subscript)
        if not isinstance(new, (*atom, ast.JoinedStr)):
            text = f"({text})"
        return Edit(operator, *self.span(node), text)

    # -- the walk --------------------------------------------------------------------------------

    def mutants(self) -> Iterator[Mutant]:
        seen = set()
        numbers: collections.Counter[tuple[str, str, str]] = collections.Counter()
        for edit, around in self.body(self.tree.body, _Around()):
            mutant = self.mutant(edit, around)
            text = mutant.apply(self.source)
            if text in seen or text == self.source:
                continue
            seen.add(text)
            try:
                compile(text, self.path, "exec", dont_inherit=True)
            except SyntaxError:
                continue
            same = mutant.place, bare(mutant.former), bare(mutant.latter)
            numbers[same] += 1
            yield dataclasses.replace(mutant, number=numbers[same])

    def mutant(self, edit: Edit, around: _Around) -> Mutant:
        outermost = around.outermost
        assert outermost is not None
        start, end = self.span(outermost)
        scope = self.source[start:end].decode()
        parts = (self.path, *around.place, scope, edit.start - start, edit.end - start, edit.text)
        first = self.source.rfind(b"\n", 0, edit.start) + 1
        last = (self.source + b"\n").find(b"\n", edit.end)
        after = self.source[first : edit.start] + edit.text.encode() + self.source[edit.end : last]
        names = {
            name.id
            for name in ast.walk(outermost)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        if isinstance(outermost, (*Function.__args__, ast.ClassDef)):
            names = {outermost.name}
        return Mutant(
            path=self.path,
            place=".".join(around.place) or "<module>",
            lines=around.lines,
            body=range(outermost.lineno, outermost.end_lineno + 1),  # type: ignore[attr-defined]
            at_import=not around.in_function,
            names=frozenset(names),
            edit=edit,
            former=self.source[first:last].decode(),
            latter=after.decode(),
            number=1,
            key=hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
        )

    def body(self, body: list[ast.stmt], around: _Around) -> Iterator[tuple[Edit, _Around]]:
        for statement in body:
            if around.outermost is None or (
                not around.in_function and isinstance(around.outermost, ast.ClassDef)
            ):
                here = dataclasses.replace(around, outermost=statement)
            else:
                here = around
            yield from self.statement(statement, here)

    def statement(self, node: ast.stmt, around: _Around) -> Iterator[tuple[Edit, _Around]]:
        match node:
            case ast.Expr(value=ast.Constant(value=str())) | ast.Import() | ast.ImportFrom():
                return
            case ast.Assign(value=ast.Subscript()) if not around.place:  # a type's other name
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from self.function(node, around)
                return
            case ast.ClassDef():
                if not any("Protocol" in ast.unparse(base) for base in node.bases):
                    inside = dataclasses.replace(around, place=(*around.place, node.name))
                    yield from self.decorators(node, inside)
                    yield from self.body(node.body, inside)
                return
        bodies = [
            getattr(node, name)
            for name in ("body", "handlers", "orelse", "finalbody")
            if getattr(node, name, None)
        ]
        last = node.end_lineno or node.lineno
        if bodies:
            last = max(node.lineno, min(_first_line(part[0]) for part in bodies) - 1)
        around = dataclasses.replace(
            around,
            lines=range(node.lineno, last + 1),
            words=isinstance(node, ast.Raise) or _logs(node),
        )
        for edit in self.edits_of_statement(node, around):
            yield edit, around
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "body", "handlers", "orelse", "finalbody", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    for edit in self.edits_within(child, node, around.words):
                        yield edit, around
        for part in bodies:
            for child in part:
                if isinstance(child, ast.ExceptHandler):
                    handler = dataclasses.replace(
                        around, lines=range(child.lineno, child.body[0].lineno + 1)
                    )
                    for edit in self.edits_of_handler(child, node):
                        yield edit, handler
                    yield from self.body(child.body, handler)
                else:
                    yield from self.body([child], around)

    def function(self, node: Function, around: _Around) -> Iterator[tuple[Edit, _Around]]:
        if any("overload" in ast.unparse(decorator) for decorator in node.decorator_list):
            return
        stored = [
            name.id
            for name in ast.walk(node)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        ]
        stored += [argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)]
        head = dataclasses.replace(
            around,
            place=(*around.place, node.name),
            lines=range(node.lineno, node.body[0].lineno),
            bound=frozenset(name for name in stored if stored.count(name) > 1),
        )
        yield from self.decorators(node, head)
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            if not (isinstance(default, ast.Constant) and default.value is None):
                for edit in self.edits_within(default, node, False):
                    yield edit, head
        yield from self.body(node.body, dataclasses.replace(head, in_function=True))

    def decorators(
        self, node: Function | ast.ClassDef, around: _Around
    ) -> Iterator[tuple[Edit, _Around]]:
        around = dataclasses.replace(around, lines=range(node.lineno, node.lineno + 1))
        for decorator in node.decorator_list:
            start, end = self.span(decorator)
            yield Edit("removed decorator", self.source.rindex(b"@", 0, start), end, ""), around
            for edit in self.edits_within(decorator, node, False):
                yield edit, around

    # -- statements ------------------------------------------------------------------------------

    def edits_of_statement(self, node: ast.stmt, around: _Around) -> Iterator[Edit]:
        removed = Edit("removed statement", *self.span(node), "pass")
        match node:
            case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Raise():
                yield removed
            case ast.Continue() | ast.Break() | ast.Return(value=None) | ast.For():
                yield removed
            case ast.Assign(targets=[ast.Name(id=name)]):
                if name in around.bound:  # else a NameError would follow
                    yield removed
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield removed
            case ast.AnnAssign(target=ast.Attribute(), value=ast.expr()):
                yield removed
            case ast.Return(value=ast.expr() as value):
                if not (isinstance(value, ast.Constant) and value.value is None):
                    yield self.replaced("return value", node, ast.parse("return None").body[0])
            case ast.With(items=items):
                if all(item.optional_vars is None for item in items):
                    end = self.source.index(b":", self.span(items[-1].context_expr)[1])
                    yield Edit("removed with", self.span(node)[0], end, "if True")
            case ast.If(test=test) | ast.While(test=test):
                yield from self.negated(test)
        if isinstance(node, ast.AugAssign):
            operator = ARITHMETIC.get(type(node.op))
            if operator is not None:
                new = copy.deepcopy(node)
                new.op = operator()
                yield self.replaced("arithmetic", node, new)

    def edits_of_handler(self, handler: ast.ExceptHandler, node: ast.stmt) -> Iterator[Edit]:
        assert isinstance(node, ast.Try)
        if [ast.dump(child) for child in handler.body] != [ast.dump(ast.Raise())]:
            start, end = self.span(handler.body[0])[0], self.span(handler.body[-1])[1]
            yield Edit("removed handler", start, end, "raise")
        elif len(node.handlers) > 1:
            yield Edit("removed handler", *self.span(handler), "")

    # -- expressions -----------------------------------------------------------------------------

    def edits_within(self, node: ast.AST, parent: ast.AST, words: bool) -> Iterator[Edit]:
        """Yield the edits of an expression and of all that is in it."""
        if isinstance(node, ast.Call) and ast.unparse(node.func) in TYPING - {"cast"}:
            return
        if isinstance(node, ast.JoinedStr):
            # Before Python 3.12 what is in an f-string does not know where it stands.
            yield from self.edits_of_text(node, words)
            return
        if isinstance(node, ast.expr):
            yield from self.edits_of(node, parent, words)
        for child in ast.iter_child_nodes(node):
            if not (isinstance(node, ast.Lambda) and child is node.args):
                yield from self.edits_within(child, node, words)

    def edits_of_text(self, text: ast.JoinedStr, words: bool) -> Iterator[Edit]:
        for at, part in enumerate(text.values):
            if isinstance(part, ast.FormattedValue) or not words:
                new = copy.deepcopy(text)
                del new.values[at]
                yield self.replaced("constant", text, new)
            if isinstance(part, ast.FormattedValue):
                for operator, child, other in self.within_text(part.value, words):
                    value = _with(part.value, child, other)
                    new = copy.deepcopy(text)
                    new.values[at] = ast.FormattedValue(value, part.conversion, part.format_spec)
                    yield self.replaced(operator, text, new)

    def within_text(self, node: ast.expr, words: bool) -> Iterator[tuple[str, ast.expr, ast.expr]]:
        for child in ast.walk(node):
            if isinstance(child, ast.expr) and not isinstance(child, ast.JoinedStr):
                for operator, other in edits(child, node, words):
                    yield operator, child, other

    def edits_of(self, node: ast.expr, parent: ast.AST, words: bool) -> Iterator[Edit]:
        for operator, new in edits(node, parent, words):
            yield self.replaced(operator, node, new)

    def negated(self, test: ast.expr) -> Iterator[Edit]:
        for operator, new in negation(test):
            yield self.replaced(operator, test, new)


def edits(node: ast.expr, parent: ast.AST, words: bool) -> Iterator[tuple[str, ast.expr]]:
    """Yield what may stand in place of an expression: the operator's name and the other one."""
    match node:
        case ast.Compare(ops=operators):
            for at, operator in enumerate(operators):
                for other in COMPARISONS[type(operator)]:
                    new = copy.deepcopy(node)
                    new.ops[at] = other()
                    yield "comparison", new
        case ast.BoolOp(op=operator, values=values):
            new = copy.deepcopy(node)
            new.op = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield "boolean", new
            for at, value in enumerate(values):
                rest = values[:at] + values[at + 1 :]
                yield "boolean", rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest)
                for _, other in negation(value):
                    new = copy.deepcopy(node)
                    new.values[at] = other
                    yield "boolean", new
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "boolean", operand
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "arithmetic", operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            for _, other in negation(test):
                yield "boolean", ast.IfExp(other, body, orelse)
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC:
            new = copy.deepcopy(node)
            new.op = ARITHMETIC[type(operator)]()
            yield "arithmetic", new
        case ast.Call(args=arguments):
            for at in range(len(arguments) - 1):
                pair = arguments[at : at + 2]
                if not any(isinstance(argument, ast.Starred) for argument in pair):
                    new = copy.deepcopy(node)
                    new.args[at : at + 2] = pair[::-1]
                    yield "swapped arguments", new
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for at, loop in enumerate(node.generators):
                for condition, test in enumerate(loop.ifs):
                    for _, other in negation(test):
                        new = copy.deepcopy(node)
                        new.generators[at].ifs[condition] = other
                        yield "boolean", new
        case ast.Constant(value=value):
            if not (words and isinstance(value, str)):
                for other in constants(value, parent):
                    yield "constant", ast.Constant(other)


def negation(test: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield the opposite of a condition, unless an operator of its own yields it."""
    if not isinstance(test, (ast.Compare, ast.BoolOp)) and not (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    ):
        yield "boolean", ast.UnaryOp(ast.Not(), test)


def constants(value: object, parent: ast.AST) -> Iterator[object]:
    """Yield other constants in place of one."""
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
            if 0 < value <= SMALL:
                yield value - 1
        case float():
            yield value + 1 if value + 1 != value else value * 2
        case str():
            yield "" if value else "x"
        case bytes():
            yield b"" if value else b"x"
        case None if isinstance(parent, (ast.Tuple, ast.Assign, ast.Call, ast.IfExp)):
            yield 0


def _with(root: ast.expr, node: ast.expr, new: ast.expr) -> ast.expr:
    """Return a copy of `root` in which `new` stands in place of `node`."""

    class Swap(ast.NodeTransformer):
        def visit(self, here: ast.AST) -> ast.AST:
            return new if here is marked else super().visit(here)

    at = list(ast.walk(root)).index(node)
    copied = copy.deepcopy(root)
    marked = list(ast.walk(copied))[at]
    return Swap().visit(copied)  # type: ignore[no-any-return]


def _first_line(node: ast.AST) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])  # type: ignore[attr-defined]


def _logs(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).startswith("logger.")
    )
