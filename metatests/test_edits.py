"""Whoever weakens a suite hears of it: edits of every kind, tried on every suite for any cache.

An edit that breaks a rule has to be found by that rule; any other has to be one that the record of
the suites refuses, so that to record anew does not hide it. The edits are made to syntax trees, so
they fit the suites whatever these come to say. Edits of what configures a run are in
test_configuration.py, those of what judges in test_judges.py.
"""

import ast
import copy
import functools
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from metatests import assertions, inventory, requirements, suites, survey

FOUND = survey.read()


class Edit(NamedTuple):
    """A way to weaken a test, and the rule that forbids the result; without one the record does."""

    change: Callable[[ast.Module, assertions.Function], object]
    rule: Callable[[str], list[str]] | None = None


def statements(text):
    return ast.parse(text).body


def asserts(test):
    return [node for node in ast.walk(test) if isinstance(node, ast.Assert)]


def replace_asserts(make):
    """Return an edit of all of a test's assertions; it needs one."""

    def change(tree, test):
        for node in asserts(test)[:]:
            node.test = make(node.test)
        return asserts(test)

    return change


def replace_body(make):
    def change(tree, test):
        test.body = make(test.body)
        return test.body

    return change


def put_first(text):
    return replace_body(lambda body: [*statements(text), *body])


def wrap(text):
    """Return an edit that puts a test's body in place of `...` in a compound statement."""

    def make(body):
        (outer,) = statements(text)
        outer.body = body
        return [outer]

    return replace_body(make)


def decorate(text):
    def change(tree, test):
        test.decorator_list.append(ast.parse(text, mode="eval").body)
        return True

    return change


def add_to_module(text):
    def change(tree, test):
        tree.body += statements(text)
        return True

    return change


def remove_an_assertion(tree, test):
    for node in ast.walk(test):
        body = getattr(node, "body", None)
        if isinstance(body, list) and any(isinstance(each, ast.Assert) for each in body):
            at = next(at for at, each in enumerate(body) if isinstance(each, ast.Assert))
            body[at] = ast.Pass()
            return True
    return False


def compare_with_itself(test):
    comparison = isinstance(test, ast.Compare)
    left = test.left if comparison else test
    return ast.Compare(left, [ast.Eq()], [copy.deepcopy(left)])


def expect_anything(tree, test):
    raises = [
        node
        for node in ast.walk(test)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises" and node.args
    ]
    for node in raises:
        node.args[0] = ast.Name("Exception", ast.Load())
    return raises


def of_equalities(make):
    """Return an edit of a test's assertions that compare for equality."""

    def change(tree, test):
        found = [
            node
            for node in asserts(test)
            if isinstance(node.test, ast.Compare) and isinstance(node.test.ops[0], ast.Eq)
        ]
        for node in found:
            node.test = make(node.test)
        return found

    return change


def tried_again(body):
    (loop,) = statements(
        "for _ in range(3):\n    try:\n        ...\n    except AssertionError:\n        continue"
    )
    loop.body[0].body = body
    return [loop]


def drop_match(tree, test):
    calls = [node for node in ast.walk(test) if isinstance(node, ast.Call)]
    found = [node for node in calls if any(each.arg == "match" for each in node.keywords)]
    for node in found:
        node.keywords = [each for each in node.keywords if each.arg != "match"]
    return found


def instead_of_asserting(make):
    """Return an edit that puts something else in the place of each assertion."""

    class Changer(ast.NodeTransformer):
        def visit_Assert(self, node):
            return statements(make(ast.unparse(node.test)))

    def change(tree, test):
        found = asserts(test)
        Changer().visit(test)
        return found

    return change


def compare_by(operator):
    """Return an edit that compares in another way what is to be equal."""

    def change(tree, test):
        equal = [
            node
            for each in asserts(test)
            for node in ast.walk(each)
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq)
        ]
        for node in equal:
            node.ops[0] = operator()
        return equal

    return change


def approximately(tree, test):
    equal = [
        node
        for node in asserts(test)
        if isinstance(node.test, ast.Compare) and isinstance(node.test.ops[-1], ast.Eq)
    ]
    for node in equal:
        value = ast.unparse(node.test.comparators[-1])
        node.test.comparators[-1] = ast.parse(f"pytest.approx({value})", mode="eval").body
    return equal


def less_often(names):
    """Return an edit that has what is repeated done once."""

    def change(tree, test):
        number = inventory.strength.constants(tree)
        known = inventory.strength.known_in(test, number)
        found = []
        for node in ast.walk(test):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(names):
                for at, each in enumerate(node.args):
                    if (inventory.strength.value_of(each, known) or 0) > 1:
                        node.args[at] = ast.Constant(1)
                        found.append(node)
                for each in node.keywords:
                    if (inventory.strength.value_of(each.value, known) or 0) > 1:
                        each.value = ast.Constant(1)
                        found.append(node)
        return found

    return change


def fewer_by_name(tree, test):
    """Make less of the numbers that a test gives names to."""
    found = []
    repeated = {
        name.id
        for node in ast.walk(test)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("range", "Barrier"))
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }
    for node in ast.walk(test):
        if isinstance(node, ast.Assign):
            names, values = (
                [each, *getattr(each, "elts", ())] for each in (node.targets[0], node.value)
            )
            for name, value in zip(names, values, strict=False):
                number = value.value if isinstance(value, ast.Constant) else None
                if ast.unparse(name) in repeated and isinstance(number, int) and number > 1:
                    value.value = 1
                    found.append(value)
    return found


def loosen(tree, test):
    known = inventory.strength.constants(tree)
    found = []
    for each in asserts(test):
        for node in ast.walk(each):
            below = isinstance(node, ast.Compare) and isinstance(node.ops[-1], (ast.Lt, ast.LtE))
            if below and (inventory.strength.value_of(node.comparators[-1], known) or 0) > 0:
                node.comparators[-1] = ast.Constant(10**9)
                found.append(node)
    return found


def only_in_the_long_version(tree, test):
    for decorator in test.decorator_list:
        if "parametrize" in ast.unparse(decorator) and isinstance(decorator.args[1], ast.List):
            last = decorator.args[1].elts[-1]
            if not isinstance(last, ast.Call | ast.Starred):
                several = isinstance(last, ast.Tuple) and isinstance(
                    ast.literal_eval(decorator.args[0]), tuple
                )
                values = ast.unparse(last)[1:-1].rstrip(",") if several else ast.unparse(last)
                text = f"pytest.param({values}, marks=pytest.mark.soak)"
                decorator.args[1].elts[-1] = ast.parse(text, mode="eval").body
                return True
    return False


def raise_by_hand(tree, test):
    blocks = [node for node in ast.walk(test) if isinstance(node, ast.With)]
    blocks = [node for node in blocks if "pytest.raises" in ast.unparse(node.items[0])]
    for node in blocks:
        node.body = statements("raise KeyError")
    return blocks


def mark(choose):
    """Return an edit of the first clause of a test's marker."""

    def change(tree, test):
        for decorator in test.decorator_list:
            if "mark.clause" in ast.unparse(decorator):
                decorator.args = choose(decorator.args)
                return True
        return False

    return change


def another_clause(arguments):
    clauses = [*requirements.CLAUSES]
    following = clauses[(clauses.index(arguments[0].value) + 1) % len(clauses)]
    return [ast.Constant(following), *arguments[1:]]


def remove_marker(tree, test):
    before = test.decorator_list
    test.decorator_list = [each for each in before if "mark.clause" not in ast.unparse(each)]
    return len(before) > len(test.decorator_list)


def rename(make):
    def change(tree, test):
        before, test.name = test.name, make(test.name)
        return before != test.name

    return change


def name_as_its_neighbour(tree, test):
    others = [node for node in tree.body if isinstance(node, assertions.Function)]
    names = [node.name for node in others if node.name.startswith("test_") and node is not test]
    test.name = names[0] if names else test.name
    return names


def copy_under_another_name(tree, test):
    again = copy.deepcopy(test)
    again.name = test.name + "_and_so_on"
    tree.body.append(again)
    return True


def delete(tree, test):
    tree.body.remove(test)
    return True


def drop_a_case(tree, test):
    for decorator in test.decorator_list:
        listed = [None, *getattr(decorator, "args", [])][-1]
        known = isinstance(listed, ast.List) and "parametrize" in ast.unparse(decorator)
        if known and len(listed.elts) > 1:
            listed.elts.pop()
            return True
    return False


def drop_data(tree, test):
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict):
            value.keys.pop()
            value.values.pop()
            return True
        if isinstance(value, ast.List):
            value.elts.pop()
            return True
    return False


def blunt_a_helper(tree, test):
    for node in tree.body:
        helper = isinstance(node, assertions.Function) and not node.decorator_list
        if helper and not node.name.startswith("test_") and node.args.args:
            node.body = statements("return None")
            return True
    return False


def drop_the_clock(tree, test):
    if not set(suites.markers(test)) & set(requirements.TIMED) or len(test.args.args) < 2:
        return False
    test.args.args = [each for each in test.args.args if each.arg not in ("clock", "program")]
    return True


def without_timeout(tree, test):
    calls = [node for node in ast.walk(test) if isinstance(node, ast.Call)]
    waits = [node for node in calls if ast.unparse(node.func).endswith((".wait", ".join"))]
    for node in waits:
        node.args = []
    return waits and "threading.Thread" in ast.unparse(test)


def name_of(text):
    return ast.Name(text, ast.Load())


def weaken(test):
    return ast.Compare(copy.deepcopy(test), [ast.IsNot()], [ast.Constant(None)])


PUBLIC = suites.public_names((survey.ROOT / "cache" / "__init__.py").read_text("utf-8"))
LEFT_OUT = functools.partial(suites.unexcused, excuses=requirements.EXCUSES)
INNER = functools.partial(suites.inner_imports, public=PUBLIC)
TRUE = assertions.trivial_assertions
EMPTY = assertions.toothless
TOLERANT = functools.partial(suites.approximations, exact=requirements.EXACT)
DEAF = suites.deaf
THREAD = "thread = threading.Thread(target=print)\nthread.start()"
EDITS = {
    "an assertion removed": Edit(remove_an_assertion),
    "a test emptied": Edit(replace_body(lambda body: statements("pass")), EMPTY),
    "only a docstring left": Edit(replace_body(lambda body: statements("'Said.'")), EMPTY),
    "only calls left": Edit(replace_body(lambda body: statements("print(1)")), EMPTY),
    "a test deleted": Edit(delete),
    "assert True": Edit(replace_asserts(lambda test: ast.Constant(True)), TRUE),
    "assert x or True": Edit(
        replace_asserts(lambda test: ast.BoolOp(ast.Or(), [test, ast.Constant(True)])), TRUE
    ),
    "assert (x, y)": Edit(
        replace_asserts(lambda test: ast.Tuple([test, ast.Constant("said")], ast.Load())), TRUE
    ),
    "assert x == x": Edit(replace_asserts(compare_with_itself), TRUE),
    "assert len(x) >= 0": Edit(
        replace_asserts(lambda test: ast.parse("len(cache) >= 0", mode="eval").body), TRUE
    ),
    "assert a method": Edit(
        replace_asserts(lambda test: ast.parse("cache.exists", mode="eval").body), TRUE
    ),
    "an assertion weakened": Edit(replace_asserts(weaken)),
    "any exception expected": Edit(expect_anything, TRUE),
    "the exception raised by the test": Edit(raise_by_hand, TRUE),
    "return first": Edit(put_first("return"), LEFT_OUT),
    "return where it suits": Edit(put_first("if not cache:\n    return"), LEFT_OUT),
    "if False": Edit(wrap("if False:\n    ..."), EMPTY),
    "for no item": Edit(wrap("for _ in ():\n    ..."), EMPTY),
    "in a function that nothing calls": Edit(wrap("def inner():\n    ..."), EMPTY),
    "failures swallowed": Edit(wrap("try:\n    ...\nexcept AssertionError:\n    pass"), EMPTY),
    "failures suppressed": Edit(wrap("with contextlib.suppress(Exception):\n    ..."), EMPTY),
    "skipped inside": Edit(put_first("pytest.skip('slow')"), LEFT_OUT),
    "marked as skipped": Edit(decorate("pytest.mark.skip"), LEFT_OUT),
    "skipped for an unlisted reason": Edit(
        decorate("pytest.mark.skipif(True, reason='flaky')"), LEFT_OUT
    ),
    "marked as failing": Edit(decorate("pytest.mark.xfail(reason='some day')"), LEFT_OUT),
    "only in the long version": Edit(decorate("pytest.mark.soak"), LEFT_OUT),
    "a whole file skipped": Edit(
        add_to_module("pytestmark = pytest.mark.skip(reason='later')"), LEFT_OUT
    ),
    "a marker moved": Edit(mark(another_clause)),
    "a marker of no clause": Edit(
        mark(lambda arguments: [ast.Constant("R99.1")]),
        lambda source: [
            each
            for each in suites.uncovered([source], requirements.CLAUSES)
            if each == "R99.1 is no clause"
        ],
    ),
    "a marker added": Edit(mark(lambda arguments: [*arguments, ast.Constant("R10.3")])),
    "a marker removed": Edit(remove_marker),
    "time.sleep": Edit(put_first("time.sleep(0.1)"), suites.sleeps),
    "a sleep in disguise": Edit(put_first("threading.Event().wait(0.1)"), suites.sleeps),
    "a sleep in a helper": Edit(
        add_to_module("def pause():\n    idle = Event()\n    idle.wait(1)"), suites.sleeps
    ),
    "the real time": Edit(put_first("end = time.monotonic() + 1"), suites.real_time),
    "no clock": Edit(
        drop_the_clock, lambda source: suites.without_clock(source, requirements.TIMED)
    ),
    "a test hidden from pytest": Edit(rename(lambda name: f"_{name}"), suites.uncollected),
    "a test made a helper": Edit(
        rename(lambda name: name.replace("test_", "check_", 1)), suites.uncollected
    ),
    "a name that says nothing": Edit(rename(lambda name: "test_1"), suites.misnamed_tests),
    "a name used twice": Edit(
        name_as_its_neighbour, lambda source: suites.duplicates({"here": source})
    ),
    "a name of another file": Edit(
        rename(lambda name: "test_none_is_a_value"),
        lambda source: suites.duplicates(
            {"here": source, "there": "def test_none_is_a_value(): ..."}
        ),
    ),
    "a body used twice": Edit(
        copy_under_another_name, lambda source: suites.duplicates({"here": source})
    ),
    "a private attribute": Edit(put_first("cache._entries.clear()"), suites.private_names),
    "a private attribute by name": Edit(
        put_first("getattr(cache, '_entries')"), suites.private_names
    ),
    "a module below the cache": Edit(put_first("from cache.core import inf"), INNER),
    "a patch of a module": Edit(put_first("monkeypatch.setattr('cache.core.inf', 1)"), INNER),
    "a thread that nobody joins": Edit(put_first(THREAD), suites.unjoined),
    "a thread joined for ever": Edit(put_first(THREAD + "\nthread.join()"), suites.unjoined),
    "no timeout": Edit(without_timeout, suites.unjoined),
    "an exact value made approximate": Edit(approximately, TOLERANT),
    "an equality made an inequality": Edit(compare_by(ast.LtE)),
    "an equality made a membership": Edit(compare_by(ast.In)),
    "an equality turned round": Edit(compare_by(ast.NotEq)),
    "assert x, of an equality": Edit(of_equalities(lambda test: test.left)),
    "assert x or y": Edit(
        replace_asserts(lambda test: ast.BoolOp(ast.Or(), [test, name_of("cache")]))
    ),
    "assert x if y": Edit(
        replace_asserts(lambda test: ast.IfExp(name_of("cache"), test, ast.Constant(True)))
    ),
    "assert str(x)": Edit(of_equalities(lambda test: ast.Call(name_of("str"), [test], []))),
    "an assertion made an expression": Edit(instead_of_asserting(lambda test: test)),
    "an assertion printed": Edit(instead_of_asserting(lambda test: f"print({test})")),
    "an assertion that only warns": Edit(
        instead_of_asserting(lambda test: f"if not ({test}):\n    print('odd')")
    ),
    "assertions on a condition": Edit(wrap("if cache is not None:\n    ..."), suites.conditional),
    "assertions where a variable is set": Edit(
        wrap("if os.environ.get('STRICT'):\n    ..."), suites.conditional
    ),
    "failures printed": Edit(
        wrap("try:\n    ...\nexcept AssertionError as error:\n    print(error)"), TRUE
    ),
    "failures tried again": Edit(replace_body(tried_again), TRUE),
    "failures skipped": Edit(
        wrap("try:\n    ...\nexcept Exception:\n    pytest.skip('flaky')"), LEFT_OUT
    ),
    "a message not asked for": Edit(drop_match),
    "loops and threads made one": Edit(less_often(("range", "Barrier", "Executor"))),
    "… by their names": Edit(fewer_by_name),
    "a limit loosened": Edit(loosen),
    "a case only in the long version": Edit(only_in_the_long_version),
    "no timeout for a test": Edit(decorate("pytest.mark.timeout(0)"), suites.loosened),
    "warnings ignored": Edit(
        decorate("pytest.mark.filterwarnings('ignore::ResourceWarning')"), suites.loosened
    ),
    "few examples": Edit(decorate("settings(phases=[Phase.explicit])"), suites.loosened),
    "examples refused": Edit(put_first("assume(not cache)"), suites.loosened),
    "a decorator that forgives": Edit(decorate("forgiving"), suites.decorated),
    "a test expected to fail by unittest": Edit(
        decorate("unittest.expectedFailure"), suites.decorated
    ),
    "the cache patched": Edit(put_first("cache.get = dict().get"), suites.patched),
    "the class under test patched": Edit(
        put_first("monkeypatch.setattr(type(cache), 'keys', lambda self, _='*': [])"),
        suites.patched,
    ),
    "a cache that is a mock": Edit(put_first("from unittest import mock"), suites.patched),
    "a cache of the suite's own": Edit(
        add_to_module(
            "class Cache:\n    def get(self, k): ...\n    def set(self, k, v): ...\n"
            "    def pop(self, k): ..."
        ),
        suites.patched,
    ),
    "a judge that says yes": Edit(add_to_module("def agree(cache, model):\n    return True"), DEAF),
    "a fixture of the kit's replaced": Edit(
        add_to_module("@pytest.fixture\ndef cache():\n    return {}"), suites.shadowed_fixtures
    ),
    "a case less": Edit(drop_a_case),
    "a datum less": Edit(drop_data),
    "a helper that does nothing": Edit(blunt_a_helper),
}


def edited(source: str, edit: Edit, start: int) -> str | None:
    """Return the suite with one test edited, the first from `start` on that the edit fits."""
    number = sum(map(is_test, ast.parse(source).body))
    for at in range(start, start + number):
        tree = ast.parse(source)
        test = [node for node in tree.body if is_test(node)][at % number]
        if edit.change(tree, test):
            return ast.unparse(ast.fix_missing_locations(tree))
    return None


def is_test(node):
    return isinstance(node, assertions.Function) and node.name.startswith("test_")


def cases(source):
    """Return how many cases each test has in the quick run, and in all, as the source tells."""
    quick, every = {}, {}
    for name, function in inventory.functions("here", ast.parse(source)):
        if function.name.startswith("test_"):
            counts = [1, 1]
            for decorator in function.decorator_list:
                text = ast.unparse(decorator)
                if "parametrize" in text:
                    listed = getattr(decorator.args[1], "elts", [None])
                    long = sum("mark.soak" in ast.unparse(each) for each in listed if each)
                    counts = [counts[0] * (len(listed) - long), counts[1] * len(listed)]
                elif "mark.soak" in text:
                    counts[0] = 0
            quick[name], every[name] = counts
    return quick, every


@functools.cache
def unparsed(source):
    return ast.unparse(ast.parse(source))


@functools.cache
def pieces(source):
    """Return the texts of a suite's statements, and whether each is a function."""
    lines = source.splitlines()
    return [
        ("\n".join(lines[min(starts) - 1 : node.end_lineno]), isinstance(node, assertions.Function))
        for node in ast.parse(source).body
        for starts in [
            [node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]
        ]
    ]


def measured(source, apart):
    """Return what the record says of a suite, functions `apart` left out, in both its files."""
    text = "\n".join(piece for piece, _ in pieces(source) if piece not in apart)
    held = dict(inventory.entries("here", text, *cases(text)))
    return held, dict(inventory.numbers("here", text))


def measures(source, text):
    """Return what the record says of two suites; what both have in common is no matter."""
    common = {
        piece for piece, function in pieces(source) if function and (piece, True) in pieces(text)
    }
    return measured(source, common), measured(text, common)


def refused(source, text):
    """Return why the record does not take the text in the place of the source."""
    (before, least), (after, now) = measures(source, text)
    return inventory.weaker(before, after, {}) + inventory.lower(least, now, {}, before)


VISIBLE = {"a marker added"}  # no test is weaker for it, but the record shows it


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_is_noticed_in_every_suite_that_it_fits(kind):
    edit, fitted = EDITS[kind], 0

    for file, source in FOUND.contractual.items():
        original = unparsed(source)
        text = edited(source, edit, start=[*EDITS].index(kind))
        if text is None or text == original:
            continue
        fitted += 1
        if edit.rule is not None:
            assert edit.rule(text), f"no rule forbids it in {file}:\n{text}"
        elif kind not in VISIBLE:
            known = refused(original, text) or TRUE(text) or suites.deaf(text)
            assert known, f"it may be recorded of {file}:\n{text}"
        else:
            before, after = measures(original, text)
            assert before != after

    assert fitted > 1


MODULES = "metatests/test_modules.py"
FILES = ["cache", "docs", "metatests", "tests", "benchmarks", "examples", "conftest.py"]
FILES += ["conformance.py", "DESIGN.md", "README.md", "CHANGELOG.md", "pyproject.toml"]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """Return a copy of what the metatests read."""
    folder = tmp_path_factory.mktemp("edited")
    for name in [*FILES, "setup.cfg"]:
        source, leave = survey.ROOT / name, shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=leave)
        else:
            shutil.copy(source, folder)
    return folder


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("docs/contract.md", "", ""),
        ("docs/contract.md", "- **R10.6**", "- **R10.7** A new clause.\n- **R10.6**"),
        ("docs/contract.md", "Fractions of a second count.", "Fractions of a second may count."),
        ("metatests/requirements.py", '"R1.6"', '"R1.9"'),
        ("conftest.py", "def small_cache(", "def tiny_cache("),
        ("conftest.py", "    assert len(cache) == stats.size\n", ""),
        ("tests/test_r01_ttl.py", "assert ", "assert True or "),
        ("cache/stats.py", '"""The share', '# """The share'),
        ("cache/errors.py", "", "from .core import DistributedCache\n"),
    ],
)
def test_the_command_fails_after_an_edit_and_not_before(copied, file, old, new):
    original = (copied / file).read_text("utf-8")
    assert old in original
    text = original.replace(old, new, 1)
    (copied / file).write_text(text, "utf-8")
    try:
        run = [sys.executable, "-m", "pytest", "-qx", "metatests/test_suites.py", MODULES]
        done = subprocess.run(run, cwd=copied, capture_output=True, timeout=500)
    finally:
        (copied / file).write_text(original, "utf-8")

    assert (done.returncode == 0) is (text == original), done.stdout.decode()
