"""How pandas's frames, series, indexes and scalars are saved as plain data."""

import datetime
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy
import pandas  # type: ignore[import-untyped]

from . import numpy_portables as arrays
from .errors import SnapshotError
from .numpy_portables import checked
from .portable import Portable, name_of

_MASKED = (pandas.arrays.IntegerArray, pandas.arrays.FloatingArray, pandas.arrays.BooleanArray)
_INDEXES = (
    *(pandas.Index, pandas.RangeIndex, pandas.MultiIndex, pandas.CategoricalIndex),
    *(pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.PeriodIndex, pandas.IntervalIndex),
)


def portables() -> list[Portable[Any]]:
    """Return a Portable of DataFrame, of Series, and of each class of indexes and scalars.

    They keep dtypes, the index and the columns with their names and order, `attrs`, the flag for
    duplicate labels, and the `freq` of an index. Items of a column of Python objects have to be
    plain or trusted themselves, and so have names and `attrs`. Not kept: how columns share memory,
    and whether a naive Timestamp was the second one of its hour. Refused: sparse columns, columns
    of Arrow's types but strings, dtypes of other libraries, time zones of dateutil, a `freq` that
    no text stands for, and subclasses of pandas's classes.
    """
    return [
        _named("DataFrame", pandas.DataFrame, _dumped_frame, _loaded_frame),
        _named("Series", pandas.Series, _dumped_series, _loaded_series),
        *(_named(kind.__name__, kind, _dumped_index, _loaded_index) for kind in _INDEXES),
        _named("Timestamp", pandas.Timestamp, _dumped_timestamp, _loaded_timestamp),
        _named("Timedelta", pandas.Timedelta, _dumped_timedelta, _loaded_timedelta),
        _named("Period", pandas.Period, _dumped_period, _loaded_period),
        _named("Interval", pandas.Interval, _dumped_interval, _loaded_interval),
        _single("NaT", pandas.NaT),
        _single("NA", pandas.NA),
    ]


def _named(
    name: str, kind: type, dump: Callable[[Any], Any], load: Callable[[Any], Any]
) -> Portable[Any]:
    made = Portable(kind, dump, load)
    made.name = f"pandas.{name}"  # whatever module defines it in this version
    return made


def _single(name: str, value: Any) -> Portable[Any]:
    def load(data: Any) -> Any:
        if data is not None:
            raise SnapshotError(f"damaged: {name} with data")
        return value

    return _named(name, type(value), lambda _: None, load)


def _dumped_frame(frame: Any) -> dict[str, Any]:
    return {
        "columns": _dumped_index(frame.columns),
        "index": _dumped_index(frame.index),
        "data": [_dumped_values(frame.iloc[:, at].array) for at in range(frame.shape[1])],
        "attrs": dict(frame.attrs),
        "duplicates": frame.flags.allows_duplicate_labels,
    }


def _loaded_frame(data: Any) -> Any:
    parts = checked(data, "columns", "index", "data", "attrs", "duplicates")
    columns, index = _loaded_index(parts["columns"]), _loaded_index(parts["index"])
    if type(parts["data"]) is not list or len(parts["data"]) != len(columns):
        raise SnapshotError("damaged: a frame without as many columns as names of columns")
    # By number, as names may repeat; as Series, so that no other dtype is guessed.
    series = {at: _series(each, index) for at, each in enumerate(parts["data"])}
    frame = pandas.DataFrame(series, index=index)
    frame.columns = columns
    return _labelled(frame, parts)


def _dumped_series(series: Any) -> dict[str, Any]:
    return {
        "name": series.name,
        "index": _dumped_index(series.index),
        "data": _dumped_values(series.array),
        "attrs": dict(series.attrs),
        "duplicates": series.flags.allows_duplicate_labels,
    }


def _loaded_series(data: Any) -> Any:
    parts = checked(data, "name", "index", "data", "attrs", "duplicates")
    series = _series(parts["data"], _loaded_index(parts["index"]))
    series.name = parts["name"]
    return _labelled(series, parts)


def _series(data: Any, index: Any) -> Any:
    values = _loaded_values(data)
    return pandas.Series(values, index=index, dtype=values.dtype, copy=False)


def _labelled(item: Any, parts: dict[str, Any]) -> Any:
    if type(parts["attrs"]) is not dict or type(parts["duplicates"]) is not bool:
        raise SnapshotError("damaged: attrs or flags of another type")
    item.attrs = parts["attrs"]
    item.flags.allows_duplicate_labels = parts["duplicates"]
    return item


def _dumped_index(index: Any) -> dict[str, Any]:
    """Return an index as plain data: a range, levels with codes, or values."""
    kind = type(index)
    if kind is pandas.RangeIndex:
        return {"range": (index.start, index.stop, index.step), "name": index.name}
    if kind is pandas.MultiIndex:
        return {
            "levels": [_dumped_index(level) for level in index.levels],
            "codes": [arrays.dumped(numpy.asarray(codes)) for codes in index.codes],
            "names": list(index.names),
        }
    if kind not in _INDEXES:
        raise SnapshotError(f"an index of class {name_of(kind)} cannot be saved")
    freq = index.freq if kind in (pandas.DatetimeIndex, pandas.TimedeltaIndex) else None
    return {
        "data": _dumped_values(index.array),
        "name": index.name,
        "freq": None if freq is None else _text_of(freq),
    }


def _loaded_index(data: Any) -> Any:
    if type(data) is dict and "range" in data:
        parts = checked(data, "range", "name")
        start, stop, step = _whole(*parts["range"])
        return pandas.RangeIndex(start, stop, step, name=parts["name"])
    if type(data) is dict and "levels" in data:
        parts = checked(data, "levels", "codes", "names")
        levels = [_loaded_index(level) for level in parts["levels"]]
        codes = [_vector(each) for each in parts["codes"]]
        return pandas.MultiIndex(levels, codes, names=parts["names"])
    parts = checked(data, "data", "name", "freq")
    values, name = _loaded_values(parts["data"]), parts["name"]
    index = pandas.Index(values, dtype=values.dtype, name=name, tupleize_cols=False)
    if parts["freq"] is None:
        return index
    return type(index)(index, freq=_text(parts["freq"]), name=name)


def _dumped_values(values: Any) -> dict[str, Any]:
    """Return what a column or an index holds as plain data."""
    if type(values) is pandas.arrays.NumpyExtensionArray:
        values = values.to_numpy()
    dtype, kind = values.dtype, type(values)
    if isinstance(dtype, numpy.dtype):
        # list: tolist would make other objects of some.
        return {"objects": list(values)} if dtype.hasobject else {"array": _plain(values)}
    if type(dtype) is pandas.CategoricalDtype:
        return {
            "codes": _plain(values.codes),
            "categories": _dumped_index(dtype.categories),
            "ordered": dtype.ordered,
        }
    if type(dtype) is pandas.DatetimeTZDtype:
        utc = values.tz_convert("UTC").tz_localize(None)
        return {"utc": _plain(utc), "zone": _dumped_zone(dtype.tz)}
    if type(dtype) is pandas.PeriodDtype:
        return {"periods": _plain(values.astype("int64")), "freq": values.freqstr}
    if type(dtype) is pandas.IntervalDtype:
        return {
            "left": _dumped_index(values.left),
            "right": _dumped_index(values.right),
            "closed": values.closed,
        }
    if type(dtype) is pandas.StringDtype:
        return {
            "strings": values.to_numpy(dtype=object, na_value=None).tolist(),
            "storage": dtype.storage,
            "missing": "NA" if dtype.na_value is pandas.NA else "nan",
        }
    if kind in _MASKED:
        plain = values.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return {"masked": arrays.dumped(plain), "mask": _plain(values.isna())}
    raise SnapshotError(f"a column of class {name_of(kind)} cannot be saved")


def _loaded_values(data: Any) -> Any:
    tag = next(iter(data), None) if type(data) is dict else None
    if tag not in _LOADERS:
        raise SnapshotError("damaged: values of an unknown kind")
    return _LOADERS[tag](data)


def _loaded_objects(data: Any) -> Any:
    items = checked(data, "objects")["objects"]
    if type(items) is not list:
        raise SnapshotError("damaged: a column without its list")
    array = numpy.empty(len(items), dtype=object)
    for at, item in enumerate(items):  # one by one: an item may be a list or an array
        array[at] = item
    return array


def _loaded_array(data: Any) -> Any:
    return _vector(checked(data, "array")["array"])


def _loaded_categories(data: Any) -> Any:
    parts = checked(data, "codes", "categories", "ordered")
    if type(parts["ordered"]) is not bool:
        raise SnapshotError("damaged: categories that are neither ordered nor not")
    dtype = pandas.CategoricalDtype(_loaded_index(parts["categories"]), parts["ordered"])
    return pandas.Categorical.from_codes(_vector(parts["codes"]), dtype=dtype)


def _loaded_times(data: Any) -> Any:
    parts = checked(data, "utc", "zone")
    utc = pandas.DatetimeIndex(_vector(parts["utc"])).tz_localize("UTC")
    return utc.tz_convert(_checked_zone(parts["zone"])).array


def _loaded_periods(data: Any) -> Any:
    parts = checked(data, "periods", "freq")
    ordinals, freq = _vector(parts["periods"]), _text(parts["freq"])
    return pandas.PeriodIndex.from_ordinals(ordinals, freq=freq).array


def _loaded_intervals(data: Any) -> Any:
    parts = checked(data, "left", "right", "closed")
    left, right = _loaded_index(parts["left"]), _loaded_index(parts["right"])
    return pandas.arrays.IntervalArray.from_arrays(left, right, _text(parts["closed"]))


def _loaded_strings(data: Any) -> Any:
    parts = checked(data, "strings", "storage", "missing")
    strings = parts["strings"]
    if type(strings) is not list or set(map(type, strings)) - {str, type(None)}:
        raise SnapshotError("damaged: a column of strings without its list of str")
    options = {} if parts["missing"] == "NA" else {"na_value": numpy.nan}
    return pandas.array(strings, dtype=pandas.StringDtype(_text(parts["storage"]), **options))


def _loaded_masked(data: Any) -> Any:
    parts = checked(data, "masked", "mask")
    values, mask = _vector(parts["masked"]), _vector(parts["mask"])
    kind = {"f": pandas.arrays.FloatingArray, "b": pandas.arrays.BooleanArray}
    return kind.get(values.dtype.kind, pandas.arrays.IntegerArray)(values, mask)


# By the first name in the dict.
_LOADERS: dict[Any, Callable[[Any], Any]] = {
    "objects": _loaded_objects,
    "array": _loaded_array,
    "codes": _loaded_categories,
    "utc": _loaded_times,
    "periods": _loaded_periods,
    "left": _loaded_intervals,
    "strings": _loaded_strings,
    "masked": _loaded_masked,
}


def _dumped_timestamp(moment: Any) -> dict[str, Any]:
    """Return a moment as its time in UTC and its zone, if it has one."""
    zone = None if moment.tzinfo is None else _dumped_zone(moment.tzinfo)
    return {"utc": arrays.dumped(numpy.asarray(moment.asm8)), "zone": zone}


def _loaded_timestamp(data: Any) -> Any:
    parts = checked(data, "utc", "zone")
    moment = pandas.Timestamp(arrays.loaded(parts["utc"])[()])
    if parts["zone"] is None:
        return moment
    return moment.tz_localize("UTC").tz_convert(_checked_zone(parts["zone"]))


def _dumped_timedelta(length: Any) -> dict[str, Any]:
    return arrays.dumped(numpy.asarray(length.asm8))


def _loaded_timedelta(data: Any) -> Any:
    return pandas.Timedelta(arrays.loaded(data)[()])


def _dumped_period(period: Any) -> dict[str, Any]:
    return {"ordinal": period.ordinal, "freq": period.freqstr}


def _loaded_period(data: Any) -> Any:
    parts = checked(data, "ordinal", "freq")
    (ordinal,) = _whole(parts["ordinal"])
    return pandas.Period(ordinal=ordinal, freq=_text(parts["freq"]))


def _dumped_interval(interval: Any) -> dict[str, Any]:
    return {"left": interval.left, "right": interval.right, "closed": interval.closed}


def _loaded_interval(data: Any) -> Any:
    parts = checked(data, "left", "right", "closed")
    return pandas.Interval(parts["left"], parts["right"], _text(parts["closed"]))


def _dumped_zone(zone: Any) -> Any:
    """Return a zone that is plain data, or the name of one of pytz (pandas before 3)."""
    if type(zone).__module__.partition(".")[0] == "pytz":
        return str(zone)  # pragma: no cover - pandas 3 makes none of pytz
    return zone


def _checked_zone(zone: Any) -> Any:
    if type(zone) is str:
        zoneinfo.ZoneInfo(zone)  # pandas would take the path of a file too
    elif type(zone) not in (zoneinfo.ZoneInfo, datetime.timezone):
        raise SnapshotError(f"damaged: {type(zone).__name__} is no time zone")
    return zone


def _text_of(freq: Any) -> str:
    """Return the text of a frequency, if it stands for exactly that."""
    text: str = freq.freqstr
    try:
        same = pandas.tseries.frequencies.to_offset(text) == freq
    except ValueError:
        same = False
    if not same:
        raise SnapshotError(f"the frequency of class {name_of(type(freq))} cannot be saved")
    return text


def _plain(values: Any) -> dict[str, Any]:
    return arrays.dumped(numpy.asarray(values))


def _vector(data: Any) -> Any:
    array = arrays.loaded(data)
    if array.ndim != 1:
        raise SnapshotError(f"damaged: a column of {array.ndim} dimensions")
    return array


def _text(data: Any) -> str:
    if type(data) is not str:
        raise SnapshotError(f"damaged: {type(data).__name__} instead of text")
    return data


def _whole(*numbers: Any) -> tuple[Any, ...]:
    if any(type(number) is not int for number in numbers):
        raise SnapshotError("damaged: no whole number")
    return numbers
