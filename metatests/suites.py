"""What every suite keeps to: each rule a function over source text that returns the breaches."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from .assertions import VERBS, Function, approximate, is_raises, tests_of

PROMISED = {"cache", "small_cache", "make_cache", "CacheImpl", "clock"}


def clauses_of(contract: str) -> dict[str, str]:
    """Return the contract's clauses, each with its sentence."""
    return dict(re.findall(r"^- \*\*(R\d+\.\d+)\*\* (\S.*)$", contract, re.MULTILINE))


def markers(test: Function) -> list[str]:
    """Return the clauses that a test is marked with."""
    return [
        ast.literal_eval(argument)
        for decorator in test.decorator_list
        if isinstance(decorator, ast.Call) and _is_mark(decorator.func, "clause")
        for argument in decorator.args
    ]


def uncovered(sources: Iterable[str], clauses: Collection[str]) -> list[str]:
    """Return the clauses that have no test, and the markers that name no clause."""
    marked = {clause for source in sources for test in tests_of(source) for clause in markers(test)}
    missing = [f"{clause} has no test" for clause in clauses if clause not in marked]
    return missing + [f"{clause} is no clause" for clause in sorted(marked - {*clauses})]


def misnamed_files(names: Iterable[str], clauses: Iterable[str]) -> list[str]:
    """Return the requirements without exactly one file, and the files of no requirement."""
    wanted = {int(clause[1:].partition(".")[0]) for clause in clauses}
    found = Counter[int]()
    breaches = []
    for name in names:
        match = re.fullmatch(r"test_r(\d\d)_[a-z]+\.py", name)
        if match is None or int(match[1]) not in wanted:
            breaches.append(f"{name} belongs to no requirement")
        else:
            found[int(match[1])] += 1
    return breaches + [
        f"R{number} has {found[number]} files" for number in sorted(wanted) if found[number] != 1
    ]


def misplaced_tests(source: str, requirement: str) -> list[str]:
    """Return the tests that are not marked with a clause of their suite's requirement."""
    return [
        test.name
        for test in tests_of(source)
        if not any(clause.startswith(f"{requirement}.") for clause in markers(test))
    ]


def misnamed_tests(source: str) -> list[str]:
    """Return the tests whose name is no claim, which takes three words at least."""
    claim = re.compile(r"test(_[a-z0-9]+){3,}")
    vague = re.compile(r"test_(case|stuff|misc|foo|bar|todo|tmp)(_|$)|_\d\d?$")
    return [
        test.name
        for test in tests_of(source)
        if not claim.fullmatch(test.name) or vague.search(test.name)
    ]


def uncollected(source: str) -> list[str]:
    """Return the functions, classes and constants of a suite that nothing in it uses.

    A test whose name was spoilt, so that pytest does not see it, is one of them.
    """
    tree = ast.parse(source)
    names = Counter(
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )
    names.update(node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))
    names.update(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    unused = []
    for node in tree.body:
        if isinstance(node, (Function, ast.ClassDef)):
            collected = node.name.startswith(("test_", "Test"))
            autouse = any("autouse=True" in ast.unparse(each) for each in node.decorator_list)
            if not (collected or autouse or names[node.name]):
                unused.append(node.name)
    return unused


def missing_fixtures(conftest: str, promised: Collection[str] = PROMISED) -> list[str]:
    """Return the promised names that are no fixtures of the top-level conftest."""
    fixtures = {node.name for node in ast.parse(conftest).body if _is_fixture(node)}
    return sorted(set(promised) - fixtures)


def shadowed_fixtures(source: str, promised: Collection[str] = PROMISED) -> list[str]:
    """Return the promised fixtures in whose place a suite puts its own."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (Function, ast.ClassDef)) and node.name in promised
    ]


def without_clock(source: str, timed: Collection[str]) -> list[str]:
    """Return the tests about clauses of time that do not ask for the clock to turn."""
    return [
        test.name
        for test in tests_of(source)
        if set(markers(test)) & set(timed)
        and not {argument.arg for argument in test.args.args} & {"clock", "program"}
    ]


def real_time(source: str, polling: Collection[str] = ()) -> list[str]:
    """Return the functions, `polling` ones apart, that read a clock which no test turns."""
    clocks = re.compile(
        r"time\.(time|monotonic|perf_counter|process_time)(_ns)?|(monotonic|perf_counter)"
        r"|(datetime\.)*(datetime|date)\.(now|utcnow|today)"
    )
    return _calls(
        ast.parse(source), lambda call: bool(clocks.fullmatch(ast.unparse(call.func))), polling
    )


def sleeps(source: str, polling: Collection[str] = ()) -> list[str]:
    """Return the functions, `polling` ones apart, that let time go by instead of turning it.

    To wait for an event that nothing sets is to sleep. Programs in strings are read too.
    """
    tree = ast.parse(source)
    idle = {
        id(node)
        for function in _outer_functions(tree)
        for node in _waits_for_nothing(function, told_elsewhere=_told(tree))
    }

    def is_sleep(call: ast.Call) -> bool:
        known = ("sleep", "time.sleep", "asyncio.sleep", "select.select", "signal.pause")
        return ast.unparse(call.func) in known or id(call) in idle

    return _calls(tree, is_sleep, polling) + [
        f"a program in line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\bsleep\(|^sleep \d", node.value)
    ]


def _waits_for_nothing(function: Function, told_elsewhere: set[str]) -> Iterator[ast.Call]:
    """Yield the waits for events of the function's own that nothing sets."""
    events, told = _bound_to(function, ("Event", "Condition")), _told(function)
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            mine = isinstance(owner, ast.Name) and owner.id in events
            attribute = isinstance(owner, ast.Attribute) and owner.attr not in told_elsewhere
            if node.func.attr == "wait" and (
                isinstance(owner, ast.Call)
                or (mine and ast.unparse(owner) not in told)
                or attribute
            ):
                yield node


def _told(tree: ast.AST) -> set[str]:
    """Return the names, attributes by their last part, of the events that are set.

    One that is handed to a function as an argument may be set there.
    """
    handed = {
        each.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for argument in node.args
        for each in [argument, *getattr(getattr(argument, "value", None), "elts", ())]
        if isinstance(each, ast.Name)
    }
    return handed | {
        ast.unparse(node.value).rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("set", "notify", "notify_all")
    }


def public_names(package: str) -> set[str]:
    """Return the names in the `__all__` of a package's source."""
    for node in ast.parse(package).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise ValueError("the package has no __all__")


def private_names(source: str) -> list[str]:
    """Return the private attributes that a suite reads, by whatever means."""
    tree, found = ast.parse(source), []
    own = {
        id(node)
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef) and not kind.bases
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }
    for node in ast.walk(tree):
        if id(node) in own or ast.unparse(node) == "os._exit":  # public, for all its name
            continue
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]|__dict__|__closure__", node.attr):
            found.append(node.attr)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cache"):
            found += [each.name for each in node.names if each.name.startswith("_")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "vars" and node.args:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and re.search(r"attr(getter)?$", ast.unparse(node.func)):
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            found += [str(text) for text in texts if re.match(r"_[^_]", str(text))]
    return found


def inner_imports(source: str, public: Collection[str]) -> list[str]:
    """Return what a suite, or a program in it, imports or names of `cache` but its public names."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if re.match(r"cache(\.|$)", each.name)]
        elif isinstance(node, ast.ImportFrom) and re.match(r"cache(\.|$)", node.module or ""):
            allowed = public if node.module == "cache" else ()
            found += [each.name for each in node.names if each.name not in allowed]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # What patches and programs name: cache.core, cache.core.monotonic.
            found += re.findall(r"(?:^|from |import )(cache\.[a-z_.]+)(?:$|\s)", node.value)
    return found


def unjoined(source: str) -> list[str]:
    """Return the functions that start threads and don't join them, or wait without a timeout."""
    breaches = []
    for function in _outer_functions(ast.parse(source)):
        threads = _bound_to(function, ("Thread", "Timer"))
        kept = {
            id(node)
            for assign in ast.walk(function)
            if isinstance(assign, ast.Assign)
            for node in ast.walk(assign.value)
        }
        joined = Counter[str]()
        aliases: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, (ast.For, ast.comprehension)):
                source_of = node.iter
                while isinstance(source_of, (ast.Subscript, ast.Starred)):
                    source_of = source_of.value
                aliases[ast.unparse(node.target)] = ast.unparse(source_of)
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            receiver = ast.unparse(node.func.value)
            if node.func.attr == "join" and not isinstance(node.func.value, ast.Constant):
                owner = aliases.get(receiver, receiver)
                if node.args or node.keywords:
                    joined.update({owner, receiver})
                elif owner in threads:
                    breaches.append(f"{function.name}: {receiver}.join() has no timeout")
            elif node.func.attr in ("wait", "result") and not node.args and not node.keywords:
                breaches.append(f"{function.name}: {receiver}.{node.func.attr}() has no timeout")
        left = sorted(name for name in threads if joined[name] < threads[name])
        breaches += [
            f"{function.name}: {ast.unparse(node)} has no name to join it by"
            for node in ast.walk(function)
            if _is_call_of(node, ("Thread", "Timer")) and id(node) not in kept
        ]
        breaches += [f"{function.name}: {name} is not joined" for name in left]
    return breaches


def unexcused(source: str, excuses: Collection[str]) -> list[str]:
    """Return what leaves a test out without one of the listed reasons, or ends it early."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_skip(node.func):
            reasons = [ast.unparse(each.value) for each in node.keywords if each.arg == "reason"]
            reasons += [ast.unparse(each) for each in node.args]
            if not any(_text(reason) in excuses for reason in reasons):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute) and _is_skip(node):
            called = any(
                isinstance(each, ast.Call) and each.func is node for each in ast.walk(tree)
            )
            if not called:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
            *("__test__", "collect_ignore", "collect_ignore_glob"),
        ):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            # Conditional skips are judged above, each by its reason.
            marks = [ast.unparse(each) for each in getattr(node.value, "elts", [node.value])]
            allowed = re.compile(r"pytest\.mark\.(skipif|filterwarnings)\(")
            found += [mark for mark in marks if not allowed.match(mark)]
    for test in tests_of(source):
        found += [
            f"{test.name} returns"
            for node in _own_nodes(test)
            if isinstance(node, (ast.Return, ast.Yield))
        ]
        found += [
            f"{test.name} runs in the long version only"
            for decorator in test.decorator_list
            if _is_mark(decorator, "soak")
        ]
    return found


def approximations(source: str, exact: Collection[str], allowed: Collection[str] = ()) -> list[str]:
    """Return the tests, `allowed` ones apart, that compare with a tolerance.

    In those about `exact` clauses an inequality is one.
    """
    found = []
    for test in tests_of(source):
        asserted = [node for node in ast.walk(test) if isinstance(node, ast.Assert)]
        compared = [node for each in asserted for node in ast.walk(each)]
        unequal = any(isinstance(node, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for node in compared)
        counted = set(markers(test)) & set(exact)
        if test.name not in allowed and (any(map(approximate, asserted)) or (counted and unequal)):
            found.append(test.name)
    return found


def conditional(source: str, allowed: Collection[str] = ()) -> list[str]:
    """Return the tests, `allowed` ones apart, that assert only if something is so.

    What a case's parameters say is no such condition.
    """
    found = []
    for test in tests_of(source):
        given = {
            name
            for decorator in test.decorator_list
            for node in ast.walk(decorator)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for name in re.findall(r"\w+", node.value)
        }
        for node in ast.walk(test):
            branch = isinstance(node, ast.If) and any(
                isinstance(inner, ast.Assert) or is_raises(inner) for inner in ast.walk(node)
            )
            if branch and test.name not in allowed:
                names = {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
                if not names or names - given:
                    found.append(f"{test.name}: if {ast.unparse(node.test)}")
    return found


def patched(source: str, allowed: Collection[str] = ()) -> list[str]:
    """Return the functions, `allowed` ones apart, that change the cache under test, or fake one."""
    found = []
    tree = ast.parse(source)
    subjects = re.compile(
        r"\b(cache|small_cache|make_cache|CacheImpl|DistributedCache|RedisCache)\b"
    )
    for function in _outer_functions(tree):
        if function.name in allowed:
            continue
        kinds = {
            ast.unparse(node.targets[0])
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            and re.match(r"type\(|(make_)?cache\(", ast.unparse(node.value))
        }
        for node in ast.walk(function):
            target = ""
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
                target = ast.unparse(node.args[0]) if node.args else ""
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                target = ast.unparse(node.targets[0].value)
            if subjects.search(target) or target in kinds:
                found.append(f"{function.name}: {ast.unparse(node)}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            verbs = {each.name for each in node.body if isinstance(each, Function)} & VERBS
            if len(verbs) > 2 and not node.bases:
                found.append(f"{node.name} is a cache of the suite's own")
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and "mock" in ast.unparse(node):
            found.append(ast.unparse(node))
    return found


def loosened(source: str) -> list[str]:
    """Return what keeps pytest or Hypothesis from being strict with a test."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, text = ast.unparse(node.func), ast.unparse(node)
        values = [each.value for each in node.args if isinstance(each, ast.Constant)]
        timeout = any(isinstance(each, (int, float)) and 0 < each <= 3600 for each in values)
        warning = any(re.match(r"ignore:[^:]", str(each)) for each in values)
        if (name.endswith("mark.timeout") and not timeout) or (
            name.endswith("mark.filterwarnings") and not warning
        ):
            found.append(text)
        elif re.fullmatch(r"(\w+\.)?settings", name):
            known = {"max_examples", "deadline", "suppress_health_check", "stateful_step_count"}
            found += [f"{text}: {each.arg}" for each in node.keywords if each.arg not in known]
        elif re.fullmatch(r"(hypothesis\.)?(assume|reject|seed|reproduce_failure)", name):
            found.append(text)
    return found


def decorated(source: str) -> list[str]:
    """Return the decorators of tests that are neither pytest's nor Hypothesis's."""
    tree = ast.parse(source)
    marks = {
        ast.unparse(node.targets[0])
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("pytest.mark.")
    }
    return [
        f"{test.name}: {text}"
        for test in tests_of(source)
        for text in map(ast.unparse, test.decorator_list)
        if text not in marks
        and not re.match(r"(pytest\.mark\.|(hypothesis\.)?(given|settings|example)\()", text)
    ]


def deaf(source: str) -> list[str]:
    """Return the helpers of a suite that look at nothing they are given and always say the same."""
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, Function) or node.name.startswith("test") or _is_fixture(node):
            continue
        given = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        says = [each.value for each in ast.walk(node) if isinstance(each, (ast.Return, ast.Yield))]
        constant = all(value is None or isinstance(value, ast.Constant) for value in says)
        if given and not given & used and constant and not _raises_first(node):
            found.append(node.name)
    return found


def _raises_first(function: Function) -> bool:
    return any(isinstance(node, ast.Raise) for node in function.body)


def duplicates(sources: Mapping[str, str]) -> list[str]:
    """Return the tests, in all files, that share a name or a body."""
    names, bodies = defaultdict(list), defaultdict(list)
    for file, source in sources.items():
        for test in tests_of(source):
            where = f"{file}::{test.name}"
            names[test.name].append(where)
            statements = [node for node in test.body if not _is_docstring(node)]
            bodies[ast.dump(test.args), *map(ast.dump, statements)].append(where)
    return [
        f"{what}: {' and '.join(where)}"
        for what, groups in (("one name", names), ("one body", bodies))
        for where in groups.values()
        if len(where) > 1
    ]


# -- reading a syntax tree ---------------------------------------------------------------------


def _calls(tree: ast.AST, wanted: Callable[[ast.Call], bool], apart: Collection[str]) -> list[str]:
    """Return the outer functions that make a wanted call, or else its line."""
    found = []
    owners = {
        id(node): function.name
        for function in _outer_functions(tree)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and wanted(node) and owners.get(id(node)) not in apart:
            found.append(owners.get(id(node), f"line {node.lineno}"))
    return found


def _outer_functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from _outer_functions(node)


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """Walk a function without the functions and classes in it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (Function, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def _bound_to(tree: ast.AST, kinds: Collection[str]) -> Counter[str]:
    """Return the names that are bound to objects of these classes, and how often."""
    found = Counter[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets, values = [node.targets[0]], [node.value]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                targets, values = node.targets[0].elts, node.value.elts
            for target, value in zip(targets, values, strict=True):
                if any(_is_call_of(each, kinds) for each in ast.walk(value)):
                    found[ast.unparse(target)] += 1
    return found


def _is_call_of(node: ast.AST, kinds: Collection[str]) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in kinds


def _is_mark(node: ast.expr, name: str) -> bool:
    return ast.unparse(node).startswith(("pytest.mark." + name, "mark." + name))


def _is_skip(node: ast.expr) -> bool:
    return bool(
        re.fullmatch(
            r"(pytest\.)?(mark\.)?(skip|skipif|xfail|importorskip)|unittest\.\w*(skip|Skip)\w*"
            r"|(self\.)?skipTest",
            ast.unparse(node),
        )
    )


def _is_fixture(node: ast.AST) -> bool:
    return isinstance(node, Function) and any(
        ast.unparse(each).startswith(("pytest.fixture", "fixture")) for each in node.decorator_list
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _text(expression: str) -> object:
    """Return the text that an expression is, with "…" for what is filled in."""
    node = ast.parse(expression, mode="eval").body
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(getattr(each, "value", "")) if isinstance(each, ast.Constant) else "…"
            for each in node.values
        )
    return node.value if isinstance(node, ast.Constant) else None
