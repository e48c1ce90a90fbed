"""Checks of arguments: each function returns the plain value or raises with the reason."""

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

_HUGE = 1e300  # above it an int may be too large for a float


def plain_key(key: object) -> str:
    """Return `key` as a plain str; a str subclass counts as its text, whatever methods it has."""
    if not isinstance(key, str):
        raise TypeError(f"a key must be a str, not {type(key).__name__}")
    return key if type(key) is str else str.__str__(key)


def plain_keys(keys: Iterable[str]) -> list[str]:
    """Return `keys`, an iterable, as a list of plain str; a lone str or bytes is no such thing."""
    if isinstance(keys, (str, bytes, bytearray)):
        raise TypeError(f"keys must be an iterable of str, not {type(keys).__name__}")
    return [key if type(key) is str else plain_key(key) for key in keys]


def pairs(mapping: object) -> list[tuple[str, Any]]:
    """Return the keys, as plain str, and the values of a mapping, in its order."""
    if not isinstance(mapping, Mapping):
        raise TypeError(f"set_many takes a mapping of keys to values, not {type(mapping).__name__}")
    return [(plain_key(key), value) for key, value in mapping.items()]


def seconds(value: object, name: str = "ttl") -> float:
    """Return a duration in seconds, `math.inf` for never; `name` is used in the error.

    Takes an int or float above zero, however large, or a `timedelta`. Zero, negative and NaN are
    ValueErrors, anything else (a bool too) is a TypeError.
    """
    kind = type(value)
    if (kind is float or kind is int) and 0 < value < _HUGE:  # type: ignore[operator]
        return value  # type: ignore[return-value]
    if isinstance(value, timedelta):
        length = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            length = float(value)
        except OverflowError:
            length = math.inf if value > 0 else -math.inf
    else:
        raise TypeError(
            f"{name} must be an int or float of seconds or a timedelta, not {kind.__name__}"
        )
    if not length > 0:
        found = "NaN" if math.isnan(length) else "zero" if length == 0 else "a negative number"
        raise ValueError(f"{name} must be above zero, not {found}")
    return length


def amount(value: object) -> float:
    """Return `value` if it is an int or float, and no bool."""
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__index__(value)
    raise TypeError(f"amount must be an int or float, not {type(value).__name__}")


def number(value: object, key: str) -> float:
    """Return the plain number of the value at `key`; ValueError if it is not a number."""
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__index__(value)
    raise ValueError(f"the value at {key!r} is a {type(value).__name__}, not a number")


def pattern(value: object) -> str:
    """Return `value` as a plain str; TypeError if it is not a str."""
    if not isinstance(value, str):
        raise TypeError(f"a pattern must be a str, not {type(value).__name__}")
    return value if type(value) is str else str.__str__(value)


def size(value: object) -> int:
    """Return `value` if it can be a `max_size`: an int of at least 1, no bool."""
    return count(value, "max_size")


def count(value: object, name: str) -> int:
    """Return `value` if it is an int of at least 1, and no bool; `name` is used in the error."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value
