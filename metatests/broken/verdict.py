"""A pytest plugin that tells of each failure, and whether it is one by assertion."""

from collections.abc import Callable
from typing import Any

import pytest


class Watch:
    """Tells what each step of a test has raised; the first failing assertion ends the trial."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self.tell = tell

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
        if call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
            return
        error = call.excinfo.value
        text = str(error)
        asserted = call.when == "call" and (
            isinstance(error, AssertionError)
            or (isinstance(error, pytest.fail.Exception) and not text.startswith("Timeout"))
        )
        said = f"{call.when}: {type(error).__name__}: {text.partition(chr(10))[0][:200]}"
        self.tell(test=item.nodeid, asserted=asserted, error=said)
