"""Plots of the results, as SVG."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "benchmarks",
        "font.size": 9,
        "font.family": "sans-serif",
    }
)
from matplotlib import pyplot  # noqa: E402 - the backend is chosen before

from .contestants import ALL, BASELINE, OURS  # noqa: E402
from .pauses import IDLE  # noqa: E402

_OURS, _OTHERS, _BASELINE = "#c2410c", "#94a3b8", "#334155"
_ORDER = [one.name for one in ALL]


def draw(results: dict[str, Any], path: Path) -> list[Path]:
    """Draw hits, threads and waits to files named after `path`; return those."""
    drawn = []
    plots = (("hits", _hits(results)), ("threads", _threads(results)), ("waits", _waits(results)))
    for name, figure in plots:
        if figure is not None:
            target = path.with_name(f"{path.stem}-{name}.svg")
            figure.savefig(target, bbox_inches="tight", metadata={"Date": None, "Creator": None})
            pyplot.close(figure)
            drawn.append(target)
    return drawn


def _hits(results: dict[str, Any]) -> Any:
    ratios = {BASELINE.name: 1.0}
    for one in results["verbs"]:
        if (one["operation"], one["size"]) == ("hit", 1_000):
            ratios.setdefault(one["name"], one["ratio"])
    return _bars(ratios, "A hit at 1,000 entries: times the baseline's speed")


def _threads(results: dict[str, Any]) -> Any:
    ratios: dict[str, float] = {}
    for one in results.get("threads", []):
        ratios.setdefault(one["name"], one["ratio"])
    return _bars(ratios, "Four threads, nine reads to a write: times the baseline's speed")


def _bars(values: dict[str, float], title: str) -> Any:
    names = sorted(values, key=values.__getitem__)
    if not names:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.26 * len(names)))
    bars = axes.barh(
        names, [values[name] for name in names], color=[_color(name) for name in names]
    )
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(1, color=_BASELINE, linewidth=0.8)
    _finish(axes, title)
    return figure


def _waits(results: dict[str, Any]) -> Any:
    """Draw a point for each contestant in a row for each work: they differ by powers of ten."""
    points = [one for one in results.get("pauses", []) if "longest_wait" in one]
    works = list(dict.fromkeys(one["work"] for one in points if one["work"] != IDLE))[::-1]
    if not works:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 0.9 + 0.36 * len(works)))
    styles = "osD^vPX*<"
    names = [name for name in _ORDER if any(one["name"] == name for one in points)]
    for name, style in zip(names, styles, strict=False):
        here = [one for one in points if one["name"] == name]
        main = name in (OURS.name, BASELINE.name)
        axes.scatter(
            [one["longest_wait"] * 1000 for one in here],
            [works.index(one["work"]) for one in here],
            label=name,
            marker=style,
            s=44 if main else 26,
            color=_color(name) if main else None,
            zorder=3 if main else 2,
        )
    axes.axvline(30, color=_OURS, linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_yticks(range(len(works)), works)
    axes.grid(axis="y", linewidth=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    _finish(axes, "The longest that a read waits meanwhile, ms (dashed: the goal)")
    return figure


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _color(name: str) -> str:
    return {OURS.name: _OURS, BASELINE.name: _BASELINE}.get(name, _OTHERS)
