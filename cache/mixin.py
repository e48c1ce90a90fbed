"""The methods that every engine has in terms of its other ones, the mapping protocol above all."""

from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from types import GenericAlias, TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    NoReturn,
    ParamSpec,
    Self,
    SupportsIndex,
    TypeVar,
    overload,
)

from . import arguments
from .memoize import Decorator, Memoized, MemoizedOfClass
from .memoize import memoize as memoize_in
from .protocol import Cache, V

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_MISSING: Any = object()


if TYPE_CHECKING:
    _Base = Cache  # so type checkers refuse an engine that lacks a verb, or has another signature
else:

    class _Base:
        """No Protocol at run time: `help` would show its machinery for every engine."""

        def __class_getitem__(cls, value_type):
            """Name the type of the values, for type checkers: `DistributedCache[int]`."""
            return GenericAlias(cls, value_type)


class CacheMixin(_Base[V]):
    """The verbs that follow from others. An engine inherits it, and defines what `Cache` names."""

    def decrement(
        self,
        key: str,
        amount: float = 1,
        *,
        create: bool = True,
        ttl: float | timedelta | None = None,
    ) -> Any:
        """Take `amount` from the number at `key`: `increment(key, -amount)`."""
        return self.increment(key, -arguments.amount(amount), create=create, ttl=ttl)

    @overload
    def memoize(self, ttl: Callable[Concatenate[type[S], P], R], /) -> MemoizedOfClass[P, R]: ...
    @overload
    def memoize(self, ttl: Callable[P, R], /) -> Memoized[P, R]: ...
    @overload
    def memoize(
        self,
        ttl: float | timedelta | None = None,
        *,
        key: Callable[..., str | tuple[Any, ...]] | None = None,
        prefix: str | None = None,
        ignore: Collection[str] = (),
        store_if: Callable[[Any], object] | None = None,
    ) -> Decorator: ...
    def memoize(
        self,
        ttl: Any = None,
        *,
        key: Callable[..., str | tuple[Any, ...]] | None = None,
        prefix: str | None = None,
        ignore: Collection[str] = (),
        store_if: Callable[[Any], object] | None = None,
    ) -> Any:
        """Return a decorator that caches what a function returns, by its arguments.

        `@cache.memoize` and `@cache.memoize(ttl)` both work; `ttl` and `store_if` as in
        `get_or_set`. A key is `module.qualname:` and a digest of the function's code and of every
        argument, defaults included; each must be of a type that `fingerprint` accepts, otherwise
        the call is a TypeError. `ignore` names parameters that do not count. `key` is called with
        the call's arguments and makes what follows the prefix: a str is used as it is, a tuple
        counts as the arguments. `prefix` replaces `module.qualname:`. Lambdas, local functions and
        other callables without a module-level name are cached for this one object, unless `prefix`
        names them. Raises TypeError for anything but a plain function, a coroutine function too.
        """
        bare = callable(ttl) or isinstance(ttl, (classmethod, staticmethod))
        life = None if ttl is None or bare else arguments.seconds(ttl)
        engine: Any = self  # which has `_missed` beside the verbs of `Cache`
        decorate = memoize_in(engine, life, key, prefix, ignore, store_if)
        return decorate(ttl) if bare else decorate

    def __bool__(self) -> bool:
        """Return True: an empty cache is a cache."""
        return True

    def __contains__(self, key: str) -> bool:
        """Tell whether there is a live entry at `key`, as `exists` does."""
        return self.exists(key)

    def __getitem__(self, key: str) -> V:
        """Return the value at `key` as `get` does; KeyError where there is no live entry."""
        value: V = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(arguments.plain_key(key))
        return value

    def __setitem__(self, key: str, value: V) -> None:
        """Store `value` at `key` with the cache's `default_ttl`."""
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        """Remove the entry at `key`; KeyError where there is no live one."""
        if not self.delete(key):
            raise KeyError(arguments.plain_key(key))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that are live now; changes meanwhile do not disturb it."""
        return iter(self.keys())

    def __enter__(self) -> Self:
        """Return the cache; leaving the `with` block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the cache."""
        self.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: a cache is neither pickled nor copied."""
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied; use save(path) and load(path)"
        )
