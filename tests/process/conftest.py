"""What the suites about whole processes share."""

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

ROOT = str(pathlib.Path(__file__).parents[2])


@pytest.fixture(scope="session")
def run_python() -> Callable[..., "subprocess.Popen[bytes]"]:
    """Return a starter of programs that import the library of this checkout."""

    def run(program: str, *arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": ROOT, **options.pop("env", {})}
        return subprocess.Popen(
            [options.pop("python", sys.executable), "-c", program, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    return run


@pytest.fixture
def compiled(tmp_path: pathlib.Path) -> Callable[[str], str]:
    """Return a maker of shared libraries from C, to be preloaded."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler here")

    def compile_(source: str) -> str:
        code, library = tmp_path / "shim.c", tmp_path / "shim.so"
        code.write_text(source)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-o", library, code, "-ldl"],
            check=True,
            capture_output=True,
        )
        return str(library)

    return compile_
