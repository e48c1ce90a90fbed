"""The results as Markdown, and the README's table, all from the JSON: no figure is typed in."""

import json
import re
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .contestants import ALL, BASELINE, FLOORS, OURS
from .pauses import CLEANUP, IDLE, SPIN
from .speed import OPERATIONS

RESULTS = Path(__file__).resolve().parent / "results"
README = Path(__file__).resolve().parents[1] / "README.md"

Results = dict[str, Any]
Row = Iterable[object]

_ORDER = [one.name for one in ALL]
_SECTION = re.compile(r"(?<=\n## Speed\n\n).*?(?=\n## |\Z)", re.DOTALL)

CAVEATS = """\
Each contestant takes turns with the baseline, `benchmarks/baseline.py`, in slices of about 2,000
operations, in a process of its own; a figure is the median of the paired ratios: **how many times
the baseline's speed**, more is better. In brackets stand nanoseconds, which depend on how busy the
machine was just then: compare ratios, not nanoseconds. Keys are equal to the stored ones, not
identical; statements are inlined; the garbage collector is on. The baseline, measured against
itself, must read 1.00 ± 0.05, or the run is void."""


def label(about: dict[str, Any]) -> str:
    """Return the name that results go by: `cpython-3.11`."""
    implementation, version = about["python"].lower().split()
    threads = "" if about["gil"] else "t"
    return f"{implementation}-{'.'.join(version.split('.')[:2])}{threads}"


def write(path: Path) -> Path:
    """Write the Markdown, and the plots, beside the JSON at `path`; return the Markdown's path."""
    results = json.loads(path.read_text())
    plots: list[Path] = []
    if find_spec("matplotlib") is not None:
        from . import plots as drawing  # it takes half a second, in each measuring process too

        plots = drawing.draw(results, path)
    target = path.with_suffix(".md")
    target.write_text(markdown(results, [plot.name for plot in plots]))
    return target


def update_readme() -> None:
    """Put the table of all results into the README."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    text = README.read_text()
    README.write_text(_SECTION.sub(lambda _: readme_section(found), text))


# -- Markdown --------------------------------------------------------------------------------------


def markdown(results: Results, plots: list[str]) -> str:
    """Return the whole report."""
    about = results["about"]
    parts = [f"# {about['python']}{'' if about['gil'] else ', free-threaded'}", CAVEATS]
    parts += [_verdict(results), _about(about)]
    parts += [f"![{Path(plot).stem}]({plot})" for plot in plots]
    sections = (
        ("Goals", goals),
        ("Verbs", _verbs),
        ("Four threads", _threads),
        ("Work on all entries, and who waits for it", _pauses),
        ("Snapshots beside plain pickle", _snapshots),
        ("Memory", _memory),
        ("Traces", _traces),
        ("Stampede", _stampede),
        ("Left out", _left_out),
    )
    for title, section in sections:
        text = section(results)
        if text:
            parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


def table(head: Row, rows: Iterable[Row]) -> str:
    """Return a table whose columns but the first are aligned to the right; "" without rows."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    if not lines:
        return ""
    titles = list(map(str, head))
    return "\n".join([f"| {' | '.join(titles)} |", f"|---|{'--:|' * (len(titles) - 1)}", *lines])


def _verdict(results: Results) -> str:
    groups: dict[tuple[int, bool], int] = {}
    for one in results["control"]:
        groups[one["size"], one["ttl"]] = one["attempt"]
    again = sum(attempt > 1 for attempt in groups.values())
    ratios = [one["ratio"] for one in results["control"]]
    said = f"The baseline against itself read {min(ratios):.2f} to {max(ratios):.2f}"
    if again:
        said += f", after {again} of {len(groups)} groups had been measured again"
    if results["void"]:
        return f"**This run is void.** {said}; outside 1.00 ± 0.05: {', '.join(results['void'])}."
    return f"This run is valid. {said}."


def _about(about: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    lines = [
        f"{about['python']}, GIL {'on' if about['gil'] else 'off'},"
        f" switch interval {about['switch_interval'] * 1000:g} ms",
        f"Garbage collector: {about['gc']}; collected before each comparison",
        f"{about['processor']}, {about['cores']} cores, {about['system']}, shared with other work:"
        f" load average {about['load_average'][0]} before, {about['load_average'][1]} after",
        f"{libraries}; redis-server {about['redis-server'] or 'none'}",
        f"{about['date']}, {about['minutes']} minutes",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _by_name(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {record["name"]: record for record in records}
    return {name: found[name] for name in _ORDER if name in found}


def _verbs(results: Results) -> str:
    parts = []
    groups = list(dict.fromkeys((one["size"], one["ttl"]) for one in results["verbs"]))
    for size, ttl in groups:
        here = [one for one in results["verbs"] if (one["size"], one["ttl"]) == (size, ttl)]
        control = [one for one in results["control"] if (one["size"], one["ttl"]) == (size, ttl)]
        rows = [
            [name, *(_speed(here, name, operation) for operation in OPERATIONS)]
            for name in _ORDER
            if any(one["name"] == name for one in here)
        ]
        itself = [
            " and ".join(f"{one['ratio']:.2f}" for one in control if one["operation"] == operation)
            for operation in OPERATIONS
        ]
        rows.insert(1, ["baseline against itself, before and after", *itself])
        parts += [
            f"### {size:,} entries {'with' if ttl else 'without'} a ttl",
            table(["", *OPERATIONS], rows),
        ]
    return "\n\n".join(parts)


def _speed(records: list[dict[str, Any]], name: str, operation: str) -> str:
    for one in records:
        if (one["name"], one["operation"]) == (name, operation):
            return f"{one['ratio']:.2f} ({one['ns']:,.0f})"
    return ""


def _threads(results: Results) -> str:
    rows = [
        [
            f"{one['name']}, {one['universe']:,} keys" if one["universe"] > 10_000 else one["name"],
            f"{one['ratio']:.2f}",
            f"{one['worst']:.2f}",
            f"{one['per_second'] / 1e6:.2f}",
            f"{one['per_second'] / one['ratio'] / 1e6:.2f}",
        ]
        for one in sorted(results.get("threads", []), key=lambda one: _ORDER.index(one["name"]))
    ]
    head = ["", "times the baseline", "worst round", "million operations a second"]
    return (
        "Nine reads to a write, Zipf keys, 10,000 entries. The worst of ten rounds, as a part of"
        " the median one, tells of convoys: the baseline falls into them, too, now and then. What"
        " it reads for a plain dict, which has no lock, is the machine's own unrest.\n\n"
        + table([*head, "the baseline's beside it"], rows)
    )


def _pauses(results: Results) -> str:
    records = results.get("pauses", [])
    parts = [
        "Seconds alone and beside a thread that reads one key without a rest; the longest that one"
        " of its reads took, and one of a thread that writes a key every millisecond. Medians over"
        " the repeats, the worst in brackets. A thread beside any other waits for the interpreter"
        f" to switch: see “{SPIN}”."
    ]
    for work in dict.fromkeys(one["work"] for one in records):
        found = _by_name(one for one in records if one["work"] == work)
        if work == IDLE:
            rows = [[name, f"{one['seconds'] * 1e6:,.0f}"] for name, one in found.items()]
            parts += [f"### {work}", table(["", "µs"], rows)]
            continue
        rows = [[name, *_waits(one)] for name, one in found.items()]
        head = ["", "seconds alone", "beside a reader", "a read waits, ms", "a write waits, ms"]
        parts += [f"### {work}", table([*head, "repeats"], rows)]
    return "\n\n".join(parts) if records else ""


def _waits(one: dict[str, Any]) -> list[str]:
    if "failed" in one:
        return [one["failed"], "", "", "", ""]
    write = ""
    if "writer_wait" in one:
        write = f"{one['writer_wait'] * 1e3:.1f} ({one['worst_writer_wait'] * 1e3:.1f})"
    read = f"{one['longest_wait'] * 1e3:.1f} ({one['worst_wait'] * 1e3:.1f})"
    return [
        f"{one['seconds']:.2f}",
        f"{one['beside_reader']:.2f}",
        read,
        write,
        str(one["repeats"]),
    ]


def _snapshots(results: Results) -> str:
    rows = [
        [
            f"{one['name']}{', with ttl' if one['ttl'] else ''}",
            f"{one['save']:.2f}",
            f"{one['load']:.2f}",
            *(f"{one[f'{work}_seconds']:.2f}" for work in ("save", "dump", "load", "pickle.load")),
        ]
        for one in results.get("snapshots", [])
    ]
    head = [
        "",
        "save ÷ dump",
        "load ÷ load",
        "save, s",
        "pickle.dump, s",
        "load, s",
        "pickle.load, s",
    ]
    return table(head, rows)


def _memory(results: Results) -> str:
    records = results.get("memory", [])
    rows = []
    for name in _ORDER:
        found = {one["ttl"]: one for one in records if one["name"] == name}
        if found:
            plain, timed = (f"{found[ttl]['bytes']:.0f}" if ttl in found else "" for ttl in (0, 1))
            grown = found.get(True, {}).get("grown")
            rows.append([name, plain, timed, "" if grown is None else f"{grown:.1f}"])
    head = ["", "bytes", "with a ttl", "more after ten rewrites of every key"]
    note = "Resident memory per entry, key and small value included.\n\n"
    return note + table(head, rows) if rows else ""


def _traces(results: Results) -> str:
    expected = results.get("expected", [])
    if not expected:
        return ""
    names = list(_by_name(results["traces"]))
    hits = {(one["name"], one["trace"], one["size"]): one["hits"] for one in results["traces"]}
    rows = [
        [
            row["trace"],
            f"{row['size']:,}",
            f"{row['hits']:,}",
            *(f"{hits[name, row['trace'], row['size']] - row['hits']:+,}" for name in names),
        ]
        for row in expected
    ]
    exact = ", ".join(one.name for one in ALL if one.exact and one.name in names)
    return (
        f"Hits more or less than an exact LRU counts. Exact by their own word: {exact}.\n\n"
        + table(["trace", "size", "hits", *names], rows)
    )


def _stampede(results: Results) -> str:
    rows = [
        [name, f"{one['calls']:.0f}", f"{one['seconds'] * 1e3:.0f}"]
        for name, one in _by_name(results.get("stampede", [])).items()
    ]
    note = "64 threads ask at once for a value that takes 50 ms to make.\n\n"
    return note + table(["", "times it was made", "ms until all had it"], rows) if rows else ""


def _left_out(results: Results) -> str:
    lines = [f"{name}: {why}" for name, why in results["left_out"].items()]
    lines += [f"{one['name']}, {one['part']}: {one['why']}" for one in results["failed"]]
    sizes = [
        f"{one.name}: no more than {min(one.largest, one.largest_ttl):,} entries"
        f"{' with a ttl' if one.largest > one.largest_ttl else ''}, which take minutes to fill in"
        for one in ALL
        if min(one.largest, one.largest_ttl) < 1_000_000 and one.name not in results["left_out"]
    ]
    return "\n".join(f"- {line}" for line in lines + sizes)


# -- goals ----------------------------------------------------------------------------------------


def _ratio(size: int, operation: str, ttl: bool) -> Callable[[Results], float]:
    def find(results: Results) -> float:
        return next(
            one["ratio"]
            for one in results["verbs"]
            if (one["name"], one["size"], one["operation"], one["ttl"])
            == (OURS.name, size, operation, ttl)
        )

    return find


def _thread(field: str) -> Callable[[Results], float]:
    return lambda results: next(
        one[field]
        for one in results["threads"]
        if one["name"] == OURS.name and one["universe"] == 10_000
    )


def _work(results: Results, name: str, work: str) -> dict[str, Any]:
    return next(
        one for one in results["pauses"] if one["name"] == name and one["work"].startswith(work)
    )


def _faster(work: str) -> Callable[[Results], float]:
    return lambda results: (
        _work(results, BASELINE.name, work)["seconds"] / _work(results, OURS.name, work)["seconds"]
    )


def _wait(work: str, field: str = "longest_wait") -> Callable[[Results], float]:
    return lambda results: _work(results, OURS.name, work)[field] * 1000


def _of(part: str, field: str, ttl: bool) -> Callable[[Results], float]:
    return lambda results: next(
        one[field] for one in results[part] if one["name"] == OURS.name and one["ttl"] is ttl
    )


# What, the goal (at least; at most, where it is negative), and where the figure is found.
GOALS: list[tuple[str, float, Callable[[Results], float]]] = [
    ("get hit, 1,000 entries", 2.0, _ratio(1_000, "hit", False)),
    ("… with a ttl", 2.0, _ratio(1_000, "hit", True)),
    ("get hit, 10,000 entries", 1.7, _ratio(10_000, "hit", False)),
    ("… with a ttl", 1.7, _ratio(10_000, "hit", True)),
    ("get hit, 1,000,000 entries", 1.1, _ratio(1_000_000, "hit", False)),
    ("… with a ttl", 1.1, _ratio(1_000_000, "hit", True)),
    ("get miss, 1,000 entries", 1.5, _ratio(1_000, "miss", False)),
    ("set that overwrites, 1,000 entries", 1.5, _ratio(1_000, "overwrite", False)),
    ("… with a ttl", 1.5, _ratio(1_000, "overwrite", True)),
    ("set that evicts, 1,000 entries", 1.5, _ratio(1_000, "evicting set", False)),
    ("… with a ttl", 1.5, _ratio(1_000, "evicting set", True)),
    ("four threads, nine reads to a write", 1.6, _thread("ratio")),
    ("… the worst round of ten, of the median one", 0.6, _thread("worst")),
    ("cleanup of a million expired", 1.0, _faster(CLEANUP)),
    ('keys("user:123*") of a million', 10, _faster('keys("user:123*")')),
    ('keys("*7*") of a million', 4.5, _faster('keys("*7*")')),
    ("cleanup with nothing expired, µs", -50, lambda found: _wait(IDLE, "seconds")(found) * 1000),
    ("save, of a plain pickle.dump's seconds", -2.0, _of("snapshots", "save", False)),
    ("load, of a plain pickle.load's seconds", -1.8, _of("snapshots", "load", False)),
    ("longest wait of a read beside cleanup, ms", -30, _wait(CLEANUP)),
    ('… beside keys("user:123*")', -30, _wait('keys("user:123*")')),
    ('… beside keys("*7*")', -30, _wait('keys("*7*")')),
    ("… beside delete_pattern of 100,000", -30, _wait("delete_pattern")),
    ("… beside save", -30, _wait("save")),
    ("… beside load", -30, _wait("load")),
    ("longest wait of a write beside save, ms", -1000, _wait("save", "writer_wait")),
    ("bytes per entry with a ttl", -272, _of("memory", "bytes", True)),
    ("… more after ten rewrites of every key", -1, _of("memory", "grown", True)),
]


def measured(results: Results) -> list[float | None]:
    """Return the figure of each goal; None where this run has not measured it."""
    found: list[float | None] = []
    for _, _, find in GOALS:
        try:
            found.append(find(results))
        except (StopIteration, KeyError):
            found.append(None)
    return found


def met(goal: float, figure: float) -> bool:
    """Tell whether a figure is at least the goal, or at most its amount where it is negative."""
    return figure >= goal if goal > 0 else figure <= -goal


def goals(results: Results) -> str:
    """Return the table of goals, those that are missed included."""
    rows = [
        [what, _goal(goal), _figure(figure), "yes" if met(goal, figure) else "**no**"]
        for (what, goal, _), figure in zip(GOALS, measured(results), strict=True)
        if figure is not None
    ]
    return table(["DistributedCache", "goal", "measured", "met"], rows)


def _goal(goal: float) -> str:
    return f"≥ {goal:g}" if goal > 0 else f"≤ {-goal:g}"


def _figure(figure: float) -> str:
    return (
        f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
    )


# -- README ---------------------------------------------------------------------------------------


_PEERS = [
    "",
    "hit",
    "miss",
    "overwrite",
    "set that evicts",
    "four threads",
    'a read waits beside keys("*7*") of a million, ms',
]


def readme_section(all_results: list[Results]) -> str:
    """Return what stands under "Speed" in the README."""
    versions = [label(one["about"]) for one in all_results]
    columns = [measured(one) for one in all_results]
    rows = [
        [what, _goal(goal), *(_shown(goal, column[place]) for column in columns)]
        for place, (what, goal, _) in enumerate(GOALS)
    ]
    best = next((one for one in all_results if not one["void"]), all_results[0])
    reports = ", ".join(
        f"[{name}](benchmarks/results/{name}.md)"
        f"{' (void: the machine was not steady)' if one['void'] else ''}"
        for name, one in zip(versions, all_results, strict=True)
    )
    return f"""\
`make bench` compares `DistributedCache` in one run with a straightforward implementation, the
baseline (`benchmarks/baseline.py`), and with other libraries, on a machine that was shared with
other work. A figure without a unit is the speed as a multiple of the baseline's. **Bold** figures
miss their goal.

{table(["", "goal", *versions], rows)}

The speed as a multiple of the baseline's with 1,000 entries, on {label(best["about"])}. Entries
have no ttl, except in libraries where every entry has one.

{table(_PEERS, _peers(best))}

All figures, with all pauses, memory, hits on real traces and stampedes: {reports}.
"""


def _shown(goal: float, figure: float | None) -> str:
    if figure is None:
        return ""
    return _figure(figure) if met(goal, figure) else f"**{_figure(figure)}**"


def _peers(results: Results) -> list[list[str]]:
    rows = []
    threads = _by_name(one for one in results["threads"] if one["universe"] == 10_000)
    waits = _by_name(one for one in results["pauses"] if one["work"] == 'keys("*7*")')
    for name in _ORDER:
        cells = []
        for operation in ("hit", "miss", "overwrite", "evicting set"):
            ratios = {
                one["ttl"]: one["ratio"]
                for one in results["verbs"]
                if (one["name"], one["operation"], one["size"]) == (name, operation, 1_000)
            }
            cells.append(f"{ratios.get(False, ratios.get(True)):.2f}" if ratios else "")
        if any(cells):
            thread = threads.get(name)
            floor = " (a floor)" if name in {one.name for one in FLOORS} else ""
            wait = waits.get(name, {}).get("longest_wait")
            cells.append(f"{thread['ratio']:.2f}" if thread else "")
            rows.append([name + floor, *cells, "" if wait is None else f"{wait * 1000:.0f}"])
    return rows
