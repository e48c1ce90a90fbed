"""Pickles of plain data and of classes that the user trusts, which run no other code.

Reading resolves only the names of plain types and those in `trust`. Writing refuses what reading
would refuse, so that everything that is written can be read.
"""

import io
from collections.abc import Iterable
from typing import Any

from .pickling import dumped, dumped_rows
from .trust import Trust, Trusted
from .unpickling import Source, loaded, unreadable


class Codec:
    """Turns plain and trusted values into pickles and back."""

    def __init__(self, trust: Iterable[Trusted] = ()) -> None:
        """Trust the types in `trust` besides plain data; errors as in `Trust`."""
        self._trust = Trust(trust)

    def dumps(self, value: object) -> bytes:
        """Return `value` as a pickle. Raises SnapshotError, with the type, for what is refused.

        Whatever a value's own methods raise while they are pickled is a SnapshotError too. Where
        another thread changes a container meanwhile, the pickle has it as it was at one moment;
        where it changes again and again, that is a SnapshotError.
        """
        return dumped(value, self._trust)

    def dumps_rows(self, rows: list[tuple[str, Any, float | None]], short: bool) -> bytes:
        """Return a list of rows as a pickle, the value of each as `dumps` does.

        With `short`, raises TooLarge where that is longer than some 128 KiB.
        """
        return dumped_rows(rows, self._trust, short)

    def load(self, stream: Source) -> Any:
        """Read one pickle. Raises SnapshotError, with the type, for what is refused."""
        return loaded(stream, self._trust)

    def loads(self, data: bytes) -> Any:
        """Return the value in a pickle; errors as in `load`."""
        return self.load(io.BytesIO(data))

    def unreadable(self, stream: Source) -> list[Any]:
        """Read the pickle of a list that `load` refuses; return the items that are at fault."""
        return unreadable(stream, self._trust)
