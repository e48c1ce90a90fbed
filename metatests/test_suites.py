"""The suites keep to the rules, by their source: none of them is imported here."""

import collections
import pathlib
import re
import subprocess
import sys

import pytest

from metatests import requirements, suites, survey
from metatests.broken import DEVIATIONS
from tests import skips

CONTRACT = (survey.ROOT / "docs" / "contract.md").read_text("utf-8")
FOUND = survey.read()


def test_the_registry_and_the_contract_are_equal():
    assert suites.clauses_of(CONTRACT) == requirements.CLAUSES


def test_the_contract_has_no_clause_that_the_registry_overlooks():
    assert CONTRACT.count("**R") == len(requirements.CLAUSES)


def test_every_clause_has_a_test_and_every_marker_a_clause():
    assert suites.uncovered(FOUND.tests.values(), requirements.CLAUSES) == []


def test_every_clause_has_a_test_in_the_suite_of_its_requirement():
    assert suites.uncovered(FOUND.requirements.values(), requirements.CLAUSES) == []


def test_every_requirement_has_its_file():
    names = [pathlib.PurePath(file).name for file in FOUND.requirements]

    assert suites.misnamed_files(names, requirements.CLAUSES) == []


@pytest.mark.parametrize("file", FOUND.requirements)
def test_every_test_of_a_requirement_is_marked_with_a_clause_of_it(file):
    assert suites.misplaced_tests(FOUND.tests[file], survey.requirement_of(file)) == []


@pytest.mark.parametrize("rule", survey.RULES)
@pytest.mark.parametrize("file", FOUND.tests)
def test_a_suite_keeps_the_rule_against(file, rule):
    assert survey.RULES[rule](FOUND.tests[file]) == []


@pytest.mark.parametrize("file", FOUND.contractual)
def test_a_suite_for_any_cache_knows_the_public_names_and_the_kits_fixtures(file):
    assert survey.contract_breaches(FOUND.tests[file]) == []


@pytest.mark.parametrize("file", FOUND.black_box)
def test_a_suite_reads_nothing_private(file):
    assert suites.private_names(FOUND.tests[file]) == []


def test_no_two_tests_share_a_name_or_a_body():
    assert suites.duplicates(FOUND.tests) == []


def test_the_promised_fixtures_exist():
    assert suites.missing_fixtures(FOUND.fixtures["conftest.py"]) == []


@pytest.mark.parametrize("file", FOUND.fixtures)
def test_fixtures_keep_to_the_rules_as_well(file):
    assert survey.fixture_breaches(FOUND.fixtures[file]) == []


def test_every_listed_exception_is_needed():
    everything = [*FOUND.tests.values(), *FOUND.fixtures.values()]

    def breaches(check, *given):
        return " ".join(str(breach) for source in everything for breach in check(source, *given))

    for reason in requirements.EXCUSES:
        others = set(requirements.EXCUSES) - {reason}
        assert breaches(suites.unexcused, others) != "", reason
    for file in requirements.WHITE_BOX:
        assert suites.private_names(FOUND.tests[file]) != []
    for listed, found in (
        (requirements.APPROXIMATE, breaches(suites.approximations, requirements.EXACT)),
        (requirements.CONDITIONAL, breaches(suites.conditional)),
        (requirements.PATCHING, breaches(suites.patched)),
        (requirements.REAL_TIME, breaches(suites.real_time)),
    ):
        assert [name for name in listed if name not in found] == []


def test_every_reason_for_a_skip_is_listed_where_it_is_judged():
    judged = {re.sub("redis|valkey", "…", reason) for reason in (*skips.REASONS, *skips.FOREIGN)}

    assert judged == set(requirements.EXCUSES)


@pytest.mark.thorough  # each rule is tried on each suite above, one by one
def test_the_survey_knows_of_no_breach():
    assert survey.survey(FOUND) == []


def test_every_clause_that_is_broken_is_so_in_two_ways_at_least():
    ways = collections.Counter(deviation.clause for deviation in DEVIATIONS)

    few = {clause for clause, number in ways.items() if number < 2}

    assert few == set(requirements.BROKEN_ONCE)


def test_the_suites_are_as_recorded():
    command = [sys.executable, "-m", "metatests.inventory"]

    done = subprocess.run(command, cwd=survey.ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
