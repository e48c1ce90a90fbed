"""The identity of a function: its name, its code, and the content of its closure.

The code is identified by its syntax tree, which is the same on every Python and does not change
with comments, docstrings or layout. If the source is not available, or is not what the function was
compiled from, the code is identified by its bytecode, which differs between versions of Python.
"""

import ast
import functools
import hashlib
import linecache
import sys
import types
from collections.abc import Iterator
from typing import Any

from . import naming
from .fingerprint import Refused, encode

_EMPTY: Any = object()  # stands for a variable of a closure that has no value yet
_KEPT = 4  # the number of files whose syntax trees are kept; a file's functions come in a row


class Identity:
    """What distinguishes one function from every other."""

    def __init__(self, function: Any, closures: bool) -> None:
        """Take a function; with `closures` false, only its code counts, not its closure.

        The content of a closure counts as it is now. The source is read when `digest` is called.
        """
        self._closures = closures
        self._pieces: list[bytes | types.FunctionType] = []
        self._inside: list[int] = []
        self._module = getattr(function, "__module__", None)
        self._add(function)

    @functools.cached_property
    def digest(self) -> bytes:
        """Return 128 bits for the code and the content of the closures."""
        hasher = hashlib.blake2b(digest_size=16)
        for piece in self._pieces:
            data = piece if isinstance(piece, bytes) else _canonical(piece)
            hasher.update(b"%x:%b" % (len(data), data))
        return hasher.digest()

    def _add(self, thing: Any) -> None:
        """Add a callable by its code, anything else by its fingerprint."""
        if id(thing) in self._inside:  # a function in its own closure
            self._note("again", len(self._inside) - self._inside.index(id(thing)))
            return
        self._inside.append(id(thing))
        kind = type(thing)
        if kind is types.FunctionType:
            self._add_function(thing)
        elif kind is types.MethodType:
            self._note("method")
            self._add(thing.__func__)
            self._add_held([thing.__self__])
        elif kind is functools.partial:
            self._note("partial", list(thing.keywords))
            self._add(thing.func)
            for argument in (*thing.args, *thing.keywords.values()):
                self._add_argument(argument)
        elif kind is functools._lru_cache_wrapper or hasattr(kind, "__cached_function__"):
            self._note("cached")
            self._add(thing.__wrapped__)
        elif issubclass(kind, type) and len(self._inside) == 1:
            self._note("class", naming.name_of(thing))
            for name, member in sorted(vars(thing).items()):
                if type(member) is types.FunctionType:
                    self._note(name)
                    self._add(member)
        else:
            self._add_argument(thing)
        self._inside.pop()

    def _add_function(self, function: types.FunctionType) -> None:
        if function.__module__ != self._module and naming.leads_back(function):
            self._note("function", naming.name_of(function))  # a function of a library: by its name
            return
        self._pieces.append(function)
        held = [_content(cell) for cell in function.__closure__ or ()]
        if len(self._inside) > 1:  # the defaults of the outermost one are arguments of each call
            held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        self._add_held(held)

    def _add_held(self, values: list[Any]) -> None:
        for value in values if self._closures else ():
            self._add(value)

    def _add_argument(self, value: Any) -> None:
        """Add a value by its fingerprint; if it has none, as this one object, or not at all."""
        pieces: list[bytes] = []
        try:
            if value is _EMPTY:
                pieces.append(b"empty")
            elif type(value) is types.ModuleType:
                encode(("module", value.__name__), pieces.append)
            else:
                encode(value, pieces.append)
        except (Refused, RecursionError):
            pieces = [b"object", naming.token_of(value).encode()] if self._closures else []
        self._pieces.append(b"".join(pieces))

    def _note(self, *words: Any) -> None:
        encode(words, self._pieces.append)


def is_global(function: Any) -> bool:
    """Tell whether a callable can have a module-level name, and has one."""
    name = getattr(function, "__qualname__", "<")
    if "<" in name or not isinstance(getattr(function, "__module__", None), str):
        return False  # a lambda, a local function, or no function
    kind = type(function)
    if kind is types.BuiltinFunctionType:
        return isinstance(function.__self__, types.ModuleType)
    return (
        kind in (types.FunctionType, functools._lru_cache_wrapper)
        or issubclass(kind, type)
        or hasattr(kind, "__cached_function__")
    )


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


# -- code ------------------------------------------------------------------------------------------


def _canonical(function: types.FunctionType) -> bytes:
    """Return canonical bytes for a function's code."""
    code = function.__code__
    pieces: list[bytes] = []
    try:
        node = _node_of(code, function.__globals__)
        if node is not None:
            encode(("source", _shape(node, outermost=True)), pieces.append)
            return b"".join(pieces)
    except RecursionError:
        pieces.clear()
    encode(("bytecode", sys.implementation.cache_tag, _bytecode(code)), pieces.append)
    return b"".join(pieces)


def _node_of(code: types.CodeType, module: dict[str, Any]) -> ast.AST | None:
    """Return the syntax tree that the code was compiled from, or None if it is not certain."""
    for source in _sources(code.co_filename, module):
        codes, nodes = _compiled(source)
        found = nodes.get((code.co_name, code.co_firstlineno), [])
        # The file may have changed, and a name like "<string>" stands for many sources.
        if code in codes and len(found) == 1:
            return found[0]
    return None


def _sources(filename: str, module: dict[str, Any]) -> Iterator[str]:
    linecache.checkcache(filename)
    yield "".join(linecache.getlines(filename, module))
    if filename == "<string>" and "-c" in sys.orig_argv[:-1]:  # pragma: no cover - `python -c`
        yield sys.orig_argv[sys.orig_argv.index("-c") + 1]


@functools.lru_cache(_KEPT)
def _compiled(
    source: str,
) -> tuple[frozenset[types.CodeType], dict[tuple[str, int], list[ast.AST]]]:
    """Return the code objects of a source, and its functions by name and first line."""
    mode = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # for the cells of a notebook
    try:
        tree = compile(source, "", "exec", mode | ast.PyCF_ONLY_AST, dont_inherit=True)
        waiting = [compile(tree, "", "exec", mode, dont_inherit=True)]
    except (SyntaxError, ValueError):
        return frozenset(), {}
    codes: set[types.CodeType] = set()
    while waiting:
        code = waiting.pop()
        codes.add(code)
        waiting += [const for const in code.co_consts if isinstance(const, types.CodeType)]
    nodes: dict[tuple[str, int], list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            nodes.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            nodes.setdefault((node.name, first), []).append(node)
    return frozenset(codes), nodes


def _shape(node: Any, outermost: bool = False) -> Any:
    """Return a syntax tree as plain data, the same on every Python: `ast.dump` gives another."""
    if isinstance(node, list):
        return [_shape(each) for each in node]
    if node is ...:
        return ("...",)
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.JoinedStr):
        # Python 3.12 has empty texts between the parts of some f-strings.
        return "JoinedStr", [
            _shape(each)
            for each in node.values
            if not isinstance(each, ast.Constant) or each.value != ""
        ]
    fields = [
        (name, _shape(value))
        for name, value in ast.iter_fields(node)
        if value is not None
        and value != []
        and name not in ("ctx", "kind", "type_comment")
        # Decorators above `memoize` get its result only; those below count.
        and not (outermost and name == "decorator_list")
    ]
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields = [(name, body[1:] if name == "body" else body) for name, body in fields]
    return type(node).__name__, fields


def _bytecode(code: types.CodeType) -> Any:
    """Return a code object as plain data."""
    return (
        *(code.co_name, code.co_code, code.co_flags, code.co_exceptiontable),
        *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        *(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        tuple(_constant(each) for each in code.co_consts),
    )


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return "code", _bytecode(value)
    if type(value) is tuple:
        return "tuple", tuple(_constant(each) for each in value)
    if type(value) is frozenset:
        return "frozenset", frozenset(_constant(each) for each in value)
    if type(value) is slice:  # pragma: no cover - a constant since Python 3.14
        return "slice", value.start, value.stop, value.step
    return ("...",) if value is ... else ("value", value)
