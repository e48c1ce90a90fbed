"""The record of the suites tells tests apart by what they do."""

import pytest

from metatests import inventory

TEST = '''
@pytest.mark.clause("R1.1", "R1.2")
def test_a_key_is_gone(cache, clock):
    """Why."""
    cache.set("k", 1, ttl=1)  # a comment

    clock.tick(1)

    assert cache.get("k") is None
    assert len(cache) == 0
'''


def lines(source):
    return list(inventory.entries("tests/test_x.py", source))


def test_a_line_tells_clauses_assertions_and_name():
    first, rest = lines(TEST)

    assert first.split()[:2] == ["R1.1,R1.2", "2"]
    assert first.split()[3] == "tests/test_x.py::test_a_key_is_gone"
    assert rest.split()[3] == "tests/test_x.py"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", ""),
        ('"""Why."""', '"""Because."""'),
        ('    """Why."""\n', ""),
        ('"k", 1, ttl=1', "'k', 1,\n        ttl=1"),
    ],
)
def test_layout_comments_and_docstrings_do_not_count(old, new):
    assert old in TEST
    assert lines(TEST.replace(old, new)) == lines(TEST)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    assert len(cache) == 0\n", ""),
        ("len(cache) == 0", "len(cache) <= 1"),
        ('"R1.2"', '"R1.3"'),
        ("clock.tick(1)", "clock.tick(2)"),
        ("ttl=1", "ttl=True"),
        ("is None", "is not None"),
        ("(cache, clock)", "(clock, cache)"),
        ("gone", "here"),
    ],
)
def test_what_a_test_does_counts(old, new):
    assert old in TEST
    assert lines(TEST.replace(old, new))[0] != lines(TEST)[0]


def test_what_stands_between_functions_counts():
    assert lines("KEYS = [1, 2]\n" + TEST) != lines("KEYS = [1]\n" + TEST)


def test_methods_count_with_their_class():
    (before, _), (after, _) = (
        lines(f"class TestIt:\n    def test_a(self):\n        {body}\n")
        for body in ("assert x", "pass")
    )

    assert (before.split()[1], after.split()[1]) == ("1", "0")


def test_differences_are_told_both_ways_and_by_number():
    assert inventory.differences(["a", "b", "b"], ["b", "c"]) == ["- a", "- b", "+ c"]
    assert inventory.differences(["a", "b"], ["b", "a"]) == []


def test_the_record_is_compared_and_written_by_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inventory, "RECORD", tmp_path / "inventory.txt")
    (tmp_path / "inventory.txt").write_text("gone\n")

    assert inventory.main([]) == 1
    assert "- gone\n+ " in capsys.readouterr().out
    assert inventory.main(["--write"]) == 0
    assert inventory.main([]) == 0
