"""Reads pickles so that only trusted code runs."""

import contextlib
import copyreg
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from .errors import SnapshotError
from .portable import name_of
from .trust import PACKED, Trust

# The unpickler in pure Python: slower, but its single steps can be overridden.
_PureUnpickler: Any = pickle._Unpickler


class Source(Protocol):
    """The source of a pickle: a seekable file."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, fewer at the end."""

    def readline(self) -> bytes:
        """Return the bytes up to the next newline."""

    def tell(self) -> int:
        """Return the offset of the next byte."""

    def seek(self, place: int, /) -> Any:
        """Go to an offset."""


def loaded(stream: Source, trust: Trust) -> Any:
    """Read one pickle. Raises SnapshotError, with the type, for what is refused."""
    start = stream.tell()
    try:
        # An extension code that was used before resolves without a call of find_class.
        if not copyreg._extension_registry:  # type: ignore[attr-defined]
            try:
                return _read(_Unpickler, stream, trust)
            except _Alterable:
                stream.seek(start)
        return _read(_CarefulUnpickler, stream, trust)
    except (SnapshotError, OSError):
        raise
    except Exception as error:
        stream.seek(start)
        culprit = _tried(stream, trust).culprit
        if culprit is not None:
            raise SnapshotError(f"{culprit} cannot be read back: {_said(error)}") from error
        raise SnapshotError(f"not a whole pickle: {_said(error)}") from error


def unreadable(stream: Source, trust: Trust) -> list[Any]:
    """Read the pickle of a list that `loaded` refuses; return the items that are at fault."""
    tried = _tried(stream, trust)
    items = tried.value if type(tried.value) is list else []
    return [item for item in items if _holds(item, tried.broken)]


class _Alterable(Exception):
    """The pickle names a class on which it could set attributes."""


class _Reviver:
    """Stands in a file for the class that `PACKED` names: calls the `load` of a Portable."""

    __slots__ = ("__weakref__", "_trust")

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def __call__(self, packed: Any) -> Any:
        if type(packed) is not dict or set(packed) != {"type", "data"}:
            raise SnapshotError("damaged: what a Portable has saved lacks its type or data")
        return self._trust.revive(packed["type"], packed["data"])

    def __setstate__(self, state: Any) -> None:
        raise SnapshotError(f"state for {'.'.join(PACKED)} is refused")


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Source, trust: Trust) -> None:
        super().__init__(stream)
        self._trust = trust
        self.reviver: _Reviver | None = None

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == PACKED:
            self.reviver = self.reviver or _Reviver(self._trust)
            return self.reviver
        found = self._trust.resolve(module, name)
        # The BUILD opcode sets attributes on whatever is on the stack, even on a class. The C code
        # has no hook for it, so classes that would allow it are read by the slower, careful
        # unpickler. Those with a __setstate__ do not need it: BUILD calls that instead.
        if found.__flags__ & _IMMUTABLE or hasattr(found, "__setstate__"):
            return found
        raise _Alterable


_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE


class _CarefulUnpickler(_PureUnpickler):  # type: ignore[misc]
    """The unpickler in pure Python, which can refuse single operations."""

    def __init__(self, stream: Source, trust: Trust) -> None:
        super().__init__(stream)
        self._trust = trust
        self.reviver: _Reviver | None = None

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == PACKED:
            self.reviver = self.reviver or _Reviver(self._trust)
            return self.reviver
        return self._trust.resolve(module, name)

    def get_extension(self, code: int) -> None:
        raise SnapshotError(f"extension code {code} is neither plain data nor trusted")

    def load_build(self) -> None:
        if isinstance(self.stack[-2], type):
            raise SnapshotError(f"state for the class {name_of(self.stack[-2])} itself is refused")
        super().load_build()

    dispatch = {**_PureUnpickler.dispatch, pickle.BUILD[0]: load_build}


def _read(kind: Any, stream: Source, trust: Trust) -> Any:
    """Return what an unpickler of this class reads."""
    unpickler = kind(stream, trust)
    value = unpickler.load()
    if unpickler.reviver is not None:
        # It may only be called and must not be a value: it must be gone with the unpickler.
        reviver = weakref.ref(unpickler.reviver)
        del unpickler
        if reviver() is not None:
            raise SnapshotError(f"{'.'.join(PACKED)} is neither plain data nor trusted")
    return value


class _Broken:
    """Stands for an object that could not be read."""


def _tolerating(step: Callable[[Any], None], takes: int) -> Callable[[Any], None]:
    """Return a step of the unpickler that continues with a placeholder if `step` fails."""

    def tolerate(self: "_TolerantUnpickler") -> None:
        bottom = len(self.stack) - takes
        called = self.stack[bottom] if bottom >= 0 else None
        try:
            step(self)
        except Exception:
            if bottom < 0:
                raise
            builds = step is _CarefulUnpickler.load_build
            kind = type(called) if builds else called
            if self.culprit is None and isinstance(kind, type) and kind is not _Broken:
                self.culprit = name_of(kind)
            self.stack[bottom:] = [self.note(called if builds else _Broken())]

    return tolerate


class _TolerantUnpickler(_CarefulUnpickler):
    """Continues after an error, to find out where it was."""

    def __init__(self, stream: Source, trust: Trust) -> None:
        super().__init__(stream, trust)
        self.value: Any = None
        self.culprit: str | None = None  # the class that could not be read
        self.broken: list[Any] = []

    def note(self, broken: Any) -> Any:
        self.broken.append(broken)
        return broken

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except Exception:
            return self.note(_Broken())

    dispatch = {
        **_CarefulUnpickler.dispatch,
        pickle.REDUCE[0]: _tolerating(_PureUnpickler.load_reduce, 2),
        pickle.NEWOBJ[0]: _tolerating(_PureUnpickler.load_newobj, 2),
        pickle.NEWOBJ_EX[0]: _tolerating(_PureUnpickler.load_newobj_ex, 3),
        pickle.BUILD[0]: _tolerating(_CarefulUnpickler.load_build, 2),
    }


def _tried(stream: Source, trust: Trust) -> _TolerantUnpickler:
    """Read a pickle that cannot be read, as far as that goes."""
    unpickler = _TolerantUnpickler(stream, trust)
    with contextlib.suppress(Exception):
        unpickler.value = unpickler.load()
    return unpickler


def _holds(item: Any, wanted: list[Any]) -> bool:
    """Tell whether one of the `wanted` objects is anywhere in `item`."""
    targets = set(map(id, wanted))
    seen: dict[int, Any] = {}
    waiting = [item]
    while waiting:
        value = waiting.pop()
        if id(value) in targets:
            return True
        # Whether an object is met twice is the collector's to say.
        if id(value) not in seen and not isinstance(value, type):  # pragma: no branch
            seen[id(value)] = value
            waiting += gc.get_referents(value)
    return False


def _said(error: Exception) -> str:
    """Return the class of an error, and its text if that can only be about names."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, AttributeError) else name
