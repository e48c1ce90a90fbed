"""`make demo` runs, and its restart is warm."""

import re
import subprocess
import sys

import pytest

ROW = re.compile(r"^(\w+) +[\d,]+ +[\d.]+ +[\d.]+ +([\d,]+) +([\d,]+) +([\d,]+)$", re.MULTILINE)


@pytest.mark.timeout(120)
def test_the_demo_serves_every_page_and_restarts_warm():
    options = ["--requests", "150", "--max-size", "150"]
    run = [sys.executable, "-m", "examples.docs_service", *options]

    done = subprocess.run(run, capture_output=True, text=True, timeout=100)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    hits_misses_evictions = {row[0]: row[1:] for row in ROW.findall(done.stdout)}
    assert list(hits_misses_evictions) == ["cold", "warm", "restarted"]
    assert hits_misses_evictions["cold"] != ("150", "0", "0")
    assert hits_misses_evictions["warm"] == ("150", "0", "0")
    assert hits_misses_evictions["restarted"] == ("150", "0", "0")
