"""What `trust=["numpy", "pandas"]` saves: arrays, frames and scalars, and nothing else."""

import datetime
import pickle
import subprocess
import sys
import zoneinfo

import numpy
import pandas
import pytest

from cache import Portable, SnapshotError, plain
from cache.remote.values import Values

BOTH = ["numpy", "pandas"]
CODEC = plain.Codec(BOTH)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def through_a_snapshot(value, make_cache, folder):
    cache = make_cache(trust=BOTH)
    cache.set("k", [value])
    cache.save(folder / "s")
    cache.load(folder / "s")
    return cache.get("k")[0]


def through_a_server(value, make_cache, folder):
    values = Values(CODEC, b"secret")
    return values.decode(values.encode([value], "k", b"k"), b"k")[0]


@pytest.fixture(params=[through_a_snapshot, through_a_server])
def saved(request, make_cache, tmp_path):
    """Return a function that saves a value and returns what is loaded."""
    return lambda value: request.param(value, make_cache, tmp_path)


ARRAYS = [
    numpy.arange(6).reshape(2, 3),
    numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
    numpy.arange(12).reshape(3, 4)[::2, ::-1],
    numpy.array(5, dtype=">u2"),
    numpy.array([True, False]),
    numpy.array([1.5, -0.0, numpy.nan], dtype="f2"),
    numpy.array([1 + 2j], dtype=numpy.clongdouble),
    numpy.array(["a", "Σ\0b"]),
    numpy.array([b"a", b""]),
    numpy.zeros(2, "V3"),
    numpy.zeros((3, 0)),
    numpy.empty(2, "V0"),
    numpy.array(["2026-01-01", "NaT"], dtype="M8[s]"),
    numpy.array([1, 2], dtype="m8[25us]"),
    numpy.zeros((0, 3), dtype=[("a", "i4"), ("b", "U5")]),
    numpy.ones(2, dtype=[("x", "f4", (2, 2)), ("y", [("z", "M8[s]")])]),
    numpy.ones(2, numpy.dtype([("a", "i1"), ("b", "f8")], align=True)),
    numpy.ones(
        2,
        numpy.dtype(
            {
                "names": ["a", "b"],
                "formats": ["i4", "U2"],
                "offsets": [8, 0],
                "titles": [None, "title"],
                "itemsize": 24,
            }
        ),
    ),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.dtype.str)
def test_an_array_keeps_dtype_shape_order_and_content(saved, array):
    found = saved(array)

    assert type(found) is numpy.ndarray
    assert (found.dtype, found.dtype.fields) == (array.dtype, array.dtype.fields)
    assert found.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert found.flags.c_contiguous or not array.flags.c_contiguous
    assert found.flags.f_contiguous == array.flags.f_contiguous
    assert (found.shape, found.tobytes()) == (array.shape, array.tobytes())


def test_an_array_that_is_loaded_can_be_changed(saved):
    found = saved(numpy.zeros(2))

    found[0] = 1

    assert found.tolist() == [1, 0]


@pytest.mark.parametrize(
    "scalar",
    [
        *(numpy.bool_(True), numpy.int8(-1), numpy.longlong(3), numpy.float64(1.5)),
        *(numpy.longdouble(2), numpy.complex64(1j), numpy.str_(""), numpy.str_("a\0")),
        *(numpy.bytes_(b"\0"), numpy.void(b"ab\0"), numpy.datetime64("NaT", "s")),
        *(numpy.datetime64(1, "25s"), numpy.timedelta64(1, "D")),
        numpy.ones(1, [("a", "i4"), ("b", "U2")])[0],
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_a_numpy_scalar_keeps_class_and_value(saved, scalar):
    found = saved(scalar)

    assert (type(found), found.dtype, repr(found)) == (type(scalar), scalar.dtype, repr(scalar))


def times(zone):
    return pandas.DatetimeIndex(["2026-10-25 00:30", None, "2026-10-25 03:30"], tz=zone)


COLUMNS = {
    "int": [1, 2, 3],
    "small": numpy.array([1, 2, 3], "i1"),
    "float": [1.5, float("nan"), -0.0],
    "bool": [True, False, True],
    "text": ["a", None, "c"],
    "string": pandas.array(["a", None, ""], dtype="string"),
    "category": pandas.Categorical(["x", None, "y"], ["y", "x"], ordered=True),
    "number category": pandas.Categorical([3, 1, 3]),
    "naive": times(None),
    "seconds": times(None).as_unit("s"),
    "UTC": times("UTC"),
    "Berlin": times(BERLIN).as_unit("ms"),
    "offset": times(datetime.timezone(datetime.timedelta(hours=-3))),
    "length": pandas.to_timedelta([1, None, 3], unit="s"),
    "Int64": pandas.array([1, None, 2**62 + 1], dtype="Int64"),
    "UInt8": pandas.array([1, None, 255], dtype="UInt8"),
    "Float32": pandas.array([1.5, None, 3], dtype="Float32"),
    "boolean": pandas.array([True, None, False], dtype="boolean"),
    "period": pandas.PeriodIndex(["2026-01", None, "2026-03"], freq="M"),
    "interval": pandas.interval_range(0, 3, closed="left"),
    "time interval": pandas.interval_range(pandas.Timestamp(0, tz="UTC"), periods=3),
    "object": pandas.Series([[1], {"a": (2,)}, None], dtype=object),
    "texts": pandas.Series(["a", "b", None], dtype=object),
    "mixed": pandas.Series([numpy.int8(1), pandas.NaT, pandas.Timestamp(0)], dtype=object),
}
INDEXES = {
    "range": pandas.RangeIndex(10, 4, -2, name="r"),
    "int": pandas.Index([3, 1, 2], name=("a", 1)),
    "text": pandas.Index(["b", "a", None]),
    "tuples": pandas.Index([("a", 1), ("b", 2), ()], tupleize_cols=False),
    "freq": pandas.date_range("2026-03-29", periods=3, freq="2h", tz=BERLIN, name="t"),
    "days": pandas.timedelta_range("1D", periods=3, freq="D"),
    "period": pandas.period_range("2026", periods=3, freq="2Q-NOV"),
    "category": pandas.CategoricalIndex(["a", "b", "a"], ["b", "a"]),
    "interval": pandas.IntervalIndex.from_breaks([0.5, 1, 2, 3]),
    "multi": pandas.MultiIndex.from_arrays(
        [["x", "x", None], pandas.date_range("2026", periods=3), range(3)], names=["a", None, "c"]
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_series_keeps_its_dtype(saved, name):
    series = pandas.Series(COLUMNS[name], name=(name, 1))

    found = saved(series)

    pandas.testing.assert_series_equal(found, series, check_exact=True, check_flags=True)
    assert (found.dtype, type(found.array)) == (series.dtype, type(series.array))
    assert list(map(type, found)) == list(map(type, series))


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_keeps_class_names_and_freq(saved, name):
    index = INDEXES[name]

    found = saved(index)

    pandas.testing.assert_index_equal(found, index, exact=True, check_exact=True)
    assert (type(found), found.names) == (type(index), index.names)
    assert getattr(found, "freq", None) == getattr(index, "freq", None)


@pytest.mark.parametrize("name", INDEXES)
def test_a_frame_keeps_columns_and_both_of_its_indexes(saved, name):
    frame = pandas.DataFrame({each: pandas.Series(COLUMNS[each]) for each in COLUMNS})
    frame.index = INDEXES[name]
    frame.columns.name = "what"
    frame.attrs = {"unit": ["m", 1]}

    found = saved(frame)

    pandas.testing.assert_frame_equal(
        found, frame, check_index_type=True, check_column_type=True, check_freq=True
    )
    assert found.dtypes.tolist() == frame.dtypes.tolist()
    assert (found.attrs, found.columns.name) == (frame.attrs, "what")


@pytest.mark.parametrize(
    "frame",
    [
        pandas.DataFrame(),
        pandas.DataFrame(index=["a", "b"]),
        pandas.DataFrame(columns=["a", "b"]),
        pandas.DataFrame([[1, "x", 2.5], [3, "y", 4.5]], columns=["a", "a", "b"]),
        pandas.DataFrame([[1, 2], [3, 4]], columns=INDEXES["multi"][:2]),
        pandas.DataFrame([[1, 2]], columns=times(None)[[0, 2]]),
        pandas.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
    ],
    ids=["empty", "no column", "no row", "repeated", "two levels", "times", "flags"],
)
def test_a_frame_keeps_its_form(saved, frame):
    found = saved(frame)

    compare = pandas.testing.assert_frame_equal  # it raises where they differ
    assert (
        compare(found, frame, check_index_type=True, check_column_type=True, check_flags=True)
        is None
    )


@pytest.mark.parametrize(
    "scalar",
    [
        *(pandas.Timestamp("2026-01-01").as_unit("s"), pandas.Timestamp(1, tz="UTC")),
        *(pandas.Timestamp("2026-10-25 00:30", tz="UTC").tz_convert(BERLIN), pandas.NaT, pandas.NA),
        *(pandas.Timedelta(5, "ms"), pandas.Period("2026", "Y"), pandas.Interval(1, 2.5, "both")),
        pandas.Interval(pandas.Timestamp(0), pandas.Timestamp(1)),
    ],
    ids=repr,
)
def test_a_pandas_scalar_keeps_class_value_and_unit(saved, scalar):
    found = saved(scalar)

    assert (type(found), repr(found)) == (type(scalar), repr(scalar))
    assert getattr(found, "unit", None) == getattr(scalar, "unit", None)


class Array(numpy.ndarray):
    pass


class Frame(pandas.DataFrame):
    pass


class Index(pandas.RangeIndex):
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (numpy.array([object()]), "dump of numpy.ndarray: an array of dtype object"),
        (numpy.array([(1, "a")], dtype=[("a", "i4"), ("b", "O")]), "array of dtype object"),
        (numpy.array(["a"], numpy.dtypes.StringDType()), "array of dtype StringDType"),
        (numpy.zeros(1).view(Array), r"\.Array is neither plain data nor trusted"),
        (numpy.ma.array([1]), "MaskedArray is neither plain data nor trusted"),
        (pandas.Series([object()]), "builtins.object is neither plain data nor trusted"),
        (pandas.DataFrame({"a": [Array]}), r"\.Array is neither plain data nor trusted"),
        (pandas.Series([1, 0], dtype="Sparse[int]"), "dump of pandas.Series: .*SparseArray"),
        (Frame({"a": [1]}), r"\.Frame is neither plain data nor trusted"),
        (pandas.Series([1], Index(1)), r"dump of pandas.Series: an index of class \S+\.Index"),
        (
            pandas.date_range("2026", periods=3, freq=pandas.offsets.CDay(holidays=["2026-01-02"])),
            "dump of pandas.DatetimeIndex: the frequency of class .*CustomBusinessDay",
        ),
        (
            pandas.date_range("2026", periods=3, freq=pandas.DateOffset(days=1, hours=1)),
            "dump of pandas.DatetimeIndex: the frequency of class .*DateOffset",
        ),
    ],
)
def test_what_would_be_lost_is_refused_with_key_and_class(make_cache, tmp_path, value, words):
    cache = make_cache(trust=BOTH)
    cache.set("the key", value)

    with pytest.raises(SnapshotError, match=f"the value at 'the key' cannot be saved: .*{words}"):
        cache.save(tmp_path / "s")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (numpy.zeros(1), "numpy.ndarray is not trusted; to save it pass trust=['numpy']"),
        (numpy.float64(1), "numpy.float64 is not trusted; to save it pass trust=['numpy']"),
        (pandas.Series([1]), "pandas.Series is not trusted; to save it pass trust=['pandas']"),
        (pandas.NaT, "pandas.NaT is not trusted; to save it pass trust=['pandas']"),
    ],
    ids=["ndarray", "float64", "Series", "NaT"],
)
def test_the_refusal_names_what_to_trust(value, words):
    with pytest.raises(SnapshotError) as caught:
        plain.Codec().dumps([value])

    assert str(caught.value) == words


@pytest.mark.parametrize("value", [numpy.zeros(1), numpy.float64(1), pandas.Series([1])], ids=repr)
def test_a_class_is_trusted_by_itself(value):
    codec = plain.Codec([type(value)])

    assert type(codec.loads(codec.dumps(value))) is type(value)


def test_a_class_that_is_trusted_brings_no_other():
    data = CODEC.dumps(numpy.float64(1))

    with pytest.raises(SnapshotError, match=r"numpy\.float64 is neither plain data nor trusted"):
        plain.Codec([numpy.ndarray, "pandas"]).loads(data)


@pytest.mark.parametrize("trust", ["numpy", numpy.ndarray])
def test_a_portable_of_the_users_takes_precedence(trust):
    mine = Portable(numpy.ndarray, lambda array: array.tolist(), lambda data: numpy.array(data) + 1)

    codec = plain.Codec([mine, trust])

    assert codec.loads(codec.dumps(numpy.array([1, 2]))).tolist() == [2, 3]


def test_plain_pickle_needs_neither_library_nor_ours():
    data = CODEC.dumps([numpy.arange(2, dtype="<i8"), pandas.DataFrame({"a": ["x"]})])

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pickle, sys\n"
            "found = pickle.load(sys.stdin.buffer)\n"
            "assert not {'numpy', 'pandas', 'cache'} & set(sys.modules)\n"
            "print([each['type'] for each in found], found[0]['data']['dtype'])",
        ],
        input=data,
        capture_output=True,
        check=True,
    )

    assert done.stdout == b"['numpy.ndarray', 'pandas.DataFrame'] <i8\n"


def test_neither_library_is_imported_before_it_is_needed():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from cache import plain\n"
            "codec = plain.Codec(['numpy', 'pandas'])\n"
            "codec.loads(codec.dumps([1, 'a', range(3)]))\n"
            "print({'numpy', 'pandas'} & set(sys.modules))",
        ],
        capture_output=True,
        check=True,
    )

    assert done.stdout == b"set()\n"


def test_a_library_that_is_missing_is_named():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['numpy'] = None\n"
            "from cache import SnapshotError, plain\n"
            "try:\n"
            "    plain.Codec(['numpy']).loads(sys.stdin.buffer.read())\n"
            "except SnapshotError as error:\n"
            "    print(error)",
        ],
        input=CODEC.dumps(numpy.zeros(1)),
        capture_output=True,
        check=True,
    )

    assert done.stdout == b"numpy.ndarray cannot be loaded: numpy is missing\n"


@pytest.mark.clause("R7.6")
@pytest.mark.parametrize("trust", [BOTH, [numpy.ndarray, pandas.DataFrame]])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "memmap"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy", "load"),
        ("pandas", "HDFStore"),
        ("pandas", "ExcelWriter"),
        ("pandas", "DataFrame"),
        ("pandas", "read_pickle"),
    ],
)
def test_a_pickle_that_names_anything_of_them_is_refused(trust, module, name):
    data = f"\x80\x05\x8c{chr(len(module))}{module}\x8c{chr(len(name))}{name}\x93.".encode("latin1")

    with pytest.raises(SnapshotError, match=rf"{module}\.{name} is neither plain data nor trusted"):
        plain.Codec(trust).loads(data)


def packed(name, data):
    """Return a pickle as a Portable's is, of any name and data."""
    inside = pickle.dumps({"type": name, "data": data}, 5)[2:-1]
    return b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93" + inside + b"\x85R."


def array(dtype="<i8", shape=(2,), data=b"\0" * 16, order="C", **more):
    return {"dtype": dtype, "shape": shape, "order": order, "data": data, **more}


def fields(**changes):
    whole = {
        "names": ["a"],
        "formats": ["<i8"],
        "offsets": [0],
        "titles": [None],
        "itemsize": 8,
        "aligned": False,
    }
    return array({**whole, **changes})


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        array(more=1),
        array(shape=[2]),
        array(shape=(2.0,)),
        array(shape=(True, 2)),
        array(shape=(-2,)),
        array(shape=(-1, -2)),
        array(shape=(1,)),
        array(shape=(3,)),
        array(shape=(2**62, 2**62)),
        array(shape=(1,) * 100, data=b"\0" * 8),
        array(data=b""),
        array(data="\0" * 16),
        array(data=[0, 0]),
        array(order="K"),
        array(order=None),
        array("O"),
        array("|O"),
        array("|O8"),
        array("i8,O"),
        array("i8"),
        array("<i9"),
        array("<T16"),
        array("float64"),
        array("<M8[fortnight]"),
        array(b"<i8"),
        array(8),
        array(("<i8", (2,), 3)),
        array(("O", (2,))),
        array(("<i8", (-1,))),
        array(("<i8", (2**40, 2**40))),
        array({"names": ["a"], "formats": ["<i8"]}),
        fields(names="a"),
        fields(names=["a", "a"]),
        fields(names=[1]),
        fields(formats=["O"]),
        fields(formats=[]),
        fields(formats=None),
        fields(offsets=[-1]),
        fields(offsets=[4]),
        fields(offsets=["0"]),
        fields(titles=[b"t"]),
        fields(titles=None),
        fields(itemsize=7),
        fields(itemsize=2**40),
    ],
)
def test_a_hostile_array_is_refused_by_its_class(data):
    with pytest.raises(SnapshotError, match=r"the load of numpy\.ndarray"):
        CODEC.loads(packed("numpy.ndarray", data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("numpy.float64", array(shape=())),
        ("numpy.float64", array("<f8", (1,), b"\0" * 8)),
        ("numpy.float64", 1.5),
        ("numpy.str_", b"a"),
        ("numpy.bytes_", 5),
        ("numpy.void", array(shape=(), data=b"\0" * 8)),
    ],
)
def test_a_hostile_scalar_is_refused_by_its_class(name, data):
    with pytest.raises(SnapshotError, match=rf"the load of {name}"):
        CODEC.loads(packed(name, data))


INTS = {"array": array()}
PLACES = {"range": (0, 2, 1), "name": None}
SERIES = {"name": None, "index": PLACES, "data": INTS, "attrs": {}, "duplicates": True}
CODES = array("|i1", (2,), b"\0\1")


def series(data, **changes):
    return "pandas.Series", {**SERIES, "data": data, **changes}


def index(data, **changes):
    return "pandas.Index", {"data": data, "name": None, "freq": None, **changes}


def frame(**changes):
    whole = {"columns": PLACES, "index": PLACES, "data": [INTS, INTS], "attrs": {}}
    return "pandas.DataFrame", {**whole, "duplicates": True, **changes}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pandas.Series", None),
        ("pandas.Series", {}),
        series(INTS, more=1),
        series(INTS, name=[]),
        series(INTS, index={"range": (0, 3, 1), "name": None}),
        series(INTS, index=None),
        series(INTS, attrs=[]),
        series(INTS, duplicates=1),
        series({"array": array(shape=(1, 2))}),
        series({"array": array(), "objects": []}),
        series({"objects": (1, 2)}),
        series({"objects": [1]}),
        series({"what": 1}),
        series({}),
        series([1, 2]),
        series({"codes": CODES, "categories": PLACES, "ordered": 1}),
        series({"codes": CODES, "categories": {**PLACES, "range": (0, 1, 1)}, "ordered": True}),
        series({"codes": array("<f8"), "categories": PLACES, "ordered": True}),
        series({"utc": array("<M8[s]"), "zone": "/etc/localtime"}),
        series({"utc": array("<M8[s]"), "zone": "dateutil//etc/localtime"}),
        series({"utc": array("<M8[s]"), "zone": "Nowhere"}),
        series({"utc": array("<M8[s]"), "zone": 5}),
        series({"periods": array(), "freq": 5}),
        series({"periods": array(), "freq": "fortnight"}),
        series({"periods": array("<f8"), "freq": ["M"]}),
        series({"left": PLACES, "right": {**PLACES, "range": (-5, -3, 1)}, "closed": "both"}),
        series({"left": PLACES, "right": {**PLACES, "range": (0, 3, 1)}, "closed": "both"}),
        series({"left": PLACES, "right": PLACES, "closed": "ajar"}),
        series({"strings": "ab", "storage": "python", "missing": "NA"}),
        series({"strings": ["a", 1], "storage": "python", "missing": "NA"}),
        series({"strings": ["a", "b"], "storage": "shelf", "missing": "NA"}),
        series({"strings": ["a", "b"], "storage": None, "missing": "NA"}),
        series({"masked": array(), "mask": array("|b1", (1,), b"\0")}),
        series({"masked": array(), "mask": array()}),
        series({"masked": array("<M8[s]"), "mask": array("|b1", (2,), b"\0\0")}),
        index(INTS, freq="D"),
        index({"array": array("<M8[s]")}, freq="D"),
        index({"array": array("<M8[s]")}, freq=1),
        index(INTS, name=[]),
        ("pandas.Index", PLACES),
        ("pandas.RangeIndex", {"range": (0, 2, 0), "name": None}),
        ("pandas.RangeIndex", {"range": (0, 2.5, 1), "name": None}),
        ("pandas.RangeIndex", {"range": (0, 2), "name": None}),
        ("pandas.MultiIndex", {"levels": [PLACES], "codes": [], "names": [None]}),
        ("pandas.MultiIndex", {"levels": [PLACES] * 2, "codes": [CODES], "names": [None] * 2}),
        ("pandas.MultiIndex", {"levels": [PLACES], "codes": [array()], "names": [None, None]}),
        (
            "pandas.MultiIndex",
            {"levels": [{**PLACES, "range": (0, 1, 1)}], "codes": [CODES], "names": [None]},
        ),
        frame(data=[INTS]),
        frame(data={}),
        frame(data=[INTS, {"objects": [1]}]),
        frame(columns=None),
        frame(attrs=None),
        ("pandas.Timestamp", {"utc": array("<M8[s]"), "zone": None}),
        ("pandas.Timestamp", {"utc": array("<M8[s]", ()), "zone": None}),
        ("pandas.Timestamp", {"utc": array("<i8", (), b"\0" * 8), "zone": "/etc/localtime"}),
        ("pandas.Timestamp", {"utc": array("<M8[s]", (), b"\0" * 7 + b"\x80"), "zone": None}),
        ("pandas.Timedelta", array("<m8[s]", (), b"\0" * 7 + b"\x80")),
        ("pandas.Timedelta", "1 day"),
        ("pandas.Period", {"ordinal": 1.5, "freq": "D"}),
        ("pandas.Period", {"ordinal": 1, "freq": None}),
        ("pandas.Interval", {"left": 2, "right": 1, "closed": "both"}),
        ("pandas.Interval", {"left": "a", "right": "b", "closed": "both"}),
        ("pandas.Interval", {"left": 1, "right": 2, "closed": None}),
        ("pandas.NaT", 1),
        ("pandas.NA", ()),
        ("pandas.HDFStore", "s"),
        ("pandas.", None),
        ("numpy", None),
    ],
)
def test_a_hostile_pandas_object_is_refused_by_its_class(name, data):
    with pytest.raises(SnapshotError, match=rf"the load of {name}|^{name} is neither plain data"):
        CODEC.loads(packed(name, data))


def test_a_damaged_array_is_told_with_its_key(make_cache, tmp_path):
    bad = Portable(numpy.ndarray, lambda _: array(shape=(3,)), lambda _: None)
    writer, reader = make_cache(trust=[bad]), make_cache(trust=BOTH)
    writer.set("the key", [numpy.zeros(1)])
    writer.save(tmp_path / "s")

    with pytest.raises(SnapshotError, match=r"the value at 'the key' .*load of numpy\.ndarray"):
        reader.load(tmp_path / "s")
