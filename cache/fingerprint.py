"""Fingerprints: arguments as canonical bytes, and a digest of them.

Every value is written with the tag of its type, and with its length or number of items, so that no
two different values give the same bytes. Only types whose whole content is known are written; the
`repr`, `str`, `hash` or `id` of other objects is never used.

Values that compare equal but can be distinguished are different here: `0.0` and `-0.0`,
`Decimal("1.0")` and `Decimal("1.00")`, one moment in two time zones. A NaN equals itself, by its
bits. Computing a result twice is safe; returning the result of other arguments is not.
"""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import ipaddress
import pathlib
import struct
import types
import uuid
import zoneinfo
from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn

from . import arrays, naming

Write = Callable[[bytes], object]

_UNSET: Any = object()
_PACKED_FROM = 8  # items; fewer are written one by one
_LEAST, _MOST = -(2**63), 2**63 - 1
_BITS = 128


def fingerprint(*args: Any, ignore: Collection[str] = (), **kwargs: Any) -> str:
    """Return a digest of 128 bits of the arguments, as 32 hexadecimal digits.

    It is the same in every process and on every supported Python. Two calls have the same digest
    exactly if all arguments are equal in type and value, at every depth. `ignore` names
    keyword arguments to leave out. The arguments may be plain data (None, numbers, text, bytes,
    the containers, dates, paths and addresses of the standard library), enums, dataclasses, named
    tuples, classes, module-level functions, NumPy arrays and scalars, pandas objects, instances of
    classes with a method `__cache_key__`, and containers of all these. Anything else is a TypeError
    that names the argument. A local class, and its instances, have fingerprints that are valid in
    this process only.
    """
    if isinstance(ignore, str):
        raise TypeError("ignore must be a collection of names, not a str")
    named = [(f"args[{at}]", value) for at, value in enumerate(args)]
    named += [(name, kwargs[name]) for name in sorted(kwargs) if name not in ignore]
    return digest(canonical(named))


def digest(data: bytes) -> str:
    """Return the digest of canonical bytes, in hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=_BITS // 8).hexdigest()


def canonical(named: Iterable[tuple[str, Any]]) -> bytes:
    """Return the canonical bytes of values with their names.

    Raises TypeError that names the value if it has no canonical bytes.
    """
    pieces: list[bytes] = []
    write = pieces.append
    for name, value in named:
        _str(name, write)
        try:
            encode(value, write)
        except Refused as refused:
            raise TypeError(_refusal(name, refused)) from None
        except RecursionError:
            raise TypeError(
                f"argument {name!r} contains itself, or is nested too deeply; pass key= or ignore="
            ) from None
    return b"".join(pieces)


def _refusal(name: str, refused: "Refused") -> str:
    return (
        f"argument {name!r} is or holds {refused}, which has no fingerprint; pass key=, leave the"
        " argument out with ignore=, or give the class a method __cache_key__"
    )


class Refused(Exception):
    """A value without canonical bytes; the text says what it is."""


def encode(value: Any, write: Write) -> None:
    """Write the canonical bytes of `value`, or raise Refused."""
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        encoder(value, write)
    else:
        _other(value, kind, write)


# -- atoms ---------------------------------------------------------------------------------------


def _none(value: None, write: Write) -> None:
    write(b"N")


def _bool(value: bool, write: Write) -> None:
    write(b"T" if value else b"F")


def _int(value: int, write: Write) -> None:
    write(b"i%x;" % value)


def _float(value: float, write: Write) -> None:
    write(struct.pack(">cd", b"f", value))


def _complex(value: complex, write: Write) -> None:
    write(struct.pack(">cdd", b"j", value.real, value.imag))


def _str(value: str, write: Write) -> None:
    raw = value.encode("utf-8", "surrogatepass")
    write(b"s%x:%b" % (len(raw), raw))


def _bytes(value: bytes, write: Write) -> None:
    write(b"b%x:%b" % (len(value), value))


def _bytearray(value: bytearray, write: Write) -> None:
    raw = bytes(value)
    write(b"B%x:%b" % (len(raw), raw))


# -- containers ----------------------------------------------------------------------------------


def _tuple(value: Iterable[Any], write: Write) -> None:
    _sequence(b"(", tuple(value), write)


def _list(value: list[Any], write: Write) -> None:
    _sequence(b"[", tuple(value), write)


def _sequence(tag: bytes, items: tuple[Any, ...], write: Write) -> None:
    write(b"%b%x:" % (tag, len(items)))
    # Many numbers of one type are packed in a few C calls, about 20 times as fast.
    if len(items) >= _PACKED_FROM:
        kind = type(items[0])
        if (kind is int or kind is float) and [*map(type, items)].count(kind) == len(items):
            if kind is float:
                write(struct.pack(f">c{len(items)}d", b"d", *items))
                return
            try:
                write(struct.pack(f">c{len(items)}q", b"q", *items))
            except struct.error:  # more than 64 bits
                pass
            else:
                return
    for item in items:
        encode(item, write)


def _unordered(tag: bytes, parts: list[bytes], write: Write) -> None:
    parts.sort()
    write(b"%b%x:%b" % (tag, len(parts), b"".join(parts)))


def _encoded(*values: Any) -> bytes:
    pieces: list[bytes] = []
    for value in values:
        encode(value, pieces.append)
    return b"".join(pieces)


def _set(value: set[Any], write: Write) -> None:
    _unordered(b"{", [_encoded(item) for item in tuple(value)], write)


def _frozenset(value: frozenset[Any], write: Write) -> None:
    _unordered(b"<", [_encoded(item) for item in value], write)


def _dict(value: dict[Any, Any], write: Write) -> None:
    _unordered(b"m", [_encoded(key, item) for key, item in tuple(value.items())], write)


# -- types that others describe --------------------------------------------------------------------

# For each type, the parts that distinguish its values.
_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    range: lambda value: (value.start, value.stop, value.step),
    collections.deque: lambda value: (value.maxlen, list(value)),
    collections.OrderedDict: lambda value: tuple(value.items()),
    collections.defaultdict: lambda value: (value.default_factory, dict(value)),
    collections.Counter: lambda value: (dict(value),),
    datetime.date: lambda value: (value.year, value.month, value.day),
    datetime.time: lambda value: _time(value),
    datetime.datetime: lambda value: (value.year, value.month, value.day, *_time(value)),
    datetime.timedelta: lambda value: (value.days, value.seconds, value.microseconds),
    datetime.timezone: lambda value: (value.utcoffset(None), value.tzname(None)),
    zoneinfo.ZoneInfo: lambda value: (_zone(value),),
    decimal.Decimal: lambda value: value.as_tuple()[:],
    fractions.Fraction: lambda value: (value.numerator, value.denominator),
    uuid.UUID: lambda value: (value.int, value.is_safe.value),
    **{
        kind: lambda value: (str(value),)
        for kind in (
            *(pathlib.PurePosixPath, pathlib.PureWindowsPath),
            *(pathlib.PosixPath, pathlib.WindowsPath),
        )
    },
    # Their text differs between Pythons.
    ipaddress.IPv4Address: lambda value: (value.packed,),
    ipaddress.IPv6Address: lambda value: (value.packed, value.scope_id),
    ipaddress.IPv4Network: lambda value: (value.network_address, value.prefixlen),
    ipaddress.IPv6Network: lambda value: (value.network_address, value.prefixlen),
    ipaddress.IPv4Interface: lambda value: (value.ip, value.network.prefixlen),
    ipaddress.IPv6Interface: lambda value: (value.ip, value.network.prefixlen),
}


def _time(value: datetime.time | datetime.datetime) -> tuple[Any, ...]:
    return value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo


def _zone(value: zoneinfo.ZoneInfo) -> str:
    if value.key is None:
        raise Refused("a ZoneInfo without a key")
    return value.key


def _described(kind: type) -> Callable[[Any, Write], None]:
    """Return the encoder of a type in `_PARTS`."""
    parts = _PARTS[kind]
    head = b"p" + _encoded(naming.name_of(kind))

    def encode_parts(value: Any, write: Write) -> None:
        write(head)
        _tuple(parts(value), write)

    return encode_parts


_ENCODERS: dict[type, Callable[[Any, Write], None]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    complex: _complex,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    tuple: _tuple,
    list: _list,
    set: _set,
    frozenset: _frozenset,
    dict: _dict,
}
_ENCODERS |= {kind: _described(kind) for kind in _PARTS}
# A dataclass that inherits from one of these has more content than its fields.
_HOLDERS = (*(kind for kind in _ENCODERS if kind is not type(None)),)


# -- classes of others -----------------------------------------------------------------------------


def _other(value: Any, kind: type, write: Write) -> None:
    if any("__cache_key__" in base.__dict__ for base in kind.__mro__):
        _instance(b"k", kind, (kind.__cache_key__(value),), write)  # type: ignore[attr-defined]
    elif issubclass(kind, type):
        write(b"c" + _class(value))
    elif kind is types.FunctionType or kind is types.BuiltinFunctionType:
        _function(value, write)
    elif issubclass(kind, enum.Enum):
        _instance(b"e", kind, _member(value), write)
    elif dataclasses.is_dataclass(kind):
        _instance(b"a", kind, _fields(value, kind), write)
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        items = tuple(tuple.__iter__(value))
        _instance(b"n", kind, (items, getattr(value, "__dict__", {})), write)
    elif (described := arrays.parts(value)) is not None:
        name, parts = described
        write(b"x" + _encoded(name))
        _tuple(parts, write)
    else:
        _refuse(kind)


def _refuse(kind: type) -> NoReturn:
    raise Refused(f"a {kind.__module__}.{kind.__qualname__}")


def _function(value: Any, write: Write) -> None:
    """Write a function by its name, if importing that name returns it."""
    if not naming.leads_back(value):
        raise Refused(f"the function {value.__qualname__}, which no module's name leads to")
    write(b"g" + _encoded(naming.name_of(value)))


def _class(kind: type) -> bytes:
    """Return the name of a class, with a token if other classes may have that name."""
    token = None if naming.leads_back(kind) else naming.token_of(kind)
    return _encoded(naming.name_of(kind), token)


def _instance(tag: bytes, kind: type, parts: tuple[Any, ...], write: Write) -> None:
    """Write an instance by its parts and its class, with a token if the name is not unique."""
    write(tag + _class(kind))
    _tuple(parts, write)


def _member(value: enum.Enum) -> tuple[Any, ...]:
    """Return the name of an enum's member, and its value if that is an atom."""
    inner = value._value_
    atom = type(inner) in (bool, int, float, str, bytes)
    if isinstance(value, enum.Flag):
        return (inner,)  # the names of combinations differ between Pythons
    return value._name_, atom, inner if atom else None


def _fields(value: Any, kind: Any) -> tuple[Any, ...]:
    """Return all fields of a dataclass, as pairs of name and value."""
    if issubclass(kind, _HOLDERS):
        _refuse(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    found = {name: getattr(value, name, _UNSET) for name in names}
    present = {name: item for name, item in found.items() if item is not _UNSET}
    more: dict[str, Any] = {}
    if "__dataclass_fields__" not in kind.__dict__:
        # A subclass that is not a dataclass itself: its own state is in none of the fields.
        for base in kind.__mro__:
            if "__dataclass_fields__" not in base.__dict__ and base.__dict__.get("__slots__"):
                _refuse(kind)
        more = {
            name: item
            for name, item in getattr(value, "__dict__", {}).items()
            if name not in found
            and not isinstance(getattr(kind, name, None), functools.cached_property)
        }
    return present, more
