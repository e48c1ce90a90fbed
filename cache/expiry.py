"""Which entries have expired, found at a cost that follows their number.

Entries are grouped in buckets by deadline. A bucket spans less than a hundredth of the life that
its entries began with, so there are some hundreds of buckets however many entries there are, and
setting a key again with the same ttl mostly stays in the same bucket. A heap holds a lower bound
of each bucket's deadlines; when the clock reaches it, the bucket is opened: what has expired goes,
what has not moves to narrower buckets, which begin after now. Each entry is moved a handful of
times in its life at the most, and no record of a former deadline outlives the next tidying.

An entry is a tuple (value, deadline, slot); `slot` names its bucket and is None where the entry
never expires. The index keeps no lock and reads no clock: the cache calls it under its lock.

Code of the same thread may run between any two steps here (a finalizer that calls the cache). So
each step leaves the index usable: a record without an entry is dropped when its bucket is opened,
and no entry ever stays without its record.
"""

from collections import OrderedDict
from heapq import heappop, heappush
from itertools import islice
from math import frexp, ldexp
from typing import Any

# (value, deadline, slot); the last two are None where the entry never expires
Entry = tuple[Any, Any, Any]

_SPAN = 8  # a bucket is 2**-8 of the power of two above the life: 0.4 to 0.8 % of it
_NARROWEST = -1021  # below this exponent a float loses its precision


class _Bucket(dict[str, None]):
    """The keys of entries whose deadlines lie close together, in the order they were filed."""

    __slots__ = ("floor",)

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor  # no deadline in the bucket is earlier


class ExpiryIndex:
    """The entries that have a deadline, ordered well enough to find those past theirs."""

    __slots__ = ("_buckets", "_end", "_life", "_start", "_tidy_at", "floors")

    def __init__(self) -> None:
        self._buckets: dict[float, _Bucket] = {}
        self.floors: list[tuple[float, float]] = []  # heap of (floor, slot); empty: no deadlines
        self._tidy_at = 64
        self._life = self._start = self._end = 0.0  # the slot that was asked for last

    def slot(self, deadline: float, life: float) -> float:
        """Return the slot for an entry that is to expire at `deadline`, `life` seconds from now."""
        if life == self._life and self._start <= deadline < self._end:
            return self._start
        width = ldexp(1.0, max(frexp(life)[1] - _SPAN, _NARROWEST))
        start = deadline // width * width
        self._life, self._start, self._end = life, start, start + width
        return start

    def add(self, key: str, slot: float, deadline: float) -> None:
        """File `key`, whose entry in the storage carries `slot` already."""
        while True:
            bucket = self._buckets.get(slot)
            if bucket is None:
                if len(self.floors) >= self._tidy_at:
                    self._tidy()
                bucket = self._buckets.setdefault(slot, _Bucket(deadline))
                heappush(self.floors, (bucket.floor, slot))
            elif deadline < bucket.floor:
                bucket.floor = deadline
                heappush(self.floors, (deadline, slot))
            bucket[key] = None
            # A call from inside may have tidied the bucket away: then once more.
            if self._buckets.get(slot) is bucket:  # pragma: no branch
                return

    def discard(self, key: str, slot: float, entries: OrderedDict[str, Entry]) -> None:
        """Take `key` out of `slot`, unless its present entry belongs there."""
        bucket = self._buckets.get(slot)
        if bucket is not None:
            bucket.pop(key, None)
            entry = entries.get(key)
            # A call from inside may have set the key again.
            if entry is not None and entry[2] == slot:  # pragma: no cover
                bucket[key] = None

    def due(self, now: float) -> bool:
        """Tell whether `sweep` at `now` has work to do: True wherever an entry has expired."""
        while self.floors and self.floors[0][0] <= now:
            first = floor, slot = self.floors[0]
            bucket = self._buckets.get(slot)
            if bucket and bucket.floor == floor:
                return True
            if bucket is not None and not bucket:
                del self._buckets[slot]
            dropped = heappop(self.floors)
            if dropped != first:  # pragma: no cover - a call from inside has filed an earlier one
                heappush(self.floors, dropped)
        return False

    def sweep(self, entries: OrderedDict[str, Entry], now: float, limit: int) -> list[Entry]:
        """Remove expired entries from `entries` and return them, looking at up to `limit` records.

        Call it again while `due` says so. What shares a bucket with an expired entry and has not
        expired itself is filed anew, in a bucket that begins after `now`.
        """
        gone: list[Entry] = []
        while limit > 0 and self.due(now):
            slot = self.floors[0][1]
            bucket = self._buckets[slot]
            batch = list(islice(bucket, limit))
            limit -= len(batch)
            for key in batch:
                entry = entries.get(key)
                if entry is not None and entry[2] == slot:
                    value, deadline, _ = entry
                    if deadline <= now:
                        removed = entries.pop(key, None)
                        if removed is not None:  # pragma: no branch - a call from inside
                            gone.append(removed)
                    else:
                        later = self.slot(deadline, deadline - now)
                        moved = (value, deadline, later)
                        # A call from inside may have written the key.
                        if key in entries and entries[key] is entry:  # pragma: no branch
                            entries[key] = moved
                            self.add(key, later, deadline)
                bucket.pop(key, None)
        return gone

    def release(self) -> None:
        """Forget all, record by record: at once it would stop every thread for too long."""
        for bucket in self._buckets.values():
            while bucket:
                bucket.popitem()

    def _tidy(self) -> None:
        """Drop empty buckets and outdated floors; called when they may be the majority."""
        for slot, bucket in list(self._buckets.items()):
            if not bucket:
                self._buckets.pop(slot, None)
        self.floors = []
        for slot, bucket in list(self._buckets.items()):
            heappush(self.floors, (bucket.floor, slot))
        self._tidy_at = 2 * len(self.floors) + 64
