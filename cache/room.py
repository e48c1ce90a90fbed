"""Presizing: an OrderedDict that is allocated at its full size from the start.

A dict that grows past 700,000 entries copies its table in one call of 20 to 30 ms, and an
OrderedDict then looks up every key again, for 70 ms. No other thread runs meanwhile. Python has no
call to presize a dict. But `dict.update` grows the table for all that it is going to add before it
adds the first entry. So it gets a large dict, and is stopped at the first entry.
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
    """A key that stops `dict.update` at the first key with the same hash, which is that of 0."""

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> NoReturn:
        raise _RoomMade


def ordered_dict(size: int) -> OrderedDict[str, Any]:
    """Return an empty OrderedDict that can take `size` entries without a long call."""
    entries: OrderedDict[Any, Any] = OrderedDict()
    gc.collect(1)  # ages it while it is empty; otherwise the next collection would traverse it
    if size <= _ENOUGH:
        return entries
    # The filler need not be longer than what fits in a table of half the size.
    table = 8
    while table * 2 // 3 <= size:  # the stopping key takes one place
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
