"""Caches whose calls get into each other's way."""

import time
from collections.abc import Callable
from typing import Any

from .deviation import Deviations, breaks, wrap
from .lock import held, waits
from .r08_cleanup import has_expired, is_full

CACHE = "memory/cache.DistributedCache"
FLIGHTS = "flights.Flights"
GET_OR_SET = f"{CACHE}._missed"


MISSING = object()
ONCE = "__import__('metatests.broken.lock', fromlist=['Once']).Once()"

DEVIATIONS = Deviations()
DEVIATIONS += [
    held("R9.2", "values are pickled under the lock", "save"),
    held("R9.2", "values are unpickled under the lock", "load"),
    held("R9.2", "keys matches under the lock", "keys"),
    held("R9.2", "what expires is released under the lock", "get", "get_many", "exists"),
    held("R9.2", "what set_many overwrites is released under the lock", "set_many"),
    held("R9.2", "what set overwrites is released under the lock", "set"),
    held("R9.2", "what is evicted is released under the lock", "set", "set_many", when=is_full),
    held("R9.2", "what expired to make room is released under the lock", "set", when=has_expired),
    held("R9.2", "what cleanup removes is released under the lock", "cleanup"),
    held("R9.2", "what clear removes is released under the lock", "clear"),
    held("R9.2", "what delete removes is released under the lock", "delete"),
    breaks(
        "R9.1",
        "the lock cannot be taken twice",
        (f"{CACHE}.__init__", "threading.RLock()", ONCE),
        (GET_OR_SET, "self._lock._is_owned() or self._flights.inside()", "False"),
    ),
    breaks(
        "R9.1",
        "a get_or_set inside another call waits for a third party",
        (GET_OR_SET, "self._lock._is_owned() or self._flights.inside()", "False"),
    ),
    breaks(
        "R9.2",
        "get_or_set holds the lock while the factory runs",
        (
            GET_OR_SET,
            "value, keep = self._flights.call(flight, make)",
            "with self._lock:\n    value, keep = self._flights.call(flight, make)",
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
        (GET_OR_SET, "self.peek(key, _MISSING)", "_MISSING"),
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
        (GET_OR_SET, "self._land(key, value, life)", "self._unwatch(key)"),
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
        (
            GET_OR_SET,
            "make = partial(results.make, key, factory, store_if)",
            "make = partial(results.make, key, factory, store_if)\nbegin = self._now()",
        ),
        (
            GET_OR_SET,
            "self._land(key, value, life)",
            "self._land(key, value, max(life - self._now() + begin, 1))",
        ),
    ),
    breaks(
        "R9.3",
        "a pattern keeps values out that it does not match",
        (f"{CACHE}.delete_pattern", "glob.select(self._watched())", "self._watched()"),
    ),
    breaks(
        "R9.3",
        "a factory's value that was not stored is lost",
        (
            GET_OR_SET,
            "self._land(key, value, life)",
            "if not self._land(key, value, life):\n    value = self.get(key)",
        ),
    ),
    breaks(
        "R9.3",
        "a factory may be no callable",
        (f"{CACHE}._get_or_set_missing", "if not callable(factory):", "if False:"),
        (
            GET_OR_SET,
            "partial(results.make, key, factory, store_if)",
            "partial(results.make, key, factory if callable(factory) else lambda: factory,"
            " store_if)",
        ),
    ),
]


def others_run() -> None:
    """Let other threads run, as they may between any two steps."""
    time.sleep(1e-5)


@DEVIATIONS.wrap("R9.1", "add takes two steps", "add")
def _(add: Any, self: Any, key: str, value: Any, ttl: Any = None) -> bool:
    if self.exists(key):
        return False
    others_run()
    self.set(key, value, ttl)
    return True


@DEVIATIONS.wrap("R9.1", "replace takes two steps", "replace")
def _(replace: Any, self: Any, key: str, value: Any, ttl: Any = None) -> bool:
    if not self.exists(key):
        return False
    others_run()
    self.set(key, value, ttl)
    return True


@DEVIATIONS.wrap("R9.1", "touch takes two steps", "touch")
def _(touch: Any, self: Any, key: str, ttl: Any = None) -> bool:
    value = self.peek(key, MISSING)
    if value is MISSING:
        return False
    others_run()
    self.set(key, value, ttl)
    return True


@DEVIATIONS.wrap("R9.1", "pop takes two steps", "pop")
def _(pop: Any, self: Any, key: str, default: Any = None) -> Any:
    value = self.get(key, default)
    others_run()
    self.delete(key)
    return value


@DEVIATIONS.wrap("R9.1", "delete_many takes two steps", "delete_many")
def _(delete_many: Any, self: Any, keys: Any) -> int:
    keys = list(keys)
    removed = sum(self.exists(key) for key in keys)
    others_run()
    delete_many(self, keys)
    return removed


@DEVIATIONS.wrap("R9.1", "get_many takes a step for each key", "get_many")
def _(get_many: Any, self: Any, keys: Any) -> dict[str, Any]:
    found = {key: self.get(key, MISSING) for key in keys}
    return {key: value for key, value in found.items() if value is not MISSING}


@DEVIATIONS.wrap("R9.1", "set_many takes a step for each key", "set_many")
def _(set_many: Any, self: Any, mapping: Any, ttl: Any = None) -> None:
    for key, value in mapping.items():
        others_run()
        self.set(key, value, ttl)


@DEVIATIONS.wrap("R9.1", "clear takes two steps", "clear")
def _(clear: Any, self: Any) -> None:
    for key in self.keys()[::2]:
        self.delete(key)
    others_run()
    clear(self)


@DEVIATIONS.wrap("R9.1", "load takes two steps", "load")
def _(load: Any, self: Any, path: Any) -> None:
    self.clear()
    load(self, path)


@DEVIATIONS.wrap("R9.1", "reset_stats takes two steps", "reset_stats")
def _(reset_stats: Any, self: Any) -> None:
    others_run()
    self._set_counters(0, *self._counters()[1:4])
    others_run()
    reset_stats(self)


@DEVIATIONS.wrap("R9.1", "cleanup takes two steps", "cleanup")
def _(cleanup: Any, self: Any) -> int:
    removed = len(self) - len(self.keys())
    others_run()
    cleanup(self)
    return removed


@DEVIATIONS.wrap("R9.1", "set takes two steps", "set")
def _(set_: Any, self: Any, key: str, *given: Any, **options: Any) -> None:
    self.delete(key)
    others_run()
    set_(self, key, *given, **options)


@DEVIATIONS.wrap("R9.1", "set keeps the lock after an error", "set")
def _(set_: Any, self: Any, *given: Any, **options: Any) -> None:
    self._lock.acquire()
    set_(self, *given, **options)
    self._lock.release()


@DEVIATIONS.wrap("R9.1", "a read that meets a removal raises", "get")
def _(get: Any, self: Any, key: str, default: Any = None) -> Any:
    if not self.exists(key):
        return get(self, key, default)
    others_run()
    return self[key]


@DEVIATIONS.wrap("R9.1", "keys walks the storage that others change", "keys")
def _(keys: Any, self: Any, *pattern: str) -> list[str]:
    size = len(self)
    found: list[str] = keys(self, *pattern)
    if len(self) != size:
        raise RuntimeError("changed size during iteration")
    return found


@DEVIATIONS.wrap("R9.1", "delete_pattern takes what is set while it runs", "delete_pattern")
def _(delete_pattern: Any, self: Any, pattern: str) -> int:
    removed: int = delete_pattern(self, pattern)
    return removed + sum(self.delete(key) for key in self.keys(pattern))


@DEVIATIONS.patch("R9.1", "set does not tell a delete_pattern under way")
def _(package: Any) -> None:
    written: list[str] = []

    def note(former: Any, self: Any, key: str, *given: Any, **options: Any) -> None:
        written.append(key)
        former(self, key, *given, **options)

    def delete_pattern(former: Any, self: Any, pattern: str) -> int:
        written.clear()
        removed: int = former(self, pattern)
        return removed + int(self.delete_many({*written} & {*self.keys(pattern)}))

    wrap(package.DistributedCache, "set", note)
    wrap(package.DistributedCache, "delete_pattern", delete_pattern)


@DEVIATIONS.patch("R9.2", "delete_pattern matches under the lock")
def _(package: Any) -> None:
    def delete_pattern(former: Any, self: Any, pattern: str) -> int:
        with self._lock:
            self.keys(pattern)
        removed: int = former(self, pattern)
        return removed

    wrap(package.DistributedCache, "delete_pattern", delete_pattern)
    waits(package.DistributedCache, "set")


def kept(name: str, verb: str) -> None:
    """Add the cache in which what `verb` removes is kept, and released under the lock."""

    def install(package: Any) -> None:
        def keep(former: Any, self: Any, *given: Any) -> Any:
            values = [self.peek(key) for key in self.keys()]
            result = former(self, *given)
            with self._lock:
                values.clear()
            return result

        wrap(package.DistributedCache, verb, keep)
        waits(package.DistributedCache, "set")

    DEVIATIONS.patch("R9.2", name)(install)


kept("what load replaces is released under the lock", "load")
kept("what delete_pattern removes is released under the lock", "delete_pattern")


@DEVIATIONS.patch("R9.2", "what pop removes is released under the lock")
def _(package: Any) -> None:
    def pop(former: Any, self: Any, key: str, default: Any = None) -> Any:
        with self._lock:
            former(self, key)
        return default

    wrap(package.DistributedCache, "pop", pop)
    waits(package.DistributedCache, "set")


def forgetful(name: str, *verbs: str) -> None:
    """Add the cache that stores a factory's value though one of `verbs` was called meanwhile."""

    def install(package: Any) -> None:
        called: list[str] = []

        def note(verb: Any, self: Any, *given: Any, **options: Any) -> Any:
            called.append(verb.__name__)
            return verb(self, *given, **options)

        def land(former: Any, self: Any, key: str, value: Any, life: float) -> bool:
            landed: bool = former(self, key, value, life)
            if called and not landed:
                self.set(key, value, life)
            called.clear()
            return landed

        for verb in verbs:
            wrap(package.DistributedCache, verb, note)
        wrap(package.DistributedCache, "_land", land)

    DEVIATIONS.patch("R9.3", f"{name} does not keep a factory's value out")(install)


forgetful("a write", "set", "add", "replace", "set_many", "increment")
forgetful("set", "set")
forgetful("delete", "delete", "delete_many")
forgetful("pop", "pop")
forgetful("delete_pattern", "delete_pattern")
forgetful("clear or load", "clear", "load")


def forget_all(verb: Any, self: Any, *given: Any, **options: Any) -> Any:
    """Do what `verb` does, and keep the value of every running factory out."""
    result = verb(self, *given, **options)
    self._forget(self._watched())
    return result


WRITES, REMOVALS = ("set", "add", "set_many"), ("delete", "delete_many", "pop")
DEVIATIONS.wrap("R9.3", "a write of any key keeps a factory's value out", *WRITES)(forget_all)
DEVIATIONS.wrap("R9.3", "a removal of any key keeps a factory's value out", *REMOVALS)(forget_all)


@DEVIATIONS.wrap("R9.3", "None counts as missing", "get_or_set")
def _(get_or_set: Any, self: Any, key: str, factory: Callable[[], Any], *given: Any) -> Any:
    value = get_or_set(self, key, factory, *given)
    return factory() if value is None else value
