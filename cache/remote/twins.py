"""Clients with the settings of another client, and with locks and connections of their own.

redis-py guards its pools by locks, which another client must not share. In a forked child, they may
be held for ever by a thread of the parent. In a finalizer, which may run in the middle of anything,
they are a second lock beside the cache's, and two threads that hold one each would deadlock.
"""

import codecs
import copy
from typing import Any

import redis
from redis.cluster import ClusterNode

# The first connection to a host imports this codec. A finalizer that connects in the middle of that
# import would get "unknown encoding: idna".
codecs.lookup("idna")

# Options of the connections that each pool creates for itself.
_ITS_OWN = {
    "connection_pool",
    "event_dispatcher",
    "himport_registry",
    "maint_notifications_pool_handler",
    "oss_cluster_maint_notifications_handler",
    "orig_host_address",
    "orig_socket_connect_timeout",
    "orig_socket_timeout",
}
# Parameters of pools that are not parameters of their connections.
_OF_POOLS = ("max_connections", "timeout", "queue_class", "is_master", "check_connection")
_OF_CLUSTERS = ("retry", "reinitialize_steps", "load_balancing_strategy")
_OF_MANAGERS = (
    *("address_remap", "maint_notifications_config"),
    *("_require_full_coverage", "_dynamic_startup_nodes"),
)


def twin(client: Any) -> Any:
    """Return a client with the settings of `client` that shares no mutable state with it.

    For a client of a cluster this asks the nodes, and raises what redis-py raises if none answers.
    """
    return _cluster(client) if hasattr(client, "get_primaries") else _single(client)


def _single(client: Any) -> Any:
    pool = client.connection_pool
    options = {name: getattr(pool, name) for name in _OF_POOLS if hasattr(pool, name)}
    options["connection_class"] = pool.connection_class
    options.update(_options(pool.connection_kwargs))
    if hasattr(pool, "get_master_address"):
        manager = copy.copy(pool.sentinel_manager)
        manager.sentinels = [_single(sentinel) for sentinel in manager.sentinels]
        options.update(service_name=pool.service_name, sentinel_manager=manager)
    return redis.Redis.from_pool(type(pool)(**options))


def _cluster(client: Any) -> Any:
    manager = client.nodes_manager
    known = {**manager.startup_nodes, **manager.nodes_cache}
    make: Any = ClusterNode  # redis-py has no types for it
    options = _options(manager.connection_kwargs)
    options["redis_connect_func"] = client.user_on_connect_func
    for owner, names in ((client, _OF_CLUSTERS), (manager, _OF_MANAGERS)):
        for name in names:
            options[name.removeprefix("_")] = getattr(owner, name, None)
    if client.read_from_replicas:  # otherwise not passed at all: redis-py warns about it
        options["read_from_replicas"] = True
    return type(client)(
        startup_nodes=[make(node.host, node.port) for node in known.values()], **options
    )


def _options(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in _ITS_OWN}
