"""The types that a pickle may hold: plain data, and what the user trusts.

The plain types are containers, numbers, text, dates, identifiers, paths and addresses of the
standard library; no function is among them, so a pickle can at the most call their constructors.
NumPy's and pandas's classes are saved by Portables of this library.
"""

import collections
import datetime
import decimal
import fractions
import functools
import importlib
import ipaddress
import pathlib
import sys
import uuid
import zoneinfo
from collections.abc import Iterable
from typing import Any

from .errors import SnapshotError
from .portable import Portable, name_of

# What `trust=` takes: a class, the name of a module, or a Portable.
Trusted = type | str | Portable[Any]

_PATHS = (
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
)
# The names that a pickle may use: module and name of each type, valid on every supported Python.
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
PLAIN_TYPES = frozenset(_PLAIN.values())
# Python 3.13 defines the pathlib classes in a submodule that 3.11 and 3.12 do not have.
FORMER_MODULES = {"pathlib._local": "pathlib"}


# The name for the data of a Portable in a file; plain pickle makes a read-only dict of it.
PACKED = "types", "MappingProxyType"

# The modules with Portables for a whole package. Only who trusts the package imports it.
_READY = {"numpy": ".numpy_portables", "pandas": ".pandas_portables"}


class Trust:
    """The types that are plain data or trusted, each under its name in files."""

    def __init__(self, trust: Iterable[Trusted] = ()) -> None:
        """Trust the classes in `trust`, and the classes defined in the modules that it names.

        Raises TypeError for anything but a class, str or Portable, and ValueError for an empty
        save of them, and nothing else in these modules is: some classes there write files.
        A Portable of the user's for such a class takes precedence. Raises TypeError for what is no
        class, str or Portable, and ValueError for an empty name, for two Portables of one class and
        for one of a plain type.
        """
        if isinstance(trust, (str, bytes, type)) or not isinstance(trust, Iterable):
            raise TypeError("trust must be an iterable of classes, names of modules and Portables")
        classes: dict[tuple[str, str], type] = {}
        modules: set[str] = set()
        portables: dict[str, Portable[Any]] = {}
        ready: list[Portable[Any]] = []
        for item in trust:
            if isinstance(item, type):
                made = ready_made(item)
                if made is not None:
                    ready.append(made)
                    continue
                classes[item.__module__, item.__qualname__] = item
            elif isinstance(item, Portable):
                if item.name in portables:
                    raise ValueError(f"trust has two Portables of {item.name}")
                if item.kind in PLAIN_TYPES:
                    raise ValueError(f"{item.name} is plain data and needs no Portable")
                portables[item.name] = item
            elif isinstance(item, str):
                if not item:
                    raise ValueError("trust names a module with an empty name")
                modules.add(item)
            else:
                raise TypeError(
                    "trust takes classes, names of modules and Portables, "
                    f"not {type(item).__name__}"
                )
        self._classes = classes
        self._modules = frozenset(modules - _READY.keys())
        self._packages = frozenset(modules & _READY.keys())
        self._by_class = {each.kind: each for each in (*ready, *portables.values())}
        self._by_name = {each.name: each for each in self._by_class.values()}

    def portable(self, kind: type) -> Portable[Any] | None:
        """Return the Portable of exactly this class, if there is one."""
        found = self._by_class.get(kind)
        if found is None and self._packages and _package(kind.__module__) in self._packages:
            found = ready_made(kind)
        return found

    def revive(self, name: Any, data: Any) -> Any:
        """Return the result of `load(data)` of the Portable of the class of that name."""
        portable = self._named(name) if type(name) is str else None
        if portable is None:
            raise SnapshotError(f"{name} is neither plain data nor trusted")
        try:
            value = portable.load(data)
        except SnapshotError as error:
            raise SnapshotError(f"the load of {name}: {error}") from error
        except Exception as error:
            raise SnapshotError(f"the load of {name} raised {type(error).__name__}") from error
        if type(value) is not portable.kind:
            raise SnapshotError(f"the load of {name} returned {name_of(type(value))}")
        return value

    def _named(self, name: str) -> Portable[Any] | None:
        found = self._by_name.get(name)
        if found is None and _package(name) in self._packages:
            try:
                return _ready(_package(name)).get(name)
            except ImportError as error:  # pragma: no cover - the library is here in the tests
                raise SnapshotError(f"{name} cannot be loaded: {error.name} is missing") from error
        return found

    def allows(self, kind: type) -> bool:
        """Tell whether instances of exactly this class may be in a pickle."""
        if kind in PLAIN_TYPES:
            return True
        module, name = kind.__module__, kind.__qualname__
        if self._classes.get((module, name)) is kind:
            return True
        return module in self._modules and "." not in name

    def resolve(self, module: str, name: str) -> type:
        """Return the class that a pickle names, if it is allowed."""
        module = FORMER_MODULES.get(module, module)
        found: object = _PLAIN.get((module, name)) or self._classes.get((module, name))
        if found is None and module in self._modules and "." not in name:
            found = getattr(importlib.import_module(module), name, None)
            if not isinstance(found, type) or found.__module__ != module:
                found = None
        if not isinstance(found, type):
            raise SnapshotError(f"{module}.{name} is neither plain data nor trusted")
        return found


def ready_made(kind: type) -> Portable[Any] | None:
    """Return this library's Portable of exactly this class, if there is one."""
    package = _package(kind.__module__)
    if package not in _READY or package not in sys.modules:
        return None
    for portable in _ready(package).values():
        if portable.kind is kind:
            return portable
    return None


@functools.cache
def _ready(package: str) -> dict[str, Portable[Any]]:
    """Return the Portables of a package by name; imports it. Raises ImportError."""
    module = importlib.import_module(_READY[package], __package__)
    return {each.name: each for each in module.portables()}


def _package(name: str) -> str:
    return name.partition(".")[0]
