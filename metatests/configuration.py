"""What decides which tests run and what fails a run, in one table, and a check of it.

A change that is meant is made twice: in the file, and here. `breaches` reads the files of a project
and starts its Makefile and `.ci/run` with a stub in place of Python, which records what is run and
fails where it is told to.
"""

import ast
import configparser
import os
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent

# setup.cfg: the sections that are read by a tool, each whole.
SECTIONS = {
    "tool:pytest": {
        "minversion": "8",
        "testpaths": "tests metatests",
        "pythonpath": ".",
        "addopts": '--strict-markers --strict-config -m "not soak and not thorough"'
        " -p no:cacheprovider",
        "xfail_strict": "True",
        "timeout": "60",
        "filterwarnings": "\nerror"
        "\nignore:This process .* is multi-threaded, use of fork:DeprecationWarning",
        "markers": "\nclause(*numbers): the clauses of docs/contract.md that the test is about"
        "\nsoak: the long version of a test; run by `make soak`"
        "\nthorough: left out of `make test`; run by `make metatest`",
    },
    "mypy": {
        "strict": "True",
        "files": "cache, examples/docs_service",
        "enable_error_code": "ignore-without-code, redundant-self, truthy-bool",
        "warn_unreachable": "True",
    },
    "coverage:run": {"source_pkgs": "cache", "branch": "True", "data_file": ".build/coverage"},
    "coverage:report": {
        "show_missing": "True",
        "skip_covered": "True",
        "fail_under": "100",
        "exclude_also": "\n@overload\nif TYPE_CHECKING:\nclass .*\\(Protocol",
    },
}

# pyproject.toml: the tool's table, whole.
RUFF = {
    "line-length": 100,
    "target-version": "py311",
    "lint": {
        "select": [
            *("A", "B", "C4", "D1", "E", "F", "I", "N", "PIE", "PT", "RET", "RUF", "SIM", "UP"),
            "W",
        ],
        "ignore": ["A003", "D105", "D107", "PT011", "N818", "RUF012", "RUF022"],
        "per-file-ignores": {
            "{tests,metatests}/*": ["D1", "B018", "B023", "N803", "RUF061", "SIM105"],
            "conftest.py": ["D1"],
            "benchmarks/*": ["D1"],
            "examples/*": ["D1"],
        },
    },
}

# Files by which pytest, coverage, mypy, ruff and Python are configured in place of these two.
RIVALS = {
    *("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "ruff.toml"),
    *(".ruff.toml", "mypy.ini", ".mypy.ini", ".coveragerc", ".coveragerc.toml"),
    *("setup.cfg", "pyproject.toml", "conftest.py", "sitecustomize.py", "usercustomize.py"),
}
FILES = {
    *("setup.cfg", "pyproject.toml"),
    *("conftest.py", "tests/process/conftest.py", "tests/redis/conftest.py"),
}

# The hooks of pytest that are there, by file; and fixtures that every test gets.
HOOKS = {
    "conftest.py": {"pytest_plugins = ['conformance', 'tests.skips']"},
    "conformance.py": {
        *("pytest_addoption", "pytest_configure", "pytest_ignore_collect"),
        *("pytest_collection_modifyitems", "pytest_terminal_summary"),
    },
    "tests/isolation.py": {
        *("pytest_runtestloop", "pytest_ignore_collect", "pytest_collection_modifyitems"),
        *("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish"),
    },
    "tests/test_interleavings.py": {"autouse disarmed"},
    "tests/skips.py": {"pytest_runtest_makereport", "pytest_make_collect_report"},
}

# What each target of the Makefile runs with the environment's Python, command by command.
KIT = (
    "-m pytest tests -q --cache-impl=tests.redis.kit:{} --no-isolation"
    " --except-clauses=-m tests.redis.kit"
)
COMMANDS = {
    "test": ["-m pytest"],
    "suites": ["-m pytest tests"],
    "check": [
        "-m ruff check .",
        "-m ruff format --check .",
        "-m mypy",
        "-m coverage run -m pytest -q tests",
        "-m coverage report",
    ],
    "conformance": [KIT.format("OnRedis"), KIT.format("OnRedisNear")],
    "metatest": ["-m metatests.inventory", "-m pytest metatests -m not soak"],
    "soak": ["-m pytest -m soak"],
}
# tests/redis/kit.py: the clauses that a server cannot keep, as docs/redis.md says.
EXCEPTED = (
    *("R1.2", "R4.2", "R4.3", "R8", "R1.8", "R2", "R6.3", "R6.6", "R7.1", "R7.4", "R6.7"),
    "R10.1",
)
CI_SCRIPT = """\
set -euo pipefail
cd "$(dirname "$0")/.."
export CI=true
make -j5 --output-sync=target suites check conformance metatest
"""
CI = ["make -j5 --output-sync=target suites check conformance metatest", "CI=true"]

_PYTHON = """#!/bin/sh
[ "$1" = -c ] && echo yes && exit  # the environment is fresh
[ "$*" = "-m tests.redis.kit" ] && echo "$*" && exit
echo "$*" >>"$STUB/calls"
env | grep -E '^(PYTEST|COVERAGE|PYTHON|MYPY|RUFF|HYPOTHESIS|CI)' >>"$STUB/calls"
[ "$*" != "$FAILING" ]
"""
_MAKE = """#!/bin/sh
echo "make $*" >>"$STUB/calls"
env | grep -E '^(PYTEST|COVERAGE|PYTHON|MYPY|RUFF|HYPOTHESIS|CI)' >>"$STUB/calls"
[ "make $*" != "$FAILING" ]
"""


def breaches(root: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    """Return where the project in `root` deviates from the table; `scratch` is an empty folder."""
    return [*setting_breaches(root), *command_breaches(root, scratch)]


def setting_breaches(root: pathlib.Path) -> list[str]:
    """Return the settings, files and hooks that are not as in the table."""
    return [*_settings(root), *_files(root), *_hooks(root)]


def _settings(root: pathlib.Path) -> Iterator[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(root / "setup.cfg", "utf-8")
    for section in parser.sections():
        packaging = section.partition(".")[0] in ("metadata", "options")
        if section not in SECTIONS and not packaging:
            yield f"setup.cfg: [{section}] is in no table"
    for section, wanted in SECTIONS.items():
        found = dict(parser[section]) if section in parser else {}
        for name in sorted({*wanted, *found}):
            if found.get(name) != wanted.get(name):
                yield f"setup.cfg: [{section}] {name} = {found.get(name)!r}"
    tool = tomllib.loads((root / "pyproject.toml").read_text("utf-8")).get("tool", {})
    if tool.get("ruff") != RUFF:
        yield f"pyproject.toml: ruff's table is {tool.get('ruff')}"
    for name in sorted(set(tool) & {"pytest", "coverage", "mypy", "hypothesis", "pyright"}):
        yield f"pyproject.toml: [tool.{name}] is in no table"


def sources(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield the files of the project, without what tools and builds leave there."""
    for folder, names, files in os.walk(root):
        names[:] = [
            each for each in names if each not in ("build", "__pycache__") and each[0] != "."
        ]
        yield from (pathlib.Path(folder, file) for file in files)


def _files(root: pathlib.Path) -> Iterator[str]:
    found = {path.relative_to(root).as_posix() for path in sources(root) if path.name in RIVALS} | {
        name for name in RIVALS if (root / name).exists()
    }
    yield from (f"{name} is in no table" for name in sorted(found - FILES))
    yield from (f"there is no {name}" for name in sorted(FILES - found))


def _hooks(root: pathlib.Path) -> Iterator[str]:
    for path in [*sorted(root.glob("*.py")), *sorted((root / "tests").rglob("*.py"))]:
        file = path.relative_to(root).as_posix()
        source = path.read_text("utf-8")
        found = set(hooks(source)) if re.search(_FOR_ALL, source) else set()
        yield from (f"{file}: {hook} is in no table" for hook in found - HOOKS.get(file, set()))
        yield from (f"{file}: there is no {hook}" for hook in HOOKS.get(file, set()) - found)


_FOR_ALL = r"pytest_|hookimpl|autouse|collect_ignore|pytest\.\w+ =|exit\(|warnings\.|_profile"


def hooks(source: str) -> Iterator[str]:
    """Yield what a file of the suites changes for every test: hooks, plugins, autouse, patches."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if node.name.startswith("pytest_") or "hookimpl" in decorators:
                yield node.name
            elif "autouse" in decorators:
                yield f"autouse {node.name}"
        elif isinstance(node, ast.Assign):
            target = ast.unparse(node.targets[0])
            if re.match(r"pytest[._]|collect_ignore", target):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            *("pytest.exit", "warnings.simplefilter", "warnings.filterwarnings"),
            *("settings.register_profile", "settings.load_profile", "warnings.resetwarnings"),
        ):
            yield ast.unparse(node)


def command_breaches(root: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    """Return the targets that run something else, or pass though a step of them fails."""
    return [*_commands(root, scratch)]


def _commands(root: pathlib.Path, scratch: pathlib.Path) -> Iterator[str]:
    for target, wanted in COMMANDS.items():
        environment = _environment(root, scratch)
        command = ["make", "-s", target, f"VENV={environment}"]
        yield from _started(root, environment, command, f"make {target}", wanted)
    script = (root / ".ci" / "run").read_text("utf-8")
    if re.sub(r"(?m)^#.*\n", "", script) != CI_SCRIPT:
        yield f".ci/run is another script:\n{script}"
    folder = _environment(root, scratch)
    yield from _started(root, folder, ["bash", str(root / ".ci" / "run")], ".ci/run", CI)


def _environment(root: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    """Make a virtual environment whose Python is the stub, and beside it a stub of make."""
    folder = scratch / str(len([*scratch.iterdir()]))
    (folder / "bin").mkdir(parents=True)
    for name, text in (("bin/python", _PYTHON), ("make", _MAKE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o700)
    (folder / "ready").write_text(f"{root}\n")
    return folder


def _started(
    root: pathlib.Path, stub: pathlib.Path, command: list[str], name: str, wanted: list[str]
) -> Iterator[str]:
    """Start a command with nothing that fails, and then with each of its steps failing."""
    clean = {"HOME": str(stub), "STUB": str(stub), "PATH": f"{stub}:{os.environ['PATH']}"}
    for failing in ["", *(step for step in wanted if "-" in step)]:
        (stub / "calls").write_text("")
        made = command if command[0] != "make" else [_real_make(), *command[1:]]
        done = subprocess.run(
            made,
            cwd=root,
            env={**clean, "FAILING": failing},
            capture_output=True,
            check=False,
            timeout=60,
        )
        found = (stub / "calls").read_text().splitlines()
        if not failing and (found != wanted or done.returncode):
            yield f"{name} runs {found} and ends with {done.returncode}: {done.stderr!r}"
        if failing and not done.returncode:
            yield f"{name} passes though {failing!r} fails"


def _real_make() -> str:
    return next(
        path
        for folder in os.environ["PATH"].split(os.pathsep)
        if os.access(path := os.path.join(folder, "make"), os.X_OK)
    )


# What pytest itself says of these settings, and of those that nothing sets.
REPORTED: dict[str, Any] = {
    "addopts": [
        *("--strict-markers", "--strict-config", "-m", "not soak and not thorough"),
        *("-p", "no:cacheprovider"),
    ],
    "testpaths": ["tests", "metatests"],
    "pythonpath": [ROOT],
    "xfail_strict": True,
    "timeout": "60",
    "filterwarnings": [
        "error",
        "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning",
    ],
    "python_files": ["test_*.py", "*_test.py"],
    "python_classes": ["Test"],
    "python_functions": ["test"],
    "usefixtures": [],
    "empty_parameter_set_mark": "skip",  # which is a failure by tests/skips.py
}


def main() -> int:
    """Print what deviates; return the exit status."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        found = breaches(ROOT, pathlib.Path(scratch))
    print("\n".join(found or ["The configuration is that of the table."]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
