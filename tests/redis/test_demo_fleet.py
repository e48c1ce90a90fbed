"""`make demo-fleet` runs: no request fails, and no page outlives its bound."""

import re
import subprocess
import sys

ROW = re.compile(r"^([a-z ]+?) +([\d,]+) +(\d+) +[\d.]+ +[\d.]+ +([\d,]+) +([\d,]+) ", re.MULTILINE)
PAGES = 20


def test_the_fleet_renders_each_page_once_and_goes_on_without_its_server(binary):
    run = [sys.executable, "-m", "examples.docs_fleet", "--server", binary]

    done = subprocess.run(
        [*run, "--pages", str(PAGES), "--seconds", "1.5"],
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rows = {
        name: tuple(int(each.replace(",", "")) for each in counts)
        for name, *counts in ROW.findall(done.stdout)
    }
    assert list(rows) == ["cold", "warm", "server killed", "server back"]
    assert rows["cold"] == (PAGES * 8, 0, PAGES, 0)
    for name in ("warm", "server killed", "server back"):
        requests, failed, rendered, edited = rows[name]
        assert (requests > 0, failed) == (True, 0)
        assert rendered > 0 < edited
