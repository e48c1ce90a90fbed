"""Rows of texts and numbers that are put aside, in a temporary file, and read back in order."""

import marshal
import tempfile
from collections.abc import Iterator
from typing import Any, Self


class Spool:
    """A list that does not take memory. The file has no name, and goes with the `with` block."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._parts = 0
        self.size = 0

    def put(self, rows: list[tuple[Any, ...]]) -> None:
        """Append rows."""
        marshal.dump(rows, self._file)
        self._parts += 1
        self.size += len(rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over all rows, from the first; only once all have been put."""
        self._file.seek(0)
        for _ in range(self._parts):
            yield from marshal.load(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
