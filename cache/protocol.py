"""`Cache`: the methods of every engine, as a type for annotations."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

from .health import Health
from .memoize import Decorator, Memoized, MemoizedOfClass
from .stats import CacheStats

if TYPE_CHECKING:
    # Every type checker brings typing_extensions; typing has defaults of type variables from 3.13.
    from typing_extensions import TypeVar as TypeVarWithDefault

    V = TypeVarWithDefault("V", default=Any)  # `DistributedCache()` needs no annotation
else:
    V = TypeVar("V")
D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Cache(Protocol[V]):
    """The methods of the contract; the docstring of each engine names the clauses it cannot keep.

    A ttl is an int or float of seconds or a `timedelta`; None means the cache's default.
    """

    @overload
    def get(self, key: str) -> V | None: ...
    @overload
    def get(self, key: str, default: D) -> V | D: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at `key`, or `default` where there is no live entry."""

    def set(self, key: str, value: V, ttl: float | timedelta | None = None) -> None:
        """Store `value` at `key`, in place of whatever was there."""

    def add(self, key: str, value: V, ttl: float | timedelta | None = None) -> bool:
        """Store `value` where there is no live entry at `key`, and tell whether it did."""

    def replace(self, key: str, value: V, ttl: float | timedelta | None = None) -> bool:
        """Store `value` where there is a live entry at `key`, and tell whether it did."""

    def get_or_set(
        self,
        key: str,
        factory: Callable[[], V],
        ttl: float | timedelta | None = None,
        *,
        store_if: Callable[[V], object] | None = None,
    ) -> V:
        """Return the value at `key`, or the result of the one factory that runs for it."""

    @overload
    def pop(self, key: str) -> V | None: ...
    @overload
    def pop(self, key: str, default: D) -> V | D: ...
    def pop(self, key: str, default: Any = None) -> Any:
        """Remove the entry at `key` and return its value, or `default` where none is live."""

    def delete(self, key: str) -> bool:
        """Remove the entry at `key` and tell whether there was a live one."""

    def exists(self, key: str) -> bool:
        """Tell whether there is a live entry at `key`."""

    def increment(
        self,
        key: str,
        amount: float = 1,
        *,
        create: bool = True,
        ttl: float | timedelta | None = None,
    ) -> Any:
        """Add `amount` to the number at `key` in one step and return the sum."""

    def decrement(
        self,
        key: str,
        amount: float = 1,
        *,
        create: bool = True,
        ttl: float | timedelta | None = None,
    ) -> Any:
        """Subtract `amount` from the number at `key` in one step and return what is left."""

    def ttl(self, key: str) -> float | None:
        """Return the seconds that `key` has left, `math.inf` for ever, None where it isn't live."""

    def touch(self, key: str, ttl: float | timedelta | None = None) -> bool:
        """Give the live entry at `key` a new deadline, and tell whether there was one."""

    def keys(self, pattern: str = "*") -> list[str]:
        """Return the live keys that match the glob `pattern`, in no promised order."""

    def delete_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match `pattern`; return how many live ones went."""

    def get_many(self, keys: Iterable[str]) -> dict[str, V]:
        """Return the live ones of `keys` with their values, as they stood at one moment."""

    def set_many(self, mapping: Mapping[str, V], ttl: float | timedelta | None = None) -> None:
        """Store every value of `mapping` at its key, as one step."""

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove the entries at `keys` and return how many live ones went."""

    def clear(self) -> None:
        """Remove every entry. The counters stay."""

    def stats(self) -> CacheStats:
        """Return the counters and sizes."""

    def reset_stats(self) -> None:
        """Set the counters to zero."""

    def health(self) -> Health:
        """Return the state of the cache, with the reasons if it is not "ok"."""

    def cleanup(self) -> int:
        """Remove every entry that has expired by now and return how many that were."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot to the file at `path`, whole or not at all."""

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace content and counters by those of the snapshot at `path`."""

    def close(self) -> None:
        """End threads and close connections."""

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
        """Return a decorator that caches what a function returns, by its arguments."""

    def __len__(self) -> int: ...
    def __contains__(self, key: str, /) -> bool: ...
    def __getitem__(self, key: str, /) -> V: ...
    def __setitem__(self, key: str, value: V, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
