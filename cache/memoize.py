"""Caching what a function returns, by a key made from the arguments of the call."""

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import ipaddress
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from .patterns import escape

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# Their repr names the type where it must and the whole value: no two of them share one.
_TELLING = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray, range),
    *(datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone),
    *(zoneinfo.ZoneInfo, decimal.Decimal, fractions.Fraction, uuid.UUID),
    *(pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath),
    *(ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface),
    *(ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface),
)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Memoized(Protocol[P, R_co]):
    """A function whose results are cached."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the cached result for these arguments; without one, call the function."""

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key under which the result for these arguments is cached."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the result for these arguments; tell whether there was one."""

    def invalidate_all(self) -> int:
        """Remove the results for all arguments; return how many there were."""


class _Cache(Protocol):
    def get_or_set(self, key: str, factory: Callable[[], Any], ttl: Any = None) -> Any: ...
    def delete(self, key: str) -> bool: ...
    def delete_many(self, keys: Iterable[str]) -> int: ...
    def delete_pattern(self, pattern: str) -> int: ...
    def exists(self, key: str) -> bool: ...


def memoize(
    cache: _Cache, ttl: float | None, key: Callable[..., str] | None
) -> Callable[[Callable[P, R]], Memoized[P, R]]:
    """Return a decorator that caches results in `cache` for `ttl` seconds.

    The default key is the function's module and qualified name and the text of every argument,
    bound to its parameter. `key`, given the call's arguments, returns the whole key instead.
    Raises TypeError for what is no function, and for a coroutine function, whose result is a
    coroutine that can be awaited only once.
    """
    if key is not None and not callable(key):
        raise TypeError(f"key must be callable, not {type(key).__name__}")

    def decorate(function: Callable[P, R]) -> Memoized[P, R]:
        if not callable(function):
            raise TypeError(f"memoize() decorates a function, not {type(function).__name__}")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is asynchronous: its result is used up once")
        keys = _GivenKeys(cache, key) if key is not None else _BoundKeys(cache, function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            found = cache.get_or_set(
                keys.make(*args, **kwargs), lambda: function(*args, **kwargs), ttl
            )
            return cast(R, found)

        def invalidate(*args: P.args, **kwargs: P.kwargs) -> bool:
            return cache.delete(keys.make(*args, **kwargs))

        memoized = cast(Any, call)
        memoized.key_for = keys.make
        memoized.invalidate = invalidate
        memoized.invalidate_all = keys.delete_all
        return cast(Memoized[P, R], memoized)

    return decorate


class _BoundKeys:
    """Keys from a function's name and the arguments bound to its parameters."""

    def __init__(self, cache: _Cache, function: Callable[..., Any]) -> None:
        self._cache = cache
        self._signature = inspect.signature(function)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        self._prefix = f"{function.__module__}.{name}("

    def make(self, *args: Any, **kwargs: Any) -> str:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        texts = [f"{name}={_text(value, name)}" for name, value in bound.arguments.items()]
        return f"{self._prefix}{', '.join(texts)})"

    def delete_all(self) -> int:
        return self._cache.delete_pattern(escape(self._prefix) + "*")


class _GivenKeys:
    """Keys from a callable of the user's, remembered so that all can be deleted."""

    def __init__(self, cache: _Cache, key: Callable[..., str]) -> None:
        self._cache = cache
        self._key = key
        self._made: dict[str, None] = {}
        self._many = 1024  # more than that, and those that are gone from the cache are forgotten

    def make(self, *args: Any, **kwargs: Any) -> str:
        made = self._key(*args, **kwargs)
        if isinstance(made, str):  # anything else is for the cache to refuse
            self._made[made] = None
            if len(self._made) > self._many:
                for known in list(self._made):
                    if known != made and not self._cache.exists(known):
                        self._made.pop(known, None)
                self._many = 2 * len(self._made) + 1024
        return made

    def delete_all(self) -> int:
        return self._cache.delete_many(list(self._made))


def _text(value: Any, name: str) -> str:
    """Return a text that is the same in every process for equal arguments, and for no others.

    `name` is the parameter's, for the TypeError where there is no such text.
    """
    kind = type(value)
    if kind in _TELLING:
        return repr(value)
    if kind in (tuple, list):
        inner = "".join(f"{_text(item, name)}, " for item in value)
        return f"({inner})" if kind is tuple else f"[{inner}]"
    if kind in (set, frozenset):
        return f"{kind.__name__}({', '.join(sorted(_text(item, name) for item in value))})"
    if kind is dict:
        pairs = sorted(f"{_text(key, name)}: {_text(item, name)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    of = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, enum.Enum):
        return f"{of}.{value._name_ or value._value_}"
    if isinstance(value, type):
        return f"<class {value.__module__}.{value.__qualname__}>"
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        parts = (f"{field.name}={_text(getattr(value, field.name), name)}" for field in fields)
        return f"{of}({', '.join(parts)})"
    if isinstance(value, tuple):
        return f"{of}({', '.join(_text(item, name) for item in value)})"
    own: Any = kind.__repr__
    if own is object.__repr__ or _ADDRESS.search(text := repr(value)):
        raise TypeError(f"argument {name!r} is a {of}, which has no stable text; pass key=")
    return f"{of}:{text}"
