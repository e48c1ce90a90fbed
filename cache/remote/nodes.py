"""Finds all nodes of a cluster that may have keys, including those that redis-py does not know.

redis-py asks once which node owns which slots, and learns of changes by redirections. So it does
not know a node that has joined until it asks for a key whose slot moved there. It does not know a
node without slots at all, although keys of slots that are moving there are already on it.
"""

import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.cluster import PRIMARY, ClusterNode, RedisCluster, get_node_name

_NOT_THERE = {"noaddr", "handshake", "fail", "fail?"}

Slots = list[list[str]]  # the first and the last of each range, or a single slot


class Primary(NamedTuple):
    """A node, as the client represents it, and its slots."""

    node: Any
    slots: Slots


def meet_strangers(client: Any) -> None:
    """Make the client treat every node that it is redirected to as a primary.

    Otherwise, for a node without slots, it gets None, returns the connection to its pool twice, so
    that two threads may share it, and fails with an AttributeError.
    """
    if "get_node" in vars(client):  # done already: another cache shares the client
        return
    known = client.get_node

    def get_node(host: Any = None, port: Any = None, node_name: Any = None) -> Any:
        node = known(host, port, node_name)
        if node is None and node_name:
            host, _, port = node_name.rpartition(":")
            node = _met(client, host, int(port))
        return node

    client.get_node = get_node


def ask_one_at_a_time(client: Any) -> None:
    """Let one thread at a time ask for the slots' owners; others go on with the known ones.

    Otherwise they would wait for it and, if it failed, ask too, one after the other. With silent
    nodes the last of thirty threads would wait for half a minute.
    """
    manager = client.nodes_manager
    if "initialize" in vars(manager):
        return
    ask, nodes = manager.initialize, dict(manager.startup_nodes)
    asking: dict[int, threading.Lock] = {}  # by process id, since a fork may happen meanwhile

    def initialize(*given: Any, **options: Any) -> None:
        # redis-py 6 forgets each node that fails. Once all have failed it knows none.
        if not manager.startup_nodes:  # pragma: no cover - redis-py 6 only
            manager.startup_nodes.update(nodes)
        lock = asking.setdefault(os.getpid(), threading.Lock())
        if lock.acquire(blocking=False):
            try:
                ask(*given, **options)
            finally:
                lock.release()

    manager.initialize = initialize


def _met(client: Any, host: str, port: int) -> Any:
    make: Any = ClusterNode  # which redis-py has no types for
    node = make(host, port, PRIMARY)
    return client.nodes_manager.nodes_cache.setdefault(node.name, node)


def primaries(client: Any) -> dict[str, Primary]:
    """Return the present primaries by name.

    Asks one of them. If the client knows others, makes it ask for the slots' owners.
    """
    told = client.execute_command("CLUSTER NODES", target_nodes=RedisCluster.RANDOM)
    if any(address.startswith(":") for address in told):  # a node that knows no other
        return {name: Primary(node, []) for name, node in _known(client).items()}
    lines = [
        (_names(client, address, line), line) for address, line in told.items() if _may_have(line)
    ]
    known = _known(client)
    strange = [names for names, line in lines if line["slots"] and not known.keys() & names]
    if strange or known.keys() - {name for names, _ in lines for name in names}:
        client.nodes_manager.initialize()
        known = _known(client)
    found = {name: Primary(node, []) for name, node in known.items()}
    for names, line in lines:
        for name in names:
            if name in known:
                found[name] = Primary(known[name], line["slots"])
                break
        else:
            host, _, port = names[0].rpartition(":")
            found[names[0]] = Primary(_met(client, host, int(port)), line["slots"])
    return found


def _known(client: Any) -> dict[str, Any]:
    return {node.name: node for node in client.get_primaries()}


def _may_have(line: Mapping[str, Any]) -> bool:
    """Tell whether a node may have keys of its own: it is no replica."""
    flags = set(line["flags"].split(","))
    return "master" in flags and bool(
        line["slots"] or (line["connected"] and not flags & _NOT_THERE)
    )


def _names(client: Any, address: str, line: Mapping[str, Any]) -> list[str]:
    """Return the names that the client may use for a node: by host name, if any, and by address."""
    host, _, port = address.rpartition(":")
    hosts = (line["hostname"], host)
    places = [client.nodes_manager.remap_host_port(host, int(port)) for host in hosts if host]
    return [get_node_name(*place) for place in places]


def which_took_over(client: Any, before: Mapping[str, Primary]) -> list[Any]:
    """Return the nodes that have, or are about to get, slots that they did not have `before`."""
    found = []
    for name, (node, _) in primaries(client).items():
        # Only the node itself reports which slots are moving to it.
        told = client.get_redis_connection(node).execute_command("CLUSTER NODES")
        [own] = [line for line in told.values() if "myself" in line["flags"]]
        importing = any(move["state"] == "importing" for move in own["migrations"])
        had = before[name].slots if name in before else []
        if importing or _each(own["slots"]) - _each(had):
            found.append(node)
    return found


def _each(slots: Slots) -> set[int]:
    return {slot for ends in slots for slot in range(int(ends[0]), int(ends[-1]) + 1)}
