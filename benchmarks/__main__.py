"""Compare DistributedCache with the obvious implementation, in one run, as ratios.

Machines change speed within milliseconds: contestants take turns in slices of 2,000 operations,
and the figure is the median of the paired ratios. The baseline against itself must read
1.00 +- 0.05, or the run is void. Keys are equal to the stored ones, not identical. The garbage
collector is on.
"""

import argparse
import platform
import random
import statistics
import sys
import tempfile
import threading
import time

from cache import DistributedCache

from .baseline import Baseline

SLICE = 2_000


def fresh(text):
    return "".join(list(text))


def operations(size, ttl):
    """Return a function for each operation that takes a cache and does it 2,000 times."""
    dice = random.Random(size)
    known = [fresh(f"user:{dice.randrange(size)}") for _ in range(SLICE)]
    unknown = [f"none:{number}" for number in range(SLICE)]
    new = {}

    def hit(cache):
        for key in known:
            cache.get(key)

    def miss(cache):
        for key in unknown:
            cache.get(key)

    def overwrite(cache):
        for key in known:
            cache.set(key, 1, ttl)

    def evict(cache):
        start = new[id(cache)] = new.get(id(cache), 0) + SLICE
        keys = [f"new:{number}" for number in range(start, start + SLICE)]
        began = time.perf_counter()
        for key in keys:
            cache.set(key, 1, ttl)
        return time.perf_counter() - began

    return {"hit": hit, "miss": miss, "overwrite": overwrite, "evicting set": evict}


def speed(size, ttl, rounds):
    """Yield (operation, ns of ours, ratio to the baseline, baseline to itself)."""
    contestants = [Baseline(size), Baseline(size), DistributedCache(size)]
    for cache in contestants:
        for number in range(size):
            cache.set(f"user:{number}", number, ttl)
    for name, operation in operations(size, ttl).items():
        taken = [[] for _ in contestants]
        for _ in range(rounds):
            for cache, times in zip(contestants, taken, strict=True):
                began = time.perf_counter()
                inner = operation(cache)
                times.append((inner or time.perf_counter() - began) / SLICE * 1e9)
        base, itself, ours = taken
        pairs = zip(base, ours, strict=True)
        ratio = statistics.median(theirs / mine for theirs, mine in pairs)
        void = statistics.median(a / b for a, b in zip(base, itself, strict=True))
        yield name, statistics.median(ours), ratio, void


def pause(cache, work, key):
    """Return how long `work` took and the longest that a hit of another thread waited, in s."""
    worst, done = [0.0], threading.Event()

    def read():
        while not done.is_set():
            began = time.perf_counter()
            cache.get(key)
            worst[0] = max(worst[0], time.perf_counter() - began)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.1)
    worst[0] = 0.0
    began = time.perf_counter()
    work()
    taken = time.perf_counter() - began
    done.set()
    reader.join()  # a hit that has waited all along counts when it is over
    return taken, worst[0]


def pauses(make, size, path):
    """Yield (work, seconds, longest wait of a hit in ms) for a cache of `size` small entries."""
    cache = make(size + 10)
    for number in range(size):
        cache.set(f"user:{number}", number, 10_000)
    for name, work in (
        ('keys("user:123*")', lambda: cache.keys("user:123*")),
        ('keys("*7*")', lambda: cache.keys("*7*")),
        ("save", lambda: cache.save(path)),
        ("load", lambda: cache.load(path)),
        ('delete_pattern("user:1*")', lambda: cache.delete_pattern("user:1*")),
        ("clear", cache.clear),
    ):
        taken, waited = pause(cache, work, "user:5")
        yield name, taken, waited * 1000
    cache.set("stays", 1)
    for number in range(size):
        cache.set(f"user:{number}", number, 5)
    time.sleep(5)
    taken, waited = pause(cache, cache.cleanup, "stays")
    yield "cleanup", taken, waited * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds, size = (30, 100_000) if options.quick else (150, 1_000_000)
    print(f"CPython {platform.python_version()} on {platform.machine()}, {rounds} rounds\n")
    print("| entries | ttl | operation | ns | times the baseline's speed | baseline to itself |")
    print("|---|---|---|---|---|---|")
    void = False
    for entries in (1_000, 10_000) if options.quick else (1_000, 10_000, 1_000_000):
        for ttl in (None, 1000):
            for name, ns, ratio, itself in speed(entries, ttl, rounds):
                void |= abs(itself - 1) > 0.05
                cells = (f"{entries:,}", str(ttl), name, f"{ns:.0f}")
                print("|", " | ".join((*cells, f"{ratio:.2f}", f"{itself:.2f}")), "|", flush=True)
    print("\nThis run is void: the machine was not steady." if void else "")
    print(f"| work at {size:,} entries | seconds | baseline's | hit waits, ms | baseline's |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        ours = list(pauses(DistributedCache, size, f"{folder}/ours"))
        base = list(pauses(Baseline, size, f"{folder}/base"))
    for (name, taken, waited), (_, their_taken, their_waited) in zip(ours, base, strict=True):
        print(f"| `{name}` | {taken:.2f} | {their_taken:.2f} | {waited:.1f} | {their_waited:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
