"""Which entries have expired, found at a cost that follows their number.

Entries are grouped in buckets by deadline. A bucket spans less than a hundredth of the life that
its entries began with, so there are some hundreds of buckets however many entries there are, and
setting a key again with the same ttl mostly stays in the same bucket. A heap holds a lower bound
of each bucket's deadlines; when the clock reaches it, the bucket is opened: what has expired goes,
what has not moves to narrower buckets, which begin after now. Each entry is moved a handful of
times in its life at the most, and no record of a former deadline outlives the next tidying.

An entry is a tuple (value, deadline, slot); `slot` is the number of its bucket and is None where
the entry never expires. The index keeps no lock and reads no clock: the cache calls it under its
lock.

Code of the same thread may run between any two steps here (a finalizer that calls the cache),
though not between two operators. So an entry is stored, moved or removed together with its record,
without a call between: no entry is ever without its record, and a record without an entry is
dropped when its bucket is opened.
"""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from itertools import count
from math import frexp, inf, ldexp, nextafter
from typing import Any

# (value, deadline, slot); the last two are None where the entry never expires
Entry = tuple[Any, Any, Any]

_SPAN = 8  # a bucket is 2**-8 of the power of two above the life: 0.4 to 0.8 % of it
_NARROWEST = -1021  # below this exponent a float loses its precision
# Keys in a bucket, what a table of 2**17 places holds. One that grew on would stop every thread for
# longer each time, and keep its size when its keys leave it for another.
FULL = 87_381
_MOVE = 4  # how many removals one move to another bucket costs


class _Bucket(dict[str, str]):
    """The keys of entries whose deadlines lie close together, in the order they were filed.

    Each stands for itself too, so that a move to another bucket can take along the very object
    that `entries` has: an equal one would double the keys' memory.
    """

    __slots__ = ("end", "floor", "place")

    def __init__(self, floor: float, end: float, place: tuple[float, float]) -> None:
        super().__init__()
        self.floor = floor  # no deadline in the bucket is earlier
        self.end = end  # all are earlier
        self.place = place  # (width, start)


class ExpiryIndex:
    """The entries that have a deadline, ordered well enough to find those past theirs.

    To file an entry, get its slot, make the tuple, and then, without a call between, look whether
    the slot is in `buckets` still, store the tuple and put the key in that bucket, as `filed` has
    it where there is an entry already.
    """

    __slots__ = (
        "_numbers", "_pushed", "_shortest", "_tidy_at", "_where", "_width",
        "buckets", "end", "floor", "heap", "life", "slot",
    )  # fmt: skip

    def __init__(self) -> None:
        self.buckets: dict[int, _Bucket] = {}
        self.heap: list[tuple[float, int]] = []  # (floor, slot); empty: there are no deadlines
        self._where: dict[tuple[float, float], int] = {}  # (width, start) to the slot that fills
        self._numbers = count()
        self._pushed = 0  # how often something was pushed to the heap
        self._width = self._shortest = 0.0  # how wide a bucket is for lives up to twice `_shortest`
        self._tidy_at = 64
        # The slot that was asked for last: for lives of `life` seconds that end from `floor` on
        # and before `end`.
        self.slot = -1
        self.life = self.floor = self.end = 0.0

    def slot_for(self, deadline: float, life: float) -> int:
        """Return the slot for an entry that is to expire at `deadline`, `life` seconds from now."""
        if life == self.life and self.floor <= deadline < self.end:
            slot = self.slot
            if len(self.buckets[slot]) < FULL:
                return slot
        if not self._shortest <= life < self._shortest * 2:
            exponent = frexp(life)[1]
            self._shortest = ldexp(1.0, exponent - 1)
            self._width = ldexp(1.0, max(exponent - _SPAN, _NARROWEST))
        width = self._width
        start = deadline // width * width
        place = width, start
        slot = self._where.get(place, -1)
        bucket = self.buckets.get(slot)
        if bucket is None or len(bucket) >= FULL:
            if len(self.heap) >= self._tidy_at:
                self._tidy()
            slot = next(self._numbers)
            # A tiny width may be lost in rounding; the deadline has to be within all the same.
            bucket = _Bucket(deadline, max(start + width, nextafter(deadline, inf)), place)
            self.buckets[slot] = bucket
            self._where[place] = slot
            self._push(deadline, slot)
        elif deadline < bucket.floor:
            bucket.floor = deadline
            if len(self.heap) >= self._tidy_at:
                self._tidy()
            self._push(deadline, slot)
        if slot in self.buckets:  # pragma: no branch - else a call from inside has dropped it
            self.slot, self.life, self.floor, self.end = slot, life, bucket.floor, bucket.end
        return slot

    def filed(self, key: str, slot: int | None) -> str:
        """Return the key in `slot` that equals `key`; `key` itself where there is none."""
        bucket = self.buckets.get(slot) if slot is not None else None
        return key if bucket is None else bucket.get(key, key)

    def discard(self, key: str, slot: int, entries: OrderedDict[str, Entry]) -> None:
        """Take `key`, which has left `entries`, out of `slot`."""
        # A call from inside may have set the key again, or dropped the record already.
        if (
            (key not in entries or entries[key][2] != slot)
            and slot in self.buckets
            and key in self.buckets[slot]
        ):
            del self.buckets[slot][key]
            # Its table goes with it; the current one is about to be used again.
            if slot != self.slot:
                self._drop(slot)

    def due(self, now: float) -> bool:
        """Tell whether `sweep` at `now` has work to do: True wherever an entry has expired."""
        return self._first_due(now) is not None

    def _first_due(self, now: float) -> int | None:
        """Return the slot of the first bucket that may hold what has expired, if there is one."""
        while self.heap and self.heap[0][0] <= now:
            first = self.heap[0]
            slot = first[1]
            if self.buckets.get(slot):
                return slot
            self._drop(slot)
            # A call from inside may have pushed another one, or popped this one.
            if self.heap and self.heap[0] is first:  # pragma: no branch
                heappop(self.heap)
        return None

    def sweep(self, entries: OrderedDict[str, Entry], now: float, limit: int) -> list[Entry]:
        """Remove up to `limit` expired entries from `entries` and return them.

        Call it again while `due` says so. What shares a bucket with an expired entry and has not
        expired itself is filed anew, in a bucket that begins after `now`; that counts as some
        removals, so that a call takes as long either way.
        """
        gone: list[Entry] = []
        while limit > 0 and (slot := self._first_due(now)) is not None:
            bucket = self.buckets[slot]
            price = 1 if bucket.end <= now else _MOVE
            # `list` copies in one step. An islice is made first and read later, and in between a
            # call from inside may change the bucket.
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
                elif key in bucket:  # pragma: no branch - a call from inside
                    del bucket[key]
        return gone

    def _refile(self, key: str, entry: Entry, now: float, entries: OrderedDict[str, Entry]) -> None:
        """Move a live entry to a bucket that begins after `now`."""
        value, deadline, former = entry
        slot = self.slot_for(deadline, deadline - now)
        moved = (value, deadline, slot)
        # Else a call from inside has written the key or dropped the bucket, for the next sweep.
        if (  # pragma: no branch
            key in entries and entries[key] is entry and slot in self.buckets
        ):
            entries[key] = moved
            self.buckets[slot][key] = key
            del self.buckets[former][key]

    def release(self) -> None:
        """Forget all, bucket by bucket: at once it would stop every thread for too long."""
        for bucket in list(self.buckets.values()):
            bucket.clear()

    def _drop(self, slot: int) -> None:
        """Forget a bucket if it is empty, and where it was."""
        if slot in self.buckets and not self.buckets[slot]:
            place = self.buckets[slot].place
            del self.buckets[slot]
            # A fuller bucket there may have been followed by another.
            if place in self._where and self._where[place] == slot:
                del self._where[place]
            if slot == self.slot:
                self.life = 0.0

    def _push(self, floor: float, slot: int) -> None:
        self._pushed += 1
        heappush(self.heap, (floor, slot))

    def _tidy(self) -> None:
        """Drop empty buckets and outdated floors; called when they may be the majority."""
        for slot in list(self.buckets):
            self._drop(slot)
        pushed = -1
        while pushed != self._pushed:  # a call from inside pushes to the heap that is there
            pushed = self._pushed
            buckets = self.buckets.copy()
            heap = [(bucket.floor, slot) for slot, bucket in buckets.items()]
            heapify(heap)
            self._tidy_at = 2 * len(heap) + 64
        self.heap = heap
