"""What `RedisCache` and its near cache cost: `python -m benchmarks.near [--quick]`.

It starts a server of its own, compares with bare redis-py in neighbouring slices, and writes JSON
and Markdown. Four processes count against four, so a busy machine shows in all rows alike.
"""

import argparse
import gc
import itertools
import json
import multiprocessing
import os
import pathlib
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib import metadata
from typing import Any

import redis
from redis.utils import HIREDIS_AVAILABLE

from cache import DistributedCache
from cache.redis_cache import RedisCache
from tests.servers import Server, binaries, eventually, running

from .run import CORES
from .speed import interval

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = "a hundred bytes of text " * 4 + "...."
KEYS = 1_000
PROCESSES = 4
UNIVERSE = 10_000  # keys of the fleet's load, as unequal as in life (Zipf's law)
READS = 0.95
HEAD = {
    "hit": ("near hit, beside a hit of `DistributedCache` without a ttl", 1.3),
    "hit_ttl": ("near hit, beside one with a ttl", 1.3),
    "get": ("`get` over the network, beside a bare GET of the same bytes", 1.15),
    "get_many": ("`get_many` of 100, beside 100 gets: how many times as fast", 20.0),
    "delete_pattern": ("`delete_pattern`, beside a bare loop of SCAN and UNLINK", 2.0),
}
PATIENCE = 120.0  # seconds

Record = dict[str, Any]


# -- one process -----------------------------------------------------------------------------------


def paired(one: Callable[[], object], other: Callable[[], object], pairs: int) -> Record:
    """Return how many times as long `one` takes as `other`, each pair in turn, and its interval."""
    taken: tuple[list[float], list[float]] = ([], [])
    dice = random.Random(pairs)
    for step in (one, other):
        step()
    gc.collect()
    for _ in range(pairs):
        for turn in (0, 1) if dice.random() < 0.5 else (1, 0):
            began = time.perf_counter()
            (one, other)[turn]()
            taken[turn].append(time.perf_counter() - began)
    ratios = sorted(mine / theirs for mine, theirs in zip(*taken, strict=True))
    low, high = interval(ratios)
    return {
        "ratio": statistics.median(ratios),
        "low": low,
        "high": high,
        "seconds": statistics.median(taken[0]),
        "other_seconds": statistics.median(taken[1]),
        "pairs": pairs,
    }


def hit(server: Server, pairs: int, ttl: float | None) -> Record:
    """Compare a hit of the near cache with one of a `DistributedCache`; a slice is 2,000."""
    local: DistributedCache[int] = DistributedCache(KEYS)
    keys = [f"user:{number}" for number in range(KEYS)]
    with remote(server, near=10 * KEYS) as cache:
        for number, key in enumerate(keys):
            local.set(key, number, ttl)
            cache.set(key, number)
        warm(cache, keys)
        asked = random.Random(0).choices(keys, k=2_000)
        asked = ["".join(list(key)) for key in asked]  # equal to the stored ones, not identical
        own, plain = cache.get, local.get

        def near() -> None:
            for key in asked:
                own(key)

        def beside() -> None:
            for key in asked:
                plain(key)

        return paired(near, beside, pairs)


def get(server: Server, pairs: int) -> Record:
    """Compare `get` without a near cache with redis-py's GET; a slice is 50."""
    client = redis.Redis(port=server.port)
    with remote(server) as cache:
        cache.set("k", TEXT)
        (name,) = client.keys("*")
        return paired(
            lambda: [cache.get("k") for _ in range(50)],
            lambda: [client.get(name) for _ in range(50)],
            pairs,
        )


def get_many(server: Server, pairs: int) -> Record:
    """Compare 100 gets with one `get_many`: how many times as long they take."""
    keys = [f"user:{number}" for number in range(100)]
    with remote(server) as cache:
        cache.set_many(dict.fromkeys(keys, TEXT))
        return paired(lambda: [cache.get(key) for key in keys], lambda: cache.get_many(keys), pairs)


def delete_pattern(server: Server, pairs: int, size: int) -> Record:
    """Compare removing `size` keys by a pattern with a loop that does the same by hand."""
    client = redis.Redis(port=server.port, socket_timeout=PATIENCE)

    def fill() -> None:
        client.flushall()
        for start in range(0, size, 10_000):
            client.mset({f"bench:user:{number}": number for number in range(start, start + 10_000)})

    def by_hand() -> int:
        gone, cursor = 0, 0
        while True:
            cursor, names = client.scan(cursor, "bench:user:*", 10_000)
            gone += client.unlink(*names) if names else 0
            if not cursor:
                return gone

    took: tuple[list[float], list[float]] = ([], [])
    with remote(server) as cache:
        for number in range(pairs):
            for turn in (0, 1) if number % 2 else (1, 0):
                fill()
                began = time.perf_counter()
                gone = (lambda: cache.delete_pattern("user:*"), by_hand)[turn]()
                took[turn].append(time.perf_counter() - began)
                assert gone == size, gone
    ratios = sorted(mine / theirs for mine, theirs in zip(*took, strict=True))
    return {
        "ratio": statistics.median(ratios),
        "low": ratios[0],
        "high": ratios[-1],
        "seconds": statistics.median(took[0]),
        "other_seconds": statistics.median(took[1]),
        "pairs": pairs,
        "size": size,
    }


def remote(server: Server, **options: Any) -> RedisCache[Any]:
    """Return a cache on an empty server."""
    server.client().flushall()
    return RedisCache(redis.Redis(port=server.port), namespace="bench", **options)


def warm(cache: RedisCache[Any], keys: list[str]) -> None:
    """Read keys until the near cache has them: no server answers as fast."""

    def near() -> bool:
        began = time.perf_counter()
        for key in keys:
            cache.get(key)
        return time.perf_counter() - began < len(keys) * 10e-6

    eventually(near)


# -- several processes -----------------------------------------------------------------------------


def fleet(work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what `work(number, barrier, *arguments)` returns in each of the processes."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with context.Pool(PROCESSES, _remember, (barrier,)) as pool:
        calls = [pool.apply_async(work, (number, *arguments)) for number in range(PROCESSES)]
        return [call.get(PATIENCE) for call in calls]


_barrier: Any = None


def _remember(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def staleness(server: Server, writes: int, busy: bool) -> Record:
    """Return how long three processes read what a fourth has written over, in seconds."""
    server.client().flushall()
    told = fleet(_stale, server.port, writes, busy)
    written = next(times for kind, times in told if kind == "written")
    found = []
    for kind, times in told:
        if kind == "read":
            # The last read of each version before this one, whichever that was.
            latest = 0.0
            for version in range(1, writes + 1):
                latest = max(latest, times.get(version - 1, 0.0))
                found.append(max(0.0, latest - written[version]))
    cuts = statistics.quantiles(found, n=100)
    return {
        "readers": "busy" if busy else "idle",
        "p50": cuts[49],
        "p99": cuts[98],
        "max": max(found),
        "none": sum(each == 0.0 for each in found) / len(found),
        "samples": len(found),
    }


def _stale(number: int, port: int, writes: int, busy: bool) -> tuple[str, dict[int, float]]:
    cache: RedisCache[int] = RedisCache(
        redis.Redis(port=port), namespace="bench", **({} if number == 0 else {"near": 1_000})
    )
    times: dict[int, float] = {}
    if number == 0:
        cache.set("k", 0)
    _barrier.wait(PATIENCE)
    if number == 0:
        for version in range(1, writes + 1):
            time.sleep(0.01)
            cache.set("k", version)
            times[version] = time.monotonic()
        return "written", times
    found = 0
    while found < writes:
        began = time.monotonic()
        found = cache.get("k", 0)
        times[found] = began
        if not busy:
            time.sleep(0.00005)
    return "read", times


def load(server: Server, kind: str, operations: int) -> Record:
    """Return how many operations a second four processes do, 95 reads to 5 writes."""
    server.client().flushall()
    with RedisCache(redis.Redis(port=server.port), namespace="bench") as cache:
        cache.set_many({str(number): TEXT for number in range(UNIVERSE)})
    try:
        told = fleet(_load, server.port, kind, operations)
    except redis.RedisError as error:
        return {"kind": kind, "refused": str(error)}
    cuts = statistics.quantiles([each for _, times in told for each in times], n=100)
    return {
        "kind": kind,
        "per_second": sum(operations / seconds for seconds, _ in told),
        "p50": cuts[49],
        "p99": cuts[98],
    }


def contestant(port: int, kind: str) -> tuple[Callable[[str], Any], Callable[[str], Any]]:
    """Return how to read and how to write a key."""
    if kind == "near":
        cache: RedisCache[str] = RedisCache(
            redis.Redis(port=port), namespace="bench", near=UNIVERSE
        )
        return cache.get, lambda key: cache.set(key, TEXT)
    if kind == "RedisCache":
        plain: RedisCache[str] = RedisCache(redis.Redis(port=port), namespace="bench")
        return plain.get, lambda key: plain.set(key, TEXT)
    options: dict[str, Any] = {}
    if kind.startswith("redis-py with"):
        from redis.cache import CacheConfig
        from redis.connection import CacheProxyConnection

        if "unchecked" in kind:
            CacheProxyConnection.MIN_ALLOWED_VERSION = "6.2.0"
        options = {"protocol": 3, "cache_config": CacheConfig(max_size=UNIVERSE)}
    client = redis.Redis(port=port, **options)
    return (lambda key: client.get(f"bench:{key}")), lambda key: client.set(f"bench:{key}", TEXT)


KINDS = (
    "redis-py",
    "redis-py with its cache",
    "redis-py with its cache, version unchecked",
    "RedisCache",
    "near",
)


def _load(number: int, port: int, kind: str, operations: int) -> tuple[float, list[float]]:
    dice = random.Random(number)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, UNIVERSE + 1)))
    keys = [str(each) for each in dice.choices(range(UNIVERSE), cum_weights=weights, k=operations)]
    steps = [dice.random() < READS for _ in keys]
    try:
        get, put = contestant(port, kind)
        get("0")
    except Exception:
        _barrier.abort()
        raise
    for key in keys[: operations // 5]:
        get(key)
    times = []
    _barrier.wait(PATIENCE)
    began = time.perf_counter()
    for key, reads in zip(keys, steps, strict=True):
        before = time.perf_counter()
        (get if reads else put)(key)
        times.append(time.perf_counter() - before)
    took = time.perf_counter() - began
    _barrier.wait(PATIENCE)
    return took, dice.sample(times, min(len(times), 20_000))


# -- the report ------------------------------------------------------------------------------------


def measure(server: Server, quick: bool) -> Iterator[tuple[str, Record | list[Record]]]:
    """Measure all parts, and yield each with its name."""
    pairs = 30 if quick else 300
    yield "hit", hit(server, pairs * 2, None)
    yield "hit_ttl", hit(server, pairs * 2, 600.0)
    yield "get", get(server, pairs * 2)
    yield "get_many", get_many(server, pairs)
    size = 100_000 if quick else 1_000_000
    yield "delete_pattern", delete_pattern(server, 1 if quick else 3, size)
    writes = 100 if quick else 1_000
    yield "staleness", [staleness(server, writes, busy) for busy in (False, True)]
    yield "load", [load(server, kind, 4_000 if quick else 40_000) for kind in KINDS]


def markdown(results: Record) -> str:
    """Return the report."""
    about = results["about"]
    lines = [
        f"# `RedisCache` and its near cache, {about['python']}",
        "",
        "Pairs of slices in turns; a ratio is the median of the paired ones, with its 95 %",
        "interval (of `delete_pattern`: the lowest and the highest). Values are of 100 bytes.",
        f"Everything, the server too, runs on one machine of {about['cores']} cores that others",
        f"use as well (load {about['load']:.1f} when this began): compare within a table, not with",
        "other machines.",
        "",
        f"{about['date']}, {about['server']}, redis-py {about['redis-py']} with"
        f" {about['parser']}, {about['machine']}.",
        "",
        "| | ratio | goal | met |",
        "|---|---|---|---|",
    ]
    for name, (title, goal) in HEAD.items():
        found = results[name]
        met = found["ratio"] >= goal if name == "get_many" else found["ratio"] <= goal
        sign = "at least" if name == "get_many" else "at most"
        cells = f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
        lines.append(f"| {title} | {cells} | {sign} {goal:g} | {'yes' if met else '**no**'} |")
    slow = results["delete_pattern"]
    lines += [
        "",
        f"A near hit takes {results['hit']['seconds'] / 2000 * 1e9:.0f} ns, one of"
        f" `DistributedCache` {results['hit']['other_seconds'] / 2000 * 1e9:.0f};"
        f" a remote get {results['get']['seconds'] / 50 * 1e6:.0f} µs,"
        f" a bare GET {results['get']['other_seconds'] / 50 * 1e6:.0f};"
        f" {slow['size']:,} keys go in {slow['seconds']:.2f} s, by hand in"
        f" {slow['other_seconds']:.2f}.",
        "",
        "## How long another process reads the old value",
        "",
        "From the return of one process's `set` to the beginning of the last read, in each of",
        "three others, that gave something older, in ms. Idle readers pause 50 µs between reads;",
        "busy ones do nothing else, so the thread that listens waits for the interpreter's lock.",
        "",
        "| readers | p50 | p99 | max | no such read | samples |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['readers']} | {each['p50'] * 1e3:.2f} | {each['p99'] * 1e3:.2f}"
        f" | {each['max'] * 1e3:.2f} | {each['none']:.0%} | {each['samples']:,} |"
        for each in results["staleness"]
    ]
    lines += [
        "",
        f"## {PROCESSES} processes, {READS:.0%} reads, {UNIVERSE:,} keys by Zipf's law",
        "",
        "| | operations/s | p50 µs | p99 µs |",
        "|---|---|---|---|",
    ]
    for each in results["load"]:
        if "refused" in each:
            lines.append(f"| {each['kind']} | refuses: {each['refused']} | | |")
        else:
            lines.append(
                f"| {each['kind']} | {each['per_second']:,.0f} | {each['p50'] * 1e6:.1f}"
                f" | {each['p99'] * 1e6:.1f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="roughly, in half a minute")
    options = parser.parse_args()
    engine, binary = next(iter(binaries().items()))
    with tempfile.TemporaryDirectory() as folder, running(binary, pathlib.Path(folder)) as server:
        info = server.client().info("server")
        results: Record = {
            "about": {
                "date": date.today().isoformat(),
                "python": f"{platform.python_implementation()} {platform.python_version()}",
                "machine": f"{platform.system()} on {platform.machine()}",
                "cores": CORES,
                "load": os.getloadavg()[0],
                "server": f"{engine} {info['redis_version']}",
                "redis-py": metadata.version("redis"),
                "parser": "hiredis" if HIREDIS_AVAILABLE else "its own parser",
                "quick": options.quick,
            }
        }
        for name, found in measure(server, options.quick):
            results[name] = found
            print(name, found, file=sys.stderr)
    target = ROOT / (".build/benchmarks" if options.quick else "benchmarks/results") / "near"
    target.mkdir(parents=True, exist_ok=True)
    label = "cpython-{}.{}".format(*sys.version_info)
    (target / f"{label}.json").write_text(json.dumps(results, indent=1) + "\n")
    (target / f"{label}.md").write_text(markdown(results))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
