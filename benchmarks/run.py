"""Everything that is measured, in its order, and the rule by which a run is void."""

import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from . import memory, pauses, snapshots, speed, stampede, threads, traces
from .apart import MeasurementError, apart
from .contestants import ALL, BASELINE, OURS, Contestant

TOLERANCE = 0.05  # by which the baseline may differ from itself
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    groups: tuple[tuple[int, bool], ...]  # entries, and whether they have a ttl
    seconds: float  # that a peer's verb may take; ours gets twice as long
    rounds: int  # of four threads
    size: int  # entries for the work on all of them
    repeats: int  # of that work
    attempts: int  # at a group in which the baseline differs from itself
    peers: bool  # are they there in all parts, or in the comparison of verbs only?
    traces: int | None  # how many rows of the table


FULL = Plan(
    groups=tuple((size, ttl) for size in (1_000, 10_000, 1_000_000) for ttl in (False, True)),
    seconds=0.6,
    rounds=10,
    size=1_000_000,
    repeats=3,
    attempts=2,
    peers=True,
    traces=None,
)
QUICK = Plan(
    groups=((1_000, False), (1_000, True)),
    seconds=0.1,
    rounds=2,
    size=100_000,
    repeats=1,
    attempts=1,
    peers=False,
    traces=3,
)


@dataclass
class Run:
    """A run under way: `results` holds a list of records for each part."""

    plan: Plan
    contestants: list[Contestant]
    results: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def whole(self) -> dict[str, Any]:
        """Measure all parts, and return what a report is made of."""
        before = os.getloadavg()[0]
        self.results = {"failed": [], "left_out": self._left_out()}
        for size, ttl in self.plan.groups:
            self._verbs(size, ttl)
        self._threads()
        self._pauses()
        self._snapshots()
        self._untimed()
        self._stampede()
        self.results["void"] = void(self.results["control"])
        self.results["about"] = about() | {
            "load_average": [round(before, 1), round(os.getloadavg()[0], 1)],
            "minutes": round((time.monotonic() - self.began) / 60, 1),
        }
        return self.results

    def _left_out(self) -> dict[str, str]:
        absent = {one.name: one.absence() for one in self.contestants}
        self.contestants = [one for one in self.contestants if absent[one.name] is None]
        return {name: reason for name, reason in absent.items() if reason is not None}

    def _verbs(self, size: int, ttl: bool) -> None:
        """Compare the verbs of all, between two comparisons of the baseline with itself."""
        for attempt in range(1, self.plan.attempts + 1):
            controls, records = [], []
            others = [one for one in self.contestants if one is not BASELINE]
            for one in (BASELINE, *others, BASELINE):
                if not one.fits(size, ttl):
                    continue
                seconds = self.plan.seconds * (2 if one in (OURS, BASELINE) else 1)
                found = self._measure("verbs", speed.race, one.name, size, ttl, seconds)
                (controls if one is BASELINE else records).extend(found)
            for record in controls:
                record["attempt"] = attempt
            if not void(controls):
                break
        self._keep("control", controls)
        self._keep("verbs", records)

    def _threads(self) -> None:
        for one in self._asked(lambda one: one.fits(threads.SIZE, False) or one.set is None):
            record = self._measure(
                "threads", threads.race, one.name, threads.SIZE, self.plan.rounds
            )
            self._keep("threads", record)
        if self.plan.peers:
            crowd = 10 * threads.SIZE
            record = self._measure("threads", threads.race, OURS.name, crowd, self.plan.rounds)
            self._keep("threads", record)

    def _pauses(self) -> None:
        size = self.plan.size
        for one in self._asked(lambda one: one.big and one.fits(size, one.set is None)):
            repeats = self.plan.repeats if one in (OURS, BASELINE) else 1
            self._keep("pauses", self._measure("pauses", pauses.measure, one.name, size, repeats))

    def _snapshots(self) -> None:
        for one in (OURS, BASELINE):
            for ttl in (False, True):
                arguments = self.plan.size, ttl, self.plan.repeats + 2
                record = self._measure("snapshots", snapshots.race, one.name, *arguments)
                self._keep("snapshots", record)

    def _untimed(self) -> None:
        """Weigh and count: no clock, so several at once."""
        rows = traces.expected()[: self.plan.traces]
        tasks: list[tuple[str, Callable, tuple]] = []
        if rows:
            self._keep("expected", rows)
            wanted = [(row["trace"], row["size"]) for row in rows]
            for one in self._asked(lambda one: one.bounded):
                tasks.append(("traces", traces.count, (one.name, wanted)))
        if memory.MEASURABLE:
            size = self.plan.size
            for one in self._asked(lambda one: one.in_process):
                for ttl in (False, True):
                    if one.fits(size, ttl):
                        tasks.append(("memory", memory.weigh, (one.name, size, ttl)))
        with ThreadPoolExecutor(max(1, CORES // 2)) as pool:
            found = pool.map(lambda task: self._measure(task[0], task[1], *task[2]), tasks)
            for (part, *_), records in zip(tasks, found, strict=True):
                self._keep(part, records)

    def _stampede(self) -> None:
        for one in self._asked(lambda one: one.stampede):
            self._keep("stampede", self._measure("stampede", stampede.rush, one.name))

    def _asked(self, able: Callable[[Contestant], object]) -> list[Contestant]:
        everyone = self.plan.peers
        return [
            one for one in self.contestants if able(one) and (everyone or one in (OURS, BASELINE))
        ]

    def _measure(self, part: str, function: Callable, name: str, *arguments: Any) -> list[Record]:
        """Return the records of a measurement in a process of its own; [] where it fails."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        told = " ".join(f"{one:,}" if type(one) is int else str(one) for one in arguments[:2])
        told = told if part != "traces" else ""
        print(f"{minutes:3}:{seconds:02}  {part:10} {name:22} {told}", file=sys.stderr, flush=True)
        try:
            found = apart(function, name, *arguments)
        except MeasurementError as error:
            print(f"        {name} {error}", file=sys.stderr, flush=True)
            self.results["failed"].append({"part": part, "name": name, "why": str(error)})
            return []
        return found if isinstance(found, list) else [found]

    def _keep(self, part: str, records: Iterable[Record]) -> None:
        self.results.setdefault(part, []).extend(records)


def void(controls: list[Record]) -> list[str]:
    """Return where the baseline, measured against itself, reads other than 1.00 +- 0.05."""
    return [
        f"{one['operation']} at {one['size']:,}{' with ttl' if one['ttl'] else ''}:"
        f" {one['ratio']:.2f}"
        for one in controls
        if abs(one["ratio"] - 1) > TOLERANCE
    ]


def about() -> dict[str, Any]:
    """Return what the figures depend on: machine, Python, libraries, the collector."""
    packages = sorted({one.package for one in ALL if one.package is not None})
    return {
        "date": date.today().isoformat(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "switch_interval": sys.getswitchinterval(),
        "gc": f"on, thresholds {', '.join(map(str, gc.get_threshold()))}",
        "system": f"{platform.system()} on {platform.machine()}",
        "processor": _processor(),
        "cores": CORES,
        "libraries": {name: version for name in packages if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
