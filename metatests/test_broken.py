"""Run the suites against broken caches: a test of the clause that is broken has to notice each.

The first deviation of every requirement is tried by the quick run too.
"""

import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from metatests.broken import DEVIATIONS, trial
from metatests.broken.deviation import Deviation, Edit, breaks

CONTRACT = trial.ROOT / "docs" / "contract.md"
# What only a clock could show, or another interpreter, and why no quick test is to ask for it.
NOT_SHOWN: dict[str, str] = {}
SOURCE = """
@decorated  # first
class Cache:
    def get(self, key):
        found = self.find(key)  # a comment
        return found and found.value
    def set(self, key, value):
        self.find(key)
        self.find(value)
"""


def parameters() -> list[object]:
    """Return the deviations; all but the first of each requirement are for the thorough run."""
    known: set[str] = set()
    marked: list[object] = []
    for deviation in DEVIATIONS:
        requirement = deviation.clause.partition(".")[0]
        marks = [pytest.mark.thorough] if requirement in known else []
        known.add(requirement)
        marked.append(pytest.param(deviation, id=str(deviation), marks=marks))
    return marked


@pytest.fixture(scope="module")
def trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Deviation | None], trial.Verdict]]:
    """Return a function that gives the verdict on a deviation, or on the true cache.

    All that this session asks for begin at once, as many in parallel as there are processors.
    """
    wanted = [
        item.callspec.params["deviation"]
        for item in request.session.items
        if "deviation" in getattr(getattr(item, "callspec", None), "params", {})
    ]
    clauses = ",".join(sorted({deviation.clause for deviation in wanted})) or "R1.1"
    # Not threads: on CPython 3.11 two of them cannot parse at a time (python/cpython#106905).
    pool = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"))

    def begin(clauses: str, edits: tuple[Edit, ...] = ()) -> "Future[trial.Verdict]":
        return pool.submit(trial.run, tmp_path_factory.mktemp("broken"), clauses, edits)

    verdicts: dict[Deviation | None, Future[trial.Verdict]] = {}
    if any(item.name == test_the_true_cache_passes.__name__ for item in request.session.items):
        verdicts[None] = begin(clauses)
    for deviation in wanted:
        verdicts[deviation] = begin(deviation.clause, deviation.edits)
    yield lambda deviation: verdicts[deviation].result()
    pool.shutdown(cancel_futures=True)


@pytest.mark.thorough  # the quick run has all suites in it
@pytest.mark.timeout(600)
def test_the_true_cache_passes(trials):
    verdict = trials(None)

    assert verdict.passed, verdict.report


@pytest.mark.timeout(600)
@pytest.mark.parametrize("deviation", parameters())
def test_a_broken_cache_is_noticed_by_a_test_of_its_clause(trials, deviation):
    verdict = trials(deviation)

    assert verdict.noticed_by is not None, (
        f"{deviation}: the tests of the clause pass"
        if verdict.passed
        else f"{deviation}: no assertion fails, but\n{verdict.report}"
    )


def test_every_clause_that_behaviour_can_show_is_broken():
    clauses = set(re.findall(r"^- \*\*(R\d+\.\d+)\*\*", CONTRACT.read_text("utf-8"), re.MULTILINE))

    assert {deviation.clause for deviation in DEVIATIONS} == clauses - set(NOT_SHOWN)


def test_every_deviation_has_a_name_of_its_own():
    names = [str(deviation) for deviation in DEVIATIONS]

    assert len(set(names)) == len(names)


def test_an_edit_changes_the_one_place_that_it_names():
    edited = Edit("core.Cache.get", "found.value", "None").apply(SOURCE)

    assert "return found and None" in edited
    assert edited.count("self.find(") == 3


@pytest.mark.parametrize(
    ("place", "old"),
    [
        ("core.Cache.set", "self.find("),
        ("core.Cache.get", "a comment"),
        ("core.Cache.pop", "self.find("),
        ("core", "self.find("),
    ],
)
def test_an_edit_that_does_not_fit_is_an_error(place, old):
    with pytest.raises(LookupError, match=place):
        Edit(place, old, "pass").apply(SOURCE)


def test_a_defect_that_no_test_looks_for_survives(tmp_path):
    deviation = breaks("R2.5", "its repr is odd", ("core.DistributedCache.__repr__", "with", "has"))

    verdict = trial.run(tmp_path, deviation.clause, deviation.edits)

    assert (verdict.passed, verdict.noticed_by) == (True, None)


def test_an_error_that_is_no_assertion_is_no_notice(tmp_path):
    deviation = breaks("R2.5", "it does not begin", ("arguments.count", "if value < 1:", "if x:"))

    verdict = trial.run(tmp_path, deviation.clause, deviation.edits)

    assert (verdict.passed, verdict.noticed_by) == (False, None)
    assert "NameError" in verdict.report
