"""Processes that share a cache: they write versions that grow, read them, and keep a log of it."""

import contextlib
import multiprocessing
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import redis

from cache.redis_cache import RedisCache

NAMESPACE = "fleet"
CONTEXT = multiprocessing.get_context("spawn")
ROUND = 10  # versions of each key, after which all wait until all have read the last
PATIENCE = 300.0  # seconds that the others may take, with a server that is killed again and again


class Log(NamedTuple):
    """What one process did; times are of the monotonic clock, which all processes share."""

    written: dict[tuple[str, int], float]  # key and version: when the call returned
    read: dict[tuple[str, int], float]  # key and version: when the last call began that gave it
    back: list[str]  # reads of an older version than had been read before
    missed: list[str]  # reads of an older version than this process had written before
    failed: list[str]
    hits: int  # reads that the near cache answered
    last: dict[str, int]  # what each key was at the end


def versions(port: int, processes: int, writes: int, keys: int = 5, **options: Any) -> list[Log]:
    """Let every process write each of its `keys` in turn, and all read all of them; return logs."""
    started, written = (CONTEXT.Barrier(processes) for _ in range(2))
    given = (port, processes, writes, keys, options, started, written)
    with spawned(_work, processes, *given) as logs:
        return logs(PATIENCE)


@contextlib.contextmanager
def spawned(work: Callable[..., None], processes: int, *given: Any) -> Iterator[Callable[..., Any]]:
    """Run `work(number, send, *given)` in that many processes for the length of a `with` block.

    Gives a function that waits, for so many seconds, for what each of them sends.
    """
    ends = [CONTEXT.Pipe(duplex=False) for _ in range(processes)]
    running = [
        CONTEXT.Process(target=work, args=(number, sender, *given))
        for number, (_, sender) in enumerate(ends)
    ]

    def received(patience: float) -> list[Any]:
        found = []
        for receiver, _ in ends:
            if not receiver.poll(patience):
                raise TimeoutError("a process of the fleet does not end")
            found.append(receiver.recv())
        return found

    try:
        for process, (_, sender) in zip(running, ends, strict=True):
            process.start()
            sender.close()
        yield received
    finally:
        for process, (receiver, _) in zip(running, ends, strict=True):
            process.kill()
            process.join()
            process.close()
            receiver.close()


def _work(
    number: int,
    sender: Any,
    port: int,
    processes: int,
    writes: int,
    keys: int,
    options: dict[str, Any],
    started: Any,
    written: Any,
) -> None:
    cache: RedisCache[int] = RedisCache(redis.Redis(port=port), namespace=NAMESPACE, **options)
    own = [f"{number}:{each}" for each in range(keys)]
    everything = [f"{each}:{one}" for each in range(processes) for one in range(keys)]
    log = Log({}, {}, [], [], [], 0, {})
    seen = dict.fromkeys(everything, 0)
    over = threading.Event()

    def read(key: str) -> int:
        least, began = seen[key], time.monotonic()
        found = cache.get(key, 0)
        if found < least:
            log.back.append(f"{key}: {found} after {least}")
        seen[key] = max(seen[key], found)
        log.read[key, found] = max(log.read.get((key, found), 0.0), began)
        return found

    def look(dice: random.Random) -> None:
        while not over.is_set():
            with noted(log.failed):
                read(dice.choice(everything))
            time.sleep(0.0001)

    def settled(version: int) -> bool:
        with noted(log.failed):
            return all(read(key) >= version for key in everything)
        return False

    readers = [threading.Thread(target=look, args=(random.Random(seed),)) for seed in range(3)]
    sys.setswitchinterval(1e-5)  # so that threads meet in the middle of more things
    started.wait(PATIENCE)
    for reader in readers:
        reader.start()
    for version in range(1, writes // keys + 1):
        for key in own:
            while (key, version) not in log.written:
                with noted(log.failed):
                    cache.set(key, version)
                    log.written[key, version] = time.monotonic()
                    if (found := read(key)) != version:
                        log.missed.append(f"{key}: {found} after writing {version}")
        if version % ROUND == 0:
            # Nobody writes for a while: an old copy that stayed is not let go of by the next write.
            written.wait(PATIENCE)
            end = time.monotonic() + 2.0
            while not settled(version) and time.monotonic() < end:
                time.sleep(0.01)
            written.wait(PATIENCE)
    over.set()
    for reader in readers:
        reader.join()
    last = {key: cache.get(key, 0) for key in everything}
    sender.send(log._replace(hits=cache.stats().hits, last=last))
    cache.close()


@contextlib.contextmanager
def noted(failed: list[str]) -> Any:
    """Write down what fails, and go on."""
    try:
        yield
    except Exception as error:
        failed.append(repr(error))
        time.sleep(0.02)


def staleness(logs: Iterable[Log]) -> list[float]:
    """Return, of each write and each other process, how long it still read what was older.

    From the return of the write to the beginning of the last such read, in seconds; 0.0 where there
    was none.
    """
    logs = list(logs)
    found = []
    for writer in logs:
        for reader in logs:
            if reader is writer:
                continue
            older: dict[str, float] = {}  # when something older was last read, by key
            for key, version in sorted(writer.written, key=lambda write: write[1]):
                before = reader.read.get((key, version - 1), 0.0)
                older[key] = max(older.get(key, 0.0), before)
                found.append(max(0.0, older[key] - writer.written[key, version]))
    return found
