"""How much a cache holds, container by container, and which of them grow from hour to hour.

A cache that keeps a record too many shows no wrong answer, only memory. So a test lets simulated
hours pass, weighs the cache after each, and asks `grown` what has not come to rest.
"""

import gc
import logging
import sys
import threading
import types
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_SIZED = (dict, list, tuple, set, frozenset, deque, bytearray)
# What has no content of its own, or belongs to everybody: a module's globals are reached from
# each of its functions.
_SKIPPED = (
    *(types.ModuleType, type, types.CodeType, types.FrameType, weakref.ref),
    *(str, bytes, int, float, complex, type(None), threading.Thread, logging.Logger),
)
_FIRST = 3  # hours after which a cache has to be at rest


def weigh(*roots: Any) -> Counter[str]:
    """Return how many items all containers reachable from `roots` have, by the path to them.

    A path names attributes and not items: the sizes of all dicts in one dict are added up. How many
    objects of a kind there are counts as well, so a chain of plain objects has a size, too.
    """
    sizes: Counter[str] = Counter()
    seen = {id(sizes)}
    todo: deque[tuple[str, Any]] = deque((type(root).__name__, root) for root in roots)
    while todo:
        path, found = todo.popleft()
        if id(found) in seen or isinstance(found, _SKIPPED):
            continue
        seen.add(id(found))
        if isinstance(found, _SIZED):
            sizes[path] += len(found)
        else:
            sizes[f"{path}: {type(found).__name__}"] += 1
        todo.extend(_parts(path, found))
    return sizes


def everything(*caches: Any) -> tuple[Any, ...]:
    """Return `caches`, and what the package keeps in its modules, to be weighed together."""
    modules = [
        module
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] == type(caches[0]).__module__.partition(".")[0]
    ]
    return (*caches, *(Globals(module) for module in modules))


class Globals:
    """The globals of a module, as an object that can be weighed."""

    def __init__(self, module: types.ModuleType) -> None:
        self.__dict__ = {
            f"{module.__name__}.{name}": value
            for name, value in vars(module).items()
            if not name.startswith("__")
        }


def grown(hours: Sequence[Counter[str]]) -> dict[str, tuple[int, int]]:
    """Return the containers that grew: the most items in the early hours, the fewest in the late.

    A container that is tidied now and then breathes; what is kept for ever only rises. The first
    hours, in which a cache fills, do not count.
    """
    rest = hours[_FIRST:]
    part = len(rest) // 3
    early, late = rest[:part], rest[-part:]
    found = {}
    for path in sorted(set().union(*late)):
        before = max(hour[path] for hour in early)
        after = min(hour[path] for hour in late)
        if after > before:
            found[path] = before, after
    return found


def _parts(path: str, found: Any) -> Iterator[tuple[str, Any]]:
    """Give what an object refers to, each with its path."""
    if isinstance(found, dict):
        yield from _items(path, found.copy().keys())
        yield from _items(path, found.copy().values())
    elif isinstance(found, _SIZED):
        yield from _items(path, list(found))
    elif isinstance(found, types.FunctionType):
        for name in ("__closure__", "__defaults__", "__kwdefaults__", "__dict__"):
            yield f"{path}.{name}", getattr(found, name)
        return
    for name, value in (*getattr(found, "__dict__", {}).items(), *_slots(found)):
        yield f"{path}.{name}", value
    if not isinstance(found, _SIZED):  # what only C code sees; all else has its path by now
        yield from _items(path, gc.get_referents(found))


def _items(path: str, items: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    path = path if path.endswith("[]") else f"{path}[]"
    return ((path, item) for item in items)


def _slots(found: Any) -> Iterator[tuple[str, Any]]:
    for kind in type(found).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(found, name):
                yield name, getattr(found, name)
