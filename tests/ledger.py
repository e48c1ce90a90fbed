"""Processes that write down in a ledger, on the server, each of their writes: which ones were lost?

A write sets a key to its number and enters the number into the ledger, as one step. Numbers grow,
none is written twice, and nobody removes what is in the ledger: in the end it has what was kept.
"""

import bisect
import contextlib
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from cache import CacheUnavailable, Health, connect
from tests.failovers import HEARTBEAT, Failover
from tests.servers import eventually

OPTIONS: dict[str, Any] = {
    "near": 1000,
    "heartbeat": HEARTBEAT,
    "timeout": 0.4,
    "connect_timeout": 0.4,
    "deadline": 1.0,
    "cooldown": 0.2,
}
KEYS = 5  # of each process, which it alone writes
_PAUSE = 0.005  # seconds between two writes
_READERS = 2  # threads of each process


class Write(NamedTuple):
    """A call that wrote; times are of the monotonic clock, which all processes share."""

    began: float
    returned: float
    acknowledged: bool
    result: int = 0  # of an increment


class Back(NamedTuple):
    """A read of something older than what had been read, or written, before."""

    key: str
    newer: int
    older: int
    at: float


class Log(NamedTuple):
    """What one process did."""

    number: int
    writes: list[Write]  # by their numbers, from 1
    sums: list[Write]  # of a counter that nobody else increments, in their order
    read: dict[tuple[str, int], float]  # key and number: when the last call began that gave it
    back: list[Back]
    odd: list[str]  # errors of another kind than that the server is not available
    refused: int  # reads that failed
    hits: int  # reads that the near cache answered
    last: dict[str, int]  # what each key was at the end
    total: int  # what the counter was
    health: Health


def keys_of(number: int) -> list[str]:
    """Return the keys that a process writes."""
    return [f"{number}:{each}" for each in range(KEYS)]


def work(
    number: int, sender: Any, url: str, processes: int, started: Any, over: Any, written: Any
) -> None:
    """Write, count and read until it is `over`, and send a `Log`."""
    cache = connect(url, **OPTIONS)
    own = keys_of(number)
    everything = [key for each in range(processes) for key in keys_of(each)]
    writes: list[Write] = []
    sums: list[Write] = []
    back: list[Back] = []
    odd: list[str] = []
    refused = Counter[str]()
    read: dict[tuple[str, int], float] = {}
    seen = dict.fromkeys(everything, 0)
    lock = threading.Lock()  # of what was read and seen

    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        try:
            yield
        except CacheUnavailable:
            refused["reads"] += 1
            time.sleep(0.01)
        except Exception as error:
            odd.append(repr(error))

    def note(found: dict[str, int], least: dict[str, int], began: float) -> None:
        with lock:
            for key, before in least.items():
                now = found.get(key, 0)
                read[key, now] = max(read.get((key, now), 0.0), began)
                if now < before:
                    back.append(Back(key, before, now, began))
                    seen[key] = now
                else:
                    seen[key] = max(seen[key], now)

    def look(dice: random.Random) -> None:
        while not over.is_set():
            wanted = everything if dice.random() < 0.1 else [dice.choice(everything)]
            with lock:
                least = {key: seen[key] for key in wanted}
            began = time.monotonic()
            with noted():
                if len(wanted) > 1:
                    note(cache.get_many(wanted), least, began)
                else:
                    note({wanted[0]: cache.get(wanted[0], 0)}, least, began)
            time.sleep(0.001)

    def write(step: Any) -> Write:
        began, result, done = time.monotonic(), 0, False
        with noted():
            result = step() or 0
            done = True
        return Write(began, time.monotonic(), done, result)

    def count() -> None:
        while not over.is_set():
            sums.append(write(lambda: cache.increment(f"count:{number}")))
            time.sleep(_PAUSE)

    threads = [threading.Thread(target=look, args=(random.Random(at),)) for at in range(_READERS)]
    threads.append(threading.Thread(target=count))
    started.wait()
    for thread in threads:
        thread.start()
    while not over.is_set():
        at = len(writes) + 1
        key = own[at % KEYS]
        entry = {key: at, f"ledger:{number}:{at}": 1}
        writes.append(write(lambda entry=entry: cache.set_many(entry)))
        if writes[-1].acknowledged:
            with lock:
                seen[key] = at
        time.sleep(_PAUSE)
    for thread in threads:
        thread.join()

    def well() -> bool:
        health = cache.health()
        return bool(health["connected"] and health["tracking"] and health["breaker"] == "closed")

    with contextlib.suppress(AssertionError):  # then the log says so
        eventually(well, 10.0)
    written.wait()  # by all
    time.sleep(HEARTBEAT)
    for _ in range(2):  # the second time from near
        last = {key: cache.get(key, 0) for key in everything}
    total = cache.get(f"count:{number}", 0)
    hits, health = cache.stats().hits, cache.health()
    log = Log(number, writes, sums, read, back, odd, refused["reads"], hits, last, total, health)
    sender.send(log)
    cache.close()


class Account(NamedTuple):
    """What became of all writes."""

    wrong: list[str]  # what must not be
    lost: Counter[str]  # acknowledged writes that a failover lost, by its kind
    late: int  # writes that failed and were made all the same
    acknowledged: int
    counted: int  # increments that were acknowledged
    stale: float  # seconds, the most, for which something older was read than another had written
    dead: float  # seconds, the most, for which something lost was read, from the failover's end
    away: float  # seconds, the most, between two writes of a process that succeeded


def account(logs: Sequence[Log], failovers: Sequence[Failover], kept: set[str]) -> Account:
    """Judge the logs by the ledger, which has the names in `kept`."""
    wrong = [f"{log.number}: {error}" for log in logs for error in log.odd]
    lost = Counter[str]()
    late, stale, dead, away = 0, 0.0, 0.0, 0.0
    for log in logs:
        held = [at for at in range(1, len(log.writes) + 1) if f"ledger:{log.number}:{at}" in kept]
        there = {0, *held}
        gone = {}  # writes that are not there, and what explains that
        for at, write in enumerate(log.writes, 1):
            if at in there:
                late += not write.acknowledged
            elif (reason := explained(write, failovers)) is not None:
                gone[at] = reason
                lost[reason.kind] += write.acknowledged
            elif write.acknowledged:
                wrong.append(f"{log.number}: number {at} was lost: {write}")
        wrong += [f"{log.number}: {said}" for said in miscounted(log.sums, log.total, failovers)]
        for turn, key in enumerate(keys_of(log.number)):
            numbers = [at for at in held if at % KEYS == turn]
            sure = [at for at in numbers if log.writes[at - 1].acknowledged]
            for reader in logs:
                who = f"{reader.number}: {key}"
                if reader.last[key] != max(numbers, default=0):
                    wrong.append(f"{who} is {reader.last[key]} in the end and not {numbers[-1]}")
                for fact in reader.back:
                    if fact.key == key and fact.newer not in gone:
                        wrong.append(f"{who} was {fact.older} after {fact.newer} at {fact.at}")
                for (read, at), when in reader.read.items():
                    if read != key:
                        continue
                    if at in gone:
                        dead = max(dead, when - gone[at].until)
                    elif at not in there:
                        wrong.append(f"{who} was {at}, which was never written")
                    newer = bisect.bisect(sure, at)
                    if newer < len(sure):
                        stale = max(stale, when - log.writes[sure[newer] - 1].returned)
        done = [write.returned for write in log.writes if write.acknowledged]
        away = max([away, *(later - sooner for sooner, later in itertools.pairwise(done))])
    acknowledged = sum(write.acknowledged for log in logs for write in log.writes)
    counted = sum(write.acknowledged for log in logs for write in log.sums)
    return Account(wrong, lost, late, acknowledged, counted, stale, dead, away)


def explained(write: Write, failovers: Iterable[Failover]) -> Failover | None:
    """Return the failover that may have lost a write."""
    for failover in failovers:
        if write.returned >= failover.since and write.began <= failover.until:
            return failover
    return None


def miscounted(calls: Sequence[Write], total: int, failovers: Sequence[Failover]) -> Iterator[str]:
    """Say where a sum is more than the calls can have made it, or less without a failover.

    Each call adds one. A call that failed may have added it or not.
    """
    before, failed = Write(0.0, 0.0, True, 0), 0
    for call in [*calls, Write(math.inf, math.inf, True, total)]:
        if not call.acknowledged:
            failed += 1
            continue
        own = call.began < math.inf  # the last one only reads
        if call.result - before.result > own + failed:
            yield f"{call.result} after {before.result}, by {own + failed} calls at most"
        if call.result < before.result + own:
            reason = explained(before, failovers)
            # The last one of before the failover: what was lost by others counts no more.
            since = -math.inf if reason is None else reason.since
            sure = [each.result for each in calls if each.acknowledged and each.returned < since]
            if reason is None or call.result < (sure or [0])[-1] + own:
                yield f"{call.result} after {before.result}, which was sure: {before}"
        before, failed = call, 0
