"""Run the benchmarks and write the report: `python -m benchmarks [--quick] [--only NAME ...]`."""

import argparse
import json
import sys
from pathlib import Path

from . import report, server
from .contestants import ALL, BASELINE, OURS
from .run import FULL, QUICK, Run

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure, write and print the report, which says it where the run is void."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="roughly, in less than a minute")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these beside ours, not all")
    parser.add_argument("--results", type=Path, help="the folder to write to")
    options = parser.parse_args()
    chosen = [one for one in ALL if not options.only or one.name in options.only]
    for one in (BASELINE, OURS):
        if one not in chosen:
            chosen.insert(0, one)
    with server.running() as redis_server:
        results = Run(QUICK if options.quick else FULL, chosen).whole()
    results["about"]["redis-server"] = redis_server
    partial = options.quick or options.only
    folder = options.results or (ROOT / ".build/benchmarks" if partial else report.RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.label(results['about'])}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(report.write(path).read_text())
    if folder == report.RESULTS:
        report.update_readme()
    if results["void"]:
        print(f"This run is void: {', '.join(results['void'])}", file=sys.stderr)


if __name__ == "__main__":
    main()
