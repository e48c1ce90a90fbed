"""Caches whose calls get into each other's way."""

from .deviation import Deviation, breaks

CACHE = "core.DistributedCache"
FLIGHTS = "flights.Flights"
GET_OR_SET = f"{CACHE}._missed"
STORE = f"{CACHE}._store_locked"
LOCKED = "with self._lock:"


def lockless(verb: str) -> Deviation:
    """Return the cache whose `verb` takes no lock."""
    return breaks("R9.1", f"{verb} takes no lock", (f"{CACHE}.{verb}", LOCKED, "if True:"))


def forgetful(name: str, *edits: tuple[str, str, str]) -> Deviation:
    """Return a cache that keeps a factory's value though the key was written or removed."""
    return breaks("R9.3", f"{name} does not keep a factory's value out", *edits)


DEVIATIONS = [
    *map(lockless, ("add", "replace", "touch", "pop", "delete_many", "get_many", "set_many")),
    *map(lockless, ("clear", "load", "reset_stats", "cleanup")),
    breaks(
        "R9.1",
        "set takes no lock",
        (f"{CACHE}.set", "self._acquire()", "pass"),
        (f"{CACHE}.set", "self._release()", "pass"),
    ),
    breaks(
        "R9.1",
        "the lock cannot be taken twice",
        (f"{CACHE}.__init__", "threading.RLock()", "threading.Lock()"),
        (GET_OR_SET, "self._lock._is_owned() or self._flights.inside()", "False"),
    ),
    breaks(
        "R9.1",
        "set keeps the lock after an error",
        (
            f"{CACHE}.set",
            "try:\n    entries, expiry = (self._entries, self._expiry)"
            "\n    if self._running or self._journals:\n        pass\n    elif life != inf:"
            "\n        now = monotonic()\n        deadline = now + life"
            "\n        if life == expiry.life and expiry.floor <= deadline < expiry.end:"
            "\n            slot = expiry.slot"
            "\n            fresh: Entry = (value, deadline, slot)"
            "\n            if key in entries:\n                old = entries[key]"
            "\n                if old[2] == slot and old[1] > now:"
            "\n                    entries[key] = fresh"
            "\n                    entries.move_to_end(key)\n                    return"
            "\n            else:"
            "\n                if len(entries) >= self._max_size and expiry.heap and"
            " (expiry.heap[0][0] > now) and entries:"
            "\n                    evicted, old = entries.popitem(last=False)"
            "\n                    self._evictions += 1"
            "\n                    if old[2] is not None:"
            "\n                        expiry.discard(evicted, old[2], entries)"
            "\n                if len(entries) < self._max_size and key not in entries"
            " and (slot in expiry.buckets):"
            "\n                    bucket = expiry.buckets[slot]"
            "\n                    entries[key] = fresh"
            "\n                    bucket[key] = key"
            "\n                    if len(bucket) >= FULL:"
            "\n                        expiry.life = 0.0"
            "\n                    if len(entries) <= self._max_size:"
            "\n                        return"
            "\n    elif not expiry.heap:\n        fresh = (value, None, None)"
            "\n        if key in entries:\n            old = entries[key]"
            "\n            entries[key] = fresh\n            entries.move_to_end(key)"
            "\n            return\n        if len(entries) >= self._max_size and entries:"
            "\n            _, old = entries.popitem(last=False)"
            "\n            self._evictions += 1"
            "\n        if len(entries) < self._max_size and key not in entries:"
            "\n            entries[key] = fresh"
            "\n            if len(entries) <= self._max_size:\n                return"
            "\n    gone: list[Entry] = []\n    self._store_locked(key, value, life, gone)"
            "\nfinally:\n    self._release()",
            "try:\n    entries, expiry = (self._entries, self._expiry)"
            "\n    if self._running or self._journals:\n        pass\n    elif life != inf:"
            "\n        now = monotonic()\n        deadline = now + life"
            "\n        if life == expiry.life and expiry.floor <= deadline < expiry.end:"
            "\n            slot = expiry.slot"
            "\n            fresh: Entry = (value, deadline, slot)"
            "\n            if key in entries:\n                old = entries[key]"
            "\n                if old[2] == slot and old[1] > now:"
            "\n                    entries[key] = fresh"
            "\n                    entries.move_to_end(key)\n                    return"
            "\n            else:"
            "\n                if len(entries) >= self._max_size and expiry.heap and"
            " (expiry.heap[0][0] > now) and entries:"
            "\n                    evicted, old = entries.popitem(last=False)"
            "\n                    self._evictions += 1"
            "\n                    if old[2] is not None:"
            "\n                        expiry.discard(evicted, old[2], entries)"
            "\n                if len(entries) < self._max_size and key not in entries"
            " and (slot in expiry.buckets):"
            "\n                    bucket = expiry.buckets[slot]"
            "\n                    entries[key] = fresh"
            "\n                    bucket[key] = key"
            "\n                    if len(bucket) >= FULL:"
            "\n                        expiry.life = 0.0"
            "\n                    if len(entries) <= self._max_size:"
            "\n                        return"
            "\n    elif not expiry.heap:\n        fresh = (value, None, None)"
            "\n        if key in entries:\n            old = entries[key]"
            "\n            entries[key] = fresh\n            entries.move_to_end(key)"
            "\n            return\n        if len(entries) >= self._max_size and entries:"
            "\n            _, old = entries.popitem(last=False)"
            "\n            self._evictions += 1"
            "\n        if len(entries) < self._max_size and key not in entries:"
            "\n            entries[key] = fresh"
            "\n            if len(entries) <= self._max_size:\n                return"
            "\n    gone: list[Entry] = []\n    self._store_locked(key, value, life, gone)"
            "\nexcept KeyError:\n    pass\nelse:\n    self._release()",
        ),
    ),
    breaks(
        "R9.1",
        "a get_or_set inside another call waits for a third party",
        (GET_OR_SET, "self._lock._is_owned() or self._flights.inside()", "False"),
    ),
    breaks(
        "R9.1",
        "a read that meets a removal raises",
        (
            f"{CACHE}.get",
            "try:\n    value, deadline, _ = entries[key]"
            "\n    if deadline is None or deadline > monotonic():\n        self._touch(key)"
            "\n        next(self._hits)\n        return value\nexcept KeyError:\n    pass",
            "time.sleep(0)\n"  # part of the defect: hands the interpreter over
            "try:\n    value, deadline, _ = entries[key]"
            "\n    if deadline is None or deadline > monotonic():\n        self._touch(key)"
            "\n        next(self._hits)\n        return value\nexcept KeyError:\n    pass",
        ),
        (f"{CACHE}.get", "except KeyError:", "except IndexError:"),
    ),
    breaks(
        "R9.1",
        "keys walks the storage that others change",
        (f"{CACHE}.keys", "list(dict.keys(self._entries))", "[key for key in self._entries]"),
        (f"{CACHE}.keys", LOCKED, "if True:"),
    ),
    breaks(
        "R9.1",
        "delete_pattern takes what is set while it runs",
        (f"{CACHE}._note_write_locked", "written.add(key)", "pass"),
    ),
    breaks(
        "R9.1",
        "set does not tell a delete_pattern under way",
        (f"{CACHE}.set", "if self._running or self._journals:", "if self._running:"),
    ),
    breaks(
        "R9.2",
        "get_or_set holds the lock while the factory runs",
        (
            GET_OR_SET,
            "self._flights.call(flight, make) if entry is None else (entry[0], False)",
            "(value, keep)",
        ),
        (
            GET_OR_SET,
            "entry = self._live_locked(key, gone)",
            "entry = self._live_locked(key, gone)"
            "\nvalue, keep = make() if entry is None else (entry[0], False)",
        ),
    ),
    breaks(
        "R9.2",
        "values are pickled under the lock",
        (
            f"{CACHE}.save",
            "snapshot.write(target, header, rows, self._codec, self._secret)",
            "with self._lock:\n    snapshot.write(target, header, rows, self._codec, self._secret)",
        ),
    ),
    breaks(
        "R9.2",
        "values are unpickled under the lock",
        (
            f"{CACHE}.load",
            "if header['entries'] > self._max_size:"
            "\n    rows = (row for columns in slices for row in zip(*columns, strict=True))"
            "\n    kept.extend((row for row in rows if row[2] is None or row[2] > wall))"
            "\n    slices = _columns_of(kept)",
            "if header['entries'] > self._max_size:"
            "\n    rows = (row for columns in slices for row in zip(*columns, strict=True))"
            "\n    kept.extend((row for row in rows if row[2] is None or row[2] > wall))"
            "\n    slices = _columns_of(kept)\nself._acquire()",
        ),
        (f"{CACHE}.load", "_let_go(*former)", "self._release(); _let_go(*former)"),
    ),
    breaks(
        "R9.2",
        "keys matches under the lock",
        (f"{CACHE}.keys", "now = monotonic()", "self._acquire(); now = monotonic()"),
        (f"{CACHE}.keys", "return matching", "self._release(); return matching"),
    ),
    breaks(
        "R9.2",
        "delete_pattern matches under the lock",
        (
            f"{CACHE}.delete_pattern",
            "doomed: list[str] = []",
            "doomed: list[str] = []\nself._acquire()",
        ),
        (f"{CACHE}.delete_pattern", "removed = 0", "removed = 0; self._release()"),
    ),
    breaks(
        "R9.2",
        "what expires is released under the lock",
        (f"{CACHE}._remove_locked", "gone.append(entry)", "entry = (0, 0, entry[2])"),
    ),
    breaks(
        "R9.2",
        "what set_many overwrites is released under the lock",
        (STORE, "gone.append(old)", "old = old[:0] + (None, *old[1:])"),
    ),
    breaks(
        "R9.2",
        "what set overwrites is released under the lock",
        (f"{CACHE}.set", "self._release()", "old = gone = None\nself._release()"),
    ),
    breaks(
        "R9.2",
        "what is evicted is released under the lock",
        (f"{CACHE}._make_room_locked", "gone.append(entry)", "entry = (None, *entry[1:])"),
    ),
    breaks(
        "R9.2",
        "what expired to make room is released under the lock",
        (f"{CACHE}._make_room_locked", "gone += expired", "del expired"),
    ),
    breaks(
        "R9.2",
        "what cleanup removes is released under the lock",
        (
            f"{CACHE}.cleanup",
            "more = self._expiry.due(now)",
            "more = self._expiry.due(now)\ngone = []",
        ),
    ),
    breaks(
        "R9.2",
        "what clear removes is released under the lock",
        (
            f"{CACHE}.clear",
            "with self._lock:"
            "\n    former = self._install_locked(OrderedDict(), ExpiryIndex())"
            "\n_let_go(*former)",
            "with self._lock:"
            "\n    former = self._install_locked(OrderedDict(), ExpiryIndex())"
            "\n    _let_go(*former)",
        ),
    ),
    breaks(
        "R9.2",
        "what load replaces is released under the lock",
        (
            f"{CACHE}.load",
            "with self._lock:\n    former = self._install_locked(entries, expiry)"
            "\n    self._count_from_locked(header['hits'], header['misses'],"
            " header['evictions'], header['expirations'])"
            "\n_let_go(*former)",
            "with self._lock:\n    former = self._install_locked(entries, expiry)"
            "\n    self._count_from_locked(header['hits'], header['misses'],"
            " header['evictions'], header['expirations'])"
            "\n    _let_go(*former)",
        ),
    ),
    breaks(
        "R9.2",
        "what pop removes is released under the lock",
        (f"{CACHE}.pop", "gone: list[Entry] = []", "gone: list[Entry] = []; result = None"),
        (f"{CACHE}.pop", "return entry[0]", "del entry; gone.clear(); return None"),
    ),
    breaks(
        "R9.2",
        "what delete removes is released under the lock",
        (
            f"{CACHE}.delete_many",
            "removed += 1",
            "removed += 1; gone.clear()",
        ),
    ),
    breaks(
        "R9.2",
        "what delete_pattern removes is released under the lock",
        (
            f"{CACHE}._delete_unwritten",
            "removed += self._remove_locked(key, entry, gone)",
            "removed += self._remove_locked(key, entry, gone); gone.clear(); entry = None",
        ),
    ),
    breaks(
        "R9.3",
        "every caller runs its factory",
        (f"{FLIGHTS}.join", "if flight is None:", "if True:"),
    ),
    breaks(
        "R9.3",
        "who missed before another landed runs the factory again",
        (GET_OR_SET, "entry = self._live_locked(key, gone)", "entry = None"),
    ),
    breaks("R9.3", "waiters get None", (f"{FLIGHTS}.land", "flight.value = value", "pass")),
    breaks(
        "R9.3",
        "waiters get None for an exception",
        (f"{FLIGHTS}.fail", "flight.error = error", "pass"),
    ),
    breaks(
        "R9.3",
        "waiters get another exception",
        (
            f"{FLIGHTS}.wait",
            "raise flight.error.with_traceback(flight.traceback)",
            "raise RuntimeError('the factory failed')",
        ),
    ),
    breaks(
        "R9.3",
        "the caller of a failing factory gets None",
        (
            GET_OR_SET,
            "raise",
            "return None",
        ),
    ),
    breaks(
        "R9.3",
        "waiters of a factory that fails wait on",
        (GET_OR_SET, "self._flights.fail(flight, error)", "pass"),
    ),
    breaks(
        "R9.3",
        "waiters wait on where the error is no Exception",
        (GET_OR_SET, "BaseException", "Exception"),
    ),
    breaks(
        "R9.3",
        "an error is kept for those who ask later",
        (
            f"{FLIGHTS}._end",
            "if flight.key in self.running and self.running[flight.key] is flight:",
            "if flight.error is None:",
        ),
    ),
    breaks(
        "R9.3",
        "a value is kept for those who ask later",
        (f"{FLIGHTS}._end", "del self.running[flight.key]", "pass"),
    ),
    breaks(
        "R9.3",
        "the value is not stored",
        (GET_OR_SET, "if keep and flight.store:", "if False:"),
    ),
    breaks(
        "R9.3",
        "a factory that needs its own key waits for itself",
        (
            f"{FLIGHTS}.join",
            "while ahead is not None and (not ahead.landed):",
            "while False:",
        ),
    ),
    breaks(
        "R9.3",
        "a factory that needs itself over another waits",
        (f"{FLIGHTS}.join", "ahead = self._waiting.get(ahead.leader)", "ahead = None"),
    ),
    breaks(
        "R9.3",
        "a factory that needs itself over two others waits",
        (
            f"{FLIGHTS}.join",
            "while ahead is not None and (not ahead.landed):\n    if ahead.leader == me:"
            "\n        raise RuntimeError(f'the factory of {key!r} needs {key!r} itself"
            " to finish')"
            "\n    ahead = self._waiting.get(ahead.leader)",
            "for _ in range(2):\n    if ahead is None:\n        break"
            "\n    if ahead.leader == me:"
            "\n        raise RuntimeError(f'the factory of {key!r} needs {key!r} itself"
            " to finish')"
            "\n    ahead = self._waiting.get(ahead.leader)",
        ),
    ),
    breaks(
        "R9.3", "who waits is not noted", (f"{FLIGHTS}.join", "self._waiting[me] = flight", "pass")
    ),
    breaks(
        "R9.3",
        "who has waited is taken to wait for ever",
        (f"{FLIGHTS}.wait", "self._waiting.pop(threading.get_ident(), None)", "pass"),
        (f"{FLIGHTS}.join", "ahead is not None and (not ahead.landed)", "ahead is not None"),
    ),
    breaks(
        "R9.3",
        "any factory inside a factory is refused",
        (
            f"{FLIGHTS}.join",
            "flight = self.running.get(key)",
            "flight = self.running.get(key)"
            "\nif any((each.leader == me for each in self.running.values())):"
            "\n    raise RuntimeError(key)",
        ),
    ),
    breaks(
        "R9.3",
        "the life begins with the call",
        (GET_OR_SET, "life = self._life(ttl)", "life = self._life(ttl)\nbegin = monotonic()"),
        (
            GET_OR_SET,
            "self._store_locked(key, value, life, gone, None)",
            "self._store_locked(key, value, max(life - monotonic() + begin, 1), gone)",
        ),
    ),
    forgetful("a write", (f"{CACHE}._note_write_locked", "self._flights.forget(key)", "pass")),
    forgetful("set", (f"{CACHE}.set", "if self._running or self._journals:", "if self._journals:")),
    forgetful("delete", (f"{CACHE}.delete_many", "self._flights.forget(key)", "pass")),
    forgetful("pop", (f"{CACHE}.pop", "self._flights.forget(key)", "pass")),
    forgetful("delete_pattern", (f"{CACHE}.delete_pattern", "self._flights.forget(key)", "pass")),
    forgetful("clear or load", (f"{CACHE}._install_locked", "self._flights.forget_all()", "pass")),
    breaks(
        "R9.3",
        "a write of any key keeps a factory's value out",
        (f"{CACHE}._note_write_locked", "self._flights.forget(key)", "self._flights.forget_all()"),
    ),
    breaks(
        "R9.3",
        "a removal of any key keeps a factory's value out",
        (f"{CACHE}.delete_many", "self._flights.forget(key)", "self._flights.forget_all()"),
    ),
    breaks(
        "R9.3",
        "a pattern keeps values out that it does not match",
        (f"{CACHE}.delete_pattern", "if in_flight[key]:", "if True:"),
    ),
    breaks(
        "R9.3",
        "a factory's value that was not stored is lost",
        (
            GET_OR_SET,
            "with self._lock:\n    if keep and flight.store:"
            "\n        self._store_locked(key, value, life, gone, None)"
            "\n    self._flights.land(flight, value)\nreturn value",
            "with self._lock:\n    if keep and flight.store:"
            "\n        self._store_locked(key, value, life, gone, None)"
            "\n    self._flights.land(flight, value)"
            "\nreturn value if flight.store else self.get(key)",
        ),
    ),
    breaks(
        "R9.3",
        "a factory may be no callable",
        (f"{CACHE}.get_or_set", "if not callable(factory):", "if False:"),
        (
            GET_OR_SET,
            "self._flights.call(flight, make) if entry is None else (entry[0], False)",
            "(factory() if callable(factory) else factory, True)",
        ),
    ),
    breaks(
        "R9.3",
        "None counts as missing",
        (
            f"{CACHE}.get_or_set",
            "if value is not _MISSING:",
            "if value is not _MISSING and value is not None:",
        ),
        (
            GET_OR_SET,
            "self._flights.call(flight, make) if entry is None else (entry[0], False)",
            "make()",
        ),
    ),
]
