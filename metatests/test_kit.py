"""The kit's options: what they choose, what they refuse, and what the table at the end says."""

import pathlib
import re
import subprocess
import sys

import pytest

from conformance import Kit

pytestmark = pytest.mark.timeout(300)  # a run of suites within a test

ROOT = pathlib.Path(__file__).parents[1]
ADAPTER = "examples.cachetools_adapter:TTLAdapter"


AWFUL = "metatests.awful:Awful"


def kit(impl=None, clauses=None, excepted=None):
    return Kit(impl, clauses, excepted)


def run(*options):
    """Run the suites in a process of their own, and return the exit code and the output."""
    command = [sys.executable, "-m", "pytest", "tests", "-q", "--tb=no", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    return ended.returncode, ended.stdout + ended.stderr


def table(output):
    """Return the rows of the table: passed, failed and remark by clause."""
    rows = re.findall(r"^(R\d+\.\d+) +\d+ +(\d+) +(\d+)(.*)$", output, re.MULTILINE)
    return {
        clause: (int(passed), int(failed), note.strip()) for clause, passed, failed, note in rows
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"impl": "cache"}, "--cache-impl: 'cache' is not of the form package.module:Factory"),
        ({"impl": ":Cache"}, "--cache-impl: ':Cache' is not of the form package.module:Factory"),
        ({"impl": "no_such:Cache"}, "--cache-impl: cannot import 'no_such:Cache'"),
        ({"impl": "cache:NoSuch"}, "--cache-impl: cannot import 'cache:NoSuch'"),
        ({"impl": "cache:__name__"}, "--cache-impl: 'cache:__name__' is not callable"),
        ({"clauses": "R2,R99"}, "--clauses: the contract has no clause 'R99'"),
        ({"clauses": ""}, "--clauses: the contract has no clause ''"),
        ({"excepted": "R2.99"}, "--except-clauses: the contract has no clause 'R2.99'"),
    ],
)
def test_an_option_that_is_wrong_is_refused(options, message):
    with pytest.raises(pytest.UsageError, match=f"^{re.escape(message)}"):
        kit(**options)


@pytest.mark.parametrize(
    ("options", "clauses", "reason"),
    [
        ({}, [], None),
        ({}, ["R1.1"], None),
        ({"impl": ADAPTER}, [], "about no clause"),
        ({"clauses": "R1.1"}, [], "about no clause"),
        ({"clauses": "R1.1"}, ["R1.1", "R2.1"], None),
        ({"clauses": "R1.1"}, ["R1.2"], "about other clauses"),
        ({"clauses": "R1.1"}, ["R1.10"], "about other clauses"),
        ({"clauses": "R1, R2.3"}, ["R1.2"], None),
        ({"clauses": "R1"}, ["R10.1"], "about other clauses"),
        ({"excepted": "R2.2"}, ["R2.2", "R2.3"], "excepted (R2.2)"),
        ({"excepted": "R2"}, ["R2.2", "R2.3"], "excepted (R2.2, R2.3)"),
        ({"excepted": "R2.2"}, ["R2.3"], None),
    ],
)
def test_a_test_runs_unless_the_options_leave_it_out(options, clauses, reason):
    assert kit(**options).reason_against(clauses) == reason


@pytest.fixture(scope="module")
def adapted():
    """Return how the suites end on cachetools' TTLCache, in R2 but for R2.4."""
    return run(f"--cache-impl={ADAPTER}", "--clauses=R2", "--except-clauses=R2.4")


def test_a_cache_that_fails_a_clause_fails_the_run(adapted):
    assert adapted[0] == pytest.ExitCode.TESTS_FAILED


def test_the_table_has_the_chosen_clauses_and_no_other(adapted):
    assert list(table(adapted[1])) == ["R2.1", "R2.2", "R2.3", "R2.4", "R2.5"]


def test_the_table_tells_what_passed_and_what_failed(adapted):
    passed, failed, _ = table(adapted[1])["R2.2"]

    assert passed > 0
    assert failed > 0


def test_the_table_names_the_first_test_of_a_clause_that_failed(adapted):
    found = table(adapted[1])

    test = "tests/test_r02_lru.py::test_a_new_key_evicts_exactly_the_least_recently_used"
    assert found["R2.2"][2].startswith(test)
    assert [clause for clause, (_, failed, note) in found.items() if failed and not note] == []


@pytest.fixture(scope="module")
def awful():
    """Return how some suites end on a cache that ends its process."""
    return run(f"--cache-impl={AWFUL}", "--clauses=R3.1,R3.6,R6.1,R7.5")


@pytest.mark.parametrize(("amount", "reason"), [("1", "SIGABRT"), ("2.5", "exit code 0")])
def test_a_test_in_which_the_process_ends_is_named(awful, amount, reason):
    code, output = awful
    test = f"tests/test_r03_increment.py::test_decrement_is_increment_by_the_negative[{amount}]"

    assert code == pytest.ExitCode.TESTS_FAILED
    assert f"The process ended in {test} ({reason})\n" in output


def test_what_comes_after_the_end_of_a_process_is_judged(awful):
    found = table(awful[1])

    assert found["R3.6"][:2] == (0, 4)
    assert found["R6.1"][:2] == (0, 4)


def test_a_save_that_fails_beside_writers_is_nothing_against_increment(awful):
    assert table(awful[1])["R3.1"] == (2, 0, "")


def test_a_snapshot_in_another_format_fails_and_is_said_to_be_one():
    code, output = run(f"--cache-impl={AWFUL}", "--clauses=R6.1", "--tb=line", "--no-isolation")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert output.count("not R6.1's format: pickle.load gives UnpicklingError") >= 2


def test_hostile_snapshots_are_not_put_to_another_format(awful):
    skipped = "Skipped: the kit cannot seal snapshots of this form: "

    assert f"{skipped}tests/test_r07_load.py::test_a_newer_version_is_said_to_be_one" in awful[1]


def test_an_excepted_clause_is_named_with_each_of_its_tests(adapted):
    assert table(adapted[1])["R2.4"] == (0, 0, "excepted")
    assert re.search(r"^Left out, excepted \(R2\.4\): tests/test_r02_\w+\.py::", adapted[1], re.M)


def test_what_is_left_out_otherwise_is_counted(adapted):
    assert re.search(r"^Left out, about other clauses: \d{3,} test cases$", adapted[1], re.M)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("tests/test_r01_ttl.py", None),
        ("tests/process", None),
        ("tests/process/test_saves.py", None),
        ("tests/test_parts.py", True),
        ("tests/redis", True),
        ("tests", None),
        ("metatests/test_parts.py", None),
    ],
)
def test_suites_about_our_own_modules_are_not_put_to_another_cache(path, ignored):
    assert kit(impl=ADAPTER).pytest_ignore_collect(ROOT / path) is ignored
    assert kit().pytest_ignore_collect(ROOT / path) is None


def test_our_cache_passes_what_is_chosen():
    code, output = run("--clauses=R2.2,R4.6")

    assert code == pytest.ExitCode.OK
    assert [(clause, failed) for clause, (_, failed, _) in table(output).items()] == [
        ("R2.2", 0),
        ("R4.6", 0),
    ]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_what_the_docs_say_of_cachetools_is_what_the_suites_find():
    kept, partly, broken = [], [], []
    for clause, (passed, failed, _) in table(run(f"--cache-impl={ADAPTER}")[1]).items():
        (partly if passed and failed else broken if failed else kept).append(clause)
    text = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    said = [
        re.findall(r"R\d+\.\d+", re.search(rf"^\| {word} \|(.*)$", text, re.M)[1])
        for word in ("all pass", "some fail", "all fail")
    ]

    assert said == [kept, partly, broken]
