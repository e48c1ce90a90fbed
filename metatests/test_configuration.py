"""What decides what runs, and what fails, is as in the table; each way to weaken it is noticed."""

import re
import shutil
import subprocess
import sys

import pytest

from metatests import configuration
from tests import skips
from tests.redis import kit

ROOT = configuration.ROOT
COPIED = ("setup.cfg", "pyproject.toml", "Makefile", ".ci", "conftest.py", "conformance.py")
PARTS = ("cache", "docs", "tests")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """Return a copy of the project, as far as its suites need it."""
    folder = tmp_path_factory.mktemp("configured")
    litter = shutil.ignore_patterns("__pycache__")
    for name in (*COPIED, *PARTS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=litter)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_the_project_is_configured_as_in_the_table(tmp_path):
    assert configuration.breaches(ROOT, tmp_path) == []


def test_pytest_itself_reports_what_the_table_says(request):
    config = request.config

    assert config.inipath == ROOT / "setup.cfg"
    assert {name: config.getini(name) for name in configuration.REPORTED} == configuration.REPORTED


def test_the_clauses_that_a_server_cannot_keep_are_those_of_the_table():
    assert kit.EXCEPTED.split(",") == [*configuration.EXCEPTED]


# Each a file, what of it is replaced, and by what; a file that isn't there is made.
WEAKENINGS = {
    "a test deselected": ("setup.cfg", "-p no:cacheprovider", "--deselect tests/test_model.py"),
    "tests chosen by name": ("setup.cfg", "-p no:cacheprovider", '-k "not fork"'),
    "a folder ignored": ("setup.cfg", "-p no:cacheprovider", "--ignore=tests/redis"),
    "a run that ends early": ("setup.cfg", "-p no:cacheprovider", "--maxfail=1"),
    "a plugin left out": ("setup.cfg", "-p no:cacheprovider", "-p no:timeout"),
    "threads' errors unseen": ("setup.cfg", "-p no:cacheprovider", "-p no:threadexception"),
    "warnings unseen": ("setup.cfg", "-p no:cacheprovider", "-W ignore"),
    "assertions switched off": ("setup.cfg", "-p no:cacheprovider", "--assert=plain"),
    "thorough ones left out": ("setup.cfg", "not thorough", "not thorough and not clause"),
    "markers not checked": ("setup.cfg", "--strict-markers ", ""),
    "warnings as by default": ("setup.cfg", "    error\n", "    default\n"),
    "a warning ignored": ("setup.cfg", "    error\n", "    error\n    ignore::ResourceWarning\n"),
    "xfail not strict": ("setup.cfg", "xfail_strict = True", "xfail_strict = False"),
    "xfail no more mentioned": ("setup.cfg", "xfail_strict = True\n", ""),
    "an hour for a test": ("setup.cfg", "timeout = 60", "timeout = 3600"),
    "no timeout for a test": ("setup.cfg", "timeout = 60\n", ""),
    "fewer folders": ("setup.cfg", "tests metatests", "tests/process metatests"),
    "folders not looked into": (
        "setup.cfg",
        "xfail_strict",
        "norecursedirs = redis process\nxfail_strict",
    ),
    "fewer names are tests": (
        "setup.cfg",
        "xfail_strict",
        "python_functions = test_a*\nxfail_strict",
    ),
    "fewer files are suites": (
        "setup.cfg",
        "xfail_strict",
        "python_files = test_r*.py\nxfail_strict",
    ),
    "90 % will do": ("setup.cfg", "fail_under = 100", "fail_under = 90"),
    "lines instead of branches": ("setup.cfg", "branch = True", "branch = False"),
    "a module not measured": ("setup.cfg", "branch = True", "branch = True\nomit = cache/near.py"),
    "more lines excluded": ("setup.cfg", "    @overload", "    @overload\n    except"),
    "types checked loosely": ("setup.cfg", "strict = True", "strict = False"),
    "a module's types not checked": ("setup.cfg", "[mypy]", "[mypy-cache.near]\n[mypy]"),
    "fewer files checked": ("setup.cfg", "files = cache,", "files ="),
    "a linter's rule left out": ("pyproject.toml", '"A", "B",', '"A",'),
    "a linter's rule ignored": ("pyproject.toml", '"A003",', '"A003", "B904",'),
    "files not linted": ("pyproject.toml", "line-length", 'exclude = ["cache"]\nline-length'),
    "pytest configured elsewhere": ("pytest.ini", "", '[pytest]\naddopts = -k "not fork"\n'),
    "… in a hidden file": (".pytest.ini", "", "[pytest]\n"),
    "… by tox": ("tox.ini", "", "[pytest]\n"),
    "… in pyproject.toml": ("pyproject.toml", "[tool.ruff]", "[tool.pytest]\n[tool.ruff]"),
    "… for one folder": ("tests/pytest.ini", "", "[pytest]\n"),
    "coverage configured elsewhere": (".coveragerc", "", "[report]\nfail_under = 90\n"),
    "a conftest more": ("tests/redis/deep/conftest.py", "", ""),
    "a hook that skips failures": (
        "conftest.py",
        "class Clock:",
        "def pytest_runtest_makereport(item, call): ...\n\n\nclass Clock:",
    ),
    "a hook by another name": (
        "tests/redis/conftest.py",
        "ENGINES = ",
        "@pytest.hookimpl(specname='pytest_pyfunc_call')\ndef call(): ...\n\n\nENGINES = ",
    ),
    "a hook that drops tests": (
        "tests/process/conftest.py",
        "import pathlib",
        "import pathlib\ndef pytest_collection_modifyitems(items):\n    items.clear()\n",
    ),
    "a hook in another plugin": (
        "conformance.py",
        "OURS = ",
        "def pytest_unconfigure(): ...\nOURS =",
    ),
    "a plugin more": ("conftest.py", '["conformance", ', '["conformance", "mine", '),
    "skips not judged": ("conftest.py", ', "tests.skips"]', "]"),
    "files not collected": (
        "tests/redis/conftest.py",
        "ENGINES = ",
        "collect_ignore = []\nENGINES = ",
    ),
    "a patch of pytest": ("conftest.py", "class Clock:", "pytest.fail = print\n\n\nclass Clock:"),
    "a fixture for all": (
        "conftest.py",
        "@pytest.fixture\ndef cache(",
        "@pytest.fixture(autouse=True)\ndef cache(",
    ),
    "an end of the run": (
        "tests/test_r02_lru.py",
        "    cache",
        "    pytest.exit('done', 0)\n    cache",
    ),
    "a profile of Hypothesis": (
        "tests/test_model.py",
        "SIZE = 4",
        "settings.load_profile('quick')\nSIZE = 4",
    ),
    "a failure that make ignores": ("Makefile", "\t$(RUN) -m pytest\n", "\t-$(RUN) -m pytest\n"),
    "… by || true": ("Makefile", "$(RUN) -m mypy\n", "$(RUN) -m mypy || true\n"),
    "… by ; true": ("Makefile", "coverage report\n", "coverage report; true\n"),
    "… by a special target": ("Makefile", "SHELL := bash", "SHELL := bash\n.IGNORE:"),
    "… by a flag": ("Makefile", "SHELL := bash", "SHELL := bash\nMAKEFLAGS += -i"),
    "… in the background": ("Makefile", "pytest metatests -m", "pytest metatests & : -m"),
    "a step of a target less": ("Makefile", "\t$(RUN) -m ruff check .\n", ""),
    "coverage not asked for": (
        "Makefile",
        "-m coverage report",
        "-m coverage report --fail-under=9",
    ),
    "another cache not tried": ("Makefile", "conformance: kit-OnRedis kit-", "conformance: kit-"),
    "tests chosen by make": ("Makefile", "coverage run -m pytest -q", "coverage run -m pytest -qx"),
    "options by the environment": (
        "Makefile",
        "SHELL := bash",
        "SHELL := bash\nexport PYTEST_ADDOPTS := -x",
    ),
    "another shell": ("Makefile", "SHELL := bash", "SHELL := true"),
    "a target less in CI": (".ci/run", " metatest\n", "\n"),
    "a failure that CI ignores": (".ci/run", " metatest\n", " metatest || true\n"),
    "… because it goes on": (".ci/run", "make -j5", "make -k -i -j5"),
    "… because the script does": (".ci/run", " metatest\n", " metatest | tee log\nexit 0\n"),
    "CI that does not say so": (".ci/run", "export CI=true\n", ""),
    "CI's shell not strict": (".ci/run", "set -euo pipefail\n", "set -uo pipefail\n"),
}


@pytest.mark.parametrize("kind", WEAKENINGS)
def test_a_weaker_configuration_is_noticed(copied, tmp_path, kind):
    name, old, new = WEAKENINGS[kind]
    path = copied / name
    original = path.read_text("utf-8") if old else ""
    assert old in original
    path.parent.mkdir(exist_ok=True)
    path.write_text(original.replace(old, new, 1) if old else new, "utf-8")
    try:
        if name in ("Makefile", ".ci/run"):
            found = configuration.command_breaches(copied, tmp_path)
        else:
            found = configuration.setting_breaches(copied)
    finally:
        path.write_text(original, "utf-8") if old else path.unlink()

    assert found != []


# Tests that are put beside the suites, and how pytest has to say that they ended.
OUTCOMES = {
    "assert False": "failed",
    "assert True": "passed",
    "import warnings; warnings.warn('a warning')": "failed",
    "import warnings; warnings.warn('old', DeprecationWarning)": "failed",
    "open(__file__)": "failed",
    "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join(9)": "failed",
    "import pytest; pytest.skip('later')": "failed",
    "import unittest; raise unittest.SkipTest('later')": "failed",
    "import pytest; pytest.xfail('some day')": "failed",
    "import pytest; pytest.skip('no redis-server here')": "failed",
}
ENDLESS = "import threading; threading.Event().wait(60)"
CANARY = """
import pytest

@pytest.mark.parametrize("source", {sources!r})
def test_a_source(source):
    exec(source)

@pytest.mark.timeout(0.5)
def test_a_hang():
    exec({endless!r})

def test_a_broken_cache(monkeypatch, make_cache):
    cache = make_cache(10)
    monkeypatch.setattr(type(cache), "keys", lambda self, pattern="*": ["k", "k"])

@pytest.mark.xfail
def test_a_wonder():
    pass
"""


@pytest.mark.parametrize("folder", ["tests", "tests/process", "tests/redis"])
def test_what_must_fail_a_run_does(copied, folder):
    """Whatever settings and hooks come to say, a canary beside the suites tells their effect."""
    canary = copied / folder / "test_canary.py"
    canary.write_text(CANARY.format(sources=[*OUTCOMES], endless=ENDLESS))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", str(canary)],
            cwd=copied,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        canary.unlink()
    ends = re.findall(r"^([A-Z]+) \S*test_canary.py::(test_\w+)", done.stdout, re.MULTILINE)

    wanted = [(outcome.upper(), "test_a_source") for outcome in OUTCOMES.values()]
    wanted += [("FAILED", "test_a_hang"), ("FAILED", "test_a_wonder")]
    wanted += [("PASSED", "test_a_broken_cache"), ("ERROR", "test_a_broken_cache")]
    assert sorted(ends) == sorted(wanted), done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_a_file_that_is_skipped_as_a_whole_fails_the_run(copied):
    canary = copied / "tests" / "test_canary.py"
    canary.write_text("import pytest\npytest.skip('later', allow_module_level=True)\n")
    try:
        run = [sys.executable, "-m", "pytest", "-q", str(canary)]
        done = subprocess.run(run, cwd=copied, capture_output=True, timeout=100, check=False)
    finally:
        canary.unlink()

    assert done.returncode == pytest.ExitCode.INTERRUPTED


HOLDS, HOLDS_NOT = (lambda: True), (lambda: False)


@pytest.mark.parametrize(
    ("holds", "accepted", "in_ci", "expected"),
    [
        (HOLDS, True, False, True),
        (HOLDS, True, True, True),
        (HOLDS, False, False, True),
        (HOLDS, False, True, False),
        (HOLDS_NOT, True, False, False),
        (HOLDS_NOT, True, True, False),
    ],
)
def test_a_skip_is_expected_where_its_reason_holds(monkeypatch, holds, accepted, in_ci, expected):
    monkeypatch.setattr(skips, "REASONS", {"the reason": (holds, accepted)})

    assert skips.expected("the reason", foreign=False, in_ci=in_ci) is expected
    assert not skips.expected("another reason", foreign=False, in_ci=in_ci)


def test_a_reason_for_other_caches_is_none_for_ours():
    for reason in skips.FOREIGN:
        assert skips.expected(reason, foreign=True, in_ci=True)
        assert not skips.expected(reason, foreign=False, in_ci=False)


def test_ci_accepts_these_reasons_and_no_other():
    accepted = {reason for reason, (_, in_ci) in skips.REASONS.items() if in_ci}

    assert accepted == {"there is no C compiler here", "no valkey-server here"}


@pytest.mark.parametrize("engine", ["redis", "valkey"])
def test_a_server_that_is_here_is_no_reason(monkeypatch, tmp_path, engine):
    program = tmp_path / f"{engine}-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert not skips.expected(f"no {engine}-server here", foreign=False, in_ci=False)
