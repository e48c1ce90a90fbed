"""What callers pass in is taken as plain values, and the refusal says what was found."""

import math
from datetime import timedelta

import pytest

from cache import arguments


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (0.5, 0.5),
        (timedelta(milliseconds=500), 0.5),
        (2, 2.0),
        (10**400, math.inf),
        (math.inf, math.inf),
        (1e305, 1e305),
    ],
)
def test_a_duration_is_its_seconds(value, length):
    assert arguments.seconds(value) == length


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "ttl must be above zero, not zero"),
        (timedelta(0), "ttl must be above zero, not zero"),
        (-1, "ttl must be above zero, not a negative number"),
        (-(10**400), "ttl must be above zero, not a negative number"),
        (math.nan, "ttl must be above zero, not NaN"),
    ],
)
def test_a_duration_that_is_none_is_refused_for_what_it_is(value, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        arguments.seconds(value)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (arguments.seconds, "of seconds or a timedelta, not bytes"),
        (arguments.plain_key, "a key must be a str, not bytes"),
        (arguments.pairs, "a mapping of keys to values, not bytes"),
        (arguments.amount, "amount must be an int or float, not bytes"),
        (arguments.pattern, "a pattern must be a str, not bytes"),
        (arguments.size, "max_size must be an int, not bytes"),
    ],
)
def test_another_type_is_named(check, words):
    with pytest.raises(TypeError, match=f"{words}$"):
        check(b"a")


def test_a_size_below_one_is_named():
    with pytest.raises(ValueError, match="at least 1, not -3"):
        arguments.size(-3)


@pytest.mark.parametrize("check", [arguments.plain_key, arguments.pattern])
def test_a_text_of_another_class_becomes_a_plain_one(check):
    text = check(Text("a*"))

    assert (type(text), text) == (str, "a*")
