"""Run the suites against broken caches: a test of the clause that is broken has to notice each.

The first deviation of every requirement is tried by the quick run too.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from metatests.broken import DEVIATIONS, trial
from metatests.broken.deviation import Deviation, Edit, breaks
from metatests.broken.pattern import replaced

CONTRACT = trial.ROOT / "docs" / "contract.md"
# What only a clock could show, or another interpreter, and why no quick test is to ask for it.
NOT_SHOWN: dict[str, str] = {}
REPR = "core.DistributedCache.__repr__"
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
    clauses = ",".join(sorted({each.clause for each in wanted if "." in each.clause})) or "R1.1"
    noticed = trial.noticed()
    with trial.pool(tmp_path_factory.mktemp("broken")) as pool:
        if any(item.name == test_the_true_cache_passes.__name__ for item in request.session.items):
            verdicts = {None: pool.begin(trial.control(clauses))}
        else:
            verdicts = {}
        for deviation in wanted:
            verdicts[deviation] = pool.begin(trial.trial_of(deviation, noticed))

        def verdict(deviation: Deviation | None) -> trial.Verdict:
            if deviation not in verdicts:
                assert deviation is not None
                verdicts[deviation] = pool.begin(trial.trial_of(deviation, {}))
            return verdicts[deviation].result()

        yield verdict


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

    assert {deviation.clause for deviation in DEVIATIONS} - set(trial.SUITES) == (
        clauses - set(NOT_SHOWN)
    )


def test_every_module_of_the_servers_side_is_broken_in_many_ways():
    counted = Counter(deviation.clause for deviation in DEVIATIONS)

    assert {module for module in trial.SUITES if counted[module] < 9} == set()


def test_every_deviation_has_a_name_of_its_own():
    names = [str(deviation) for deviation in DEVIATIONS]

    assert len(set(names)) == len(names)


def edited(source: str, old: str, new: str) -> str:
    tree = ast.parse(source)
    replaced(tree, old, new)
    return ast.unparse(ast.fix_missing_locations(tree))


def test_an_edit_changes_the_one_place_that_it_names():
    text = Edit("core.Cache.get", "found.value", "None").apply(SOURCE)

    assert "return found and None" in text
    assert text.count("self.find(") == 3


@pytest.mark.parametrize(
    ("place", "old"),
    [
        ("core.Cache.set", "self.find(...)"),
        ("core.Cache.get", "a_comment"),
        ("core.Cache.pop", "self.find(...)"),
        ("core", "self.find(...)"),
        ("core.Cache.get", "no code"),
    ],
)
def test_an_edit_that_does_not_fit_is_an_error(place, old):
    with pytest.raises(LookupError, match=place):
        Edit(place, old, "pass").apply(SOURCE)


def test_an_edit_does_not_depend_on_the_names_of_locals():
    renamed = SOURCE.replace("found", "hit").replace("key", "name")

    text = Edit("core.Cache.get", "found and found.value", "found or key").apply(renamed)

    assert "return hit or name" not in text  # the pattern does not say what `key` stands for
    assert "return hit or key" in text


@pytest.mark.parametrize(
    ("source", "old", "new", "expected"),
    [
        ("a = f(1)", "f(1)", "g(2)", "a = g(2)"),
        ("f(1)", "f(1)", "pass", "pass"),
        ("f(1)\ng(2)\nh(3)", "f(1)\ng(2)", "g(2)\nf(1)", "g(2)\nf(1)\nh(3)"),
        ("if a:\n    b\nelse:\n    c", "if a:", "if d:", "if d:\n    b\nelse:\n    c"),
        ("with a:\n    b\n    c", "with a:", "if True:", "if True:\n    b\n    c"),
        ("f(1, 2, k=3)", "f(1, ...)", "g(...)", "g(2, k=3)"),
        ("f(daemon=True)", "daemon=True", "daemon=False", "f(daemon=False)"),
        ("return_ = [raised(1)]", "[...]", "(...)", "return_ = raised(1)"),
        ("raise E(1)", "raise ...", "pass", "pass"),
        (
            "try:\n    a\nexcept E:\n    b",
            "except E:",
            "except F:",
            "try:\n    a\nexcept F:\n    b",
        ),
        ("x = 1\ny = x + 2", "z + 2", "z - 2", "x = 1\ny = x - 2"),
    ],
)
def test_a_pattern_is_known_by_its_shape(source, old, new, expected):
    assert edited(source, old, new) == expected


@pytest.mark.parametrize(
    ("source", "old"),
    [
        ("a = f(1)", "f(2)"),
        ("a = f(1) + f(1)", "f(1)"),  # twice
        ("import f\na = f(1)", "g(1)"),  # `f` is no local
        ("x = 1\ny = 2\nx - y", "z - z"),  # one name for two
        ("x = 1\nx - x", "y - z"),  # two names for one
        ("if a:\n    b", "while a:"),
        ("f(1, 2)", "f(1)"),
    ],
)
def test_a_pattern_of_another_shape_does_not_fit(source, old):
    with pytest.raises(LookupError):
        edited(source, old, "pass")


def test_a_defect_that_no_test_looks_for_survives(trials):
    deviation = breaks("R2.5", "its repr is odd", (REPR, "return ...", "return 'odd'"))

    verdict = trials(deviation)

    assert (verdict.passed, verdict.noticed_by) == (True, None)


def test_an_error_that_is_no_assertion_is_no_notice(trials):
    deviation = breaks("R2.5", "it does not begin", ("arguments.count", "value < 1", "x"))

    verdict = trials(deviation)

    assert (verdict.passed, verdict.noticed_by) == (False, None)
    assert "NameError" in verdict.report
