"""The record of the suites tells what they hold, and refuses to be rewritten for weaker ones."""

import ast

import pytest

from metatests import inventory, strength

FILE = "tests/test_x.py"
TEST = '''
LIMIT, TIMES = 0.5, 100

@pytest.mark.clause("R1.1", "R1.2")
@pytest.mark.parametrize("ttl", [1, 2, pytest.param(3, marks=pytest.mark.soak)])
def test_a_key_is_gone(cache, clock, ttl):
    """Why."""
    for _ in range(TIMES):
        cache.set("k", 1, ttl=ttl)  # a comment

    clock.tick(ttl)

    assert (cache.get("k"), len(cache)) == (None, 0)
    assert took < LIMIT
'''
NAME = f"{FILE}::test_a_key_is_gone"


def held(source, quick=2, every=3):
    return dict(inventory.entries(FILE, source, {NAME: quick}, {NAME: every}))


def bounds(source):
    return dict(inventory.numbers(FILE, source))


def test_a_line_tells_clauses_assertions_cases_and_name():
    [(name, entry)] = held(TEST).items()

    assert entry.line(name).split() == ["R1.1,R1.2", "2/7", "2+1", NAME]


def test_a_line_is_read_as_it_was_written():
    entries = held(TEST) | {"tests/test_x.py::helper": inventory.Entry((), 1, 2, 0, 0)}

    assert inventory.read(entry.line(name) for name, entry in entries.items()) == entries


@pytest.mark.parametrize(
    ("assertion", "count", "weight"),
    [
        ("assert a == b", 1, 3),
        ("assert a == b == c", 1, 6),
        ("assert (a, b) == (1, 2)", 1, 6),
        ("assert a is None and b is None", 1, 6),
        ("assert a == 1 or b", 1, 0),
        ("assert all(a == 1 for a in b)", 1, 3),
        ("assert any(a == 1 for a in b)", 1, 1),
        ("assert a", 1, 1),
        ("assert not a", 1, 1),
        ("assert a <= b", 1, 1),
        ("assert a in b", 1, 1),
        ("assert a is not None", 1, 0),
        ("assert (a == b) is not None", 0, 0),
        ("assert a == pytest.approx(b)", 1, 2),
        ("assert abs(a - b) < c", 1, 1),
        ("with pytest.raises(KeyError, match='k'):\n        a()", 1, 2),
        ("with pytest.raises(KeyError):\n        a()", 1, 1),
        ("run('import cache\\nassert cache\\n')", 1, 0),
        ("a == b", 0, 0),
        ("eventually(lambda: a == b)", 0, 3),
        ("eventually(lambda: True)", 0, 0),
        ("assert wait_until(lambda: a)", 1, 2),
    ],
)
def test_assertions_are_weighed(assertion, count, weight):
    [function] = ast.parse(f"def test_a():\n    {assertion}\n").body

    assert strength.asserted(function) == (count, weight)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("range(TIMES)", "range(2)"),
        ("TIMES = 0.5, 100", "TIMES = 0.5, 10"),
        ("[1, 2, ", "[1, "),
        ("clock, ttl):", "ttl):"),
        ('@pytest.mark.clause("R1.1", "R1.2")\n', ""),
    ],
)
def test_less_of_the_same_is_a_smaller_size(old, new):
    name = f"size {NAME}"
    source = TEST.replace("range(TIMES)", "range(ttl)") if "[1, 2" in old else TEST
    assert old in source
    assert bounds(source.replace(old, new))[name] < bounds(source)[name]


@pytest.mark.parametrize(
    "piece",
    [
        "threads = [Thread(target=f) for _ in range({})]",
        "start = Barrier({})",
        "@settings(max_examples={})\ndef f(): ...",
        "values = [None] * {}",
        "count = {}\nfor _ in range(count):\n    f()",
        "work({})",
        "run('for _ in range({}): cache.get(1)')",
    ],
)
def test_how_often_something_is_done_is_its_size(piece):
    def size(number):
        body = "\n".join(f"    {line}" for line in piece.format(number).splitlines())
        tree = ast.parse(f"def test_a():\n{body}\n")
        if piece == "work({})":
            tree = ast.parse(f"TIMES = {number}\ndef test_a():\n    work(TIMES)\n")
        [*_, function] = tree.body
        return strength.size(function, strength.known_in(function, strength.constants(tree)))

    assert size(8) > size(2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("took < LIMIT", "took < 60"),
        ("LIMIT, TIMES = 0.5", "LIMIT, TIMES = 5"),
        ("took < LIMIT", "took < 10 * LIMIT"),
        ("took < LIMIT", "took > -1"),
        ("took < LIMIT", "took == pytest.approx(1, abs=9)"),
        ('@pytest.mark.clause("R1.1", "R1.2")', "@pytest.mark.timeout(900)"),
    ],
)
def test_a_looser_limit_leaves_more_open(old, new):
    assert old in TEST
    name = f"open {NAME}"
    assert bounds(TEST.replace(old, new))[name] > bounds(TEST)[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", ""),
        ('"""Why."""', '"""Because."""'),
        ('"k", 1, ttl=ttl', "'k',\n        1, ttl=ttl"),
        ("cache.set(", "cache.add("),
    ],
)
def test_what_makes_no_test_weaker_changes_no_line(old, new):
    assert old in TEST
    changed = TEST.replace(old, new)
    assert (held(changed), bounds(changed)) == (held(TEST), bounds(TEST))


WEAKER = {
    "an assertion less": held(TEST.replace("    assert took < LIMIT\n", "")),
    "a lighter one": held(TEST.replace(" == (None, 0)", "")),
    "a case less": held(TEST, quick=1, every=2),
    "a case in the long version": held(TEST, quick=1),
    "no long version": held(TEST, every=2),
    "a clause less": held(TEST.replace(', "R1.2"', "")),
    "a clause for another": held(TEST.replace("R1.2", "R1.3")),
    "the test gone": {},
    "another name for less": held(
        TEST.replace("    assert took < LIMIT\n", "").replace("gone", "no")
    ),
}


@pytest.mark.parametrize("kind", WEAKER)
def test_weaker_suites_are_named(kind):
    assert inventory.weaker(held(TEST), WEAKER[kind], {}) != []


def test_another_name_or_place_is_not_weaker():
    entry = held(TEST)[NAME]

    assert inventory.weaker(held(TEST), {"tests/test_y.py::test_b": entry}, {}) == []
    assert inventory.weaker(held(TEST), held(TEST) | {"tests/test_y.py::test_b": entry}, {}) == []


@pytest.mark.parametrize("kind", WEAKER)
def test_what_is_meant_to_be_weaker_is_accepted_as_it_was_said(kind):
    said = inventory.weaker(held(TEST), WEAKER[kind], {})

    if kind not in ("a clause less", "a clause for another"):  # which the record alone shows
        assert inventory.weaker(held(TEST), WEAKER[kind], dict.fromkeys(said, "why")) == []


FLOORS = {"deviations R1.1": 5.0, "pragma cache/core.py": 2.0, "size a": 8.0, "open a": 1.0}


@pytest.mark.parametrize(
    "change",
    [
        {"deviations R1.1": 4.0},
        {"deviations R1.1": None},
        {"pragma cache/core.py": 3.0},
        {"pragma cache/near.py": 1.0},
        {"noqa cache/core.py": 1.0},
        {"exceptions EXCUSES": 1.0},
        {"size a": 1.0},
        {"size a": 0.0},
        {"open a": 1.5},
        {"open b": 1.5},
    ],
)
def test_a_floor_that_sinks_is_named_and_so_is_a_ceiling_that_rises(change):
    now = {name: number for name, number in (FLOORS | change).items() if number is not None}

    said = inventory.lower(FLOORS, now, {}, known=["a", "b"])

    assert len(said) == 1
    assert inventory.lower(FLOORS, now, dict.fromkeys(said, "why"), known=["a", "b"]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"deviations R1.1": 6.0, "deviations R1.2": 1.0},
        {"pragma cache/core.py": 1.0},
        {"size a": 9.0, "open a": 0.5},
        {"size c": 1.0, "open c": 7.0},  # a new test
        {"size a": None, "open a": None},  # a test that has gone: the inventory asks for it
    ],
)
def test_a_floor_may_rise_and_a_ceiling_sink(change):
    now = {name: number for name, number in (FLOORS | change).items() if number is not None}

    assert inventory.lower(FLOORS, now, {}, known=["a"]) == []


def test_differences_are_told_both_ways_and_by_number():
    assert inventory.differences(["a", "b", "b"], ["b", "c"]) == ["- a", "- b", "+ c"]
    assert inventory.differences(["a", "b"], ["b", "a"]) == []


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Have a record of its own compared with suites that hold one test."""
    for name, text in (("RECORD", "inventory.txt"), ("FLOORS", "floors.txt")):
        monkeypatch.setattr(inventory, name, tmp_path / text)
        (tmp_path / text).write_text("")
    monkeypatch.setattr(inventory, "inventory", lambda root: held(TEST))
    monkeypatch.setattr(inventory, "floors", lambda root: {"deviations": 3.0})
    return tmp_path / "inventory.txt"


def test_the_record_is_compared_and_written_by_command(record, capsys):
    assert inventory.main([]) == 1
    assert f"+ R1.1,R1.2            2/7 2+1 {NAME}" in capsys.readouterr().out
    assert inventory.main(["--write"]) == 0
    assert inventory.main([]) == 0
    assert record.with_name("floors.txt").read_text() == "deviations 3\n"


def test_a_record_of_more_is_not_written_over(record, capsys):
    more = inventory.Entry(("R1.1",), 9, 9, 9, 0).line(NAME)
    record.write_text(f"{more}\n")

    assert inventory.main(["--write"]) == 1
    assert "weaker than recorded" in capsys.readouterr().out
    assert record.read_text() == f"{more}\n"


def test_the_cases_are_those_that_pytest_collects(tmp_path):
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\naddopts = -m 'not soak'\nmarkers = soak\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [1, 2, pytest.param(3, marks=pytest.mark.soak)])\n"
        "def test_a(n): ...\n"
    )

    quick, every = inventory.collected(tmp_path)

    assert (quick, every) == ({"test_it.py::test_a": 2}, {"test_it.py::test_a": 3})
