"""The report: how many mutants each module has, how many were noticed, and which were not."""

import collections
import json
import platform
from collections.abc import Iterable
from importlib.metadata import version

from .operators import Mutant
from .verdicts import listed
from .workers import Outcome

Results = dict[Mutant, Outcome]
ALIVE = ("survives", "untried")


def table(results: Results, reasons: dict[Mutant, str], by: str) -> list[str]:
    """Return a table in Markdown, with a row for each module or each operator."""
    groups: dict[str, list[Mutant]] = collections.defaultdict(list)
    for mutant in results:
        groups[getattr(mutant, "path", "") if by == "module" else mutant.edit.operator].append(
            mutant
        )
    rows = [(f"`{name}`" if by == "module" else name, groups[name]) for name in sorted(groups)]
    rows.append(("**all**", list(results)))
    lines = [
        f"| {by} | mutants | not tried | killed | of these, hang | equivalent | survive | killed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, mutants in rows:
        verdicts = [results[mutant].verdict for mutant in mutants]
        killed = sum(verdict not in ALIVE for verdict in verdicts)
        later = verdicts.count("untried")
        known = sum(
            results[mutant].verdict == "survives" and mutant in reasons for mutant in mutants
        )
        hung = verdicts.count("hangs")
        lines.append(
            f"| {name} | {len(mutants)} | {later} | {killed} | {hung} | {known} "
            f"| {len(mutants) - later - killed - known} "
            f"| {share(killed, len(mutants) - later - known)} |"
        )
    return lines


def data(results: Results, reasons: dict[Mutant, str]) -> str:
    """Return the same as JSON: each module's verdicts, and each mutant that nothing noticed."""
    modules: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    unnoticed = []
    for mutant, outcome in results.items():
        modules[mutant.path][outcome.verdict] += 1
        if outcome.verdict == "survives":
            unnoticed.append(
                {
                    "module": mutant.path,
                    "place": mutant.place,
                    "line": mutant.lines.start,
                    "operator": mutant.edit.operator,
                    "former": mutant.former.strip(),
                    "latter": mutant.latter.strip(),
                    "equivalent": reasons.get(mutant),
                }
            )
    return json.dumps({"modules": modules, "unnoticed": unnoticed}, indent=1) + "\n"


def share(part: int, whole: int) -> str:
    """Return a percentage, rounded down so that 100 % means all."""
    return f"{int(1000 * part / whole) / 10 if whole else 100.0} %"


def untried(results: Results) -> int:
    """Return how many mutants have no verdict."""
    return sum(outcome.verdict == "untried" for outcome in results.values())


def survivors(results: Results, reasons: dict[Mutant, str]) -> list[Mutant]:
    """Return the mutants that nothing noticed and that are not listed."""
    return [
        mutant
        for mutant, outcome in results.items()
        if outcome.verdict == "survives" and mutant not in reasons
    ]


def diffs(mutants: Iterable[Mutant]) -> list[str]:
    """Return what each mutant changes, in the form that the list of equivalent ones has."""
    return [f"{listed(mutant)}" for mutant in mutants]


def document(results: Results, reasons: dict[Mutant, str], notes: list[str]) -> str:
    """Return the report that is committed."""
    left = survivors(results, reasons)
    killed = sum(outcome.verdict not in ALIVE for outcome in results.values())
    later = untried(results)
    counts = collections.Counter(
        reasons[mutant]
        for mutant, outcome in results.items()
        if mutant in reasons and outcome.verdict == "survives"
    )
    known = sum(counts.values())
    machine = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}"
    tools = ", ".join(f"{name} {version(name)}" for name in ("pytest", "coverage", "hypothesis"))
    lines = [
        "# Mutants",
        "",
        "Written by `make mutants`; what a mutant is stands in `metatests/mutants/`.",
        "",
        f"Of {len(results)} mutants {later} are not tried, {killed} killed, {known} listed as",
        f"equivalent and {len(left)} survive. Of those that are tried and not equivalent",
        f"{share(killed, len(results) - later - known)} are killed.",
        "",
        f"{machine}; {tools}.",
        *notes,
        "",
        *table(results, reasons, "module"),
        "",
        *table(results, reasons, "operator"),
        "",
        "## Equivalent",
        "",
        "The mutants themselves stand in `metatests/mutants/equivalent.txt`.",
        "",
        *(f"- {count}: {reason}" for reason, count in counts.most_common()),
        "",
        "## Survivors",
        "",
        *(["```", *diffs(left), "```"] if left else ["None."]),
    ]
    return "\n".join(lines) + "\n"
