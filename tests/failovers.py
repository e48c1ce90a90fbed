"""Ways in which a replica becomes the primary, and which acknowledged writes each may lose."""

import contextlib
import math
import time
from typing import NamedTuple

import redis

from tests.servers import Replicated, Server, eventually, let_pass

HEARTBEAT = 0.5
#: Seconds in which all of a fleet leave a primary that was replaced, on a machine that is busy.
BOUND = 3 * HEARTBEAT
STALL = 0.6  # seconds; the sentinel is to wait for longer
REJOIN = 40.0  # seconds until the sentinel, which waits for ten, has made a replica of it


class Failover(NamedTuple):
    """One of them. A write may be lost that returned after `since` and began before `until`.

    What had returned before `since` was on the replica, as WAIT told after it. After `until` the
    former primary was dead, or nobody may have used it any more.
    """

    kind: str
    since: float
    until: float
    took: float  # seconds until the sentinel named the other one


def refused(fleet: Replicated, old: Server, new: Server) -> float:
    """Promote a replica that has everything: the primary takes no write since, so none is lost.

    Before that it stalls for longer than a call waits, and makes then what nobody waits for.
    """
    old.freeze()
    let_pass(STALL)
    old.thaw()
    with old.client() as client, new.client() as copy:
        client.config_set("min-replicas-to-write", 2)
        written = client.info("replication")["master_repl_offset"]
        eventually(lambda: copy.info("replication")["slave_repl_offset"] >= written)
    fleet.fail_over()
    eventually(lambda: fleet.in_charge() is new)
    return -math.inf


def planned(fleet: Replicated, old: Server, new: Server) -> float:
    """Promote the replica of a primary that is in use, and goes on."""
    fleet.fail_over()
    eventually(lambda: fleet.in_charge() is new)
    return time.monotonic() + BOUND


def killed(fleet: Replicated, old: Server, new: Server) -> float:
    """Kill the primary, and start it again when it was replaced, with nothing in it."""
    old.kill()
    until = time.monotonic()
    eventually(lambda: fleet.in_charge() is new)
    old.restart()
    return until


def frozen(fleet: Replicated, old: Server, new: Server) -> float:
    """Let the primary stand still until it was replaced."""
    old.freeze()
    eventually(lambda: fleet.in_charge() is new)
    old.thaw()
    return time.monotonic() + BOUND


def stirred(fleet: Replicated, old: Server, new: Server) -> float:
    """Let the primary stand still until its replica was promoted, and before anybody knows."""
    old.freeze()
    eventually(lambda: _role(new) == "master")
    old.thaw()
    eventually(lambda: fleet.in_charge() is new)
    return time.monotonic() + BOUND


KINDS = (frozen, planned, killed, refused, stirred)


def fail(fleet: Replicated, number: int, soon: bool) -> Failover:
    """Make a failover, of each kind in turn, and wait until the former primary is a replica.

    The sentinel makes it one, after some ten seconds; `soon`: the test does.
    """
    kind = KINDS[number % len(KINDS)]
    old = fleet.in_charge()
    new = fleet.replica if old is fleet.primary else fleet.primary
    with old.client() as client:
        began = since = time.monotonic()
        client.set("mark", number)
        assert client.wait(1, 5000) == 1, "the replica does not follow"
        until = kind(fleet, old, new)
        took = time.monotonic() - began
    let_pass(BOUND)
    if soon:
        with old.client() as client:
            client.replicaof("127.0.0.1", new.port)
            client.client_kill_filter(_type="normal", skipme=True)
    eventually(lambda: _follows(old), REJOIN)
    return Failover(kind.__name__, since, until, took)


def _role(server: Server) -> str:
    with server.client() as client, contextlib.suppress(redis.RedisError):
        return str(client.info("replication")["role"])
    return ""


def _follows(server: Server) -> bool:
    # The sentinel closes all connections to a server that it makes a replica, and that one refuses
    # much while it reads its data.
    with server.client() as client, contextlib.suppress(redis.RedisError):
        client.config_set("min-replicas-to-write", 0)
        return client.info("replication").get("master_link_status") == "up"
    return False
