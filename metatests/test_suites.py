"""The suites keep to the rules, by their source: none of them is imported here."""

import pathlib

import pytest

from metatests import assertions, requirements, suites

ROOT = pathlib.Path(__file__).parent.parent
CONTRACT = (ROOT / "docs" / "contract.md").read_text("utf-8")
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
}
REQUIREMENTS = sorted(file for file in SOURCES if file.startswith("tests/test_r0")) + sorted(
    file for file in SOURCES if file.startswith("tests/test_r1")
)
FIXTURES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [ROOT / "conftest.py", *sorted((ROOT / "tests").rglob("conftest.py"))]
}
# The rules for every file with tests, by what they forbid.
RULES = {
    "tests that assert nothing": assertions.toothless,
    "assertions that cannot fail": assertions.trivial_assertions,
    "names that are no claims": suites.misnamed_tests,
    "functions that nothing runs": suites.uncollected,
    "fixtures in place of the kit's": suites.shadowed_fixtures,
    "clocks that no test turns": suites.real_time,
    "sleeping": suites.sleeps,
    "threads that may never end": suites.unjoined,
    "tests left out": lambda source: suites.unexcused(source, requirements.EXCUSES),
    "tests about time without the clock": lambda source: suites.without_clock(
        source, requirements.TIMED
    ),
}


def test_the_registry_and_the_contract_are_equal():
    assert suites.clauses_of(CONTRACT) == requirements.CLAUSES


def test_no_line_of_the_contract_is_a_clause_that_the_registry_overlooks():
    assert CONTRACT.count("**R") == len(requirements.CLAUSES)


def test_every_clause_has_a_test_and_every_marker_a_clause():
    assert suites.uncovered(SOURCES.values(), requirements.CLAUSES) == []


def test_every_clause_has_a_test_in_the_suite_of_its_requirement():
    assert suites.uncovered([SOURCES[file] for file in REQUIREMENTS], requirements.CLAUSES) == []


def test_every_requirement_has_its_file():
    names = [pathlib.Path(file).name for file in REQUIREMENTS]

    assert suites.misnamed_files(names, requirements.CLAUSES) == []


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_every_test_of_a_requirement_is_marked_with_a_clause_of_it(file):
    requirement = f"R{int(pathlib.Path(file).name[6:8])}"

    assert suites.misplaced_tests(SOURCES[file], requirement) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("file", SOURCES)
def test_a_suite_keeps_the_rule_against(file, rule):
    assert RULES[rule](SOURCES[file]) == []


@pytest.mark.parametrize("file", sorted(set(SOURCES) - set(requirements.WHITE_BOX)))
def test_a_suite_sees_the_public_names_only(file):
    assert suites.private_names(SOURCES[file]) == []


def test_no_two_tests_share_a_name_or_a_body():
    assert suites.duplicates(SOURCES) == []


def test_the_promised_fixtures_exist():
    assert suites.missing_fixtures(FIXTURES["conftest.py"]) == []


@pytest.mark.parametrize("file", FIXTURES)
def test_fixtures_keep_to_the_rules_as_well(file):
    source = FIXTURES[file]

    assert assertions.trivial_assertions(source) == []
    assert suites.sleeps(source, polling=["wait_until"]) == []
    assert suites.unjoined(source) == []
    assert suites.unexcused(source, requirements.EXCUSES) == []


def test_every_listed_exception_is_needed():
    everything = "".join([*SOURCES.values(), *FIXTURES.values()])

    assert [reason for reason in requirements.EXCUSES if reason not in everything] == []
    for file in requirements.WHITE_BOX:
        assert suites.private_names(SOURCES[file]) != []
