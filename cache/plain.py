"""Pickles that hold plain data, and what the user trusts, and can do nothing else.

Reading resolves only the names in `_PLAIN` and what `trust` names. Writing refuses what reading
would refuse, so that nothing is written that cannot come back. The plain types are containers,
numbers, text, dates, identifiers, paths and addresses of the standard library; no function is
among them, so a pickle can at the most call their constructors.
"""

import collections
import copyreg
import datetime
import decimal
import fractions
import importlib
import io
import ipaddress
import pathlib
import pickle
import uuid
import zoneinfo
from collections.abc import Iterable
from types import FunctionType
from typing import Any, Protocol

from .errors import SnapshotError

_PROTOCOL = 5
# The ones in pure Python, whose single steps can be overridden; slower, used where that is needed.
_PurePickler: Any = pickle._Pickler
_PureUnpickler: Any = pickle._Unpickler

_PATHS = (
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
)
# What a pickle may name: the module and name under which every supported Python knows the type.
_PLAIN: dict[tuple[str, str], type] = {
    (kind.__module__ if kind not in _PATHS else "pathlib", kind.__qualname__): kind
    for kind in (
        *(bool, int, float, complex, str, bytes, bytearray),
        *(tuple, list, dict, set, frozenset, range),
        *(collections.deque, collections.OrderedDict, collections.defaultdict),
        collections.Counter,
        *(datetime.date, datetime.time, datetime.datetime, datetime.timedelta),
        *(datetime.timezone, zoneinfo.ZoneInfo),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID),
        *_PATHS,
        *(ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface),
        *(ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface),
    )
}
_PLAIN_TYPES = frozenset(_PLAIN.values())
# Python 3.13 defines the pathlib classes in a submodule that 3.11 and 3.12 do not have.
_FORMER_MODULES = {"pathlib._local": "pathlib"}


class Sink(Protocol):
    """Where a pickle goes: a file whose end can be taken back."""

    def write(self, data: Any, /) -> int:
        """Take the next bytes."""

    def mark(self) -> Any:
        """Return a mark of the end as it is now."""

    def back_to(self, mark: Any, /) -> None:
        """Drop what was written since the mark."""


class Source(Protocol):
    """Where a pickle comes from: a file in which one can go back."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, fewer at the end."""

    def readline(self) -> bytes:
        """Return the bytes up to the next newline."""

    def tell(self) -> int:
        """Return the place of the next byte."""

    def seek(self, place: int, /) -> Any:
        """Go to a place."""


class _Memory(io.BytesIO):
    mark = io.BytesIO.tell

    def back_to(self, mark: int, /) -> None:
        self.seek(mark)
        self.truncate()


class Codec:
    """Turns values into pickles and back, within plain data and what is trusted."""

    def __init__(self, trust: Iterable[type | str] = ()) -> None:
        """Trust the classes in `trust`, and the classes defined in the modules that it names.

        Raises TypeError for what is neither a class nor a str, and ValueError for an empty name.
        """
        if isinstance(trust, (str, bytes, type)) or not isinstance(trust, Iterable):
            raise TypeError("trust must be an iterable of classes and names of modules")
        classes: dict[tuple[str, str], type] = {}
        modules: set[str] = set()
        for item in trust:
            if isinstance(item, type):
                classes[item.__module__, item.__qualname__] = item
            elif isinstance(item, str):
                if not item:
                    raise ValueError("trust names a module with an empty name")
                modules.add(item)
            else:
                raise TypeError(
                    f"trust takes classes and names of modules, not {type(item).__name__}"
                )
        self._classes = classes
        self._modules = frozenset(modules)

    def dump(self, value: object, sink: Sink) -> None:
        """Write `value` as a pickle. Raises SnapshotError, with the type, for what is refused.

        Whatever a value's own methods raise while they are pickled is a SnapshotError too, and
        part of the pickle may be written then. An OSError of the sink's stays one.
        """
        start = sink.mark()
        try:
            try:
                _Pickler(sink, self).dump(value)
            except _Moved:
                sink.back_to(start)
                _PortablePickler(sink, self).dump(value)
        except (SnapshotError, OSError):
            raise
        except Exception as error:
            raise SnapshotError(f"cannot be pickled: {type(error).__name__}") from error

    def dumps(self, value: object) -> bytes:
        """Return `value` as a pickle; errors as in `dump`."""
        sink = _Memory()
        self.dump(value, sink)
        return sink.getvalue()

    def load(self, stream: Source) -> Any:
        """Read one pickle. Raises SnapshotError, with the type, for what is refused."""
        start = stream.tell()
        try:
            # An extension code that was used before resolves without find_class being asked.
            if not copyreg._extension_registry:  # type: ignore[attr-defined]
                try:
                    return _Unpickler(stream, self).load()
                except _Alterable:
                    stream.seek(start)
            return _CarefulUnpickler(stream, self).load()
        except (SnapshotError, OSError):
            raise
        except Exception as error:
            raise SnapshotError(f"not a whole pickle: {type(error).__name__}") from error

    def loads(self, data: bytes) -> Any:
        """Return the value in a pickle; errors as in `load`."""
        return self.load(io.BytesIO(data))

    def allows(self, kind: type) -> bool:
        """Tell whether instances of exactly this class may be in a pickle."""
        if kind in _PLAIN_TYPES:
            return True
        module, name = kind.__module__, kind.__qualname__
        if self._classes.get((module, name)) is kind:
            return True
        return module in self._modules and "." not in name

    def resolve(self, module: str, name: str) -> type:
        """Return the class that a pickle names, if it is allowed."""
        module = _FORMER_MODULES.get(module, module)
        found: object = _PLAIN.get((module, name)) or self._classes.get((module, name))
        if found is None and module in self._modules and "." not in name:
            found = getattr(importlib.import_module(module), name, None)
            if not isinstance(found, type) or found.__module__ != module:
                found = None
        if not isinstance(found, type):
            raise SnapshotError(f"{module}.{name} is neither plain data nor trusted")
        return found


class _Moved(Exception):
    """A class is written that other Pythons know under the name of another module."""


class _Alterable(Exception):
    """A class is read on which a pickle could set attributes."""


def _reduce(codec: Codec, value: Any) -> Any:
    """Check what a pickler meets beyond the built-in types, and say how to write it."""
    kind = type(value)
    if value is None:
        return NotImplemented
    if issubclass(kind, type):
        if not codec.allows(value):
            raise SnapshotError(f"{_name(value)} is neither plain data nor trusted")
        return NotImplemented
    if kind is FunctionType or not codec.allows(kind):
        named = value if kind is FunctionType else kind
        raise SnapshotError(f"{_name(named)} is neither plain data nor trusted")
    if kind is zoneinfo.ZoneInfo and value.key is not None:
        return zoneinfo.ZoneInfo, (value.key,)  # its own way goes through getattr
    return NotImplemented


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


class _Pickler(pickle.Pickler):
    def __init__(self, sink: Sink, codec: Codec) -> None:
        super().__init__(sink, protocol=_PROTOCOL)
        self._codec = codec

    def reducer_override(self, value: Any) -> Any:
        if issubclass(type(value), type) and value.__module__ in _FORMER_MODULES:
            raise _Moved
        return _reduce(self._codec, value)


class _PortablePickler(_PurePickler):  # type: ignore[misc]
    """The pickler in pure Python, which lets the name be chosen under which a class is written."""

    def __init__(self, sink: Sink, codec: Codec) -> None:
        super().__init__(sink, protocol=_PROTOCOL)
        self._codec = codec

    def reducer_override(self, value: Any) -> Any:
        return _reduce(self._codec, value)

    def save_global(self, value: Any, name: str | None = None) -> None:
        module = _FORMER_MODULES.get(value.__module__)
        if module is None:
            super().save_global(value, name)
        else:
            self.save(module)
            self.save(value.__qualname__)
            self.write(pickle.STACK_GLOBAL)
            self.memoize(value)

    def save_type(self, value: Any) -> None:
        self.save_global(value)

    dispatch = {**_PurePickler.dispatch, type: save_type}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Source, codec: Codec) -> None:
        super().__init__(stream)
        self._codec = codec

    def find_class(self, module: str, name: str) -> type:
        found = self._codec.resolve(module, name)
        # The BUILD opcode sets attributes on whatever is on the stack, a class included. The C
        # code has no hook for it, so classes that would let it go to the slower, careful one.
        # Those with a __setstate__ do not: BUILD calls that instead.
        if found.__flags__ & _IMMUTABLE or hasattr(found, "__setstate__"):
            return found
        raise _Alterable


_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE


class _CarefulUnpickler(_PureUnpickler):  # type: ignore[misc]
    """The unpickler in pure Python, which can refuse single operations."""

    def __init__(self, stream: Source, codec: Codec) -> None:
        super().__init__(stream)
        self._codec = codec

    def find_class(self, module: str, name: str) -> type:
        return self._codec.resolve(module, name)

    def get_extension(self, code: int) -> None:
        raise SnapshotError(f"extension code {code} is neither plain data nor trusted")

    def load_build(self) -> None:
        if isinstance(self.stack[-2], type):
            raise SnapshotError(f"state for the class {_name(self.stack[-2])} itself is refused")
        super().load_build()

    dispatch = {**_PureUnpickler.dispatch, pickle.BUILD[0]: load_build}
