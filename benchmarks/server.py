"""A redis-server for the length of a run, on a free loopback port."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .contestants import REDIS_PORT

PATIENCE = 10  # seconds


@contextlib.contextmanager
def running() -> Iterator[str | None]:
    """Run a server, if there is one, tell its port by the environment, and give its version."""
    binary = shutil.which("redis-server") or shutil.which(
        Path(sys.executable).parent / "redis-server"
    )
    if binary is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            binary,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            folder,
            "--save",
            "",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if _listens(port):
                os.environ[REDIS_PORT] = str(port)
            yield _version(binary)
        finally:
            os.environ.pop(REDIS_PORT, None)
            process.kill()
            process.wait(PATIENCE)


def _listens(port: int) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


def _version(binary: str) -> str:
    words = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.split()
    return next((word.removeprefix("v=") for word in words if word.startswith("v=")), "unknown")
