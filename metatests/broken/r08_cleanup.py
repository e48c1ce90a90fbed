"""Caches that keep what has expired, or a thread that nobody needs."""

from .deviation import breaks

CACHE = "core.DistributedCache"
MIXIN = "mixin.CacheMixin"
CLEANUP = f"{CACHE}.cleanup"
SWEEP = "expiry.ExpiryIndex.sweep"
START, RUN = "sweeper.start", "sweeper._run"
WHILE, WAITING = "while not ended.acquire(timeout=wait):", "ended.acquire(timeout=wait)"

DEVIATIONS = [
    breaks("R8.1", "there is no thread", (START, "thread.start()", "pass")),
    breaks("R8.1", "the thread is no daemon", (START, "daemon=True", "daemon=False")),
    breaks("R8.1", "the thread cleans up once", (RUN, WHILE, f"if not {WAITING}:")),
    breaks("R8.1", "the interval is a minute", (START, "max(interval, _SHORTEST)", "60.0")),
    breaks("R8.1", "the interval is a millisecond", (START, "max(interval, _SHORTEST)", "0.001")),
    breaks(
        "R8.1", "the interval is twice as long", (START, "max(interval, _SHORTEST)", "2 * interval")
    ),
    breaks(
        "R8.1", "a tiny interval takes a processor", (START, "max(interval, _SHORTEST)", "interval")
    ),
    breaks(
        "R8.1",
        "there is no thread for ever",
        (START, "thread.start()", "wait < 1e6 and thread.start()"),
    ),
    breaks(
        "R8.1",
        "a cache cannot be made where no thread can",
        (
            START,
            "if not sys.is_finalizing():\n    thread.start()",
            "if sys.is_finalizing():\n    raise OSError\nif True:\n    thread.start()",
        ),
    ),
    breaks(
        "R8.2",
        "what expires at this moment stays",
        (f"{CACHE}.cleanup", "now = monotonic()", "now = monotonic() - 1e-06"),
    ),
    breaks("R8.2", "cleanup ends after one go", (CLEANUP, "if not more:", "if True:")),
    breaks(
        "R8.2",
        "only the last go is counted",
        (CLEANUP, "removed += swept", "removed = swept"),
    ),
    breaks("R8.2", "cleanup returns what is left", (CLEANUP, "return removed", "return len(self)")),
    breaks(
        "R8.2",
        "what was removed is not counted in the stats",
        (CLEANUP, "self._expirations += swept", "pass"),
    ),
    breaks(
        "R8.2",
        "what shares a bucket with the expired goes too",
        (SWEEP, "if entry[1] <= now:", "if True:"),
    ),
    breaks(
        "R8.2",
        "what was filed anew is forgotten",
        ("expiry.ExpiryIndex._refile", "self.buckets[slot][key] = key", "pass"),
    ),
    breaks(
        "R8.2",
        "a second entry of a bucket is not filed",
        (f"{CACHE}.set", "bucket[key] = key", "pass"),
    ),
    breaks(
        "R8.2",
        "a live entry that is set anew is not filed",
        (
            f"{CACHE}._store_locked",
            "if slot is not None:\n    expiry.buckets[slot][key] = key\nentries.move_to_end(key)",
            "entries.move_to_end(key)",
        ),
    ),
    breaks(
        "R8.2",
        "a bucket is known by its first deadline only",
        ("expiry.ExpiryIndex.slot_for", "deadline < bucket.floor", "False"),
        ("expiry.ExpiryIndex.slot_for", "self.floor <= deadline < self.end", "deadline < self.end"),
    ),
    breaks(
        "R8.3",
        "cleanup looks at every entry",
        (
            CLEANUP,
            "removed = 0",
            "removed = len([0 for entry in self._entries.values() if entry[1] == 0])",
        ),
    ),
    breaks(
        "R8.3",
        "all that has expired goes in one go",
        ("core", "_SWEEP = 10000", "_SWEEP = 10 ** 9"),
    ),
    breaks(
        "R8.3",
        "cleanup holds the lock from end to end",
        (CLEANUP, "removed = 0", "removed = 0\nself._acquire()"),
        (CLEANUP, "return removed", "self._release(); return removed"),
    ),
    breaks(
        "R8.3",
        "a former deadline's record is kept",
        ("expiry.ExpiryIndex.discard", "del self.buckets[slot][key]", "return"),
    ),
    breaks(
        "R8.3",
        "overwriting leaves the record of the former deadline",
        (f"{CACHE}._store_locked", "if old[2] != slot:", "if False:"),
    ),
    breaks(
        "R8.3",
        "what set evicts leaves its record",
        (f"{CACHE}.set", "expiry.discard(evicted, old[2], entries)", "pass"),
    ),
    breaks(
        "R8.3",
        "what is evicted otherwise leaves its record",
        (f"{CACHE}._make_room_locked", "expiry.discard(key, entry[2], entries)", "pass"),
    ),
    breaks(
        "R8.3",
        "what is removed leaves its record",
        (f"{CACHE}._remove_locked", "if entry[2] is not None:", "if False:"),
    ),
    breaks(
        "R8.3",
        "what clear removes leaves its records",
        (f"{CACHE}.clear", "ExpiryIndex()", "self._expiry"),
        (f"{CACHE}.clear", "_let_go(*former)", "_let_go(former[0], ExpiryIndex())"),
    ),
    breaks(
        "R8.3",
        "empty buckets are kept",
        ("expiry.ExpiryIndex._drop", "del self.buckets[slot]", "pass"),
        ("expiry.ExpiryIndex._first_due", "self._drop(slot)", "self.buckets.pop(slot, None)"),
    ),
    breaks(
        "R8.3",
        "floors of buckets that are gone are kept",
        ("expiry.ExpiryIndex._tidy", "self.heap = heap", "pass"),
    ),
    breaks(
        "R8.3",
        "the places of buckets that are gone are kept",
        ("expiry.ExpiryIndex._drop", "del self._where[place]", "pass"),
    ),
    breaks(
        "R8.4",
        "the thread keeps the cache",
        (START, "args=(reference, ended, wait)", "args=((lambda: cache), ended, wait)"),
    ),
    breaks("R8.4", "the thread keeps the cache while it waits", (RUN, "del cache", "pass")),
    breaks(
        "R8.4",
        "the register of all caches keeps them",
        ("forks", "weakref.WeakValueDictionary()", "{}"),
        (
            "forks._before_fork",
            "_caches.valuerefs()",
            "[lambda: cache for cache in _caches.values()]",
        ),
    ),
    breaks(
        "R8.4",
        "the thread waits for its interval before it ends",
        (START, "weakref.ref(cache, end)", "weakref.ref(cache)"),
    ),
    breaks("R8.4", "close does nothing", (f"{CACHE}.close", "self._end_cleanup()", "pass")),
    breaks(
        "R8.4",
        "close may be called once",
        (START, "except told_already:", "except ZeroDivisionError:"),
    ),
    breaks(
        "R8.4",
        "what ends the thread looks up a global",
        (START, "except told_already:", "except sys.modules['builtins'].RuntimeError:"),
        (START, "release()", "threading.get_ident()\nrelease()"),
    ),
    breaks(
        "R8.4",
        "close removes everything",
        (f"{CACHE}.close", "self._end_cleanup()", "self._end_cleanup(); self.clear()"),
    ),
    breaks(
        "R8.4",
        "a closed cache stores nothing",
        (
            f"{CACHE}.set",
            "checked = self._checked",
            "checked = self._checked\nif self._closed:\n    return",
        ),
    ),
    breaks("R8.4", "the with block does not close", (f"{MIXIN}.__exit__", "self.close()", "pass")),
    breaks("R8.4", "the interpreter waits for the thread", (START, "daemon=True", "daemon=False")),
    breaks(
        "R8.4",
        "a cache that has no thread says so",
        (
            START,
            "if not sys.is_finalizing():\n    thread.start()",
            "if not sys.is_finalizing():\n    thread.start()\nelse:"
            "\n    logger.warning('no cleanup thread')",
        ),
    ),
    breaks(
        "R8.4",
        "caches are in a cycle of references",
        (
            f"{CACHE}.__init__",
            "forks.follow(self)",
            "forks.follow(self)\nself.itself = [self.__init__]",
        ),
        (
            START,
            "reference = weakref.ref(cache, end)",
            "reference = weakref.ref(cache, end)\n__import__('gc').freeze()",
        ),
    ),
    breaks(
        "R8.5",
        "a fork takes no lock",
        ("forks._before_fork", "if cache is not None:", "if False:"),
    ),
    breaks(
        "R8.5",
        "the locks stay taken in the child",
        ("forks._after_fork_in_child", "_after_fork_in_parent()", "_held.clear()"),
    ),
    breaks(
        "R8.5",
        "the locks stay taken in the parent",
        ("forks._after_fork_in_parent", "cache._lock.release()", "pass"),
    ),
    breaks(
        "R8.5",
        "the child has no thread",
        (f"{CACHE}._after_fork_in_child", "if not self._closed:", "if False:"),
    ),
    breaks(
        "R8.5",
        "a closed cache has a thread in the child",
        (f"{CACHE}._after_fork_in_child", "if not self._closed:", "if True:"),
    ),
    breaks(
        "R8.5",
        "the child waits for factories of the parent's threads",
        (f"{CACHE}._after_fork_in_child", "self._flights.reset()", "pass"),
    ),
    breaks(
        "R8.5",
        "nothing is done at a fork",
        ("forks", "if hasattr(os, 'register_at_fork'):", "if False:"),
    ),
    breaks(
        "R8.6",
        "the thread ends at an error",
        (
            RUN,
            "logger.exception('cleanup failed; the next one is due in %s s', wait)",
            "return logger.exception('cleanup failed; the next one is due in %s s', wait)",
        ),
    ),
    breaks(
        "R8.6",
        "an error ends the thread unlogged",
        (RUN, "except Exception:", "except MemoryError:"),
    ),
    breaks(
        "R8.6",
        "an error goes unsaid",
        (RUN, "logger.exception('cleanup failed; the next one is due in %s s', wait)", "pass"),
    ),
    breaks(
        "R8.6",
        "an error is logged without what it was",
        (RUN, "logger.exception", "logger.error"),
    ),
    breaks(
        "R8.6", "an error is logged where nobody looks", (RUN, "logger.exception", "logger.debug")
    ),
]
