"""Which nodes of a cluster may have keys: more than those that redis-py knows of.

That one has asked once who owns which slots, and learns of changes by where it is sent on to. So it
knows no node that has joined until a key is asked for whose slot went there, and none that owns no
slot yet, while keys of slots on their way are there already.
"""

import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.cluster import PRIMARY, ClusterNode, RedisCluster, get_node_name

_NOT_THERE = {"noaddr", "handshake", "fail", "fail?"}

Slots = list[list[str]]  # the first and the last of each range, or one slot alone


class Primary(NamedTuple):
    """A node as the client has it, and what slots it has."""

    node: Any
    slots: Slots


def meet_strangers(client: Any) -> None:
    """Have the client take whoever it is sent on to for a primary.

    It would make None of a node that has no slots yet, give the connection that sent it there back
    twice, so that two threads may share it, and end in an AttributeError.
    """
    if "get_node" in vars(client):  # another cache shares the client
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
    """Have one thread at a time ask for the slots' owners, and the others go on with those known.

    They would wait for it, and then ask too, one after the other, where it has not succeeded: with
    nodes that are silent the last of thirty threads waits for half a minute.
    """
    manager = client.nodes_manager
    if "initialize" in vars(manager):
        return
    ask, nodes = manager.initialize, dict(manager.startup_nodes)
    asking: dict[int, threading.Lock] = {}  # by process, as a fork may happen meanwhile

    def initialize(*given: Any, **options: Any) -> None:
        # redis-py 6 forgets each node that fails, and once all have it knows none for good.
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
    """Return the primaries there are now, by their names.

    Asks one of them, and has the client ask for the slots' owners where it knows others.
    """
    told = client.execute_command("CLUSTER NODES", target_nodes=RedisCluster.RANDOM)
    if any(address.startswith(":") for address in told):  # a node that has met no other
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
    """Tell whether a node may have keys that are not those of a primary it follows."""
    flags = set(line["flags"].split(","))
    return "master" in flags and bool(
        line["slots"] or (line["connected"] and not flags & _NOT_THERE)
    )


def _names(client: Any, address: str, line: Mapping[str, Any]) -> list[str]:
    """Return what the client may call a node: by its host's name, if it has one, or its address."""
    host, _, port = address.rpartition(":")
    hosts = (line["hostname"], host)
    places = [client.nodes_manager.remap_host_port(host, int(port)) for host in hosts if host]
    return [get_node_name(*place) for place in places]


def which_took_over(client: Any, before: Mapping[str, Primary]) -> list[Any]:
    """Return those of the nodes that have slots, or are about to, which they had not `before`."""
    found = []
    for name, (node, _) in primaries(client).items():
        # Which slots are on their way only the node itself says.
        told = client.get_redis_connection(node).execute_command("CLUSTER NODES")
        [own] = [line for line in told.values() if "myself" in line["flags"]]
        importing = any(move["state"] == "importing" for move in own["migrations"])
        had = before[name].slots if name in before else []
        if importing or _each(own["slots"]) - _each(had):
            found.append(node)
    return found


def _each(slots: Slots) -> set[int]:
    return {slot for ends in slots for slot in range(int(ends[0]), int(ends[-1]) + 1)}
