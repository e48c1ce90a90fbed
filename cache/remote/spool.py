"""Rows of texts and numbers, stored in a temporary file and read back in order."""

import marshal
import tempfile
from collections.abc import Iterator
from typing import Any, Self


class Spool:
    """A list on disk. The file has no name, and is removed at the end of the `with` block."""

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
        """Iterate over all rows in order; only after all have been put."""
        self._file.seek(0)
        for _ in range(self._parts):
            yield from marshal.load(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
