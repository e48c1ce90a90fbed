"""What the suites about whole processes share."""

import pathlib
import shutil
import subprocess
from collections.abc import Callable

import pytest


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
