"""Writes pickles of trusted data, each container as it was at one moment."""

import copyreg
import io
import pickle
import zoneinfo
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

from .errors import SnapshotError
from .portable import name_of
from .trust import FORMER_MODULES, PACKED, PLAIN_TYPES, Trust, ready_made

_PROTOCOL = 5
_ATTEMPTS = 10  # to pickle a value that other threads are changing


class TooLarge(Exception):
    """A pickle is longer than one frame."""


def dumped(value: object, trust: Trust) -> bytes:
    """Return `value` as a pickle in which each part of it is of one moment.

    Raises SnapshotError for a value that is refused or cannot be pickled, or of which another
    thread changes a part again and again.
    """
    return _dumped(value, [], trust, _Memory)


def dumped_rows(rows: list[tuple[str, Any, float | None]], trust: Trust, short: bool) -> bytes:
    """Return rows as the pickle of a list, each value of one moment, as `dumped` does.

    With `short`, raises TooLarge, soon and with little memory taken, where the pickle is longer
    than a frame or two, of 64 KiB each.
    """
    ahead = [row[1] for row in rows if type(row[1]) not in _BUILT_IN]
    return _dumped(rows, ahead, trust, _OneFrame if short else _Memory)


def _dumped(whole: object, ahead: list[Any], trust: Trust, make: Callable[[], "_Memory"]) -> bytes:
    """Pickle `whole`, after the objects in `ahead` and others that must be pickled first.

    The C pickler walks built-in types without letting another thread run. For any other object it
    calls Python code, and a container that is being walked may change meanwhile. So such objects
    are pickled ahead, in a list that the pickle drops at once, and the container then only refers
    to them. Attempts find out which objects these are.
    """
    names: dict[type, tuple[str, str]] = {}
    reduced: _Reduced = {}
    failure: Exception | None = None
    for _ in range(_ATTEMPTS):
        file = make()
        pickler = _Pickler(file, trust, names, reduced)
        failure, inside = None, []
        try:
            if ahead:
                pickler.dump_ahead(ahead)
                inside = pickler.met_inside(ahead)
            pickler.dump(whole)
        except (SnapshotError, TooLarge):
            raise
        except Exception as error:
            failure = error
        inside += pickler.met_inside([whole] if failure is None else [whole, *ahead])
        if not inside and not pickler.renamed:
            if failure is None:
                return file.getvalue()
            if not isinstance(failure, RuntimeError):  # raised for a container that has changed
                break
        # The last one that was met is the innermost.
        ahead = [*reversed(inside), *ahead]
        names = names | pickler.renamed
    if failure is not None:
        raise SnapshotError(f"cannot be pickled: {type(failure).__name__}") from failure
    raise SnapshotError("another thread changes it again and again while it is pickled")


class _Memory(io.BytesIO):
    full = False


class _OneFrame(_Memory):
    """A file that takes one frame of each pickle.

    The pickler writes the last frame when all is done, and any other in the middle of a value.
    """

    def write(self, data: Any, /) -> int:
        if self.full:
            raise TooLarge
        self.full = True
        return super().write(data)


class _Packed:
    """A placeholder for the name under which the data of a `Portable` is written."""


class _Pickler(pickle.Pickler):
    def __init__(
        self,
        file: _Memory,
        trust: Trust,
        names: dict[type, tuple[str, str]],
        reduced: "_Reduced",
    ) -> None:
        super().__init__(file, protocol=_PROTOCOL)
        self._file = file
        self._trust = trust
        self._names = names
        self._reduced = reduced  # by id; once for each object, as a second result might differ
        self._packed: set[int] = set()  # ids
        self.met: list[Any] = []  # objects of other than built-in types, in the order met
        self.renamed: dict[type, tuple[str, str]] = {}  # classes that `names` lacks
        if names:
            # Written here and recorded in the memo, so that the pickler only refers to them.
            io.BytesIO.write(file, pickle.PROTO + bytes((_PROTOCOL,)))
            for module, name in names.values():
                for text in (module, name):
                    io.BytesIO.write(
                        file, pickle.SHORT_BINUNICODE + bytes((len(text),)) + text.encode()
                    )
                io.BytesIO.write(file, pickle.STACK_GLOBAL + pickle.MEMOIZE + pickle.POP)
            self.memo = {id(kind): (at, kind) for at, kind in enumerate(names)}

    def dump_ahead(self, values: list[Any]) -> None:
        """Write `values` so that the pickle that is dumped next can refer to them."""
        self.dump(values)
        self._file.seek(-1, io.SEEK_CUR)
        io.BytesIO.write(self._file, pickle.POP)  # in place of the end
        self._file.full = False

    def met_inside(self, alone: list[Any]) -> list[Any]:
        """Return the objects, but those `alone`, that have had Python code run inside another one.

        Forgets what was met.
        """
        harmless = set(map(id, alone))
        inside, former = [], None
        for value in self.met:
            # An object's own class is written before its content is looked at.
            if id(value) not in harmless and value is not type(former):
                harmless.add(id(value))
                inside.append(value)
            former = value
        self.met = []
        return inside

    def reducer_override(self, value: Any) -> Any:
        """Check an object of another than a built-in type, and return how to write it."""
        kind = type(value)
        if kind in _SELF_REDUCING:
            self.met.append(value)
            return NotImplemented
        if issubclass(kind, type):
            return self._check_class(value)
        self.met.append(value)
        if id(value) not in self._reduced:
            self._reduced[id(value)] = value, self._reduce(value, kind)
        how = self._reduced[id(value)][1]
        if isinstance(how, tuple) and how[0] is _Packed:
            if id(value) in self._packed:
                raise SnapshotError(
                    f"the dump of {name_of(kind)} returned what holds the same object"
                )
            self._packed.add(id(value))
        if isinstance(how, tuple) and len(how) > 3:
            return *how[:3], *(None if each is None else iter(each) for each in how[3:5]), *how[5:]
        return how

    def _check_class(self, kind: Any) -> Any:
        if kind is _Packed:
            self.renamed[kind] = PACKED
        elif not self._trust.allows(kind):
            raise SnapshotError(_refusal(kind))
        else:
            self.met.append(kind)
            if kind.__module__ in FORMER_MODULES:
                self.renamed[kind] = FORMER_MODULES[kind.__module__], kind.__qualname__
        # Renamed classes are refused by the pickler, or written again.
        return NotImplemented

    def _reduce(self, value: Any, kind: type) -> Any:
        """Return what `__reduce_ex__` does, with lists for iterators, or NotImplemented."""
        portable = self._trust.portable(kind)
        if portable is not None:
            try:
                data = portable.dump(value)
            except SnapshotError as error:
                raise SnapshotError(f"the dump of {portable.name}: {error}") from error
            except Exception as error:
                name = type(error).__name__
                raise SnapshotError(f"the dump of {portable.name} raised {name}") from error
            return _Packed, ({"type": portable.name, "data": data},)
        if kind in _FUNCTIONS or not self._trust.allows(kind):
            writer = self._writer(value)
            named = value if kind in _FUNCTIONS or writer is not None else kind
            raise SnapshotError(_refusal(named, writer))
        if kind is zoneinfo.ZoneInfo and value.key is not None:
            return zoneinfo.ZoneInfo, (value.key,)  # its own reducer uses getattr
        reducer = copyreg.dispatch_table.get(kind)
        how = reducer(value) if reducer is not None else value.__reduce_ex__(_PROTOCOL)
        if not isinstance(how, tuple):  # `load` resolves the names of classes alone
            raise SnapshotError(f"{name_of(kind)} is pickled by the name of an object: {how}")
        return *how[:3], *(None if each is None else list(each) for each in how[3:5]), *how[5:]

    def _writer(self, function: Any) -> Any:
        """Return the object that a call of `function` is to recreate, if any."""
        for value, how in reversed(self._reduced.values()):
            if isinstance(how, tuple) and how[0] is function:
                return value
        return None


# What the C pickler writes by itself.
_BUILT_IN = frozenset(
    (type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict, set, frozenset)
)
_SELF_REDUCING = PLAIN_TYPES - {zoneinfo.ZoneInfo}
_FUNCTIONS = (FunctionType, BuiltinFunctionType)
# By the id of an object: it, to keep it alive, and how it is written.
_Reduced = dict[int, tuple[Any, Any]]


def _refusal(refused: Any, writer: Any = None) -> str:
    """Return why a value cannot be saved, and what would help."""
    text = f"{name_of(refused)} is neither plain data nor trusted"
    ready = ready_made(refused if writer is None else type(writer))
    if ready is not None:
        package = ready.name.partition(".")[0]
        return f"{ready.name} is not trusted; to save it pass trust=[{package!r}]"
    if writer is not None:
        kind = type(writer)
        return (
            f"{name_of(kind)} is pickled by a function, and {text}; "
            f"to save it pass trust=[Portable({kind.__name__}, dump, load)]"
        )
    if isinstance(refused, type):
        name = refused.__name__
        return f"{text}; to save it pass trust=[{name}] or trust=[Portable({name}, dump, load)]"
    return f"{text}; no function can be saved"
