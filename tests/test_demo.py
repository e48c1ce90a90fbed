"""`make demo` runs, and its restart is warm."""

import re
import subprocess
import sys

import pytest


@pytest.mark.timeout(120)
def test_the_demo_serves_every_page_and_restarts_warm():
    run = [sys.executable, "-m", "examples.docs_service", "--requests", "150"]

    done = subprocess.run(run, capture_output=True, text=True, timeout=100)

    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(
        re.findall(r"^(cold|warm|restarted) +[\d,]+ .* ([\d,]+ +[\d,]+) +\d+$", done.stdout, re.M)
    )
    assert [row.split()[1] for row in rows.values()][1:] == ["0", "0"]
    assert list(rows) == ["cold", "warm", "restarted"]
