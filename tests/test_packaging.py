"""What is built from the tree: a whole sdist, a version that is said once, nothing left over."""

import fnmatch
import os
import pydoc
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import cache

ROOT = Path(__file__).parents[1]


def is_ignored(path):
    names = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    return any(fnmatch.fnmatch(part, name) for part in path.parts for name in names)


def sources():
    """Return the files of the project, relative to its root: those that git has, where it has."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return {Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return {path for path in files if not is_ignored(path)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the project in which an sdist and a wheel were built, as pip does it."""
    copy = tmp_path_factory.mktemp("project")
    for path in sources():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy / path)
    code = "from setuptools.build_meta import *; build_sdist('dist'); build_wheel('dist')"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, timeout=250
    )
    assert ended.returncode == 0, ended.stderr
    return copy


@pytest.fixture(scope="module")
def sdist(tree, tmp_path_factory):
    """Return the folder into which the sdist was unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    (archive,) = tree.glob("dist/*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


@pytest.mark.timeout(300)
def test_the_sdist_holds_every_file_of_the_project(sdist):
    missing = {str(path) for path in sources() if not (sdist / path).is_file()}

    assert missing == set()


@pytest.mark.timeout(300)
def test_the_suites_run_from_the_sdist(sdist):
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_r10_edges.py", "--clauses=R10.2"]
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}

    ended = subprocess.run(
        command, cwd=sdist, env=environment, capture_output=True, text=True, timeout=250
    )

    assert ended.returncode == pytest.ExitCode.OK, ended.stdout + ended.stderr
    assert re.search(r"^R10\.2 +[1-9]", ended.stdout, re.MULTILINE)


@pytest.mark.timeout(300)
def test_the_wheel_holds_the_package_and_nothing_else(tree, tmp_path):
    (archive,) = tree.glob("dist/*.whl")

    shutil.unpack_archive(archive, tmp_path, "zip")

    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in files if not path.parts[0].endswith(".dist-info")} == {
        path for path in sources() if path.parts[0] == "cache"
    }


@pytest.mark.timeout(300)
def test_the_version_of_the_package_is_that_of_the_distribution(sdist):
    said = re.search(r"^Version: (.+)$", (sdist / "PKG-INFO").read_text(), re.MULTILINE)

    assert said is not None
    assert said[1] == cache.__version__


@pytest.mark.timeout(300)
def test_what_building_leaves_in_the_tree_is_ignored(tree):
    left = {path.relative_to(tree) for path in tree.iterdir()} - {
        Path(path.parts[0]) for path in sources()
    }

    assert {str(path) for path in left if not is_ignored(path)} == set()


@pytest.mark.timeout(300)
def test_help_shows_no_machinery_of_typing():
    shown = pydoc.plain(pydoc.render_doc(cache.DistributedCache))

    assert "inherited from typing" not in shown
    assert "_protocol" not in shown
    assert "inherited from cache.mixin.CacheMixin" in shown
