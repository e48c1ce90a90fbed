"""Runs the store's suites on a build with AddressSanitizer and UndefinedBehaviorSanitizer.

The build stands in a copy of the tree, so that the store that is in use stays as it is. Python's
own allocator is replaced by malloc: only what malloc gave is watched. Arguments go to pytest;
without any, the suites below run. A report of a sanitizer ends the run, and is a failure.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).parent.parent
COPIED = ("cache", "docs", "tests", "conftest.py", "conformance.py", "setup.cfg", "pyproject.toml")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SUITES = [
    *("tests/test_store.py", "tests/test_store_compiled.py", "tests/test_store_hostile.py"),
    *("tests/test_store_twins.py", "tests/test_interleavings.py", "tests/test_model.py"),
    *(f"tests/test_r{number:02}_*.py" for number in range(1, 11)),
]


def build(tree: pathlib.Path, compiler: str) -> None:
    """Compile the store of `tree`, in place, with the sanitizers."""
    folder = tree / "cache" / "memory"
    subprocess.run(
        [
            *(compiler, "-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS),
            *("-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"),
            f"-I{sysconfig.get_path('include')}",
            str(folder / "_store.c"),
            *("-o", str(folder / f"_store{sysconfig.get_config_var('EXT_SUFFIX')}")),
        ],
        check=True,
    )


def environment(compiler: str) -> dict[str, str]:
    """Return the environment of an interpreter that loads such a build."""
    libraries = [
        subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        # What lives until the interpreter exits is no leak: the suites count leaks themselves.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def main(arguments: list[str]) -> int:
    """Build, run and return the exit status."""
    compiler = os.environ.get("CC", "gcc")
    tree = ROOT / ".build" / "sanitize"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=ignore)
        else:
            shutil.copy2(ROOT / name, tree / name)
    build(tree, compiler)
    suites = [str(path) for pattern in SUITES for path in sorted(tree.glob(pattern))]
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=300", *(arguments or suites)]
    return subprocess.run(command, cwd=tree, env=environment(compiler), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
