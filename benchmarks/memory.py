"""Resident bytes per entry, and what ten rewrites of every key add to them."""

import gc
import os
from pathlib import Path
from typing import Any

from .contestants import BY_NAME, TTL
from .loops import compiled, filler

REWRITES = 10
_STATM = Path("/proc/self/statm")
MEASURABLE = _STATM.exists()


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def weigh(name: str, size: int, ttl: bool) -> dict[str, Any]:
    """Return the bytes per entry of `size` small entries, key and value included."""
    contestant = BY_NAME[name]
    filler(contestant, contestant.make(1_000, TTL if ttl else None), ttl)(range(1_000))
    gc.collect()
    before = resident()
    names = contestant.make(size, TTL if ttl else None)
    filler(contestant, names, ttl)(range(size))
    gc.collect()
    filled = resident()
    record = {"name": name, "ttl": ttl, "bytes": (filled - before) / size}
    store = contestant.store(ttl)
    if ttl and store is not None:
        rewrite = compiled(
            names, "numbers", "for number in numbers:", f'key = f"user:{{number}}"\n{store}'
        )
        for _ in range(REWRITES):
            rewrite(range(size))
        gc.collect()
        record["grown"] = (resident() - filled) / size
    return record
