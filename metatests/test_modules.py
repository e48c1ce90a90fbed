"""The modules of `cache/` keep to the rules, by their source."""

import pathlib

import pytest

from metatests import modules, requirements

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = {
    ".".join(path.relative_to(ROOT / "cache").with_suffix("").parts): path.read_text("utf-8")
    for path in sorted((ROOT / "cache").rglob("*.py"))
}


def test_imports_run_one_way():
    sources = {module: source for module, source in SOURCES.items() if module != "__init__"}
    layers = modules.layers_of((ROOT / "DESIGN.md").read_text("utf-8"))

    assert modules.upward_imports(sources, layers) == []


@pytest.mark.parametrize("module", SOURCES)
def test_helpers_that_expect_the_lock_are_called_with_it_held(module):
    assert modules.unlocked_calls(SOURCES[module]) == []


@pytest.mark.parametrize("module", SOURCES)
def test_every_public_name_is_documented(module):
    assert modules.undocumented(SOURCES[module]) == []


@pytest.mark.parametrize("module", SOURCES)
def test_only_snapshots_ask_for_the_time_of_day(module):
    allowed = [function for owner, function in requirements.WALL_CLOCK if owner == module]

    assert modules.wall_clock(SOURCES[module], allowed) == []


def test_every_listed_use_of_the_time_of_day_is_one():
    for module, function in requirements.WALL_CLOCK:
        uses = modules.wall_clock(SOURCES[module])

        assert any(use.startswith(f"{function}:") for use in uses), (module, function)
