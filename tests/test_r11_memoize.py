"""R11: memoized functions return what the function would, and nobody else's result."""

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import io
import ipaddress
import math
import os
import pathlib
import subprocess
import threading
import traceback
import typing
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pydantic
import pytest

from cache import fingerprint

UTC = datetime.UTC
PARIS = zoneinfo.ZoneInfo("Europe/Paris")
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG = list(range(1000))
FRAME = pd.DataFrame({"n": range(1000), "text": [str(number) for number in range(1000)]})


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Paint(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


@dataclasses.dataclass
class Place:
    x: object
    y: object = 0


@dataclasses.dataclass(repr=False)
class Login:
    user: str
    password: str = dataclasses.field(repr=False, compare=False)


class Deeper(Point):
    def __init__(self, x, z):
        super().__init__(x)
        self.z = z


class Pair(typing.NamedTuple):
    left: object
    right: object


Couple = collections.namedtuple("Couple", ["left", "right"])


class Told:
    """Prints as its like do, and tells itself from them by its key."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return "Told()"

    def __cache_key__(self):
        return (self.text,)


class OtherTold(Told):
    pass


class Response:
    def __init__(self, body):
        self.body = body

    def __repr__(self):
        return "<Response [200]>"

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return True


class Text(str):
    def __hash__(self):
        raise AssertionError("hashed")

    def __eq__(self, other):
        raise AssertionError("compared")

    def __str__(self):
        raise AssertionError("printed")


class Whole(int):
    pass


class Model(pydantic.BaseModel):
    token: pydantic.SecretStr


def named(number):
    return number


def other_named(number):
    return number


def module(name):
    """Return a class of this name that another module defines."""
    source = "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: object\n"
    namespace = {"__name__": name}
    exec(source, namespace)
    return namespace["Point"]


def twin_of_point():
    @dataclasses.dataclass
    class Point:
        x: object
        y: object = 0

    return Point


def changed(array, value):
    array = array.copy()
    array[len(array) // 2] = value
    return array


def counter(text):
    return collections.Counter(text)


def record(number):
    made = np.zeros(2, dtype=[("small", "i1"), ("held", "O")])
    made["held"][1] = (number,)
    return made


LOOK_ALIKES = {
    "int and bool": (1, True),
    "int and float": (1, 1.0),
    "bool and float": (True, 1.0),
    "zero and False": (0, False),
    "int and complex": (1, 1 + 0j),
    "the sign of zero": (0.0, -0.0),
    "the sign of an imaginary zero": (0j, complex(0.0, -0.0)),
    "float and complex": (1.0, 1 + 0j),
    "a number and its text": (1, "1"),
    "text and bytes": ("a", b"a"),
    "bytes and bytearray": (b"a", bytearray(b"a")),
    "None and its text": (None, "None"),
    "nothing and nothing": (None, ()),
    "neighbouring ints beyond 64 bits": (1 << 70, (1 << 70) + 1),
    "neighbouring floats": (0.1, 0.1 + 2**-55),
    "nan and infinity": (math.nan, math.inf),
    "lone surrogates": ("\udc80", "\udc81"),
    "accents, composed or not": ("\u00e9", "e\u0301"),
    "a nul byte": ("a\0", "a"),
    "a tuple and a list": ((1, 2), [1, 2]),
    "where a tuple ends": ((1, (2,)), ((1,), 2)),
    "where a text ends": (("ab", "c"), ("a", "bc")),
    "where a text begins": (("a", "sb"), ("as", "b")),
    "a comma in a text": (("a", "b"), ("a', 'b",)),
    "nested numbers": ((1,), (True,)),
    "deeply nested numbers": ([{"k": (1,)}], [{"k": (1.0,)}]),
    "a long list": (LONG, [*LONG[:500], -1, *LONG[501:]]),
    "a long list with a bool": (LONG, [False, *LONG[1:]]),
    "a long list with a bool inside": (LONG, [0, True, *LONG[2:]]),
    "a long list with a float": (LONG, [0.0, *LONG[1:]]),
    "a long list of floats": ([1.0] * 1000, [1] * 1000),
    "a long list with a large int": (LONG, [*LONG[:-1], 1 << 64]),
    "a set and a frozenset": ({1}, frozenset({1})),
    "sets of numbers": ({1}, {True}),
    "the keys of dicts": ({1: "v"}, {True: "v"}),
    "a key and its value": ({"a": "b"}, {"b": "a"}),
    "values that are swapped": ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    "a dict and an OrderedDict": ({"a": 1}, collections.OrderedDict(a=1)),
    "the order of an OrderedDict": (
        collections.OrderedDict([("a", 1), ("b", 2)]),
        collections.OrderedDict([("b", 2), ("a", 1)]),
    ),
    "a dict and a defaultdict": ({"a": 1}, collections.defaultdict(int, a=1)),
    "the factories of defaultdicts": (
        collections.defaultdict(int, a=1),
        collections.defaultdict(float, a=1),
    ),
    "a dict and a Counter": ({"a": 1}, counter("a")),
    "what a Counter counts": (counter("aab"), counter("abb")),
    "the bound of a deque": (collections.deque([1]), collections.deque([1], 5)),
    "a deque and a list": (collections.deque([1]), [1]),
    "ranges of one list": (range(0, 3, 2), range(0, 4, 2)),
    "the exponents of Decimals": (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    "a Decimal and a Fraction": (decimal.Decimal(1), fractions.Fraction(1)),
    "a Decimal and an int": (decimal.Decimal(1), 1),
    "naive and aware": (NOON, NOON.replace(tzinfo=None)),
    "one moment in two zones": (NOON, NOON.astimezone(PARIS)),
    "UTC and a zone that is UTC": (NOON, NOON.replace(tzinfo=zoneinfo.ZoneInfo("UTC"))),
    "the names of a timezone": (
        datetime.timezone(datetime.timedelta(hours=1)),
        datetime.timezone(datetime.timedelta(hours=1), "CET"),
    ),
    "the second of two equal hours": (
        datetime.datetime(2026, 10, 25, 2, 30, tzinfo=PARIS),
        datetime.datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=1),
    ),
    "a date and its midnight": (datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1)),
    "the fold of a time": (datetime.time(1), datetime.time(1, fold=1)),
    "a day and a second": (datetime.timedelta(1), datetime.timedelta(seconds=1)),
    "a UUID and its text": (uuid.UUID(int=1), str(uuid.UUID(int=1))),
    "a pure path and a path": (pathlib.PurePosixPath("a"), pathlib.Path("a")),
    "paths of two systems": (pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    "the case of a Windows path": (pathlib.PureWindowsPath("A"), pathlib.PureWindowsPath("a")),
    "a path and its text": (pathlib.Path("a"), "a"),
    "an address and its number": (ipaddress.ip_address(1), 1),
    "addresses of two versions": (ipaddress.IPv4Address(1), ipaddress.IPv6Address(1)),
    "the scope of an address": (
        ipaddress.ip_address("fe80::1%a"),
        ipaddress.ip_address("fe80::1%b"),
    ),
    "a network and an interface": (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_interface("10.0.0.0/8"),
    ),
    "an enum and its value": (Colour.RED, 1),
    "two members": (Colour.RED, Colour.BLUE),
    "members of one name": (Colour.RED, Paint.RED),
    "an IntEnum and an int": (Number.ONE, 1),
    "flags": (Access.READ, Access.READ | Access.WRITE),
    "a flag and an int": (Access.READ, 1),
    "fields that are not shown": (Login("a", "alice-key"), Login("a", "bob-key")),
    "dataclasses of one shape": (Point(1), Place(1)),
    "dataclasses of one name": (Point(1), twin_of_point()(1)),
    "local dataclasses of one name": (twin_of_point()(1), twin_of_point()(1)),
    "dataclasses of one name in two modules": (module("one")(1), module("two")(1)),
    "a field's type": (Point(1), Point(True)),
    "what a subclass of a dataclass adds": (Deeper(1, 2), Deeper(1, 3)),
    "a named tuple and a tuple": (Pair(1, 2), (1, 2)),
    "named tuples of one shape": (Pair(1, 2), Couple(1, 2)),
    "a dataclass and its dict": (Point(1), {"x": 1, "y": 0}),
    "a class and its name": (Point, f"{__name__}.Point"),
    "two classes": (Point, Place),
    "two local classes of one name": (twin_of_point(), twin_of_point()),
    "two functions": (named, other_named),
    "builtin functions": (len, max),
    "what __cache_key__ returns": (Told("a"), Told("b")),
    "a subclass that inherits __cache_key__": (Told("a"), OtherTold("a")),
    "arrays that differ in the middle": (
        np.zeros(10_000),
        changed(np.zeros(10_000), 1.0),
    ),
    "the dtypes of arrays": (np.zeros(4, "i4"), np.zeros(4, "u4")),
    "the byte order of arrays": (np.zeros(4, "<i4"), np.zeros(4, ">i4")),
    "the shapes of arrays": (np.zeros((2, 3)), np.zeros((3, 2))),
    "an array and its transpose": (np.arange(4).reshape(2, 2), np.arange(4).reshape(2, 2).T),
    "an array and its list": (np.array([1, 2]), [1, 2]),
    "an array without dimensions and a scalar": (np.array(1.0), np.float64(1.0)),
    "a NumPy scalar and a float": (np.float64(1.0), 1.0),
    "a NumPy bool and a bool": (np.bool_(True), True),
    "the widths of scalars": (np.int32(1), np.int64(1)),
    "the units of moments": (np.datetime64("2026-01-01", "D"), np.datetime64("2026-01-01", "s")),
    "what is no moment": (np.datetime64("NaT", "s"), np.datetime64(0, "s")),
    "the sign of zero in an array": (np.array([0.0]), np.array([-0.0])),
    "arrays of objects": (np.array([1, "a"], object), np.array([True, "a"], object)),
    "records that hold objects": (record(1), record(2)),
    "the names of fields": (np.zeros(1, [("a", "i4")]), np.zeros(1, [("b", "i4")])),
    "what a mask hides": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "frames that differ in the middle": (FRAME, FRAME.assign(n=[*LONG[:500], -1, *LONG[501:]])),
    "the names of columns": (FRAME, FRAME.rename(columns={"n": "m"})),
    "the order of columns": (FRAME, FRAME[["text", "n"]]),
    "the index of a frame": (FRAME, FRAME.set_index(FRAME.index + 1)),
    "the dtypes of a frame": (FRAME, FRAME.astype({"n": "int32"})),
    "the name of a series": (pd.Series([1], name="a"), pd.Series([1], name="b")),
    "a series and an index": (pd.Series([1]), pd.Index([1])),
    "a missing int": (pd.Series([1, None], dtype="Int64"), pd.Series([1, 0], dtype="Int64")),
    "what text is missing": (pd.Series(["a", None], dtype=object), pd.Series(["a", "None"])),
    "the categories of a series": (
        pd.Series(pd.Categorical(["a"], ["a", "b"])),
        pd.Series(pd.Categorical(["a"], ["a", "c"])),
    ),
    "whether categories have an order": (
        pd.Categorical(["a"], ordered=True),
        pd.Categorical(["a"], ordered=False),
    ),
    "the zones of a series": (
        pd.Series([NOON]).dt.tz_convert("Europe/Paris"),
        pd.Series([NOON]).dt.tz_convert("Europe/Berlin"),
    ),
    "the zones of timestamps": (pd.Timestamp(NOON), pd.Timestamp(NOON).tz_convert("Europe/Paris")),
    "a timestamp and a datetime": (pd.Timestamp(NOON), NOON),
    "a Timedelta and a timedelta": (pd.Timedelta(1, "s"), datetime.timedelta(seconds=1)),
    "NA and NaT": (pd.NA, pd.NaT),
    "what closes an interval": (pd.Interval(0, 1), pd.Interval(0, 1, closed="left")),
    "the levels of an index": (
        pd.MultiIndex.from_tuples([(1, "a")], names=["n", "t"]),
        pd.MultiIndex.from_tuples([(1, "a")], names=["t", "n"]),
    ),
    "sparse series": (
        pd.Series(pd.arrays.SparseArray([0, 1])),
        pd.Series(pd.arrays.SparseArray([1, 0])),
    ),
    "periods": (pd.Period("2026-01", "M"), pd.Period("2026-01-01", "D")),
    "the attributes of a frame": (FRAME, FRAME.copy().set_flags(allows_duplicate_labels=False)),
}
SAME = {
    "ints": (1 << 70, 1 << 70),
    "nans": (math.nan, float("nan")),
    "lists": (LONG, list(LONG)),
    "the order of a dict": ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
    "the order of a set": ({"x", "y", 1, (2,)}, {(2,), 1, "y", "x"}),
    "the order of a Counter": (counter("ab"), counter("ba")),
    "zones": (zoneinfo.ZoneInfo("Asia/Tokyo"), zoneinfo.ZoneInfo.no_cache("Asia/Tokyo")),
    "dataclasses": (Point(1, [2]), Point(1, [2])),
    "named tuples": (Pair(1, [2]), Pair(1, [2])),
    "keys": (Told("a"), Told("a")),
    "the layout of an array": (
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
    ),
    "a slice of an array": (np.arange(10)[::2], np.array([0, 2, 4, 6, 8])),
    "what fills a record up": (
        np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.frombuffer(
            bytes([0, *[7] * 7, *[0] * 8]) * 2, np.dtype([("a", "i1"), ("b", "i8")], align=True)
        ),
    ),
    "frames": (FRAME, FRAME.copy()),
    "series of text": (pd.Series(["a", None]), pd.Series(["a", None])),
}
REFUSED = {
    "a class that prints as its like": Response(1),
    "a plain object": object(),
    "a secret": pydantic.SecretStr("alice-key"),
    "a model": Model(token="alice-key"),
    "a lambda": lambda: 1,
    "a bound method": Response(1).__repr__,
    "a method of a builtin": [].append,
    "a subclass of int": Whole(1),
    "a subclass of str": Text("a"),
    "a memoryview": memoryview(b"a"),
    "a generator": (number for number in LONG),
    "an array of records": np.zeros(1, [("a", "i4")]).view(np.recarray),
    "a random generator": np.random.default_rng(1),
    "inside a list": [Response(1)],
    "inside a dict": {"k": Response(1)},
    "as a key": {Response(1): 1},
    "inside a dataclass": Point(Response(1)),
    "inside a named tuple": Pair(1, Response(1)),
    "inside an array": np.array([Response(1)], object),
    "inside a frame": pd.DataFrame({"a": [Response(1)]}),
    "inside what __cache_key__ returns": Told(Response(1)),
    "as the factory of a defaultdict": collections.defaultdict(lambda: 1),
}


class Runs:
    """A memoized function of one argument, and what it was run for."""

    def __init__(self, cache, **options):
        self.made = []

        def run(argument):
            self.made.append(argument)
            return len(self.made)

        self.call = cache.memoize(**options)(run)


@pytest.fixture
def runs(cache):
    return Runs(cache)


# -- R11.1: equal arguments ----------------------------------------------------------------------


@pytest.mark.clause("R11.1")
@pytest.mark.parametrize("pair", LOOK_ALIKES)
def test_look_alike_arguments_have_results_of_their_own(runs, pair):
    one, other = LOOK_ALIKES[pair]

    results = [runs.call(one), runs.call(other), runs.call(one), runs.call(other)]

    assert results == [1, 2, 1, 2]


@pytest.mark.clause("R11.1")
@pytest.mark.parametrize("pair", SAME)
def test_equal_arguments_share_a_result(runs, pair):
    one, other = SAME[pair]

    assert (runs.call(one), runs.call(other)) == (1, 1)


@pytest.mark.clause("R11.1")
def test_calls_that_bind_alike_share_a_key(cache):
    @cache.memoize()
    def function(a, b=2, *rest, c=3, **more): ...

    keys = {function.key_for(1), function.key_for(1, 2), function.key_for(a=1, b=2)}
    keys |= {function.key_for(1, c=3), function.key_for(b=2, a=1), function.key_for(1, b=2)}

    assert len(keys) == 1
    assert function.key_for(1, d=4, e=5) == function.key_for(1, e=5, d=4)


@pytest.mark.clause("R11.1")
def test_calls_that_bind_otherwise_have_other_keys(cache):
    @cache.memoize()
    def function(a, b=2, *rest, c=3, **more): ...

    calls = [((1, 2, 3), {}), ((1, 2), {"c": 4}), ((1, 2), {"d": 3}), ((1, 2, (3,)), {})]
    calls += [((1, 2, 3, 4), {}), ((1, 3), {}), ((2, 1), {}), ((1, 2), {"rest": (3,)}), ((1,), {})]

    assert len({function.key_for(*args, **kwargs) for args, kwargs in calls}) == len(calls)


@pytest.mark.clause("R11.1")
def test_look_alikes_in_calls_of_two_arguments_are_told_apart(cache):
    made = []

    @cache.memoize()
    def function(a, b):
        made.append((a, b))
        return len(made)

    calls = [(1, 1), (True, 1), (1, True), (1.0, 1), (1, "1"), (-0.0, 1), (0.0, 1), ("1", 1)]

    for _ in range(2):
        assert [function(*call) for call in calls] == [*range(1, len(calls) + 1)]
        assert [function(a, b=b) for a, b in calls] == [*range(1, len(calls) + 1)]


@pytest.mark.clause("R11.1")
def test_a_default_that_is_another_makes_another_key(cache):
    def variant(default):
        namespace = {"default": default, "__name__": "some_module"}
        exec("def function(a, b=default): return a", namespace)
        return cache.memoize()(namespace["function"])

    assert variant(1).key_for(0) == variant(1).key_for(0, 1)
    assert variant(1).key_for(0) != variant(True).key_for(0)


# -- R11.2: what may be an argument --------------------------------------------------------------


@pytest.mark.clause("R11.2")
@pytest.mark.parametrize("value", REFUSED)
def test_what_cannot_be_told_from_its_like_is_a_type_error(runs, value, error_of, wording):
    error = error_of(runs.call, REFUSED[value])

    assert type(error) is TypeError
    for word in ("argument", "key=", "ignore=", "__cache_key__"):
        assert word in (str(error) if wording(word) else word)
    assert runs.made == []


@pytest.mark.clause("R11.2")
def test_a_list_that_contains_itself_is_a_type_error(runs):
    endless = []
    endless.append(endless)

    with pytest.raises(TypeError, match="argument"):
        runs.call(endless)


@pytest.mark.clause("R11.2")
def test_no_method_of_an_unknown_object_is_asked(runs, error_of):
    asked = []

    class Spy:
        def __getattribute__(self, name):
            asked.append(name)
            return object.__getattribute__(self, name)

        def __repr__(self):
            asked.append("repr")
            return "Spy()"

        __str__ = __repr__

        def __hash__(self):
            asked.append("hash")
            return 1

    for argument in (Spy(), [Spy()], {"k": Spy()}):
        assert type(error_of(runs.call, argument)) is TypeError

    assert asked == []


@pytest.mark.clause("R11.2")
def test_every_kind_of_plain_argument_has_a_result(runs):
    values = [value for pair in LOOK_ALIKES.values() for value in pair]

    for value in values:
        assert runs.call(value) == runs.call(copy.copy(value))


@pytest.mark.clause("R11.2")
def test_a_fingerprint_takes_what_a_memoized_function_takes(error_of):
    for one, other in LOOK_ALIKES.values():
        assert fingerprint(one) != fingerprint(other)
    for value in REFUSED.values():
        assert type(error_of(fingerprint, value)) is TypeError


@pytest.mark.clause("R11.2")
def test_a_fingerprint_names_the_argument_that_it_refuses():
    with pytest.raises(TypeError, match="'secret'"):
        fingerprint(1, plain=2, secret=Response(1))

    assert fingerprint(1, plain=2, secret=Response(1), ignore=["secret"]) == fingerprint(1, plain=2)


# -- R11.3: the key ------------------------------------------------------------------------------

PROGRAM = """
import collections, dataclasses, datetime, decimal, enum, ipaddress, pathlib, uuid, zoneinfo
cache = DistributedCache()
class Colour(enum.Enum):
    RED = 1
class Access(enum.Flag):
    READ = 1
    WRITE = 2
@dataclasses.dataclass
class Point:
    x: object
def helper(n):
    return n
@cache.memoize
def function(a, *rest, b=2, **more):
    '''Do something.'''
    squares = [n * n for n in rest if n is not ...]
    return f"{a!r:>{b}} {squares}", {"x": 1.5}, lambda n: n + 1  # a comment
values = [
    {"x", "y", "z", frozenset("abc")}, {"b": 1, "a": {2, 3.5, "c"}}, Colour.RED, Access(3),
    Access(0), Point([1, {2}]), Point, helper, len, pathlib.Path, 2.5, b"", "\\udc80\\u0378",
    collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], 2),
    collections.defaultdict(list), datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    zoneinfo.ZoneInfo("Europe/Paris"), datetime.timedelta(1), decimal.Decimal("1.00"),
    pathlib.Path("/a"), pathlib.PureWindowsPath("c:/a"), ipaddress.ip_address("::ffff:1.2.3.4"),
    ipaddress.ip_network("10.0.0.0/8"), uuid.UUID(int=5), range(3), 1 << 99, list(range(1000)),
]
for value in values:
    print(function.key_for(value, value, k=value))
"""


@pytest.mark.clause("R11.3")
def test_keys_are_the_same_in_every_process(program):
    outputs = {
        subprocess.run(
            program(PROGRAM),
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        ).stdout
        for seed in range(3)
    }

    assert len(outputs) == 1
    keys = outputs.pop().split()
    assert len(set(keys)) == len(keys) == 29
    assert all(key.startswith("__main__.function:") for key in keys)


@pytest.mark.clause("R11.3")
def test_a_key_is_the_functions_name_and_a_digest(cache):
    memoized = cache.memoize()(named)

    prefix, _, rest = memoized.key_for("secret").rpartition(":")

    assert prefix == f"{__name__}.named"
    assert len(rest) >= 32
    assert int(rest, 16) >= 0


@pytest.mark.clause("R11.3")
def test_no_text_of_an_argument_stands_in_a_key_or_a_snapshot(cache, tmp_path):
    @cache.memoize()
    def sign_in(user, password):
        return True

    sign_in("alice", password="correct-horse")
    sign_in("alice", Point("correct-horse"))
    cache.save(tmp_path / "snapshot")

    assert not any("horse" in key or "alice" in key for key in cache)
    assert b"horse" not in (tmp_path / "snapshot").read_bytes()


# -- R11.4: key=, prefix= and ignore= ------------------------------------------------------------


@pytest.mark.clause("R11.4")
def test_prefix_and_key_make_the_whole_key(cache):
    memoized = cache.memoize(prefix="user:", key=lambda number: str(number))(named)

    memoized(1)

    assert cache.keys() == ["user:1"]
    assert (cache.get("user:1"), memoized.key_for(2)) == (1, "user:2")


@pytest.mark.clause("R11.4")
def test_key_makes_what_follows_the_functions_name(cache):
    memoized = cache.memoize(key=lambda number: f"own:{number}")(named)

    assert memoized.key_for(5) == f"{__name__}.named:own:5"


@pytest.mark.clause("R11.4")
def test_key_is_given_the_arguments_as_they_come(cache):
    seen = []

    def key(*args, **kwargs):
        seen.append((args, kwargs))
        return "k"

    @cache.memoize(key=key)
    def function(a, b=2, *, c=3):
        return a

    function.key_for(Response(1), c=4)

    assert [(len(args), kwargs) for args, kwargs in seen] == [(1, {"c": 4})]


@pytest.mark.clause("R11.4")
def test_a_tuple_from_key_counts_as_arguments_do(cache):
    memoized = cache.memoize(key=lambda value: ("k", value))(named)

    keys = [memoized.key_for(value) for value in (1, True, 1.0, "1", 1)]

    assert len(set(keys)) == 4
    assert keys[0] == keys[4]
    assert all(key.startswith(f"{__name__}.named:") for key in keys)
    with pytest.raises(TypeError, match="key="):
        memoized(Response(1))


@pytest.mark.clause("R11.4")
@pytest.mark.parametrize("made", [1, None, b"k", ["k"]])
def test_a_key_that_is_neither_text_nor_a_tuple_is_a_type_error(cache, made):
    memoized = cache.memoize(key=lambda number: made)(named)

    with pytest.raises(TypeError, match="key"):
        memoized(1)


@pytest.mark.clause("R11.4")
def test_a_str_subclass_from_key_counts_as_its_plain_text(cache):
    memoized = cache.memoize(prefix="p:", key=lambda number: Text("k"))(named)

    assert (memoized(1), memoized(2)) == (1, 1)
    assert cache.keys() == ["p:k"]
    assert type(cache.keys()[0]) is str


@pytest.mark.clause("R11.4")
def test_prefix_alone_replaces_the_functions_name(cache):
    memoized = cache.memoize(prefix="p:")(named)

    assert memoized.key_for(1).startswith("p:")
    assert memoized.key_for(1) != memoized.key_for(2)


@pytest.mark.clause("R11.4")
def test_ignored_parameters_do_not_count(cache):
    @cache.memoize(ignore=("session", "trace"))
    def function(a, session=None, **more):
        return a

    keys = {function.key_for(1), function.key_for(1, "s"), function.key_for(1, trace=2)}

    assert len(keys) == 1
    assert function.key_for(1, Response(1)) in keys
    assert function.key_for(1, other=2) not in keys
    assert function.key_for(2) not in keys


@pytest.mark.clause("R11.4")
def test_ignoring_another_parameter_makes_other_keys(cache):
    def function(a, b):
        return a

    one = cache.memoize(prefix="p:", ignore=("a",))(function)
    other = cache.memoize(prefix="p:", ignore=("b",))(function)

    assert one.key_for(1, 2) != other.key_for(2, 1)


@pytest.mark.clause("R11.4")
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"key": "k"}, TypeError),
        ({"prefix": 5}, TypeError),
        ({"prefix": ""}, ValueError),
        ({"ignore": "number"}, TypeError),
        ({"ignore": [1]}, TypeError),
        ({"ignore": ["missing"]}, ValueError),
        ({"ignore": ["number"], "key": str}, TypeError),
        ({"store_if": 5}, TypeError),
        ({"ttl": -1}, ValueError),
        ({"ttl": "soon"}, TypeError),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_at_once(cache, options, kind, error_of):
    error = error_of(lambda: cache.memoize(**options)(named))

    assert type(error) is kind


# -- R11.5: two functions ------------------------------------------------------------------------


def cell(cache, source, name="cell"):
    """Return the function of a notebook's cell, memoized as the cell does it."""
    namespace = {"cache": cache, "__name__": "notebook", "functools": functools}
    exec(source, namespace)
    return namespace[name]


@pytest.mark.clause("R11.5")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return a + 1", "return a - 1"),
        ("return a + 1", "return a + 2"),
        ("return a + 1", "return a + True"),
        ("return a + 1", "return a + 1.0"),
        ("return (lambda: a + 1)()", "return (lambda: a + 2)()"),
        ("return len(str(a))", "return hash(str(a))"),
        ("return a if a in {1, 2} else 5", "return a if a in {1, 3} else 5"),
        ("return a is ...", "return a is None"),
    ],
)
def test_a_cell_that_is_edited_and_run_again_starts_cold(cache, before, after):
    first = cell(cache, f"@cache.memoize\ndef cell(a):\n    {before}\n")
    first(1)

    second = cell(cache, f"@cache.memoize\ndef cell(a):\n    {after}\n")

    assert first.key_for(1) != second.key_for(1)
    assert repr(second(1)) == repr(second.__wrapped__(1))


@pytest.mark.clause("R11.5")
def test_a_cell_that_is_run_again_as_it_was_stays_warm(cache):
    source = "@cache.memoize\ndef cell(a):\n    return [a]\n"
    cell(cache, source)(1)

    again = cell(cache, source)

    assert (again(1), again.cache_info().hits) == ([1], 1)


@pytest.mark.clause("R11.5")
def test_what_lies_below_the_decorator_counts_as_code(cache):
    source = (
        "def deco(f):\n    @functools.wraps(f)\n    def wrapper(*args): return f(*args)\n"
        "    return wrapper\n@cache.memoize\n@deco\ndef cell(a):\n    return a {} 1\n"
    )

    plus, minus = (cell(cache, source.format(sign)) for sign in "+-")

    assert [plus(1), minus(1), plus(1), minus(1)] == [2, 0, 2, 0]


def without_wraps(function):
    def wrapper(*args):
        return function(*args)

    return wrapper


def scaled(factor):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) * factor

        return wrapper

    return decorate


@pytest.mark.clause("R11.5")
def test_functions_behind_a_decorator_without_wraps_are_two(cache):
    @cache.memoize
    @without_wraps
    def double(number):
        return 2 * number

    @cache.memoize
    @without_wraps
    def triple(number):
        return 3 * number

    assert [double(1), triple(1), double(1), triple(1)] == [2, 3, 2, 3]


@pytest.mark.clause("R11.5")
@pytest.mark.parametrize("factors", [(2, 3), (2, 2.0), ([2], [3]), (Whole(2), Whole(3))], ids=str)
def test_functions_that_differ_by_what_their_decorator_was_given_are_two(cache, factors):
    one, other = (cache.memoize(scaled(factor)(len)) for factor in factors)

    assert one.key_for("ab") != other.key_for("ab")


@pytest.mark.clause("R11.5")
@pytest.mark.parametrize("shape", ["lambda", "function", "partial", "method", "object"])
def test_callables_without_a_name_of_their_own_are_each_cached_alone(cache, shape):
    class Adder:
        def __init__(self, number):
            self.number = number

        def __call__(self, a):
            return self.number + a

        add = __call__

    def add(number, a):
        return number + a

    def make(number):
        def local(a):
            return number + a

        return {
            "lambda": lambda a: number + a,
            "function": local,
            "partial": functools.partial(add, number),
            "method": Adder(number).add,
            "object": Adder(number),
        }[shape]

    three, four = (cache.memoize()(make(number)) for number in (3, 4))

    assert [three(1), four(1), three(1), four(1)] == [4, 5, 4, 5]
    assert (three.invalidate_all(), four(1), len(cache)) == (1, 5, 1)


@pytest.mark.clause("R11.5")
def test_one_local_function_that_is_memoized_twice_shares_its_results(cache):
    def local(a):
        return [a]

    cache.memoize()(local)(1)
    again = cache.memoize()(local)

    assert (again(1), again.cache_info().hits) == ([1], 1)


@pytest.mark.clause("R11.5")
def test_prefix_has_local_functions_of_one_code_share(cache):
    def make():
        def local(a):
            return [a]

        return cache.memoize(prefix="shared:")(local)

    make()(1)
    other = make()

    assert (other(1), other.cache_info().hits) == ([1], 1)


@pytest.mark.clause("R11.5")
def test_prefix_does_not_mix_up_functions_of_other_code(cache):
    plus = cache.memoize(prefix="p:")(lambda a: a + 1)
    minus = cache.memoize(prefix="p:")(lambda a: a - 1)

    assert [plus(1), minus(1), plus(1), minus(1)] == [2, 0, 2, 0]


@pytest.mark.clause("R11.5")
def test_prefix_does_not_mix_up_what_partials_were_given(cache):
    three, four = (cache.memoize(prefix="p:")(functools.partial(pow_of, n)) for n in (3, 4))

    assert [three(2), four(2), three(2)] == [9, 16, 9]


def pow_of(base, exponent):
    return base**exponent


# -- R11.6: methods ------------------------------------------------------------------------------


@pytest.fixture
def shop(cache):
    @dataclasses.dataclass
    class Shop:
        name: str
        asked: list = dataclasses.field(default_factory=list, compare=False)

        def __cache_key__(self):
            return self.name

        @cache.memoize()
        def find(self, number, size=1):
            """Find things."""
            self.asked.append(number)
            return f"{self.name}{number}"

        @cache.memoize()
        @classmethod
        def kind(cls, number):
            return f"{cls.__name__}{number}"

        @classmethod
        @cache.memoize()
        def sort(cls, number):
            return f"{cls.__name__}{number}"

        @cache.memoize
        @staticmethod
        def twice(number):
            return 2 * number

        @staticmethod
        @cache.memoize
        def thrice(number):
            return 3 * number

    return Shop


@pytest.mark.clause("R11.6")
def test_a_method_is_cached_for_each_instance(shop):
    one, other = shop("a"), shop("b")

    assert [one.find(1), other.find(1), one.find(1), other.find(1)] == ["a1", "b1", "a1", "b1"]
    assert (one.asked, other.asked) == ([1], [1])
    assert shop.find(one, 1) == "a1"
    assert one.asked == [1]


@pytest.mark.clause("R11.6")
def test_the_helpers_of_a_bound_method_need_no_self(shop):
    one, other = shop("a"), shop("b")
    one.find(1), other.find(1)

    assert one.find.key_for(1) == one.find.key_for(1, size=1) == shop.find.key_for(one, 1)
    assert (one.find.invalidate(1), one.find.invalidate(1)) == (True, False)
    assert (one.find.refresh(1), one.asked) == ("a1", [1, 1])
    assert one.find.__wrapped__(2) == "a2"
    assert one.find.cache_info().hits == 0
    assert other.find.invalidate_all() == 2


@pytest.mark.clause("R11.6")
def test_a_bound_method_shows_the_signature_without_self(shop):
    assert [*inspect.signature(shop("a").find).parameters] == ["number", "size"]
    assert [*inspect.signature(shop.find).parameters] == ["self", "number", "size"]
    assert (shop("a").find.__name__, shop("a").find.__doc__) == ("find", "Find things.")
    assert shop("a").find.__self__ == shop("a")


@pytest.mark.clause("R11.6")
@pytest.mark.parametrize("name", ["kind", "sort"])
def test_a_class_method_is_cached_for_each_class(shop, name, error_of):
    class Stall(shop):
        pass

    assert error_of(getattr(shop("a"), name), 1) is None
    results = [getattr(owner, name)(1) for owner in (shop, Stall, shop, Stall("a"))]

    assert results == ["Shop1", "Stall1", "Shop1", "Stall1"]


@pytest.mark.clause("R11.6")
@pytest.mark.parametrize("name", ["kind", "sort"])
def test_the_helpers_of_a_class_method_need_no_class(shop, name):
    of_class, of_instance = getattr(shop, name), getattr(shop("a"), name)
    of_class(1)

    assert of_class.key_for(1) == of_instance.key_for(1)
    assert of_class.refresh(1) == "Shop1"
    assert (of_class.invalidate(1), of_instance.invalidate(1)) == (True, False)


@pytest.mark.clause("R11.6")
@pytest.mark.parametrize("name", ["kind", "sort"])
def test_the_helpers_of_an_inherited_class_method_mean_no_other_class(shop, name, error_of):
    class Stall(shop):
        pass

    getattr(shop, name)(1), getattr(Stall, name)(1)

    error = error_of(lambda: getattr(Stall, name).refresh(1))

    assert error is None or "memoize() above" in str(error)
    assert getattr(Stall, name)(1) == "Stall1"
    assert getattr(shop, name)(1) == "Shop1"


@pytest.mark.clause("R11.6")
@pytest.mark.parametrize("name", ["twice", "thrice"])
def test_a_static_method_is_called_as_a_function_is(shop, name, error_of):
    of_class, of_instance = getattr(shop, name), getattr(shop("a"), name)

    assert error_of(of_instance, 1) is None
    assert of_class(2) == of_instance(2) in (4, 6)
    assert (of_instance.invalidate(2), of_class.invalidate(2)) == (True, False)


@pytest.mark.clause("R11.6")
def test_self_that_is_unknown_is_refused_unless_it_is_ignored(cache):
    class Client:
        @cache.memoize()
        def ask(self, number):
            return number

        @cache.memoize(ignore=("self",))
        def say(self, number):
            return [number]

    with pytest.raises(TypeError, match="'self'"):
        Client().ask(1)
    assert [Client().say(1), Client().say(1)] == [[1], [1]]
    assert Client.say.cache_info().hits == 1


@pytest.mark.clause("R11.6")
def test_a_partial_of_a_memoized_function_shares_its_results(cache):
    @cache.memoize()
    def function(a, b):
        return [a, b]

    function(1, 2)

    assert functools.partial(function, 1)(2) == functools.partial(function, b=2)(1) == [1, 2]
    assert function.cache_info().hits == 2


@pytest.mark.clause("R11.6")
def test_a_memoized_partial_binds_the_arguments_that_are_left(cache):
    memoized = cache.memoize()(functools.partial(pow_of, 2))

    assert (memoized(3), memoized(exponent=3), memoized(4)) == (8, 8, 16)
    assert memoized.key_for(3) == memoized.key_for(exponent=3)


# -- R11.7: the decorated function ---------------------------------------------------------------


@pytest.mark.clause("R11.7")
def test_the_decorator_works_without_parentheses(cache):
    made = []

    @cache.memoize
    def function(a):
        """Make one."""
        made.append(a)
        return a

    assert (function.__name__, function.__doc__) == ("function", "Make one.")
    assert (function(1), function(1), made) == (1, 1, [1])


@pytest.mark.clause("R11.7")
def test_invalidate_removes_one_result(runs):
    runs.call(1), runs.call(2)

    assert (runs.call.invalidate(argument=1), runs.call.invalidate(1)) == (True, False)
    runs.call(1), runs.call(2)
    assert runs.made == [1, 2, 1]


@pytest.mark.clause("R11.7")
def test_refresh_calls_and_stores_anew(runs):
    runs.call(1)

    assert (runs.call.refresh(1), runs.call(1), runs.made) == (2, 2, [1, 1])


@pytest.mark.clause("R11.7")
def test_key_for_is_where_the_result_is_stored(cache, runs):
    runs.call("a")

    assert cache.keys() == [runs.call.key_for("a")]
    assert cache.get(runs.call.key_for("a")) == 1


@pytest.mark.clause("R11.7")
def test_the_uncached_function_is_at_hand(cache, runs):
    runs.call(1)

    assert (runs.call.__wrapped__(1), runs.made, len(cache)) == (2, [1, 1], 1)


@pytest.mark.clause("R11.7")
def test_cache_info_tells_how_calls_have_fared(runs):
    for argument in (1, 2, 1, 1):
        runs.call(argument)

    info = runs.call.cache_info()

    assert (info.hits, info.misses, info.currsize) == (2, 2, 2)


@pytest.mark.clause("R11.7")
def test_invalidate_all_removes_the_results_of_this_function_only(cache):
    def maker(name):
        def function(a):
            return name

        return cache.memoize(prefix=name)(function)

    star, other, longer = maker("f*:"), maker("fx:"), maker("f*x:")
    for function in (star, other, longer):
        function(1), function("(")

    assert (star.invalidate_all(), len(cache)) == (2, 4)


@pytest.mark.clause("R11.7")
@pytest.mark.parametrize("options", [{}, {"key": str}, {"prefix": "p:"}], ids=str)
def test_invalidate_all_removes_what_another_process_has_stored(
    cache, program, tmp_path, options, wording
):
    text = ", ".join(
        f"{name}={value.__name__ if callable(value) else repr(value)}"
        for name, value in options.items()
    )
    source = (
        "import sys\ncache = DistributedCache()\n"
        f"@cache.memoize({text})\ndef function(a): return a{{}}\n"
    )
    saving = source.format(" + 1") + "function(1), function(2)\ncache.save(sys.argv[1])\n"
    loading = source.format(" - 1") + (
        "cache.load(sys.argv[1])\nprint(function.invalidate_all(), len(cache))\n"
    )
    path = tmp_path / "snapshot"
    subprocess.run(program(saving, path), check=True, timeout=50)

    output = subprocess.run(
        program(loading, path), check=True, timeout=50, capture_output=True, text=True
    ).stdout

    assert output.split() == ["2", "0"]


@pytest.mark.clause("R11.7")
def test_results_live_as_long_as_the_ttl(cache, clock):
    runs = Runs(cache, ttl=10)
    runs.call(1)

    clock.tick(9.999)
    assert runs.call(1) == 1
    clock.tick(0.001)

    assert runs.call(1) == 2


@pytest.mark.clause("R11.7")
def test_wrong_arguments_are_a_type_error_as_the_functions_own(runs):
    for call in (runs.call, runs.call.key_for, runs.call.invalidate, runs.call.refresh):
        with pytest.raises(TypeError, match="argument"):
            call()
        with pytest.raises(TypeError, match="argument"):
            call(1, other=2)

    assert runs.made == []


@pytest.mark.clause("R11.7")
@pytest.mark.parametrize(
    "given", ["text", b"bytes", object()], ids=lambda given: type(given).__name__
)
def test_what_is_no_function_is_refused(cache, given):
    with pytest.raises(TypeError, match="memoize"):
        cache.memoize()(given)


@pytest.mark.clause("R11.7")
def test_a_builtin_without_a_signature_needs_a_key(cache):
    with pytest.raises(TypeError, match="key="):
        cache.memoize()(max)

    assert cache.memoize(key=lambda *numbers: numbers)(max)(1, 3, 2) == 3


@pytest.mark.clause("R11.7")
def test_many_different_calls_each_have_their_result(make_cache):
    runs = Runs(make_cache(5000))

    for _ in range(2):
        for number in range(3000):
            assert runs.call(number) == number + 1

    assert (runs.call.invalidate_all(), len(runs.made)) == (3000, 3000)


# -- R11.8: results that can be used once --------------------------------------------------------


async def coroutine(a=0):
    return a


async def asynchronous_generator(a=0):
    yield a


def generator(a=0):
    yield a


class Awaitable:
    def __await__(self):
        return iter(())


ONCE = {
    "a coroutine": lambda a=0: coroutine(),
    "a generator": generator,
    "an asynchronous generator": lambda a=0: asynchronous_generator(),
    "an awaitable": lambda a=0: Awaitable(),
    "an iterator": lambda a=0: iter([1]),
    "a map": lambda a=0: map(str, [1]),
    "a file": lambda a=0: io.StringIO("text"),
}


@pytest.mark.clause("R11.8")
@pytest.mark.parametrize("kind", ONCE)
def test_a_result_that_can_be_used_once_is_a_type_error(cache, kind):
    memoized = cache.memoize()(ONCE[kind])

    for call in (memoized, memoized.refresh):
        with pytest.raises(TypeError, match="once"):
            call(1)

    assert len(cache) == 0


@pytest.mark.clause("R11.8")
@pytest.mark.parametrize("kind", ONCE)
def test_get_or_set_refuses_what_can_be_used_once(cache, kind):
    with pytest.raises(TypeError, match="once"):
        cache.get_or_set("k", ONCE[kind])

    assert not cache.exists("k")


@pytest.mark.clause("R11.8")
def test_get_or_set_refuses_a_coroutine_function(cache):
    with pytest.raises(TypeError, match="once"):
        cache.get_or_set("k", coroutine)

    assert not cache.exists("k")


@pytest.mark.clause("R11.8")
def test_iterables_that_can_be_read_again_are_results(cache):
    for value in ([1], (1,), {1}, {"k": 1}, range(3), "text", b"bytes", None, 5):
        assert cache.memoize()(lambda value=value: value)() == value


class AsynchronousCall:
    async def __call__(self, a):
        return a


class AsynchronousMethod:
    async def method(self, a):
        return a


@pytest.mark.clause("R11.8")
@pytest.mark.parametrize(
    "function",
    [
        coroutine,
        asynchronous_generator,
        functools.partial(coroutine, 1),
        AsynchronousCall(),
        AsynchronousMethod().method,
        staticmethod(coroutine),
        classmethod(coroutine),
    ],
    ids=lambda function: type(function).__name__,
)
def test_a_coroutine_function_is_refused_at_decoration(cache, function):
    with pytest.raises(TypeError, match="asynchronous"):
        cache.memoize()(function)
    with pytest.raises(TypeError, match="asynchronous"):
        cache.memoize(ttl=5, key=str)(function)


@pytest.mark.clause("R11.8")
def test_exceptions_are_never_stored(cache):
    made = []

    @cache.memoize()
    def failing(a):
        made.append(a)
        raise OSError("no luck")

    for _ in range(2):
        with pytest.raises(OSError, match="no luck"):
            failing(1)

    assert (made, len(cache)) == ([1, 1], 0)


@pytest.mark.clause("R11.8")
def test_the_leaders_traceback_reaches_each_waiter(cache, wait_until):
    inside, go = threading.Event(), threading.Event()
    errors, done = [], []

    def deep_in_the_factory():
        inside.set()
        assert go.wait(10)
        raise OSError("no luck")

    def ask():
        try:
            cache.get_or_set("k", deep_in_the_factory)
        except OSError as error:
            errors.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
            done.append(error)

    leader = threading.Thread(target=ask)
    waiters = [threading.Thread(target=ask) for _ in range(3)]
    leader.start()
    assert inside.wait(10)
    for waiter in waiters:
        waiter.start()
    assert wait_until(lambda: cache.stats().misses == 4)
    go.set()
    leader.join(10)
    for waiter in waiters:
        waiter.join(10)

    assert len(errors) == 4
    assert all("deep_in_the_factory" in names for names in errors)
    assert all(
        "deep_in_the_factory" in "".join(traceback.format_exception(error)) for error in done
    )


# -- R11.9: store_if -----------------------------------------------------------------------------


@pytest.mark.clause("R11.9")
def test_a_value_that_store_if_refuses_is_returned_and_not_stored(cache):
    made = []

    def factory():
        made.append(1)
        return None if len(made) < 3 else "v"

    results = [
        cache.get_or_set("k", factory, store_if=lambda value: value is not None) for _ in range(4)
    ]

    assert results == [None, None, "v", "v"]
    assert len(made) == 3


@pytest.mark.clause("R11.9")
def test_a_memoized_result_that_store_if_refuses_is_returned_and_not_stored(cache):
    made = []

    @cache.memoize(store_if=lambda value: value > 0)
    def function(a):
        made.append(a)
        return a

    assert [function(-1), function(-1), function(1), function(1)] == [-1, -1, 1, 1]
    assert (made, len(cache)) == ([-1, -1, 1], 1)


@pytest.mark.clause("R11.9")
def test_refresh_leaves_a_result_in_place_of_one_that_store_if_refuses(cache):
    results = [1, -1]
    memoized = cache.memoize(store_if=lambda value: value > 0)(lambda: results.pop(0))
    memoized()

    assert (memoized.refresh(), memoized()) == (-1, 1)


@pytest.mark.clause("R11.9")
def test_store_if_is_not_asked_about_a_stored_value(cache):
    cache.set("k", 1)

    assert cache.get_or_set("k", list, store_if=lambda value: 1 / 0) == 1


@pytest.mark.clause("R11.9")
def test_an_error_in_store_if_is_the_callers(cache):
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("k", list, store_if=lambda value: 1 / 0)

    assert not cache.exists("k")
    assert cache.get_or_set("k", list) == []


@pytest.mark.clause("R11.9")
def test_waiters_get_the_value_that_store_if_refuses(cache, wait_until):
    inside, go = threading.Event(), threading.Event()
    made, results = [], []

    def factory():
        made.append(1)
        inside.set()
        assert go.wait(10)

    def ask():
        results.append(cache.get_or_set("k", factory, store_if=bool))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    threads[0].start()
    assert inside.wait(10)
    for thread in threads[1:]:
        thread.start()
    assert wait_until(lambda: cache.stats().misses == 6)
    go.set()
    for thread in threads:
        thread.join(10)

    assert results == [None] * 6
    assert len(made) < 6  # a thread may have counted its miss and not be waiting yet


@pytest.mark.clause("R11.9")
def test_a_store_if_that_is_not_callable_is_a_type_error(cache):
    with pytest.raises(TypeError, match="store_if"):
        cache.get_or_set("k", list, store_if=True)

    assert cache.stats().misses == 0
