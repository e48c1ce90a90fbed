"""`connect`: from a URL to a cache, so that the engine is a line of configuration."""

from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from .core import DistributedCache
from .protocol import Cache

# What a URL may say, and how its text is read; trust and secrets do not belong into URLs.
_MEMORY: dict[str, Callable[[str], Any]] = {
    "max_size": int,
    "default_ttl": float,
    "cleanup_interval": float,
}


def connect(url: str, **options: Any) -> Cache[Any]:
    """Return the cache that `url` names; `options` are the keyword arguments of its class.

    `memory://` is a `DistributedCache`. Options that are numbers or words may stand in the URL's
    query as well: `memory://?max_size=10000`. Raises ValueError for a scheme or an option that is
    unknown, a number that is none, or an option that is given twice.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL must be a str, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme == "memory":
        if parts.netloc or parts.path or parts.fragment:
            raise ValueError("memory:// takes options and no host or path: memory://?max_size=1000")
        return DistributedCache(**merged(parts, _MEMORY, options, {"trust", "secret"}))
    raise ValueError(f"unknown scheme {parts.scheme!r}; there is memory://")


def merged(
    parts: SplitResult,
    readers: dict[str, Callable[[str], Any]],
    options: dict[str, Any],
    spoken: set[str],
) -> dict[str, Any]:
    """Return the options of a URL's query, read by `readers`, together with the keyword ones.

    `spoken` names those that may only be given by keyword.
    """
    known = sorted({*readers, *spoken})
    for name in options:
        if name not in known:
            raise ValueError(f"unknown option {name!r}; there are {', '.join(known)}")
    found = dict(options)
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in readers:
            where = "belongs into no URL" if name in spoken else "is unknown"
            raise ValueError(f"option {name!r} {where}; there are {', '.join(sorted(readers))}")
        if name in found:
            raise ValueError(f"option {name!r} is given twice")
        try:
            found[name] = readers[name](text)
        except ValueError as error:
            raise ValueError(f"option {name!r} cannot be {text!r}") from error
    return found
