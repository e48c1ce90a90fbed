"""The content of NumPy arrays and pandas objects: type, dtype, shape and all items.

Neither library is imported here: a caller that has one of their objects has loaded them.
"""

import sys
from typing import Any

Described = tuple[str, tuple[Any, ...]]

_RAW = "biufcmMSU"  # kinds of dtypes whose items are fully described by their bytes


def parts(value: Any) -> Described | None:
    """Return the name of a value's type and its parts, or None for any other value.

    The parts are plain data, objects that the array holds, and further such arrays.
    """
    numpy = sys.modules.get("numpy")
    pandas = sys.modules.get("pandas")
    found = None if numpy is None else _numpy_parts(value, type(value), numpy)
    if found is None and pandas is not None:
        found = _pandas_parts(value, type(value), pandas)
    return found


def _numpy_parts(value: Any, kind: type, numpy: Any) -> Described | None:
    if kind is numpy.ndarray:
        content = _content(value, numpy)
        return None if content is None else ("numpy.ndarray", (value.shape, *content))
    if kind is numpy.ma.MaskedArray:
        data, mask = numpy.ma.getdata(value), numpy.ma.getmaskarray(value)
        return "numpy.ma.MaskedArray", (data, mask, value.fill_value)
    if issubclass(kind, numpy.generic) and value.dtype.type is kind:
        content = _content(numpy.asarray(value), numpy)
        return None if content is None else (f"numpy.{kind.__name__}", content)
    return None


def _content(array: Any, numpy: Any) -> tuple[Any, ...] | None:
    """Return dtype and items of an array, or None if its dtype is of an unknown kind."""
    dtype = array.dtype
    if dtype.names is not None:
        # Field by field: the gaps between fields are not part of the value.
        fields = [(name, dtype.fields[name][1], array[name]) for name in dtype.names]
        return "fields", dtype.itemsize, dtype.isalignedstruct, fields
    if dtype.kind == "O":
        return "objects", array.ravel().tolist()
    if dtype.kind == "T":
        missing = getattr(dtype, "na_object", "")
        return "strings", dtype.coerce, missing, array.ravel().tolist()
    if dtype.char in "gG":
        return dtype.str, _extended(array, numpy)
    if dtype.kind in _RAW:
        return dtype.str, array.tobytes()
    if dtype.kind == "V":
        scalar = dtype.type
        return dtype.str, f"{scalar.__module__}.{scalar.__qualname__}", array.tobytes()
    return None  # pragma: no cover - a dtype of another library


def _extended(array: Any, numpy: Any) -> bytes:
    """Return the bytes of long doubles, without padding."""
    width = numpy.dtype(numpy.longdouble).itemsize
    raw = numpy.frombuffer(array.tobytes(), numpy.uint8).reshape(-1, width)
    used = 10 if numpy.finfo(numpy.longdouble).nmant == 63 else width  # Intel's has 80 bits
    little = array.dtype.str[0] == "<"
    kept: bytes = (raw[:, :used] if little else raw[:, width - used :]).tobytes()
    return kept


def _pandas_parts(value: Any, kind: type, pandas: Any) -> Described | None:
    name = f"pandas.{kind.__name__}"
    if kind is pandas.DataFrame:
        columns = [value.iloc[:, at].array for at in range(value.shape[1])]
        flags = value.flags.allows_duplicate_labels
        return name, (value.columns, value.index, columns, value.attrs, flags)
    if kind is pandas.Series:
        flags = value.flags.allows_duplicate_labels
        return name, (value.name, value.index, value.array, value.attrs, flags)
    if kind is pandas.RangeIndex:
        return name, (value.name, value.start, value.stop, value.step)
    if kind is pandas.MultiIndex:
        levels = [value.get_level_values(level) for level in range(value.nlevels)]
        return name, (list(value.names), levels)
    if kind in (pandas.Index, pandas.CategoricalIndex, pandas.IntervalIndex):
        return name, (value.name, value.array)
    if kind in (pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.PeriodIndex):
        return name, (value.name, value.freqstr, value.array)
    if kind is pandas.Timestamp:
        return name, (value.asm8, value.tzinfo, value.fold)
    if kind is pandas.Timedelta:
        return name, (value.asm8,)
    if kind is pandas.Period:
        return name, (value.ordinal, value.freqstr)
    if kind is pandas.Interval:
        return name, (value.left, value.right, value.closed)
    if value is pandas.NA or value is pandas.NaT:
        return name, ()
    if kind is pandas.Categorical:
        return name, (value.codes, value.categories, value.ordered)
    own = kind.__module__.partition(".")[0] == "pandas"
    if own and issubclass(kind, pandas.api.extensions.ExtensionArray):
        return name, _extension_parts(value)
    return None


def _extension_parts(value: Any) -> tuple[Any, ...]:
    dtype = value.dtype
    zone = getattr(dtype, "tz", None)
    if dtype.kind in "mM" and hasattr(value, "asi8"):
        unit = str(dtype) if zone is None else dtype.unit
        return unit, zone, getattr(value, "freqstr", None), value.asi8
    if type(value).__name__ in ("NumpyExtensionArray", "PandasArray"):
        return (value.to_numpy(),)
    storage = getattr(dtype, "storage", None)
    missing = getattr(dtype, "na_value", None)
    return str(dtype), storage, missing, value.astype(object)
