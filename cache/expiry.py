"""The expiry index: finds expired entries at a cost proportional to their number.

Entries are grouped in buckets by deadline. A bucket spans less than a hundredth of the ttl of its
entries, so there are some hundreds of buckets for any number of entries, and a key that is set
again with the same ttl mostly stays in its bucket. A heap holds a lower bound of each bucket's
deadlines. When the clock reaches it, the bucket is opened: expired entries are removed, and the
others move to narrower buckets that begin after now. An entry moves a handful of times at most, and
records of former deadlines are removed at the next tidying at the latest.

An entry is a tuple (value, deadline, slot). `slot` is the number of its bucket, or None for an
entry that never expires. The index has no lock and reads no clock: the cache calls it under its
lock.

Code of the same thread may run between any two steps here (a finalizer that calls the cache), but
not between two operators. So an entry is stored, moved or removed together with its record, without
a call in between. No entry is ever without its record, and a record without an entry is removed
when its bucket is opened.
"""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from itertools import count
from math import frexp, inf, ldexp, nextafter
from typing import Any

# (value, deadline, slot); the last two are None if the entry never expires
Entry = tuple[Any, Any, Any]

_SPAN = 8  # a bucket spans 2**-8 of the power of two above the ttl: 0.4 to 0.8 % of it
_NARROWEST = -1021  # below this exponent a float loses its precision
# The most keys in a bucket: the capacity of a table of 2**17 places. A larger table would stop
# every thread for longer each time that it grows, and it would not shrink when its keys move on.
FULL = 87_381
_MOVE = 4  # how many removals one move to another bucket costs


class _Bucket(dict[str, str]):
    """The keys of entries with similar deadlines, in the order in which they were added.

    Each key is its own value too, so that a move to another bucket keeps the object that `entries`
    has: an equal copy would double the memory of the keys.
    """

    __slots__ = ("end", "floor", "place")

    def __init__(self, floor: float, end: float, place: tuple[float, float]) -> None:
        super().__init__()
        self.floor = floor  # no deadline in the bucket is earlier
        self.end = end  # all are earlier
        self.place = place  # (width, start)


class ExpiryIndex:
    """The entries that have a deadline, ordered well enough to find those past theirs.

    To add an entry: get its slot, create the tuple, and then, without a call in between, check that
    the slot is still in `buckets`, store the tuple and put the key in that bucket; if there is an
    entry already, put in the object that `filed` returns.
    """

    __slots__ = (
        "_numbers", "_pushed", "_shortest", "_tidy_at", "_where", "_width",
        "buckets", "end", "floor", "heap", "life", "slot",
    )  # fmt: skip

    def __init__(self) -> None:
        self.buckets: dict[int, _Bucket] = {}
        self.heap: list[tuple[float, int]] = []  # (floor, slot); empty if there are no deadlines
        self._where: dict[tuple[float, float], int] = {}  # (width, start) to the slot in use
        self._numbers = count()
        self._pushed = 0  # how often something was pushed to the heap
        self._width = self._shortest = 0.0  # the width of buckets for ttls up to twice `_shortest`
        self._tidy_at = 64
        # The latest slot returned: for ttls of `life` seconds with deadlines from `floor` up to,
        # but not including, `end`.
        self.slot = -1
        self.life = self.floor = self.end = 0.0

    def slot_for(self, deadline: float, life: float) -> int:
        """Return the slot for an entry that expires at `deadline`, `life` seconds from now."""
        if life == self.life and self.floor <= deadline < self.end:
            slot = self.slot
            if len(self.buckets[slot]) < FULL:
                return slot
        if not self._shortest <= life < self._shortest * 2:
            exponent = frexp(life)[1]
            shortest = ldexp(1.0, exponent - 1)
            width = ldexp(1.0, max(exponent - _SPAN, _NARROWEST))
            self._shortest, self._width = shortest, width  # without a call between
        else:
            width = self._width
        start = deadline // width * width
        place = width, start
        slot = self._where.get(place, -1)
        bucket = self.buckets.get(slot)
        if bucket is None or len(bucket) >= FULL:
            if len(self.heap) >= self._tidy_at:
                self._tidy()
            slot = next(self._numbers)
            # Rounding may lose a tiny width; the deadline must be inside nevertheless.
            bucket = _Bucket(deadline, max(start + width, nextafter(deadline, inf)), place)
            self.buckets[slot] = bucket
            self._where[place] = slot
            self._push(deadline, slot)
        elif deadline < bucket.floor:
            bucket.floor = deadline
            if len(self.heap) >= self._tidy_at:
                self._tidy()
            self._push(deadline, slot)
        if slot in self.buckets:  # pragma: no branch - else a re-entrant call has dropped it
            self.slot, self.life, self.floor, self.end = slot, life, bucket.floor, bucket.end
        return slot

    def filed(self, key: str, slot: int | None) -> str:
        """Return the key in `slot` that equals `key`; `key` itself if there is none."""
        bucket = self.buckets.get(slot) if slot is not None else None
        return key if bucket is None else bucket.get(key, key)

    def discard(self, key: str, slot: int, entries: OrderedDict[str, Entry]) -> None:
        """Remove `key`, which is no longer in `entries`, from `slot`."""
        # A re-entrant call may have set the key again, or removed the record already.
        if (
            (key not in entries or entries[key][2] != slot)
            and slot in self.buckets
            and key in self.buckets[slot]
        ):
            del self.buckets[slot][key]
            # This releases the bucket's table; the current bucket is about to be used again.
            if slot != self.slot:
                self._drop(slot)

    def due(self, now: float) -> bool:
        """Tell whether `sweep` at `now` has work to do: True if any entry has expired."""
        return self._first_due(now) is not None

    def _first_due(self, now: float) -> int | None:
        """Return the slot of the first bucket that may hold expired entries, or None."""
        while self.heap and self.heap[0][0] <= now:
            first = self.heap[0]
            slot = first[1]
            if self.buckets.get(slot):
                return slot
            self._drop(slot)
            # A re-entrant call may have pushed another one, or popped this one.
            if self.heap and self.heap[0] is first:  # pragma: no branch
                heappop(self.heap)
        return None

    def sweep(self, entries: OrderedDict[str, Entry], now: float, limit: int) -> list[Entry]:
        """Remove up to `limit` expired entries from `entries` and return them.

        Call it again while `due` is true. Live entries that share a bucket with expired ones move
        to a bucket that begins after `now`. A move counts as several removals, so that a call takes
        as long either way.
        """
        gone: list[Entry] = []
        while limit > 0 and (slot := self._first_due(now)) is not None:
            bucket = self.buckets[slot]
            price = 1 if bucket.end <= now else _MOVE
            # `list` copies in one step. An islice is created first and read later; in between, a
            # re-entrant call may change the bucket.
            batch = list(bucket)
            del batch[limit // price + 1 :]
            limit -= len(batch) * price
            for key in batch:
                if key in entries and entries[key][2] == slot:
                    entry = entries[key]
                    if entry[1] <= now:
                        del entries[key]
                        del bucket[key]
                        gone.append(entry)
                    else:
                        self._refile(key, entry, now, entries)
                elif key in bucket:  # pragma: no branch - a re-entrant call
                    del bucket[key]
        return gone

    def _refile(self, key: str, entry: Entry, now: float, entries: OrderedDict[str, Entry]) -> None:
        """Move a live entry to a bucket that begins after `now`."""
        value, deadline, former = entry
        slot = self.slot_for(deadline, deadline - now)
        moved = (value, deadline, slot)
        # Else a re-entrant call has written the key or dropped the bucket: left to the next sweep.
        if (  # pragma: no branch
            key in entries and entries[key] is entry and slot in self.buckets
        ):
            entries[key] = moved
            self.buckets[slot][key] = key
            del self.buckets[former][key]

    def release(self) -> None:
        """Release all buckets one by one: at once, it would stop every thread for too long."""
        for bucket in list(self.buckets.values()):
            bucket.clear()

    def _drop(self, slot: int) -> None:
        """Remove a bucket, and the record of its place, if it is empty."""
        if slot in self.buckets and not self.buckets[slot]:
            place = self.buckets[slot].place
            del self.buckets[slot]
            # A full bucket there may have been followed by another.
            if place in self._where and self._where[place] == slot:
                del self._where[place]
            if slot == self.slot:
                self.life = 0.0

    def _push(self, floor: float, slot: int) -> None:
        self._pushed += 1
        heappush(self.heap, (floor, slot))

    def _tidy(self) -> None:
        """Remove empty buckets and outdated floors; called when they may be the majority."""
        for slot in list(self.buckets):
            self._drop(slot)
        pushed = -1
        while pushed != self._pushed:  # a re-entrant call pushes to the present heap
            pushed = self._pushed
            buckets = self.buckets.copy()
            heap = [(bucket.floor, slot) for slot, bucket in buckets.items()]
            heapify(heap)
            self._tidy_at = 2 * len(heap) + 64
        self.heap = heap
