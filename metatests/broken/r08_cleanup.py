"""Caches that keep what has expired, or a thread that nobody needs."""

import time
from collections.abc import Callable
from typing import Any

from .deviation import Deviations, breaks, wrap
from .lock import holds, waits

CACHE = "memory/cache.DistributedCache"
MIXIN = "mixin.CacheMixin"
CLEANUP = f"{CACHE}.cleanup"
STORE, FILE = "memory/_store_py.Store._store", "memory/_store_py.Store._file"
SWEEP, TIDY = "memory/_store_py.Store._sweep", "memory/_store_py.Store._tidy"
PUSH = "heappush(self._deadlines, (deadline, key))"
VALID = "[(entry[1], key) for key, entry in list(self._entries.items()) if entry[1] != inf]"
START, RUN = "sweeper.start", "sweeper._run"
WHILE, WAITING = "while not ended.acquire(timeout=wait):", "ended.acquire(timeout=wait)"
MISSING: Any = object()

DEVIATIONS = Deviations()
DEVIATIONS += [
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
        (SWEEP, "now = monotonic()", "now = monotonic() - 1e-06"),
    ),
    breaks(
        "R8.2",
        "cleanup ends after one go",
        (CLEANUP, "while swept := self._sweep():", "if swept := self._sweep():"),
    ),
    breaks(
        "R8.2",
        "only the last go is counted",
        (CLEANUP, "removed += swept", "removed = swept"),
    ),
    breaks("R8.2", "cleanup returns what is left", (CLEANUP, "return removed", "return len(self)")),
    breaks(
        "R8.2",
        "a cleanup forgets the deadlines of what stays",
        (SWEEP, "return len(gone)", "self._deadlines = []\nreturn len(gone)"),
    ),
    breaks(
        "R8.2",
        "a deadline that another entry has is not filed",
        (FILE, PUSH, f"deadline in [end for end, _ in self._deadlines] or {PUSH}"),
    ),
    breaks(
        "R8.2",
        "a live entry that is set anew is not filed",
        (STORE, "gone.append(old)", "gone.append(old)\nlife = inf"),
    ),
    breaks(
        "R8.2",
        "deadlines stand in the order in which they were set",
        (FILE, PUSH, "self._deadlines.append((deadline, key))"),
    ),
    breaks(
        "R8.3",
        "a former deadline's record is kept",
        (TIDY, "while len(self._deadlines) > 2 * len(self._entries) + _SLACK:", "while False:"),
    ),
    breaks(
        "R8.3",
        "what is removed leaves its record",
        (
            TIDY,
            VALID,
            f"{VALID} + [each for each in self._deadlines if each[1] not in self._entries]",
        ),
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


def keeps(
    name: str, *verbs: str, when: Callable[..., object] = lambda self, *given, **options: True
) -> None:
    """Add the cache that keeps a record of each call of `verbs` for which `when` is true."""

    def install(package: Any) -> None:
        def keep(verb: Any, self: Any, *given: Any, **options: Any) -> Any:
            if when(self, *given, **options):
                vars(self).setdefault("_records", []).append([len(self)])
            return verb(self, *given, **options)

        for verb in verbs:
            wrap(package.DistributedCache, verb, keep)

    DEVIATIONS.patch("R8.3", name)(install)


def is_full(self: Any, *_: Any, **__: Any) -> bool:
    """Tell whether the cache has as many entries as it may have."""
    return bool(len(self) == self.stats().max_size)


def has_expired(self: Any, *_: Any, **__: Any) -> bool:
    """Tell whether something in the cache has expired."""
    return len(self.keys()) < len(self)


def is_there(self: Any, key: str, *_: Any, **__: Any) -> bool:
    """Tell whether there is a live entry at `key`."""
    return self.peek(key, MISSING) is not MISSING


keeps("overwriting leaves the record of the former deadline", "set", when=is_there)
keeps("what set evicts leaves its record", "set", when=is_full)
keeps("what is evicted otherwise leaves its record", "set_many", when=is_full)
keeps("what clear removes leaves its records", "clear")
keeps("what expired and was read leaves its record", "get", when=has_expired)
keeps("what cleanup removes leaves its records", "cleanup")
keeps("what expired and made room leaves its record", "set", when=has_expired)


@DEVIATIONS.wrap("R8.2", "what was removed is not counted in the stats", "_sweep")
def _(sweep: Any, self: Any) -> int:
    former = self._counters()[:4]
    swept: int = sweep(self)
    self._set_counters(*former)
    return swept


@DEVIATIONS.wrap("R8.2", "what expires soon goes with the expired", "cleanup")
def _(cleanup: Any, self: Any) -> int:
    removed: int = cleanup(self)
    soon = [key for key in self.keys() if (self.ttl(key) or 0) < 1]
    return removed + int(self.delete_many(soon))


@DEVIATIONS.wrap("R8.3", "cleanup looks at every entry", "cleanup")
def _(cleanup: Any, self: Any) -> int:
    removed: int = cleanup(self)
    return removed + len([key for key in self.keys() if key is None])


def slow_sweep(former: Any, self: Any) -> int:
    """Take as long as with some million entries: what holds the lock is noticed then."""
    time.sleep(1e-4)
    swept: int = former(self)
    return swept


@DEVIATIONS.patch("R8.3", "cleanup holds the lock from end to end")
def _(package: Any) -> None:
    wrap(package.DistributedCache, "_sweep", slow_sweep)
    holds(package.DistributedCache, "cleanup")
    waits(package.DistributedCache, "set")


@DEVIATIONS.patch("R8.3", "all that has expired goes in one go")
def _(package: Any) -> None:
    def sweep(former: Any, self: Any) -> int:
        removed = 0
        while swept := former(self):
            removed += swept
        return removed

    wrap(package.DistributedCache, "_sweep", slow_sweep)
    wrap(package.DistributedCache, "_sweep", sweep)
    holds(package.DistributedCache, "_sweep")
    waits(package.DistributedCache, "set")


@DEVIATIONS.wrap("R8.4", "a closed cache stores nothing", "set")
def _(former: Any, self: Any, *given: Any, **options: Any) -> None:
    if not self._closed:
        former(self, *given, **options)
