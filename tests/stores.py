"""The cache over either store, in one process: the suites run on both, as `c` and as `py`."""

import importlib.util
import os
import sys
from functools import cache
from types import ModuleType
from typing import Any

COMPILED = "cache.memory._store"
NAMES = {"c": COMPILED, "py": "cache.memory._store_py"}


def present() -> list[str]:
    """Return the stores that the suites run on.

    Where nothing was compiled it is the one in Python alone. CI has a compiler: there both are
    asked for, so that the compiled one cannot be missing unnoticed.
    """
    if os.environ.get("CACHE_NO_EXTENSIONS"):
        return ["py"]
    compiled = bool(os.environ.get("CI")) or importlib.util.find_spec(COMPILED) is not None
    return ["c", "py"] if compiled else ["py"]


@cache
def module_over(kind: str) -> ModuleType:
    """Return the module of `DistributedCache`, over that store.

    The package has it once, over the store that serves. Over the other one, the same file runs a
    second time.
    """
    served = importlib.import_module("cache.memory.cache")
    if kind == served.KIND:
        return served
    spec: Any = importlib.util.spec_from_file_location(
        f"cache.memory.cache_over_{kind}", served.__file__
    )
    module = importlib.util.module_from_spec(spec)
    store = importlib.import_module(NAMES[kind])
    chooser = sys.modules["cache.memory.store"]
    sys.modules[spec.name], sys.modules["cache.memory.store"] = module, store
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules["cache.memory.store"] = chooser
    return module
