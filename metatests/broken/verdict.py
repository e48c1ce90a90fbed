"""A pytest plugin that writes down each failure, and ends the process at the first by assertion.

Loaded by `-p verdict` in the runs of `trial`, with the file to write to in the environment.
"""

import json
import os
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    """Note what a step of a test has raised."""
    if call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
        return
    error = call.excinfo.value
    text = str(error)
    asserted = call.when == "call" and (
        isinstance(error, AssertionError)
        or (isinstance(error, pytest.fail.Exception) and not text.startswith("Timeout"))
    )
    failure = {
        "test": item.nodeid,
        "asserted": asserted,
        "error": f"{call.when}: {type(error).__name__}: {text.partition(chr(10))[0][:200]}",
    }
    with open(os.environ["VERDICT"], "a", encoding="utf-8") as file:
        file.write(json.dumps(failure) + "\n")
    if asserted:
        os._exit(1)  # at once: threads that a broken cache has stopped would keep the process
