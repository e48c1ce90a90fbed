"""Memoization: caches results by a key made from the function and the call's arguments."""

import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Collection
from itertools import count
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from . import naming, results
from .fingerprint import canonical, digest
from .functions import Identity, is_global
from .patterns import escape

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

_MISSING: Any = object()
_REMEMBERED = 1024  # the number of calls of one function whose keys are remembered
_SHORT = 256  # the most characters, bytes or bits of an argument that is remembered


class CacheInfo(NamedTuple):
    """Hits and misses of a memoized function in this process, and the number of stored results."""

    hits: int
    misses: int
    maxsize: None  # the cache has a bound, not the function
    currsize: int  # live results under the function's prefix, of all processes


class Memoized(Generic[P, R]):
    """A function whose results are cached."""

    __cached_function__ = True
    __name__: str
    __qualname__: str

    def __init__(self, cache: "_Cache", function: Any, keys: "_Keys", settings: "_Settings"):
        self.__name__ = self.__qualname__ = _named(function)
        functools.update_wrapper(self, function, updated=())
        if not isinstance(function, type):
            # What frameworks have noted on a function; not what another decorator has put there.
            noted = getattr(function, "__dict__", {})
            vars(self).update({k: v for k, v in noted.items() if not hasattr(Memoized, k)})
        self.__wrapped__: Callable[P, R] = function
        self._cache = cache
        self._keys = keys
        self._settings = settings
        self._read = cache.get
        self._hits = count()
        self._misses = count()
        # A weak reference to the class whose class method this is; see `_with_class`.
        self._owner: Callable[[], type | None] = _nothing

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the cached result for these arguments; without one, call the function."""
        # Flat for speed: a hit with one or two plain arguments calls nothing but `get`. The types
        # are looked up first, so 1, True and 1.0 are distinct and no unknown object is hashed.
        remembered = self._keys.remembered
        if kwargs:
            values: Any = (*args, *kwargs.values())
            shape: Any = (*kwargs, *map(type, values))
        elif len(args) == 1:
            (values,) = args
            shape = type(values)
        else:
            values = args
            shape = (type(args[0]), type(args[1])) if len(args) == 2 else tuple(map(type, args))
        known = remembered.get(shape)
        key = None if known is None else known.get(values)
        if key is None:
            if args and issubclass(type(args[0]), type):
                self._note_class(args[0])  # type: ignore[arg-type]
            key = self._keys.make(args, kwargs, shape, values)
        value = self._read(key, _MISSING)
        if value is not _MISSING:
            next(self._hits)
            return value  # type: ignore[no-any-return]
        next(self._misses)
        settings = self._settings
        factory = functools.partial(self.__wrapped__, *args, **kwargs)
        found: R = self._cache._missed(key, factory, settings.ttl, settings.store_if)
        return found

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key under which the result for these arguments is cached."""
        return self._keys.make(self._with_class(args), kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the result for these arguments; tell whether there was one."""
        return self._cache.delete(self.key_for(*args, **kwargs))

    def invalidate_all(self) -> int:
        """Remove all results under the function's prefix; return how many there were.

        This includes results that other processes, or former code of the function, have stored.
        """
        return self._cache.delete_pattern(self._keys.pattern)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, store its result in place of any former one, and return it.

        If `store_if` is false for the result, it is not stored and a former one stays. Not a single
        flight: it does not wait for other calls, and they do not wait for it.
        """
        key = self.key_for(*args, **kwargs)
        factory = functools.partial(self.__wrapped__, *self._with_class(args), **kwargs)
        value: R
        value, keep = results.make(key, factory, self._settings.store_if)
        if keep:
            self._cache.set(key, value, self._settings.ttl)
        return value

    def cache_info(self) -> CacheInfo:
        """Return the hits and misses of calls in this process, and how many results are stored.

        A call that waited for another's result, or whose function failed, is a miss. Counting the
        stored results walks over all keys of the cache.
        """
        stored = len(self._cache.keys(self._keys.pattern))
        return CacheInfo(_counted(self._hits), _counted(self._misses), None, stored)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> "Memoized[P, R]": ...
    @overload
    def __get__(
        self: "Memoized[Concatenate[Any, Q], T]", instance: object, owner: Any = None
    ) -> "Memoized[Q, T]": ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Return the attribute of a class or an instance: bound as the function would be."""
        bind = self._keys.bind
        if bind == "owner":
            return _Bound(self, type(instance) if owner is None else owner)
        return self if instance is None or bind is None else _Bound(self, instance)

    def _with_class(self, args: Any) -> Any:
        """Return the arguments of a helper, with the class that Python 3.13 omits.

        A `classmethod` above `memoize` no longer calls `__get__`, so `Class.method.invalidate(1)`
        arrives without the class. It is unambiguous if the class has no subclasses.
        """
        owner = self._owner()
        if owner is None:
            owner = self._found_owner()
        first: Any = type(args[0]) if args else None
        if owner is None or (args and issubclass(first, type) and issubclass(args[0], owner)):
            return args
        if owner.__subclasses__():
            raise TypeError(
                f"{self.__qualname__} is a class method of more than one class: put memoize() above"
                " classmethod, or pass the class first"
            )
        return owner, *args

    def _found_owner(self) -> type | None:
        """Return the class whose class method this is, if its name leads to it."""
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split(".")[:-1]:
            found = getattr(found, part, None)
        if isinstance(found, type):
            self._note_class(found)
        return self._owner()

    def _note_class(self, given: type) -> None:
        """Record the class whose class method this is, if it is one of the `given` class."""
        function: Any = self
        for kind in given.__mro__:
            member = kind.__dict__.get(self.__name__)
            if isinstance(member, classmethod) and member.__func__ is function:
                self._owner = weakref.ref(kind)

    def __reduce__(self) -> str:
        """Pickle it by its name, like a function."""
        return self.__qualname__

    def __repr__(self) -> str:
        """Name the function; no argument, no result."""
        return f"<memoized {naming.name_of(self)}>"


class MemoizedOfClass(Memoized[Concatenate[type[Any], Q], T]):
    """What a type checker takes a memoized function for whose first argument is a class.

    It is a class method most often, and its attributes are bound to the class. There are no
    instances: at run time all are `Memoized`.
    """

    @overload  # type: ignore[override]
    def __get__(self, instance: None, owner: Any = None) -> "Memoized[Q, T]": ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> "Memoized[Q, T]": ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind it to the class."""


class Decorator(Protocol):
    """Turns a function into a memoized one."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[type[S], Q], T], /
    ) -> MemoizedOfClass[Q, T]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Memoized[P, R]: ...


class _Bound(Memoized[P, R]):
    """A memoized function with its first argument bound."""

    def __init__(self, of: "Memoized[..., R]", first: Any) -> None:
        functools.update_wrapper(self, of.__wrapped__, updated=())
        self.__func__ = of
        self.__self__ = first
        self.__wrapped__ = types.MethodType(of.__wrapped__, first)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.__func__(self.__self__, *args, **kwargs)

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> str:
        return self.__func__.key_for(self.__self__, *args, **kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        return self.__func__.invalidate(self.__self__, *args, **kwargs)

    def invalidate_all(self) -> int:
        return self.__func__.invalidate_all()

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.__func__.refresh(self.__self__, *args, **kwargs)

    def cache_info(self) -> CacheInfo:
        return self.__func__.cache_info()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self.__func__.__name__)


class _Cache(Protocol):
    def get(self, key: str, default: Any, /) -> Any: ...
    def set(self, key: str, value: Any, ttl: Any = None) -> None: ...
    def delete(self, key: str) -> bool: ...
    def delete_pattern(self, pattern: str) -> int: ...
    def keys(self, pattern: str = "*") -> list[str]: ...
    def _missed(self, key: str, factory: Callable[[], Any], ttl: Any, store_if: Any) -> Any: ...


class _Settings(NamedTuple):
    ttl: float | None
    key: Callable[..., Any] | None
    prefix: str | None
    ignore: frozenset[str]
    store_if: Callable[[Any], object] | None


def memoize(
    cache: _Cache,
    ttl: float | None,
    key: Callable[..., Any] | None,
    prefix: str | None,
    ignore: Collection[str],
    store_if: Callable[[Any], object] | None,
) -> Callable[[Any], Any]:
    """Return a decorator that caches results in `cache` for `ttl` seconds.

    The key is a prefix, by default the function's module and qualified name, followed by the result
    of `key` for the call's arguments, by default a digest of the function's code and of all
    arguments except those in `ignore`. Raises TypeError and ValueError for invalid arguments.
    """
    if key is not None and not callable(key):
        raise TypeError(f"key must be callable, not {type(key).__name__}")
    if prefix is not None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {type(prefix).__name__}")
        prefix = str.__str__(prefix)
        if not prefix:
            raise ValueError("prefix must not be empty: invalidate_all() would remove every entry")
    names = [ignore] if isinstance(ignore, (str, bytes)) else [*ignore]
    if names == [ignore] or not all(isinstance(name, str) for name in names):
        raise TypeError("ignore must be a collection of names of parameters")
    if names and key is not None:
        raise TypeError("key= is made from all arguments: pass it or ignore=, not both")
    results.checked_store_if(store_if)
    settings = _Settings(ttl, key, prefix, frozenset(names), store_if)

    def decorate(given: Any) -> Any:
        function, bind = _unwrapped(given)
        return Memoized(cache, function, _Keys(function, bind, settings), settings)

    return decorate


def _unwrapped(given: Any) -> tuple[Any, str | None]:
    """Return the function to cache, and what it binds to as an attribute of a class."""
    if isinstance(given, staticmethod):
        function, bind = given.__func__, None
    elif isinstance(given, classmethod):
        function, bind = given.__func__, "owner"
    else:
        function = given
        binds = hasattr(type(given), "__get__") and not isinstance(
            given, (type, types.MethodType, functools.partial)
        )
        bind = "instance" if binds else None
    if not callable(function):
        raise TypeError(f"memoize() decorates a function, not {type(given).__name__}")
    for part in (function, type(function).__call__):
        if inspect.iscoroutinefunction(part) or inspect.isasyncgenfunction(part):
            raise TypeError(
                f"{_named(function)} is asynchronous: its result could be awaited once only, and"
                " memoize() caches what plain functions return"
            )
    return function, bind


def _named(function: Any) -> str:
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name


class _Keys:
    """The keys for the calls of one function."""

    def __init__(self, function: Any, bind: str | None, settings: _Settings) -> None:
        self.bind = bind
        self._settings = settings
        if settings.key is None:
            self._parameters = _Parameters(function, settings.ignore)
        prefix, closures = settings.prefix, False
        if prefix is None:
            closures = is_global(function)  # otherwise its token distinguishes it
            prefix = f"{getattr(function, '__module__', None)}.{_named(function)}"
            prefix += ":" if closures else f"#{naming.token_of(function)}:"
        self._prefix = prefix
        self.pattern = escape(prefix) + "*"
        self._identity = Identity(function, closures)
        # By the types of a call's plain arguments: their values, mapped to the key.
        self.remembered: dict[Any, dict[Any, str]] = {}
        self._room = _REMEMBERED

    def make(self, args: Any, kwargs: dict[str, Any], shape: Any = None, values: Any = None) -> str:
        """Return the key for a call, and remember it by `shape` and `values` if these are plain."""
        if self._settings.key is not None:
            return self._prefix + self._given(self._settings.key(*args, **kwargs))
        key = self._prefix + digest(
            self._identity.digest + canonical(self._parameters.bound(args, kwargs))
        )
        if shape is not None and all(map(_is_small, (*args, *kwargs.values()))):
            self._room -= 1
            if self._room < 0:
                self.remembered = {}
                self._room = _REMEMBERED
            self.remembered.setdefault(shape, {})[values] = key
        return key

    def _given(self, made: Any) -> str:
        if isinstance(made, str):
            return str.__str__(made)
        if isinstance(made, tuple):
            return digest(self._identity.digest + canonical([("key=", made)]))
        raise TypeError(f"key= must return a str or a tuple, not {type(made).__name__}")


_SMALL: dict[type, Callable[[Any], bool]] = {
    type(None): lambda value: True,
    bool: lambda value: True,
    int: lambda value: value.bit_length() <= _SHORT,
    float: lambda value: value != 0 and value == value,  # equality cannot find -0.0 and NaN
    str: lambda value: len(value) <= _SHORT,
    bytes: lambda value: len(value) <= _SHORT,
}


def _is_small(value: Any) -> bool:
    check = _SMALL.get(type(value))
    return check is not None and check(value)


class _Parameters:
    """Binds the arguments of calls to the parameters of a function."""

    def __init__(self, function: Any, ignore: frozenset[str]) -> None:
        try:
            self._signature = inspect.signature(function)
        except ValueError:
            raise TypeError(
                f"{_named(function)} has no signature that Python knows of; pass key="
            ) from None
        parameters = self._signature.parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        self._rest = None  # the parameter for all other keywords
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                self._rest = name
        unknown = [] if self._rest else sorted(ignore - set(parameters))
        if unknown:
            raise ValueError(f"ignore: {_named(function)} has no parameter {unknown[0]!r}")
        self._ignore = ignore
        plain = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        self._names = list(parameters) if kinds <= plain else None  # if positions are enough

    def bound(self, args: Any, kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the parameters that count with their arguments, defaults included."""
        names, ignore = self._names, self._ignore
        if names is not None and not kwargs and len(args) == len(names):
            return [(n, value) for n, value in zip(names, args, strict=True) if n not in ignore]
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = []
        for name, value in bound.arguments.items():
            if name == self._rest:
                value = {each: item for each, item in value.items() if each not in ignore}
            if name not in ignore:
                found.append((name, value))
        return found


def _nothing() -> None:
    """Replace a weak reference to nothing."""


def _counted(counter: Any) -> int:
    # Only the text of a count can be read without counting.
    return int(repr(counter)[len("count(") : -1])
