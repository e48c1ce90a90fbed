"""Try broken caches, and keep on record which test notices each.

    python -m metatests.broken [TEXT ...]

Only those whose clause and name hold one of the texts; all of them without one. Returns 1 where one
is not noticed. The record, noticed.json, is what the next run tries first.
"""

import json
import pathlib
import resource
import sys
import tempfile
from concurrent.futures import as_completed

from . import DEVIATIONS, trial


def main(texts: list[str]) -> int:
    chosen = [each for each in DEVIATIONS if not texts or any(text in str(each) for text in texts)]
    known, unnoticed = trial.noticed(), 0
    with tempfile.TemporaryDirectory() as folder, trial.pool(pathlib.Path(folder)) as pool:
        futures = {}
        for each in chosen:
            try:
                futures[pool.begin(trial.trial_of(each, known))] = each
            except LookupError as error:
                unnoticed += 1
                print(f"DOES NOT APPLY {each}: {error}", flush=True)
        for done, future in enumerate(as_completed(futures), 1):
            deviation, verdict = futures[future], future.result()
            if verdict.noticed_by is None:
                unnoticed += 1
                how = "passes" if verdict.passed else f"no assertion fails\n{verdict.report}"
                print(f"NOT NOTICED {deviation}: {how}", flush=True)
            else:
                known[str(deviation)] = verdict.noticed_by
                if verdict.seconds > 10:
                    print(f"{done:>4} {verdict.seconds:6.2f} s {deviation}", flush=True)
    names = {str(each) for each in DEVIATIONS}
    record = {name: test for name, test in sorted(known.items()) if name in names}
    trial.NOTICED.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cost = sum(each.ru_utime + each.ru_stime for each in used)
    print(f"{len(chosen)} broken caches, {unnoticed} not noticed, {cost:.0f} s of CPU time")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
