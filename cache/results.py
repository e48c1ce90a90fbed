"""Checks the result of a factory, and decides whether it is stored."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

V = TypeVar("V")

# The commonest types, which pass the checks below.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset))


def make(
    key: str, factory: Callable[[], V], store_if: Callable[[V], object] | None
) -> tuple[V, bool]:
    """Return the result of `factory()`, and whether to store it at `key`.

    Raises TypeError for a result that can be used only once: an awaitable, a generator, an
    iterator.
    """
    value = factory()
    kind = type(value)
    if kind not in _PLAIN:
        if hasattr(kind, "__await__") or inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # otherwise Python warns that it was never awaited
            raise TypeError(
                f"the result for {key!r} is awaitable ({kind.__name__}), and can be awaited once"
                " only: cache what it gives"
            )
        if hasattr(kind, "__next__") or inspect.isasyncgen(value):
            raise TypeError(
                f"the result for {key!r} is an iterator ({kind.__name__}), and can be read once"
                " only: return a list"
            )
    return value, store_if is None or bool(store_if(value))


def checked_store_if(store_if: Any) -> None:
    """Raise TypeError where `store_if` is neither None nor callable."""
    if store_if is not None and not callable(store_if):
        raise TypeError(f"store_if must be callable, not {type(store_if).__name__}")
