"""What `cache/` keeps to: each rule a function over source text that returns the breaches."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping

from .assertions import Function


def layers_of(design: str) -> list[set[str]]:
    """Return the layers that DESIGN.md draws, the lowest first."""
    drawing = re.search(r"^## Layers\n\n((?: {4}.*\n)+)", design, re.MULTILINE)
    if drawing is None:
        raise ValueError("the design draws no layers")
    return [set(re.findall(r"\w+", layer)) for layer in drawing[1].split("→")]


def upward_imports(sources: Mapping[str, str], layers: list[set[str]]) -> list[str]:
    """Return the imports that do not lead downwards, in functions and for types only included.

    `sources` maps the dotted name of each module, `__init__` of `cache` apart, to its text. A
    package within `cache` counts as one module.
    """
    height = {module: number for number, layer in enumerate(layers) for module in layer}
    present = {module.partition(".")[0] for module in sources}
    breaches = [f"{module} is in no layer" for module in sorted(present - set(height))]
    breaches += [f"there is no {module}" for module in sorted(set(height) - present)]
    for module, source in sources.items():
        own = module.partition(".")[0]
        for target in _imported(ast.parse(source), module):
            if target not in height:
                breaches.append(f"{module} imports {target}")
            elif target != own and height[target] >= height.get(own, 0):
                breaches.append(f"{module} imports {target}, which is not below it")
    return breaches


def _imported(tree: ast.AST, module: str) -> Iterator[str]:
    """Yield the modules of `cache`, by their first name, that are imported anywhere in a module."""
    for node in ast.walk(tree):
        paths: list[str] = []
        if isinstance(node, ast.Import):
            paths = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ["cache", *module.split(".")][: -node.level] if node.level else []
            path = ".".join([*above, *filter(None, [node.module])])
            paths = [path] if path != "cache" else [f"cache.{each.name}" for each in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            paths = [each.value for each in node.args if isinstance(each, ast.Constant)]
        for path in paths:
            package, _, inner = path.partition(".")
            if package in ("cache", ""):
                yield inner.partition(".")[0] or "cache"


def unlocked_calls(source: str) -> list[str]:
    """Return the uses of `*_locked` helpers where the lock is not held.

    It is held in the block of `with x._lock:`, in the `try` that directly follows `x._acquire()` or
    `x._lock.acquire()` and releases it `finally`, and in other such helpers, for the same x. A
    helper does not take the lock itself.
    """
    breaches: list[str] = []
    for statement in ast.parse(source).body:
        _find_unlocked([statement], set(), breaches)
    return breaches


def _find_unlocked(body: list[ast.stmt], held: set[str], breaches: list[str]) -> None:
    taken: set[str] = set()  # by the statement before
    for statement in body:
        if isinstance(statement, (Function, ast.ClassDef)):
            # What is only defined here runs later, when the lock may be free again.
            inside: set[str] = set()
            if isinstance(statement, Function) and statement.name.endswith("_locked"):
                inside = {argument.arg for argument in statement.args.args[:1]}
                if _takes_lock(statement):
                    breaches.append(f"{statement.name} takes the lock")
            _find_unlocked(statement.body, inside, breaches)
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            owners = {_owner_of_lock(item.context_expr) for item in statement.items}
            _look_at(statement, held, breaches)
            _find_unlocked(statement.body, held | {owner for owner in owners if owner}, breaches)
        elif isinstance(statement, ast.Try):
            released = {_owner_of_call(last, "release") for last in statement.finalbody}
            inside = held | (taken & released)
            for part in (statement.body, statement.orelse):
                _find_unlocked(part, inside, breaches)
            for handler in statement.handlers:
                _find_unlocked(handler.body, inside, breaches)
            _find_unlocked(statement.finalbody, held, breaches)
        else:
            _look_at(statement, held, breaches)
            for name in ("body", "orelse"):
                _find_unlocked(getattr(statement, name, []), held, breaches)
            for case in getattr(statement, "cases", []):
                _find_unlocked(case.body, held, breaches)
        taken = {owner for owner in [_owner_of_call(statement, "acquire")] if owner}


def _look_at(statement: ast.stmt, held: set[str], breaches: list[str]) -> None:
    """Look for helpers in a statement, without the statements in it."""
    waiting = [(child, held) for child in ast.iter_child_nodes(statement)]
    while waiting:
        node, owners = waiting.pop()
        if isinstance(node, (ast.stmt, ast.match_case)):
            continue
        if isinstance(node, ast.Attribute) and node.attr.endswith("_locked"):
            if ast.unparse(node.value) not in owners:
                breaches.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Name) and node.id.endswith("_locked") and not owners:
            breaches.append(f"line {node.lineno}: {node.id}")
        inside: set[str] = set() if isinstance(node, ast.Lambda) else owners
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


def _takes_lock(function: Function) -> bool:
    return any(
        (isinstance(node, ast.withitem) and _owner_of_lock(node.context_expr) == "self")
        or (isinstance(node, ast.Expr) and _owner_of_call(node, "acquire") == "self")
        for node in ast.walk(function)
    )


def _owner_of_lock(node: ast.expr) -> str | None:
    match = re.fullmatch(r"(.+)\._lock", ast.unparse(node))
    return match[1] if match else None


def _owner_of_call(statement: ast.stmt, verb: str) -> str | None:
    match = re.fullmatch(rf"(.+?)(?:\._lock\.|\._){verb}\(\)", ast.unparse(statement))
    return match[1] if match else None


def undocumented(source: str) -> list[str]:
    """Return the public names of a module, and of its public classes, that have no docstring."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module"]
    return found + _undocumented(tree.body, "")


def _undocumented(body: list[ast.stmt], owner: str) -> list[str]:
    found = []
    for node in body:
        if isinstance(node, (Function, ast.ClassDef)) and not node.name.startswith("_"):
            name = owner + node.name
            overload = any(ast.unparse(each).endswith("overload") for each in node.decorator_list)
            if not overload and not (ast.get_docstring(node) or "").strip():
                found.append(name)
            if isinstance(node, ast.ClassDef):
                found += _undocumented(node.body, f"{name}.")
    return found


def wall_clock(source: str, allowed: Collection[str] = ()) -> list[str]:
    """Return the functions, `allowed` ones apart, that name a clock which can be stepped."""
    tree = ast.parse(source)
    stepped = re.compile(
        r"time\.(time|time_ns|gmtime|localtime|ctime|strftime|clock_gettime)"
        r"|(datetime\.)*(datetime|date)\.(now|utcnow|today)"
    )
    owners: dict[int, str] = {}
    for function in ast.walk(tree):
        if isinstance(function, Function):
            owners |= {id(node): function.name for node in ast.walk(function)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and stepped.fullmatch(ast.unparse(node)):
            owner = owners.get(id(node), "the module")
            if owner not in allowed:
                found.append(f"{owner}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [
                f"from time import {each.name}"
                for each in node.names
                if stepped.fullmatch(f"time.{each.name}")
            ]
    return found
