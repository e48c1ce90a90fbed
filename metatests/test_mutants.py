"""The mutation tester makes the edits that it names, and tells what is noticed from what is not."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from metatests.mutants import operators, report, verdicts, workers
from metatests.mutants.reach import Reach

HERE = pathlib.Path(__file__).parent
PROBE = "def f(a, b, *rest):\n    x = 0\n    "


def edited(line):
    """Return the edits of one line: operator and the line after."""
    return {
        (mutant.edit.operator, mutant.latter.strip())
        for mutant in operators.mutants("cache/m.py", (PROBE + line).encode())
        if mutant.former.strip() == line
    }


@pytest.mark.parametrize(
    ("line", "operator", "latter"),
    [
        ("x = a < b", "comparison", "x = (a <= b)"),
        ("x = a < b", "comparison", "x = (a >= b)"),
        ("x = a is b", "comparison", "x = (a is not b)"),
        ("x = a in b", "comparison", "x = (a not in b)"),
        ("x = a and b", "boolean", "x = (a or b)"),
        ("x = a and b", "boolean", "x = a"),
        ("x = not a", "boolean", "x = a"),
        ("x = 1 if a else 2", "boolean", "x = (1 if not a else 2)"),
        ("x = [y for y in b if y]", "boolean", "x = ([y for y in b if not y])"),
        ("x = a + b", "arithmetic", "x = (a - b)"),
        ("x = -a", "arithmetic", "x = a"),
        ("x += a", "arithmetic", "x -= a"),
        ("x = a(b, 1)", "swapped arguments", "x = a(1, b)"),
        ("x = 7", "constant", "x = 8"),
        ("x = 7", "constant", "x = 6"),
        ("x = 4096", "constant", "x = 4097"),
        ("x = True", "constant", "x = False"),
        ("x = 'text'", "constant", "x = ''"),
        ("x = f'{a}'", "constant", "x = f''"),
        ("a(b)", "removed statement", "pass"),
        ("a.b = x", "removed statement", "pass"),
        ("x = a", "removed statement", "pass"),
        ("del a[b]", "removed statement", "pass"),
        ("raise a", "removed statement", "pass"),
        ("return a", "return value", "return None"),
        ("with a: a(b)", "removed with", "if True: a(b)"),
        ("if a: a(b)", "boolean", "if (not a): a(b)"),
        ("while a: a(b)", "boolean", "while (not a): a(b)"),
    ],
)
def test_an_operator_makes_its_edit(line, operator, latter):
    assert (operator, latter) in edited(line)


def test_a_decorator_is_removed():
    source = b"@dataclass(frozen=True)\nclass C:\n    x: int = 1\n"

    latters = {(m.edit.operator, m.latter) for m in operators.mutants("cache/m.py", source)}

    assert latters == {
        ("removed decorator", ""),
        ("constant", "@dataclass(frozen=False)"),
        ("constant", "    x: int = 2"),
        ("constant", "    x: int = 0"),
    }


def test_a_handler_passes_on_what_it_caught():
    source = b"def f(a):\n    try:\n        a()\n    except KeyError:\n        a.b()\n"

    handlers = [
        mutant.apply(source).decode()
        for mutant in operators.mutants("cache/m.py", source)
        if mutant.edit.operator == "removed handler"
    ]

    assert handlers == [source.decode().replace("a.b()", "raise")]


@pytest.mark.parametrize(
    "line",
    [
        "'a docstring, wherever it stands'",
        "import a",
        "x: 'int'",
        "global y",
    ],
)
def test_what_does_nothing_is_left_alone(line):
    assert edited(line) == set()


def test_the_words_of_an_error_are_left_alone_and_its_values_are_not():
    assert edited("raise ValueError(f'no {a}')") == {
        ("removed statement", "pass"),
        ("constant", "raise ValueError(f'no ')"),
    }


def test_only_the_edit_differs():
    source = "def f(a):\n    é = 'ü' if a < 1 else 2  # ä\n".encode()

    for mutant in operators.mutants("cache/m.py", source):
        latter = mutant.apply(source).decode()
        assert latter.splitlines()[1] == mutant.latter
        assert latter.splitlines()[0] == "def f(a):"


def test_equal_edits_of_a_function_are_told_apart():
    source = b"def f(a):\n    a += 2\n    a()\n    a += 2\n"

    names = [str(verdicts.listed(mutant)) for mutant in operators.mutants("cache/m.py", source)]

    assert len(set(names)) == len(names)
    assert "cache/m.py f #2\n  - a += 2\n  + a -= 2" in names


def test_a_mutants_name_does_not_depend_on_where_its_function_stands():
    source = b"def f(a):\n    return a < 1\n"

    here, there = (
        operators.mutants("cache/m.py", text) for text in (source, b"\nX = g\n" + source)
    )

    assert [mutant.key for mutant in here] == [mutant.key for mutant in there]
    assert [verdicts.listed(mutant) for mutant in here] == [verdicts.listed(m) for m in there]


def test_the_tests_of_a_mutant_are_those_that_run_its_lines_and_those_that_leave_the_process():
    source = b"X = 1\n\ndef f(a):\n    if a:\n        return X + 1\n    return a\n"
    reach = Reach({"cache/m.py": {4: {"t", "u"}, 5: {"t"}, 6: {"u"}}}, {"forks"})
    found = {mutant.latter.strip(): mutant for mutant in operators.mutants("cache/m.py", source)}

    inner = reach.ranked(found["return (X - 1)"], {})
    outer = reach.ranked(found["X = 2"], {"X": [range(3, 7)]})

    assert inner == [{"t"}, {"forks"}]
    assert outer[0] == {"t", "u"}


def test_the_list_does_not_depend_on_the_words_of_comments():
    before = b"def f(a):\n    a += 2  # one word\n    # a line\n    a()\n    a += 2  # another\n"
    after = before.replace(b"one word", b"two words").replace(b"a line", b"a sentence")

    names, others = (
        [verdicts.listed(mutant) for mutant in operators.mutants("cache/m.py", source)]
        for source in (before, after)
    )

    assert names == others
    assert len(set(names)) == len(names)
    listed = "A reason.\ncache/m.py f #2\n  - a += 2  # as it once was\n  + a -= 2  # and so\n"
    assert set(verdicts.equivalents(listed)) <= set(names)


def test_the_list_is_read_as_it_is_written():
    source = b"@cached\ndef f(a):\n    if (\n        a\n        < 1\n    ):\n        a()\n"

    entries = [verdicts.listed(mutant) for mutant in operators.mutants("cache/m.py", source)]
    text = "\n".join(["A reason.", *map(str, entries)])

    assert list(verdicts.equivalents(text)) == entries


def test_a_reason_holds_for_the_mutants_below_it():
    text = "Nobody can\nsee it.\ncache/m.py f\n  - a\n  + b\ncache/m.py f #2\n  - a\n  +\n"

    assert verdicts.equivalents("# A remark.\n\n" + text) == {
        verdicts.Listed("cache/m.py", "f", "a", "b"): "Nobody can see it.",
        verdicts.Listed("cache/m.py", "f #2", "a", ""): "Nobody can see it.",
    }


@pytest.mark.parametrize(
    "text",
    [
        "cache/m.py f\n  - a\n  + b",  # no reason
        "A reason.",  # for nothing
        "A reason.\ncache/m.py f\n  - a",  # half a mutant
        "A reason.\ncache/m.py f\n  - a\n  + b\n\nAnother.\ncache/m.py f\n  - a\n  + b",
    ],
)
def test_a_list_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match=r"expected|without|twice"):
        verdicts.equivalents(text)


@pytest.mark.thorough
def test_the_list_of_equivalent_mutants_names_existing_ones():
    listed = set(verdicts.equivalents(verdicts.EQUIVALENT.read_text("utf-8")))

    names = {
        verdicts.listed(mutant)
        for path in {entry.path for entry in listed}
        for mutant in operators.mutants(path, (HERE.parent / path).read_bytes())
    }

    assert listed - names == set()


def test_a_share_is_rounded_down():
    assert report.share(999, 1000) == "99.9 %"
    assert report.share(9999, 10000) == "99.9 %"
    assert report.share(1, 1) == "100.0 %"


def test_a_survivor_is_told_from_what_is_noticed(tmp_path):
    shutil.copytree(HERE / "mutants", tmp_path / "metatests" / "mutants")
    (tmp_path / "metatests" / "__init__.py").touch()
    (tmp_path / "metatests" / "mutants" / "equivalent.txt").write_text("")
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\n")
    (tmp_path / "conftest.py").touch()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "__init__.py").write_text("def low(a):\n    return a < 5\n")
    (tmp_path / "cache" / "names.py").write_text("NAMES = 'low'\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_low.py").write_text(
        "import cache\n"
        "from cache.names import NAMES\n"
        "def test_the_names():\n    assert NAMES\n"
        "def test_one_is_low():\n    assert cache.low(1)\n"
        "def test_nine_is_not():\n    assert not cache.low(9)\n"
        "def test_that_fails_of_itself():\n    assert cache.low(5)\n"
    )

    run = [sys.executable, "-m", "metatests.mutants", "--jobs=1"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=50)

    written = (tmp_path / "metatests" / "results" / "mutants.md").read_text("utf-8")
    data = json.loads((tmp_path / "metatests" / "results" / "mutants.json").read_text("utf-8"))
    again = subprocess.run([*run, "--known"], cwd=tmp_path, capture_output=True, timeout=50)
    assert done.returncode == again.returncode == 1, done.stderr
    assert "| `cache/__init__.py` | 5 | 0 | 2 | 0 | 0 | 3 | 40.0 % |" in written
    assert "  - return a < 5\n  + return (a <= 5)" in written
    assert "  + return (a >= 5)" not in written
    assert "`tests/test_low.py::test_that_fails_of_itself`" in written
    assert data["modules"] == {
        "cache/__init__.py": {"survives": 3, "fails": 2},
        "cache/names.py": {"fails": 1},
    }
    assert data["unnoticed"][0]["latter"] == "return (a <= 5)"


def test_the_processes_copy_what_the_tests_need():
    assert not {"cache", "tests", "docs", "examples", "setup.cfg"} & set(workers.IGNORED)
