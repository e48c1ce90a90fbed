"""`connect`: creates a cache from a URL, so that the engine is a line of configuration."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from . import arguments
from .core import DistributedCache
from .protocol import Cache

Readers = dict[str, Callable[[str], Any]]


def _flag(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
        text.lower()
    ]


def _required(text: str) -> str:
    return {"none": "none", "optional": "optional", "required": "required"}[text]


# The options of a URL, and how to read their text. URLs must not hold `trust` and secrets.
_MEMORY: Readers = {
    "max_size": int,
    "default_ttl": float,
    "cleanup_interval": float,
}
_SERVER: Readers = {
    "namespace": str,
    "default_ttl": float,
    "near": int,
    "staleness": float,
    "heartbeat": float,
    "lease": float,
    "on_error": str,
    "attempts": int,
    "deadline": float,
    "threshold": int,
    "cooldown": float,
    "one_slot": _flag,
}
_CONNECTION: Readers = {
    "timeout": float,
    "connect_timeout": float,
    "max_connections": int,
    "client_name": str,
}
_TLS: Readers = {
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": _required,
    "ssl_check_hostname": _flag,
}
_SPOKEN_OF_TLS = {"ssl_ca_data", "ssl_password"}
_SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys", "redis+sentinel", "redis+cluster")
_TIMEOUT = 0.5  # seconds


def connect(url: str, **options: Any) -> Cache[Any]:
    """Return the cache that `url` names; `options` are the keyword arguments of its class.

    `memory://` is a `DistributedCache`. These are a `RedisCache`, with the extra `redis`:

        redis://user:password@host:port/database    valkey:// too; rediss:// and valkeys:// by TLS
        unix:///path/of/the.socket
        redis+sentinel://host1,host2/service        the sentinels' hosts
        redis+cluster://host1,host2                 some of its nodes

    The connection to a server is opened by the first call, to a cluster at once. Besides the
    options of `RedisCache` there are `timeout` and `connect_timeout`, in seconds, 0.5 by default,
    `max_connections`, `client_name`, and with TLS those of redis-py: `ssl_ca_certs`, `ssl_ca_path`
    and `ssl_ca_data` name authorities to trust beside the system's, `ssl_certfile`, `ssl_keyfile`
    and `ssl_password` are the client's certificate, and `ssl_cert_reqs="none"` or
    `ssl_check_hostname=False` trust any server, or any name.

    Options that are numbers or words may stand in the URL's query as well:
    `memory://?max_size=10000`. Raises ValueError for a scheme or an option that is unknown, a
    number that is not one, or an option that is given twice, and ImportError for a missing extra.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL must be a str, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme == "memory":
        if parts.netloc or parts.path or parts.fragment:
            raise ValueError("memory:// takes options and no host or path: memory://?max_size=1000")
        return DistributedCache(**merged(parts, _MEMORY, options, {"trust", "secret"}))
    if parts.scheme in _SCHEMES:
        return _remote(parts, options)
    there = ", ".join(f"{scheme}://" for scheme in ("memory", *_SCHEMES))
    raise ValueError(f"unknown scheme {parts.scheme!r}; there are {there}")


def _remote(parts: SplitResult, options: dict[str, Any]) -> Cache[Any]:
    scheme = parts.scheme.replace("valkey", "redis")
    if parts.fragment:
        raise ValueError(f"{scheme}:// takes no #fragment")
    readers, spoken = {**_SERVER, **_CONNECTION}, {"trust", "secret"}
    if scheme == "rediss":
        readers |= _TLS
        spoken |= _SPOKEN_OF_TLS
    chosen = merged(parts, readers, options, spoken)
    if chosen.get("ssl_cert_reqs", "none") not in ("none", "optional", "required"):
        raise ValueError("ssl_cert_reqs must be 'none', 'optional' or 'required'")
    connection = {
        "socket_timeout": arguments.seconds(chosen.pop("timeout", _TIMEOUT), "timeout"),
        "socket_connect_timeout": arguments.seconds(
            chosen.pop("connect_timeout", _TIMEOUT), "connect_timeout"
        ),
    }
    if "max_connections" in chosen:
        most = arguments.count(chosen.pop("max_connections"), "max_connections")
        connection["max_connections"] = most
    for name in ("client_name", *_TLS, *_SPOKEN_OF_TLS):
        if name in chosen:
            connection[name] = chosen.pop(name)
    clients = with_redis("remote.clients", f"{parts.scheme}://")
    client = clients.client(parts._replace(scheme=scheme), **connection)
    made: Cache[Any] = with_redis("redis_cache", f"{parts.scheme}://").cache_over(client, **chosen)
    return made


def with_redis(module: str, what: str) -> ModuleType:
    """Import a module of this package that needs redis-py; `what` is its name in the error.

    Raises ImportError that names the extra if redis-py is missing.
    """
    try:
        return import_module(f"{__package__}.{module}")
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ImportError(
            f"{what} needs redis-py; install the extra: pip install 'distributed-cache[redis]'"
        ) from error


def merged(
    parts: SplitResult,
    readers: Readers,
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
        except (ValueError, KeyError) as error:
            raise ValueError(f"option {name!r} cannot be {text!r}") from error
    return found
