"""`Portable`: how a class that cannot be pickled safely is saved as plain data."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

K = TypeVar("K")


def name_of(thing: Any) -> str:
    """Return module and qualified name of a class or function."""
    return f"{thing.__module__}.{thing.__qualname__}"


class Portable(Generic[K]):
    """A class for `trust`, with functions that turn its instances into plain data and back.

    `dump(object)` returns plain data, which may hold values of other trusted classes too.
    `load(data)` gets equal data and returns an instance of `kind`. Both serve exactly `kind`, no
    subclass. The file names `kind`, never the functions: only a cache whose `trust` has a
    `Portable` of that class calls them. What they raise is a SnapshotError that names key and
    class; the text of a SnapshotError that they raise is kept. The file may come from somebody
    else, so `load` must check what it gets.

        cache = DistributedCache(trust=[Portable(Point, Point.to_dict, Point.from_dict)])

    NumPy and pandas need none: `trust=["numpy", "pandas"]` is enough.
    """

    __slots__ = ("dump", "kind", "load", "name")

    def __init__(
        self, kind: type[K], dump: Callable[[K], object], load: Callable[[Any], K]
    ) -> None:
        if not isinstance(kind, type):
            raise TypeError(f"kind must be a class, not {type(kind).__name__}")
        for name, function in (("dump", dump), ("load", load)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, not {type(function).__name__}")
        self.kind = kind
        self.dump = dump
        self.load = load
        self.name = name_of(kind)  # its name in the file

    def __repr__(self) -> str:
        """Name the class."""
        return f"<Portable {self.name}>"
