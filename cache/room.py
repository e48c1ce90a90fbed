"""An OrderedDict that has its room from the start.

A dict that grows past 700,000 entries copies its table in one call of 20 to 30 ms, and an
OrderedDict then looks every key up again, for 70 ms, in which no other thread runs. Python has no
way to ask for room beforehand. But `dict.update` makes room for all that it is going to add before
it adds the first; so it is given a dict that is large, and is stopped at that first one.
"""

import contextlib
import gc
from collections import OrderedDict, deque
from itertools import repeat, starmap
from typing import Any, NoReturn, TypeVar

V = TypeVar("V")

_ENOUGH = 100_000  # below it, growing takes a few ms
_STEP = 50_000


class _RoomMade(Exception):
    pass


class _Stop:
    """A key that ends `dict.update` where it meets another of its hash, which is that of 0."""

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> NoReturn:
        raise _RoomMade


def ordered_dict(size: int) -> OrderedDict[str, Any]:
    """Return an empty OrderedDict that takes `size` entries without a long call."""
    entries: OrderedDict[Any, Any] = OrderedDict()
    gc.collect(1)  # makes it old while it is empty, or the next collection would walk it whole
    if size <= _ENOUGH:
        return entries
    # This one need not be longer than the longest that fits in the table of half the room.
    table = 8
    while table * 2 // 3 <= size:  # the key that stops uses up one place
        table *= 2
    length = table // 2 * 2 // 3
    filler: dict[Any, Any] = {}
    for start in range(0, length, _STEP):
        filler.update(dict.fromkeys(range(start, min(start + _STEP, length))))
    stop = _Stop()
    dict.__setitem__(entries, stop, None)
    with contextlib.suppress(_RoomMade):
        dict.update(entries, filler)
    dict.__delitem__(entries, stop)
    while filler:
        deque(starmap(filler.popitem, repeat((), min(len(filler), _STEP))), maxlen=0)
    return entries
