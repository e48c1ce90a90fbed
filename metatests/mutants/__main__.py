"""The command line; see the package's docstring."""

import argparse
import ast
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

from . import reach, report, verdicts, workers
from .operators import Mutant, mutants

PROJECT = pathlib.Path(__file__).parents[2]
FOLDER = PROJECT / ".build" / "mutants"
RESULTS = PROJECT / "metatests" / "results" / "mutants.md"
EVERY = 20.0  # seconds between two lines of progress


def main() -> int:
    """Try the mutants and report; return 0 where none survives that is not listed."""
    options = _options()
    sources = {
        file.relative_to(PROJECT).as_posix(): file.read_bytes()
        for file in sorted((PROJECT / "cache").rglob("*.py"))
    }
    wanted = [f"cache/{name.removesuffix('.py')}.py" for name in options.modules] or list(sources)
    if unknown := set(wanted) - set(sources):
        raise SystemExit(f"no such module: {', '.join(sorted(unknown))}")
    found = [mutant for path in wanted for mutant in mutants(path, sources[path])]
    FOLDER.mkdir(parents=True, exist_ok=True)
    chosen = f"{options.tests}, {options.below}"
    known = verdicts.Verdicts(FOLDER / "verdicts.json", verdicts.digests(PROJECT, chosen))
    results: report.Results = {}
    if not options.fresh:
        former = {
            mutant: known.known(mutant, options.known or options.outdated) for mutant in found
        }
        results = {mutant: outcome for mutant, outcome in former.items() if outcome}
    listed = verdicts.equivalents(verdicts.EQUIVALENT.read_text("utf-8"))
    reasons = {m: listed[name] for m in found if (name := verdicts.listed(m)) in listed}
    if options.unlisted:
        results |= dict.fromkeys(reasons, workers.Outcome("survives"))
    trials = [mutant for mutant in found if mutant not in results]
    if options.known:
        results |= dict.fromkeys(trials, workers.Outcome("untried"))
        trials = []
    print(f"{len(found)} mutants, {len(trials)} of them to be tried", flush=True)
    began, unfit = time.monotonic(), set[str]()
    if trials:
        unfit = _try_all(trials, sources, options, known, results)
    minutes = (time.monotonic() - began) / 60
    results = {mutant: results[mutant] for mutant in found}
    print("\n".join(report.table(results, reasons, "module")))
    left = report.survivors(results, reasons)
    if left:
        print("\nThese survive:\n", *report.diffs(left), sep="\n")
    wrong = _wrongly_listed(listed, results, reasons, set(wanted))
    print(*wrong, sep="\n")
    if options.write or not options.modules:
        notes = [
            f"{len(trials)} of the verdicts are of this run, which took {minutes:.0f} minutes in",
            f"{options.jobs} processes. Left out, as they failed without a mutant:",
            f"{', '.join(f'`{test}`' for test in sorted(unfit)) or 'no tests'}.",
        ]
        if options.known:
            notes = [
                "All verdicts are of former runs, some with fewer tests: what survived those, the",
                "equivalent ones among them, may be noticed by others.",
            ]
        if options.outdated:
            notes.append("What survived other, mostly fewer, tests was not tried anew.")
        if options.unlisted:
            notes.append("Those that are listed as equivalent were not tried anew.")
        if chosen != "tests, 1e+09":
            notes.append(
                f"Tried with no other tests than these, and what seconds they take: {chosen}."
            )
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(report.document(results, reasons, notes), "utf-8")
        RESULTS.with_suffix(".json").write_text(report.data(results, reasons), "utf-8")
        print(f"written: {RESULTS.relative_to(PROJECT)}")
    return 1 if left or wrong or report.untried(results) else 0


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m metatests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="of cache/; else all")
    parser.add_argument("--tests", default="tests", help="files and folders, apart by spaces")
    parser.add_argument(
        "--below",
        type=float,
        default=1e9,
        metavar="SECONDS",
        help="leave out tests that take longer",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--write", action="store_true", help="report though it is of some modules")
    parser.add_argument("--unlisted", action="store_true", help="try none of the equivalent ones")
    parser.add_argument(
        "--outdated", action="store_true", help="take it that what survived other tests survives"
    )
    parser.add_argument("--known", action="store_true", help="try none: report former verdicts")
    parser.add_argument("--fresh", action="store_true", help="use no former verdict")
    return parser.parse_args()


def _try_all(
    trials: list[Mutant],
    sources: dict[str, bytes],
    options: Any,
    known: verdicts.Verdicts,
    results: report.Results,
) -> set[str]:
    """Try the mutants and note the results. Return the tests left out: they fail without a mutant.

    Controls run before and after. What a test noticed that fails in a later control is tried again.
    """
    print("Finding out what each test reaches", flush=True)
    reached = reach.measured(
        workers.copied(PROJECT, FOLDER / "measured"), FOLDER, options.tests.split()
    )
    folders = [
        workers.copied(PROJECT, FOLDER / f"worker{number}") for number in range(options.jobs)
    ]
    pool = [workers.Worker(folder, options.tests.split()) for folder in folders]
    unfit: set[str] = set()
    try:
        costs = _control(pool, sources, unfit)
        for worker in pool:
            worker.know(costs)
        print(f"{len(costs)} tests pass without a mutant, in {sum(costs.values()):.0f} s")
        while trials:
            costs = {
                test: seconds
                for test, seconds in costs.items()
                if test not in unfit and seconds < options.below
            }
            progress = _Progress(len(trials))
            planned = _planned(trials, sources, reached, costs, results)
            for mutant, outcome in workers.tried(pool, planned):
                results[mutant] = outcome
                known.note(mutant, outcome)
                if progress.count(mutant, outcome):
                    known.save()
            _control(pool, sources, unfit)
            trials = [mutant for mutant in trials if results[mutant].test in unfit]
            for mutant in trials:
                del results[mutant]
    finally:
        known.save()
        for worker in pool:
            worker.close()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_suffix(".tmp"), ignore_errors=True)
    return unfit


def _control(
    pool: list[workers.Worker], sources: dict[str, bytes], unfit: set[str]
) -> dict[str, float]:
    """Let each worker try the true package; return what each test costs, and add what fails."""
    path, costs = "cache/__init__.py", dict[str, float]()
    trials = [(number, workers.Trial(path, sources[path], None)) for number in range(len(pool))]
    for _, outcome in workers.tried(pool, trials):
        if outcome.test:
            raise SystemExit(f"without a mutant, {outcome.test} {outcome.verdict}")
        unfit |= outcome.failed
        for test, seconds in outcome.costs.items():
            costs[test] = max(costs.get(test, 0.0), seconds)
    return costs


def _planned(
    trials: list[Mutant],
    sources: dict[str, bytes],
    reached: reach.Reach,
    costs: dict[str, float],
    results: report.Results,
) -> Iterator[tuple[Mutant, workers.Trial]]:
    """Yield a trial for each mutant, with what noticed its neighbours first, then the cheapest."""
    functions = {path: functions_by_name(source) for path, source in sources.items()}
    noticed: dict[tuple[str, str], dict[str, None]] = {}
    for mutant in trials:
        place = mutant.path, mutant.place
        neighbours = noticed.setdefault(place, {})
        for other in [other for other in results if (other.path, other.place) == place]:
            neighbours[results[other].test] = None
        tests: dict[str, None] = {}
        groups = reached.ranked(mutant, functions[mutant.path])
        if mutant.at_import and not any(groups[:-1]):
            groups.append(set(costs))  # a module without functions: any test may look at it
        for group in groups:
            there = group & costs.keys()
            ranked = sorted(there, key=lambda test: (test not in neighbours, costs[test], test))
            tests.update(dict.fromkeys(ranked))
        yield mutant, workers.Trial(mutant.path, mutant.apply(sources[mutant.path]), list(tests))


def functions_by_name(source: bytes) -> dict[str, list[range]]:
    """Return, for each name, the lines of the functions that read it."""
    found: dict[str, list[range]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    found.setdefault(inner.id, []).append(lines)
                elif isinstance(inner, ast.Attribute):
                    found.setdefault(inner.attr, []).append(lines)
    return found


def _wrongly_listed(
    listed: dict[verdicts.Listed, str],
    results: report.Results,
    reasons: dict[Mutant, str],
    wanted: set[str],
) -> list[str]:
    """Return what is wrong with the list of equivalent mutants."""
    there = {verdicts.listed(mutant) for mutant in results}
    wrong = [
        f"listed as equivalent, but there is no such mutant:\n{entry}"
        for entry in listed
        if entry.path in wanted and entry not in there
    ]
    for mutant in reasons:
        outcome = results[mutant]
        if outcome.verdict not in report.ALIVE:
            entry = verdicts.listed(mutant)
            wrong.append(f"listed as equivalent, but {outcome.test} {outcome.verdict}:\n{entry}")
    return wrong


class _Progress:
    """Lines that say how far it is."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.survive = 0
        self.began = self.told = time.monotonic()

    def count(self, mutant: Mutant, outcome: workers.Outcome) -> bool:
        """Count a mutant; say so every now and then, and tell whether it was said."""
        self.done += 1
        self.survive += outcome.verdict == "survives"
        now = time.monotonic()
        if now - self.told < EVERY and self.done < self.total:
            return False
        self.told = now
        left = (now - self.began) / self.done * (self.total - self.done) / 60
        print(
            f"{self.done:5} of {self.total}, {self.survive} survive, "
            f"{left:.0f} minutes left; {mutant.path}",
            flush=True,
        )
        return True


if __name__ == "__main__":
    sys.exit(main())
