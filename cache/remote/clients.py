"""Creates clients of redis-py from URLs, for `connect`: with timeouts, without retries."""

from typing import Any
from urllib.parse import SplitResult, unquote

import redis
from redis import cluster
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

from ..errors import CacheUnavailable

_PORT, _SENTINEL_PORT = 6379, 26379


def client(parts: SplitResult, **options: Any) -> Any:
    """Return the client for a URL; `options` are timeouts and limits of its connections."""
    options["retry"] = Retry(NoBackoff(), 0)
    scheme = parts.scheme
    make: Any  # classes of redis-py without types
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    if scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not parts.path:
            raise ValueError("unix:// takes a path and no host: unix:///run/redis.sock")
        return redis.Redis(unix_socket_path=unquote(parts.path), **options)
    path = unquote(parts.path).strip("/")
    if scheme == "redis+sentinel":
        service, _, number = path.partition("/")
        if not service:
            raise ValueError("redis+sentinel:// needs a service: redis+sentinel://host1,host2/name")
        options["db"] = _database(number)
        asked = {name: value for name, value in options.items() if name.startswith("socket_")}
        make = Sentinel
        sentinel = make(
            _hosts(parts, _SENTINEL_PORT), sentinel_kwargs={**asked, "retry": options["retry"]}
        )
        return sentinel.master_for(service, **options)
    if scheme == "redis+cluster":
        if path:
            raise ValueError("a cluster has no numbered databases")
        make = cluster.ClusterNode
        nodes = [make(host, port) for host, port in _hosts(parts, _PORT)]
        options.pop("retry")
        try:
            return cluster.RedisCluster(startup_nodes=nodes, **options)
        except (redis.RedisError, RedisClusterException) as error:
            raise CacheUnavailable(f"the cluster cannot be reached: {error}") from error
    hosts = _hosts(parts, _PORT)
    if len(hosts) > 1:
        raise ValueError(f"{scheme}:// takes one host; see redis+sentinel:// and redis+cluster://")
    [(host, port)] = hosts
    if scheme == "rediss":
        options["ssl"] = True
    return redis.Redis(host=host, port=port, db=_database(path), **options)


def _database(text: str) -> int:
    if not text.isascii() or not (text or "0").isdigit():
        raise ValueError(f"a database must be a number, not {text!r}")
    return int(text or 0)


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    """Return host and port of each of the hosts, which are separated by commas."""
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        if text.startswith("["):  # IPv6
            host, _, port = text[1:].partition("]")
            port = port.removeprefix(":")
        else:
            host, _, port = text.partition(":")
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError(f"a port must be a number from 1 to 65535, not {port!r}")
        found.append((host or "localhost", int(port or default_port)))
    return found
