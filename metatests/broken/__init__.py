"""Broken caches: each deviates from one clause, and a test of that clause has to notice it."""

from typing import Any

from . import (
    r01_ttl,
    r02_lru,
    r03_increment,
    r04_stats,
    r05_patterns,
    r06_save,
    r07_load,
    r08_cleanup,
    r09_threads,
    r10_edges,
    r11_memoize,
    remote,
)
from .deviation import Deviation

DEVIATIONS: list[Deviation] = [
    deviation
    for requirement in (
        *(r01_ttl, r02_lru, r03_increment, r04_stats, r05_patterns),
        *(r06_save, r07_load, r08_cleanup, r09_threads, r10_edges, r11_memoize, remote),
    )
    for deviation in requirement.DEVIATIONS
]


def install(name: str, package: str) -> None:
    """Break the package that is being imported, as the deviation of that name does."""
    import sys

    found: Any = next(deviation for deviation in DEVIATIONS if str(deviation) == name)
    found.install(sys.modules[package])
