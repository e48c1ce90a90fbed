"""What type checkers make of the package, by `mypy --strict` as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)

PROGRAMS = {
    "first_example": EXAMPLES[0],
    "all_examples": "\n".join(EXAMPLES),
    "engine_without_verbs": (
        "from cache.mixin import CacheMixin\n\n\n"
        "class Engine(CacheMixin[int]):\n    pass\n\n\nEngine()\n"
    ),
    "engine_of_other_signature": (
        "from cache.mixin import CacheMixin\n\n\nclass Engine(CacheMixin[int]):\n"
        "    def delete(self, key: int) -> bool:\n        return key > 0\n"
    ),
    "value_of_another_type": (
        "from cache import DistributedCache\n\n"
        'cache: DistributedCache[int] = DistributedCache()\ncache.set("k", "text")\n'
    ),
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """Return what one run of mypy says of each program, by its name."""
    folder = tmp_path_factory.mktemp("programs")
    for name, text in PROGRAMS.items():
        (folder / f"{name}.py").write_text(text)
    options = ["--strict", "--config-file=", f"--cache-dir={folder / 'cache'}", "--no-pretty"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, sorted(folder.glob("*.py")))]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    said = re.findall(r"(\w+)\.py:\d+: error: (.*)", ended.stdout)
    return {program: [text for name, text in said if name == program] for program in PROGRAMS}


@pytest.mark.parametrize("program", ["first_example", "all_examples"])
@pytest.mark.timeout(300)
def test_the_examples_of_the_readme_pass(complaints, program):
    assert complaints[program] == []


@pytest.mark.timeout(300)
def test_an_engine_that_lacks_verbs_is_refused(complaints):
    (complaint,) = complaints["engine_without_verbs"]

    assert complaint.startswith('Cannot instantiate abstract class "Engine"')


@pytest.mark.timeout(300)
def test_an_engine_whose_verb_has_another_signature_is_refused(complaints):
    assert [text for text in complaints["engine_of_other_signature"] if '"delete"' in text] != []


@pytest.mark.timeout(300)
def test_a_value_of_another_type_than_the_caches_is_refused(complaints):
    (complaint,) = complaints["value_of_another_type"]

    assert complaint.startswith('Argument 2 to "set" of "DistributedCache" has incompatible type')
