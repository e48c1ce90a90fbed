"""Hits on real sequences of accesses: a get, and on a miss a set. An exact LRU has no choice.

The traces are not part of the project. What an exact LRU must count stands in the table of their
README, which is read here.
"""

import lzma
import re
from functools import cache
from pathlib import Path
from typing import Any

from .contestants import BY_NAME
from .loops import compiled

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "traces"

_LOOP = """\
misses = 0
for key in keys:"""


def expected(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return trace, size, hits, misses and evictions of each row of the table; [] without one."""
    readme = folder / "README.md"
    if not readme.exists():
        return []
    row = re.compile(r"\| ([\w-]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|")
    fields = ("size", "hits", "misses", "evictions")
    return [
        {"trace": name}
        | {field: int(text.replace(",", "")) for field, text in zip(fields, numbers, strict=True)}
        for name, *numbers in row.findall(readme.read_text())
    ]


@cache
def accesses(trace: str) -> list[str]:
    with lzma.open(FOLDER / f"{trace}.txt.xz", "rt") as file:
        return file.read().split("\n")[:-1]


def count(name: str, rows: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return what `name` counts on each (trace, size)."""
    contestant = BY_NAME[name]
    store = contestant.store(False) or contestant.store(True)
    body = contestant.get
    if store is not None:
        body += f"\nif not value:\n    misses += 1\n    {store}"
    records = []
    for trace, size in rows:
        names = contestant.make(size, None)
        keys = accesses(trace)
        misses = compiled(names, "keys", _LOOP, body, "return misses")(keys)
        record = {"name": name, "trace": trace, "size": size, "hits": len(keys) - misses}
        if contestant.counts is not None:
            record |= contestant.counts(names["cache"])
        records.append(record)
    return records
