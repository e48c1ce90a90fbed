"""The arithmetic of the benchmarks, and that what they have reported hangs together."""

import fnmatch
import json
import statistics
from xml.etree import ElementTree

import pytest

from benchmarks import pauses, report, run, snapshots, speed, traces

RESULTS = sorted(report.RESULTS.glob("*.json"))


def control(ratio):
    return {"operation": "hit", "size": 1_000, "ttl": False, "ratio": ratio}


def test_a_ratio_compares_slices_that_ran_side_by_side():
    # The machine is twice as slow from the second pair on.
    taken = [1.0, 2.0, 2.0, 2.0], [0.5, 1.0, 1.0, 4.0]

    assert speed.ratios(taken) == [0.5, 2.0, 2.0, 2.0]


def test_the_interval_of_a_median_is_narrower_with_more_pairs():
    few, many = list(range(100)), [number / 100 for number in range(10_000)]

    low, high = speed.interval(few)
    narrow_low, narrow_high = speed.interval(many)

    assert low < statistics.median(few) < high
    assert 0 < narrow_high - narrow_low < (high - low) / 5
    assert speed.interval([3.0]) == (3.0, 3.0)


def test_snapshots_are_compared_round_by_round():
    assert snapshots.ratio([2.0, 4.0, 30.0], [1.0, 2.0, 3.0]) == 2.0


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (1.0, []),
        (0.96, []),
        (1.04, []),
        (0.94, ["hit at 1,000: 0.94"]),
        (1.06, ["hit at 1,000: 1.06"]),
    ],
)
def test_a_run_is_void_where_the_baseline_differs_from_itself(ratio, expected):
    assert run.void([control(1.0), control(ratio)]) == expected


def test_a_wait_counts_where_it_overlaps_the_work():
    before, astride, during, after = (0.0, 9.0), (9.5, 2.0), (12.0, 1.0), (20.5, 8.0)

    assert pauses.longest([before, astride, during, after], 10.0, 20.0) == 2.0
    assert pauses.longest([before, after], 10.0, 20.0) == pauses.NOTED


def test_a_wait_is_the_median_of_the_longest_ones_with_the_worst_beside_it():
    record = pauses.summed_up("save", [3.0, 1.0, 2.0], [4.0, 4.0, 7.0], [0.1, 0.9, 0.2], [0.5])

    assert (record["seconds"], record["beside_reader"]) == (2.0, 4.0)
    assert (record["longest_wait"], record["worst_wait"], record["writer_wait"]) == (0.2, 0.9, 0.5)


def test_the_last_pattern_matches_a_tenth_of_the_keys():
    (_, pattern), *_ = [
        work for work in pauses.works(1_000).values() if work[0] == "delete_pattern"
    ]

    matching = [number for number in range(1_000) if fnmatch.fnmatchcase(f"user:{number}", pattern)]
    assert matching == list(range(100, 200))


def test_every_verb_of_the_baseline_is_compared_and_finds_its_keys():
    records = speed.race("baseline", 100, True, 0.001)

    assert [one["operation"] for one in records] == list(speed.OPERATIONS)
    assert all(one["found"] == 1 and one["pairs"] >= 5 for one in records)


def test_what_an_exact_lru_counts_is_read_from_a_table(tmp_path):
    line = "| some-trace | 1,000 | 1,234,567 | 12 | 3 | 99.999 % |"
    (tmp_path / "README.md").write_text(f"| trace | size |\n|---|---|\n{line}\n")

    assert traces.expected(tmp_path) == [
        {"trace": "some-trace", "size": 1_000, "hits": 1_234_567, "misses": 12, "evictions": 3}
    ]
    assert traces.expected(tmp_path / "nowhere") == []


def test_a_goal_is_at_least_or_at_most():
    assert report.met(2.0, 2.0)
    assert not report.met(2.0, 1.99)
    assert report.met(-30, 30.0)
    assert not report.met(-30, 30.1)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_committed_report_is_that_of_its_results(path):
    results = json.loads(path.read_text())
    plots = sorted(path.parent.glob(f"{path.stem}-*.svg"))
    text = path.with_suffix(".md").read_text()

    assert path.stem == report.label(results["about"])
    assert sorted(plot for plot in plots if f"]({plot.name})" in text) == plots != []
    assert {ElementTree.parse(plot).getroot().tag.rpartition("}")[2] for plot in plots} == {"svg"}
    assert report.goals(results) in text
    assert ("**This run is void.**" in text) == bool(
        results["void"] or run.void(results["control"])
    )


def test_the_readme_tells_what_the_results_say():
    results = [json.loads(path.read_text()) for path in RESULTS]

    assert report.readme_section(results) in report.README.read_text()
