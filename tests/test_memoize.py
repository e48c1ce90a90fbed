"""`memoize`: keys from arguments, and the helpers on the decorated function."""

import dataclasses
import datetime
import decimal
import enum
import inspect
import subprocess
import sys
import typing

import pytest

from cache.memoize import memoize


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


class Pair(typing.NamedTuple):
    left: object
    right: object


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Silent:
    __repr__ = object.__repr__

    def __str__(self):
        return "Silent"


class Plain:
    pass


class Telling:
    def __repr__(self):
        return "Telling()"


@pytest.fixture
def calls(cache):
    made = []

    @cache.memoize()
    def function(a, b=2, *rest, c=3, **more):
        """Add things."""
        made.append((a, b, rest, c, more))
        return None if a is None else len(made)

    function.made = made
    return function


@pytest.mark.parametrize(
    "again",
    [
        lambda f: f(1, 2),
        lambda f: f(a=1, b=2),
        lambda f: f(1, b=2, c=3),
        lambda f: f(b=2, a=1),
        lambda f: f(1),
    ],
)
def test_calls_that_bind_alike_share_a_key(calls, again):
    first = calls(1)

    assert (again(calls), len(calls.made)) == (first, 1)


DISTINCT = [
    *(1, True, 1.0, "1", b"1", 1j, None, "None", (1,), [1], {1}, frozenset({1}), {1: 1}, [[1]]),
    *("a, b", ("a", "b"), ("a, b",), "'", '"', Colour.RED, Colour.BLUE, Point(1), Point(1, 2)),
    *(Pair(1, 2), (1, 2), int, bool, decimal.Decimal(1), datetime.date(2020, 1, 1), Telling()),
    *(datetime.datetime(2020, 1, 1), (), [], {}, set(), range(1), bytearray(b"1")),
]


def test_different_arguments_have_different_keys(calls):
    assert len({calls.key_for(argument) for argument in DISTINCT}) == len(DISTINCT)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ((1, "a"), "(1, 'a', )"),
        ([1, [2]], "[1, [2, ], ]"),
        ({2, 1}, "set(1, 2)"),
        (frozenset("ba"), "frozenset('a', 'b')"),
        ({"b": 1, "a": (2,)}, "{'a': (2, ), 'b': 1}"),
        (Colour.RED, f"{__name__}.Colour.RED"),
        (Access.READ | Access.WRITE, f"{__name__}.Access.READ|WRITE"),
        (Access(0), f"{__name__}.Access.0"),
        (Point, f"<class {__name__}.Point>"),
        (Point(1, (2,)), f"{__name__}.Point(x=1, y=(2, ))"),
        (Pair(1, [2]), f"{__name__}.Pair(1, [2, ])"),
        (Telling(), f"{__name__}.Telling:Telling()"),
        (None, "None"),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_a_key_reads_like_the_call(cache, argument, text):
    def function(a, *rest, b=2): ...

    function.__qualname__ = "of.its"

    assert cache.memoize()(function).key_for(argument) == (
        f"{__name__}.of.its(a={text}, rest=(), b=2)"
    )


def test_rest_and_keywords_do_not_mix(calls):
    keys = {calls.key_for(1, 2, 3), calls.key_for(1, 2, c=4), calls.key_for(1, 2, d=3)}
    keys |= {calls.key_for(1, 2, (3,)), calls.key_for(1, 2, 3, 4)}

    assert len(keys) == 5


def test_order_in_sets_and_dicts_does_not_matter(calls):
    assert calls.key_for({"a": 1, "b": 2}) == calls.key_for({"b": 2, "a": 1})
    assert calls.key_for({"x", "y", "z"}) == calls.key_for({"z", "y", "x"})


def test_keys_are_the_same_in_every_process():
    program = (
        "from cache import DistributedCache\n"
        "def f(a): ...\n"
        "print(DistributedCache().memoize()(f).key_for({'x', 'y', 'z', frozenset('ab')}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(4)
    }

    assert len(outputs) == 1


@pytest.mark.parametrize(
    "argument",
    [
        *(Plain(), [Plain()], {"k": Plain()}, {Plain(): 1}, {1: {Plain()}}, (lambda: 1)),
        *(Point(Plain()), Pair(1, Plain()), (Plain(),), Silent()),
    ],
    ids=lambda argument: type(argument).__name__,
)
def test_an_argument_without_stable_text_is_a_type_error(calls, argument):
    with pytest.raises(TypeError, match=r"^argument 'a' is a \S+, which .* pass key="):
        calls(argument)

    assert calls.made == []


def test_none_is_a_result_like_any_other(calls):
    calls(None)
    calls(None)

    assert len(calls.made) == 1


def test_name_docstring_and_signature_stay(calls):
    assert (calls.__name__, calls.__doc__) == ("function", "Add things.")
    assert list(inspect.signature(calls).parameters) == ["a", "b", "rest", "c", "more"]


def test_invalidate_removes_one_result(calls):
    calls(1)
    calls(2)

    assert (calls.invalidate(a=1, b=2), calls.invalidate(1)) == (True, False)
    calls(1)
    calls(2)
    assert len(calls.made) == 3


def test_invalidate_all_removes_the_results_of_this_function_only(cache):
    def maker(name):
        def function(a):
            return name

        function.__qualname__ = name
        return cache.memoize()(function)

    star, other, longer = maker("f*"), maker("fx"), maker("f*x")
    for function in (star, other, longer):
        function(1)
        function("(")

    assert star.invalidate_all() == 2
    assert len(cache) == 4


def test_results_live_as_long_as_the_ttl(cache, clock):
    made = []
    function = cache.memoize(ttl=10)(lambda: made.append(1))
    function()
    clock.tick(10)
    function()

    assert len(made) == 2


def test_key_makes_the_whole_key(cache):
    made = []

    @cache.memoize(key=lambda plain, n: f"own:{n}")
    def function(plain, n):
        made.append(n)
        return n

    assert (function(Plain(), 5), function(Plain(), n=5), made) == (5, 5, [5])
    assert cache.get("own:5") == 5
    assert function.key_for(None, 6) == "own:6"
    function(Plain(), 7)
    assert (function.invalidate(None, 5), function.invalidate_all(), len(cache)) == (True, 1, 0)


def test_made_keys_are_not_kept_for_ever(make_cache):
    cache = make_cache(10)
    function = cache.memoize(key=str)(lambda n: n)

    for number in range(3000):
        function(number)

    assert function.invalidate_all() == 10


class Asked:
    """A cache that counts how often it is asked for a key."""

    def __init__(self, cache):
        self.cache, self.asked, self.deleted = cache, 0, []

    def get_or_set(self, key, factory, ttl=None):
        return self.cache.get_or_set(key, factory, ttl)

    def exists(self, key):
        self.asked += 1
        return self.cache.exists(key)

    def delete_many(self, keys):
        self.deleted = list(keys)
        return self.cache.delete_many(keys)


@pytest.mark.parametrize(("size", "asked", "kept"), [(10, 9000, 1100), (20_000, 12_000, 9000)])
def test_made_keys_are_looked_through_seldom(make_cache, size, asked, kept):
    cache = Asked(make_cache(size))
    function = memoize(cache, None, str)(lambda n: n)

    for number in range(9000):
        function(number)
    deleted = function.invalidate_all()

    assert deleted == min(size, 9000)
    assert cache.asked < asked
    assert deleted <= len(cache.deleted) <= kept


def test_a_key_that_is_no_str_is_a_type_error(cache):
    function = cache.memoize(key=lambda n: n)(lambda n: n)

    with pytest.raises(TypeError, match="key must be a str"):
        function(1)


def test_asynchronous_functions_are_refused(cache):
    async def coroutine(): ...

    async def generator():
        yield 1

    for function in (coroutine, generator):
        with pytest.raises(TypeError, match=f"{function.__name__} is asynchronous"):
            cache.memoize()(function)


@pytest.mark.parametrize(
    ("decorate", "message"),
    [
        (lambda cache: cache.memoize(key="k"), "key must be callable, not str"),
        (lambda cache: cache.memoize()(5), "decorates a function, not int"),
    ],
)
def test_what_is_not_callable_is_a_type_error(cache, decorate, message):
    with pytest.raises(TypeError, match=message):
        decorate(cache)


def test_wrong_arguments_are_the_functions_own_type_error(calls):
    with pytest.raises(TypeError, match="argument"):
        calls()
