"""`fingerprint`: two values share one exactly where they are equal in type and in value."""

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import math
import struct
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import fingerprint
from cache.fingerprint import canonical
from cache.naming import leads_back, token_of


class Mood(enum.Enum):
    GOOD = (1, [2])
    BAD = object()


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Held:
    x: object = dataclasses.field(init=False)


@dataclasses.dataclass
class Line:
    start: object
    end: object

    @functools.cached_property
    def length(self):
        return 5


class Dotted(Line):
    """No dataclass itself."""


class Slotted(Line):
    __slots__ = ("z",)


@dataclasses.dataclass
class Table(dict):
    x: object


class Unhashed(tuple):
    _fields = ("a",)


def is_hashable(value):
    """Tell whether a value may be in a set, and be found there."""
    signals = isinstance(value, decimal.Decimal) and value.is_snan()
    return type(value) is not bytearray and not signals and value == value


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, math.nan]),
    st.complex_numbers(),
    st.text("ab\0\udc80é", max_size=3),
    st.binary(max_size=2),
    st.builds(bytearray, st.binary(max_size=2)),
    st.decimals(),
    st.sampled_from([decimal.Decimal("1.0"), decimal.Decimal("1.00"), decimal.Decimal(1)]),
    st.fractions(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.ip_addresses(),
)
HASHABLE = st.recursive(
    ATOMS.filter(is_hashable),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(HASHABLE, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=2).map(collections.OrderedDict),
        st.builds(collections.deque, st.lists(inner, max_size=2), st.integers(2, 3)),
        st.builds(Line, inner, inner),
        st.lists(st.integers(-2, 2), min_size=8, max_size=10),
        st.lists(st.floats(0, 1), min_size=8, max_size=10),
    ),
    max_leaves=8,
)


def same(one, other):
    """Tell whether two values are equal in type and in value, at every depth, and look alike."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, collections.deque):
        return one.maxlen == other.maxlen and same(list(one), list(other))
    if isinstance(one, collections.OrderedDict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (set, frozenset)):
        return same_in_any_order(list(one), list(other))
    if isinstance(one, dict):
        return same_in_any_order(list(one.items()), list(other.items()))
    if isinstance(one, Line):
        return same((one.start, one.end), (other.start, other.end))
    if isinstance(one, decimal.Decimal):
        return repr(one) == repr(other)
    if isinstance(one, datetime.datetime):
        return repr(one) == repr(other)
    if isinstance(one, datetime.time):
        return (one, one.fold) == (other, other.fold)
    return one == other


def same_in_any_order(ones, others):
    others = list(others)
    for one in ones:
        for place, other in enumerate(others):
            if same(one, other):
                del others[place]
                break
        else:
            return False
    return not others


@settings(max_examples=400, deadline=None)
@given(VALUES, VALUES)
def test_two_values_share_a_fingerprint_exactly_where_they_are_equal(one, other):
    assert (fingerprint(one) == fingerprint(other)) is same(one, other)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.randoms())
def test_a_value_that_is_built_anew_has_the_same_fingerprint(value, random):
    assert fingerprint(rebuilt(value, random)) == fingerprint(value)


def rebuilt(value, random):
    """Return an equal value, whose dicts and sets are in another order."""
    if type(value) in (list, tuple):
        return type(value)(rebuilt(each, random) for each in value)
    if type(value) is dict:
        items = [(key, rebuilt(item, random)) for key, item in value.items()]
        random.shuffle(items)
        return dict(items)
    if type(value) in (set, frozenset):
        items = list(value)
        random.shuffle(items)
        return type(value)(items)
    return value


@settings(max_examples=300, deadline=None)
@given(st.lists(ATOMS, max_size=4), st.lists(ATOMS, max_size=4))
def test_no_canonical_bytes_are_the_beginning_of_others(one, other):
    first, second = canonical([("a", one)]), canonical([("a", other)])

    assert first == second or not second.startswith(first)


@pytest.mark.parametrize(
    ("value", "digest"),
    [
        (None, "dae4b43f2c73adaf8c217d96a2a9c3ba"),
        ([1, True, 1.5, "é", b"b", (), {}], "c57c5d8d36ee0e3d1bb1c3469c71bd5e"),
        (list(range(1000)), "53f54b666c36b4534eea580c21534ea4"),
    ],
    ids=["none", "a few", "many"],
)
def test_a_fingerprint_never_changes(value, digest):
    assert fingerprint(value) == digest


def test_a_fingerprint_is_128_bits_in_hexadecimal_digits():
    assert len(fingerprint()) == 32
    assert set(fingerprint()) <= set("0123456789abcdef")


def test_places_and_names_of_arguments_count():
    prints = [fingerprint(), fingerprint(None), fingerprint(a=None), fingerprint(b=None)]
    prints += [fingerprint(None, None), fingerprint([None, None]), fingerprint(1, a=2)]
    prints += [fingerprint(2, a=1)]

    assert len(set(prints)) == len(prints)
    assert fingerprint(a=1, b=2) == fingerprint(b=2, a=1)


def test_ignore_takes_names_only():
    assert fingerprint(1, a=object(), ignore=["a", "b"]) == fingerprint(1)
    with pytest.raises(TypeError, match="not a str"):
        fingerprint(a=1, ignore="a")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (object(), "builtins.object"),
        ([{"k": (object(),)}], "builtins.object"),
        (lambda: 1, "<lambda>"),
        (zoneinfo.ZoneInfo.from_file, "method"),
        (Table(1), "Table"),
        (Slotted(1, 2), "Slotted"),
        (pd.offsets.Day(1), "Day"),
        (np.dtype("i4"), "Int32DType"),
    ],
    ids=lambda part: part if isinstance(part, str) else "value",
)
def test_a_refusal_names_the_argument_and_the_type(value, word):
    with pytest.raises(TypeError, match="argument 'args\\[1\\]'") as caught:
        fingerprint(1, value)
    with pytest.raises(TypeError, match="argument 'named'"):
        fingerprint(named=value)

    assert word in str(caught.value)


def test_a_zone_that_has_no_name_is_refused(tmp_path):
    path = tmp_path / "zone"
    path.write_bytes(b"TZif" + b"\0" * 40 + b"")
    data = b"TZif2" + b"\0" * 15 + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + b"\0" * 6 + b"UTC\0"
    path.write_bytes(data + data + b"\nUTC0\n")
    with open(path, "rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file)

    with pytest.raises(TypeError, match="ZoneInfo without a key"):
        fingerprint(zone)


def test_members_of_enums_and_flags_are_told_apart():
    prints = {fingerprint(member) for member in (*Mood, *Access, Access(0), Access(3))}

    assert len(prints) == 6


def test_a_field_without_a_value_is_a_value_of_its_own():
    held, empty = Held(), Held()
    held.x = None

    assert fingerprint(held) != fingerprint(empty) == fingerprint(Held())


def test_what_was_computed_of_a_dataclass_does_not_count():
    for kind in (Line, Dotted):
        one, other = kind(1, 2), kind(1, 2)
        assert one.length == 5
        assert fingerprint(one) == fingerprint(other)


def test_a_named_tuple_counts_with_its_attributes():
    one, other = Unhashed((1,)), Unhashed((1,))
    other.more = 2

    assert fingerprint(one) == fingerprint(Unhashed((1,))) != fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1.5], np.longdouble), np.array([2.5], np.longdouble)),
        (np.longdouble(1.5), np.float64(1.5)),
        (np.clongdouble(1.5), np.clongdouble(1.5j)),
        (np.array([1.5], np.longdouble), np.array([1.5], np.longdouble).astype(">f16")),
        (np.array(["a"], np.dtypes.StringDType()), np.array(["b"], np.dtypes.StringDType())),
        (
            np.array(["a"], np.dtypes.StringDType()),
            np.array(["a"], np.dtypes.StringDType(na_object=None)),
        ),
        (np.void(b"ab"), np.void(b"ac")),
        (np.longlong(1), np.int64(1)),
        (np.array([b"a"]), np.array(["a"])),
        (np.ma.array([1], mask=[0]), np.ma.array([1], mask=[0], fill_value=7)),
        (np.zeros(1, [("a", "i1"), ("b", "i4")]), np.zeros(1, [("a", "i1"), ("b", "u4")])),
        (np.zeros(1, [("a", "i4", (2,))]), np.zeros(1, [("a", "i4", (3,))])),
        (pd.RangeIndex(3), pd.Index([0, 1, 2])),
        (pd.RangeIndex(3), pd.RangeIndex(3, name="a")),
        (pd.date_range("2026", periods=3), pd.DatetimeIndex([*pd.date_range("2026", periods=3)])),
        (pd.date_range("2026", periods=3), pd.date_range("2027", periods=3)),
        (pd.timedelta_range("1s", periods=3), pd.timedelta_range("2s", periods=3)),
        (
            pd.period_range("2026", periods=2, freq="M"),
            pd.period_range("2027", periods=2, freq="M"),
        ),
        (pd.interval_range(0, 3), pd.interval_range(1, 4)),
        (pd.CategoricalIndex(["a"]), pd.CategoricalIndex(["b"])),
        (pd.array([True, None], "boolean"), pd.array([False, None], "boolean")),
        (pd.array([1.5], "Float64"), pd.array([1.5], "Float32")),
        (pd.Series(["a"], dtype="string"), pd.Series(["a"], dtype=object)),
        (pd.Series([1.0, math.nan]), pd.Series([1.0, 0.0])),
        (pd.Series([np.datetime64("2026-01-01")]), pd.Series([np.datetime64("2026-01-02")])),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]})),
        (pd.DataFrame({"a": []}), pd.DataFrame({"a": []}, index=pd.Index([], name="i"))),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[2, 1]], columns=["a", "a"])),
        (pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-01").as_unit("ns")),
        (pd.Interval(0, 1), pd.Interval(0, 2)),
        (pd.MultiIndex.from_tuples([(1, "a")]), pd.MultiIndex.from_tuples([(1, "b")])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrays_and_frames_that_differ_have_fingerprints_of_their_own(one, other):
    assert fingerprint(one) == fingerprint(one.copy() if hasattr(one, "copy") else one)
    assert fingerprint(one) != fingerprint(other)


def test_the_attributes_of_frames_count():
    frame, other = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})
    other.attrs["source"] = "file"

    assert fingerprint(frame) != fingerprint(other)


def test_a_long_double_is_known_by_the_bits_that_count():
    one, other = np.zeros(1, np.longdouble), np.frombuffer(bytes(16), np.longdouble).copy()
    other.view(np.uint8)[10:] = 7

    assert one == other
    assert fingerprint(one) == fingerprint(other)


def test_a_name_that_leads_elsewhere_has_a_token(monkeypatch):
    first = Line
    before = fingerprint(first(1, 2))
    second = dataclasses.make_dataclass("Line", ["start", "end"], module=__name__)

    monkeypatch.setitem(globals(), "Line", second)

    assert (leads_back(first), leads_back(second)) == (False, True)
    assert len({before, fingerprint(first(1, 2))}) == 2
    assert token_of(first) == token_of(first) != token_of(second)


def test_what_has_no_weak_references_has_another_token_each_time():
    assert token_of(5) != token_of(5)
