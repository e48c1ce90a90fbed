"""How NumPy's arrays and scalars are saved as plain data: dtype, shape, order and bytes."""

import re
from typing import Any

import numpy

from .errors import SnapshotError
from .portable import Portable

# What `dtype.str` may be: numbers, times, text and bytes, but no Python objects.
_SIMPLE = re.compile(r"[<>|][biufcmMSUV][0-9]*(\[[0-9]*[A-Za-z]+\])?")


def portables() -> list[Portable[Any]]:
    """Return a Portable of `ndarray` and one of each class of scalars.

    They keep the dtype (fields and their places included), the shape, and whether the order is C
    or Fortran. Not kept: other strides, whether the array is read-only, metadata of a dtype, and
    `numpy.record` as the class of items. Arrays of Python objects and StringDType are refused, and
    so are subclasses of `ndarray`.
    """
    return [_named(numpy.ndarray, dumped, loaded), *map(_scalar, _scalar_classes())]


def dumped(array: Any) -> dict[str, Any]:
    """Return an array as plain data."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return {
        "dtype": _dumped_dtype(array.dtype),
        "shape": array.shape,
        "order": order,
        "data": array.tobytes(order),
    }


def loaded(data: Any) -> Any:
    """Return the array; raises for anything that `dumped` does not return."""
    parts = checked(data, "dtype", "shape", "order", "data")
    dtype, shape, content = _loaded_dtype(parts["dtype"]), parts["shape"], parts["data"]
    if type(content) is not bytes or parts["order"] not in ("C", "F"):
        raise SnapshotError("damaged: an array without its bytes or order")
    # A bytearray, so that the array can be changed.
    array: Any = numpy.ndarray(
        _checked_shape(shape), dtype, bytearray(content), order=parts["order"]
    )
    if array.nbytes != len(content):
        raise SnapshotError(f"damaged: an array of {array.nbytes} bytes, not {len(content)}")
    return array


def checked(data: Any, *names: str) -> dict[str, Any]:
    """Return `data` if it is a dict of exactly these names; else SnapshotError."""
    if type(data) is not dict or set(data) != set(names):
        raise SnapshotError(f"damaged: no dict of {', '.join(names)}")
    return data


def _named(kind: type, dump: Any, load: Any) -> Portable[Any]:
    made = Portable(kind, dump, load)
    made.name = f"numpy.{kind.__name__}"  # whatever module defines it in this version
    return made


def _scalar_classes() -> set[type]:
    return {numpy.dtype(code).type for code in numpy.typecodes["All"] if code != "O"}


def _scalar(kind: type) -> Portable[Any]:
    plain = kind.__mro__[1]
    if plain in (str, bytes):  # as an array's item it would lose zeros at its end; str() does too
        return _named(kind, lambda item: item[:], lambda data: kind(_exactly(data, plain)))

    def load(data: Any) -> Any:
        item = loaded(data)[()]
        if item.dtype == numpy.dtype(kind):
            item = kind(item)  # two classes may have the same items, such as long and longlong
        if type(item) is not kind:
            raise SnapshotError(f"damaged: {type(item).__name__} instead of a scalar")
        return item

    return _named(kind, lambda item: dumped(numpy.asarray(item)), load)


def _exactly(data: Any, kind: type) -> Any:
    if type(data) is not kind:
        raise SnapshotError(f"damaged: {type(data).__name__} instead of {kind.__name__}")
    return data


def _dumped_dtype(dtype: Any) -> Any:
    """Return a dtype as a str, as (item's dtype, shape), or as a dict of lists of fields."""
    if dtype.subdtype is not None:
        item, shape = dtype.subdtype
        return _dumped_dtype(item), shape
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        return {
            "names": list(dtype.names),
            "formats": [_dumped_dtype(field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "titles": [field[2] if len(field) > 2 else None for field in fields],
            "itemsize": dtype.itemsize,
            "aligned": dtype.isalignedstruct,
        }
    text: str = dtype.str
    if _SIMPLE.fullmatch(text) is None or numpy.dtype(text) != dtype:
        raise SnapshotError(f"an array of dtype {dtype.name} cannot be saved")
    return text


def _loaded_dtype(data: Any) -> Any:
    if type(data) is str and _SIMPLE.fullmatch(data) is not None:
        return numpy.dtype(data)
    if type(data) is tuple and len(data) == 2:
        return numpy.dtype((_loaded_dtype(data[0]), _checked_shape(data[1])))
    parts = dict(checked(data, "names", "formats", "offsets", "titles", "itemsize", "aligned"))
    aligned = parts.pop("aligned") is True
    parts["formats"] = [_loaded_dtype(each) for each in parts["formats"]]
    for name in _exactly(parts["names"], list):
        _exactly(name, str)
    for title in parts["titles"]:
        if title is not None:
            _exactly(title, str)
    make: Any = numpy.dtype
    return make(parts, align=aligned)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or any(type(length) is not int for length in shape):
        raise SnapshotError("damaged: an array without its shape")
    return shape
