"""Read the suites, without importing them: every clause has a test, and every test asserts."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CONTRACT = ROOT / "docs" / "contract.md"
SUITES = sorted((ROOT / "tests").glob("test_r[0-9][0-9]_*.py"))
PUBLIC = {"CacheError", "CacheStats", "DistributedCache", "SnapshotError", "escape"}


def clauses(contract: str) -> set[str]:
    """Return the numbers of the contract's clauses."""
    return set(re.findall(r"^- \*\*(R\d+\.\d+)\*\* \S", contract, re.MULTILINE))


def functions_of(source: str) -> list[ast.FunctionDef]:
    """Return the test functions of a suite."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def markers(test: ast.FunctionDef) -> set[str]:
    """Return the clauses that a test is marked with."""
    found: set[str] = set()
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("mark.clause"):
            found |= {ast.literal_eval(argument) for argument in decorator.args}
    return found


def asserts(test: ast.FunctionDef) -> bool:
    """Tell whether a test has an assertion that can fail, or expects an exception."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises":
            return True
    return False


def private_names(source: str) -> set[str]:
    """Return the private attributes that a suite reads, and what it imports of no public name."""
    tree = ast.parse(source)
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cache":
            found |= {alias.name for alias in node.names if node.module != "cache"}
            found |= {alias.name for alias in node.names} - PUBLIC
    return found


def sleeps(source: str) -> bool:
    """Tell whether a suite sleeps."""
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")
        for node in ast.walk(ast.parse(source))
    )


def test_every_clause_has_a_test_and_every_marker_a_clause():
    marked = {
        clause
        for suite in SUITES
        for test in functions_of(suite.read_text())
        for clause in markers(test)
    }

    assert marked == clauses(CONTRACT.read_text())


def test_every_requirement_has_its_suite():
    numbers = {int(clause[1:].split(".")[0]) for clause in clauses(CONTRACT.read_text())}

    assert [int(suite.name[6:8]) for suite in SUITES] == sorted(numbers) == list(range(1, 11))


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.stem)
def test_every_test_of_a_suite_is_marked_and_asserts(suite):
    tests = functions_of(suite.read_text())

    assert [test.name for test in tests if not markers(test) or not asserts(test)] == []
    assert len({test.name for test in tests}) == len(tests)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.stem)
def test_a_suite_sees_the_public_names_only_and_never_sleeps(suite):
    assert private_names(suite.read_text()) == set()
    assert not sleeps(suite.read_text())


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("def test_a():\n    assert cache.get('k') is None", True),
        ("def test_a():\n    with pytest.raises(KeyError):\n        cache['k']", True),
        ("def test_a():\n    assert True", False),
        ("def test_a():\n    cache.get('k')", False),
    ],
)
def test_the_check_for_assertions_can_fail(source, good):
    assert asserts(functions_of(source)[0]) is good


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("cache._entries", {"_entries"}),
        ("from cache.core import DistributedCache", {"DistributedCache"}),
        ("from cache import core", {"core"}),
        ("from cache import escape\ncache.__len__()", set()),
    ],
)
def test_the_check_for_private_names_can_fail(source, bad):
    assert private_names(source) == bad


def test_the_checks_for_markers_clauses_and_sleep_can_fail():
    marked = "@pytest.mark.clause('R1.1', 'R2.3')\ndef test_a(): ..."

    assert markers(functions_of(marked)[0]) == {"R1.1", "R2.3"}
    assert clauses("- **R1.1** A sentence.\n- **R1.2**\nR1.3 no item") == {"R1.1"}
    assert (sleeps("time.sleep(1)"), sleeps("pause.wait(1)")) == (True, False)
