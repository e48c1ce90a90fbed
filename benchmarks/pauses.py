"""Work on all entries: how long it takes, and how long other threads stand still meanwhile.

Each work is done alone, then beside a thread that does nothing but read one key, then, where it can
be repeated on the same cache, beside one that writes a key every millisecond. The longest wait is
that of the one call, of all that overlap the work, that took longest; the median over the repeats
stands for the work, the worst of them beside it. What the interpreter's switching between two busy
threads costs by itself is told by a work that never touches the cache.
"""

import gc
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from .contestants import BY_NAME, TTL, Contestant, Names
from .loops import compiled, filler, once

Work = Callable[[], object]
Waits = list[tuple[float, float]]  # when a call began, and how long it took

SPIN = "a loop that uses no cache"
CLEANUP, IDLE = "cleanup of expired entries", "cleanup with nothing expired"
CALM = 0.05  # seconds in which a reader gets going
NOTED = 0.0001  # seconds; shorter waits are not kept
WRITE_EVERY = 0.001  # seconds

_READER = """\
began = clock()
{}
waited = clock() - began
if waited > noted: waits.append((began, waited))"""
_WRITER = f"{_READER}\nsleep({WRITE_EVERY})"


def works(size: int) -> dict[str, tuple[str, str]]:
    """Return for each work its verb and its pattern; a tenth of the keys match the last one."""
    return {
        'keys("user:123*")': ("keys", "user:123*"),
        'keys("*7*")': ("keys", "*7*"),
        "save": ("save", ""),
        "load": ("load", ""),
        f"delete_pattern of {size // 10:,}": (
            "delete_pattern",
            "user:1" + "?" * (len(str(size)) - 2),
        ),
    }


def measure(name: str, size: int, repeats: int) -> list[dict[str, Any]]:
    """Return a record for each work that `name` has a verb for, on `size` small entries."""
    contestant = BY_NAME[name]
    records = _on_all(contestant, size, repeats)
    if "cleanup" in contestant.big and contestant.fits(size, True):
        records += _cleanups(contestant, size, repeats)
    return [{"name": name, **record} for record in records]


def _on_all(contestant: Contestant, size: int, repeats: int) -> list[dict[str, Any]]:
    """Return the records of all works but the cleanup."""
    ttl = contestant.set is None
    names = contestant.make(size + 10, TTL if ttl else None)
    fill = filler(contestant, names, ttl)
    fill(range(size))
    records = [_record(SPIN, names, contestant, _spin, None, repeats)]
    with tempfile.TemporaryDirectory() as folder:
        for label, (verb, pattern) in works(size).items():
            if verb not in contestant.big:
                continue
            work = once(names, contestant.big[verb], pattern=pattern, path=Path(folder, "snapshot"))
            tenth = range(size // 10, size // 10 * 2)
            refill = partial(fill, tenth) if verb == "delete_pattern" else None
            records.append(_record(label, names, contestant, work, refill, repeats))
    return records


def _record(
    label: str,
    names: Names,
    contestant: Contestant,
    work: Work,
    refill: Work | None,
    repeats: int,
) -> dict[str, Any]:
    read = caller(names, contestant.get, _READER)
    store = contestant.set or contestant.set_ttl
    write = caller(names, store, _WRITER) if store and refill is None else None
    alone, beside, waits, writes = [], [], [], []
    try:
        for _ in range(repeats):
            alone.append(_timed(work))
            if refill is not None:
                refill()
            seconds, wait = watched(work, read, "user:5")
            if refill is not None:
                refill()
            beside.append(seconds)
            waits.append(wait)
            if write is not None:
                writes.append(watched(work, write, "written")[1])
    except BaseException as error:  # what Rust panics with is no Exception
        return {"work": label, "failed": f"{type(error).__name__}: {error}"}
    return summed_up(label, alone, beside, waits, writes)


def summed_up(
    label: str,
    alone: list[float],
    beside: list[float],
    waits: list[float],
    writes: list[float] | None = None,
) -> dict[str, Any]:
    """Return the record of a work: medians, and the worst of the longest waits; in seconds."""
    record = {
        "work": label,
        "seconds": statistics.median(alone),
        "beside_reader": statistics.median(beside),
        "longest_wait": statistics.median(waits),
        "worst_wait": max(waits),
        "repeats": len(waits),
    }
    if writes:
        record |= {"writer_wait": statistics.median(writes), "worst_writer_wait": max(writes)}
    return record


def _cleanups(contestant: Contestant, size: int, repeats: int) -> list[dict[str, Any]]:
    """Return the records of a cleanup that finds nothing, and of one that finds `size` entries."""
    statement = contestant.big["cleanup"]
    names = contestant.make(size + 10, TTL)
    began = perf_counter()
    filler(contestant, names, True)(range(size))
    life = 1.5 * (perf_counter() - began) + 0.5  # seconds; none may expire before all are in
    idle = []
    work = once(names, statement)
    work()  # what the filling has left to do
    while len(idle) < 100 and sum(idle) < 1:
        idle.append(_timed(work))
    record = {"work": IDLE, "seconds": statistics.median(idle), "repeats": len(idle)}
    del names, work
    alone, beside, waits = [], [], []
    for _ in range(repeats):
        alone.append(_timed(_expired(contestant, size, life)[1]))
        names, work = _expired(contestant, size, life)
        # The key stays, unless all entries have one life: then a read that finds nothing waits.
        seconds, wait = watched(work, caller(names, contestant.get, _READER), "stays")
        beside.append(seconds)
        waits.append(wait)
        del names, work
    return [summed_up(CLEANUP, alone, beside, waits), record]


def _expired(contestant: Contestant, size: int, life: float) -> tuple[Names, Work]:
    """Return a cache of `size` entries that have expired, and its cleanup."""
    names = contestant.make(size + 10, life)
    compiled(names | {"ttl": TTL}, "key", "", contestant.set_ttl or "")("stays")
    filler(contestant, names, True)(range(size))
    time.sleep(life)
    return names, once(names, contestant.big["cleanup"])


def _spin() -> None:
    for _ in range(10_000_000):
        pass


def _timed(work: Work) -> float:
    gc.collect()
    began = perf_counter()
    work()
    return perf_counter() - began


def caller(names: Names, statement: str, body: str) -> Callable[[str, Waits, list[bool]], None]:
    """Return a function that runs `statement` over and over and keeps the longer waits."""
    more = {"clock": perf_counter, "sleep": time.sleep, "noted": NOTED}
    return compiled(names | more, "key, waits, done", "while not done:", body.format(statement))


def watched(work: Work, call: Callable, key: str) -> tuple[float, float]:
    """Return the seconds of `work` beside a thread that makes calls, and its longest wait."""
    waits: Waits = []
    done: list[bool] = []
    thread = threading.Thread(target=call, args=(key, waits, done))
    gc.collect()
    thread.start()
    try:
        time.sleep(CALM)
        began = perf_counter()
        work()
        ended = perf_counter()
    finally:
        done.append(True)
        thread.join()  # a call that has waited all along is noted when it is over
    return ended - began, longest(waits, began, ended)


def longest(waits: Waits, began: float, ended: float) -> float:
    """Return the longest of those waits that overlap the time from `began` to `ended`."""
    return max(
        (wait for start, wait in waits if start < ended and start + wait > began), default=NOTED
    )
