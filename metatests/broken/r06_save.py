"""Caches whose snapshots are not whole, not plain or not of one moment."""

import time
from collections.abc import Callable
from typing import Any

from .deviation import Deviations, breaks, wrap
from .lock import held, holds, waits

SAVE = "memory/cache.DistributedCache.save"
STORE = "memory/_store_py.Store"
WRITE = "atomic_file.write"
ROW = "(key, value, None if deadline is None else deadline + epoch)"

DEVIATIONS = Deviations()
DEVIATIONS += [
    held("R6.7", "the file is written under the lock", "save"),
    breaks(
        "R6.4",
        "the snapshot is written in place",
        (
            WRITE,
            "os.replace(unfinished, target)",
            "open(target, 'wb').write(open(unfinished, 'rb').read()); os.unlink(unfinished)",
        ),
    ),
    breaks(
        "R6.1",
        "the header does not tell of expirations",
        (SAVE, "header['entries'] = size", "header['entries'] = size\ndel header['expirations']"),
    ),
    breaks(
        "R6.1",
        "the header has other counters than the moment",
        (
            SAVE,
            "header['entries'] = size",
            "header['entries'] = size\nheader['hits'], header['misses'] = (header['misses'], 0)",
        ),
    ),
    breaks(
        "R6.1",
        "expires_at stands before the value",
        (SAVE, ROW, "(key, None if deadline is None else deadline + epoch, value)"),
    ),
    breaks(
        "R6.1",
        "keys are written as bytes",
        (SAVE, ROW, "(key.encode(), value, None if deadline is None else deadline + epoch)"),
    ),
    breaks(
        "R6.1",
        "there is no digest behind the entries",
        ("snapshot.write", "file.write(_MARK + digest + _seal(digest, secret) + _MARK)", "pass"),
    ),
    breaks(
        "R6.1",
        "the first entries only are written where there are many",
        ("snapshot.write", "size = min(size * 2, _MOST_ROWS)", "size = 2 * size; rows(size)"),
    ),
    breaks(
        "R6.2",
        "expired entries are written",
        (
            f"{STORE}._snapshot",
            "[item for item in self._entries.items() if item[1][1] > now]",
            "list(self._entries.items())",
        ),
    ),
    breaks(
        "R6.2",
        "expires_at is by the monotonic clock",
        (SAVE, "deadline + epoch", "deadline"),
    ),
    breaks(
        "R6.2",
        "expires_at is the life left",
        (SAVE, "deadline + epoch", "deadline - now"),
    ),
    breaks(
        "R6.3",
        "entries are written in the order in which they were stored",
        (f"{STORE}._snapshot", "self._entries.items()", "dict.items(self._entries)"),
    ),
    breaks(
        "R6.4",
        "the file is not flushed to disk",
        (WRITE, "os.fsync(descriptor)", "pass"),
    ),
    breaks(
        "R6.4",
        "the file is flushed to disk before all of it has left the process",
        (
            WRITE,
            "os.fsync(descriptor)\nos.replace(unfinished, target)",
            "os.replace(unfinished, target)",
        ),
        (WRITE, "fill(file)", "fill(file); os.fsync(descriptor)"),
    ),
    breaks(
        "R6.4",
        "the folder is not flushed",
        (WRITE, "_flush_folder(folder)", "pass"),
    ),
    breaks(
        "R6.4",
        "the file is flushed after it was renamed",
        (
            WRITE,
            "os.fsync(descriptor)\nos.replace(unfinished, target)",
            "os.replace(unfinished, target)\nos.fsync(descriptor)",
        ),
    ),
    breaks(
        "R6.4",
        "the old file is removed first",
        (WRITE, "fill(file)", "os.path.exists(target) and os.unlink(target); fill(file)"),
    ),
    breaks(
        "R6.4",
        "a symbolic link is replaced by the file",
        (WRITE, "os.path.realpath", "os.path.abspath"),
        ("atomic_file._refuse_unless_file", "if stat.S_ISLNK(mode):", "if False:"),
    ),
    breaks(
        "R6.5",
        "a value that is refused is left out",
        (
            "snapshot._write_slice",
            "raise SnapshotError(f'the value at {key!r} cannot be saved: {error}') from error",
            "return stream.write(codec.dumps_rows([(key, None, rows[0][2])], False))",
        ),
    ),
    breaks(
        "R6.5",
        "the error for a refused value does not name the key",
        (
            "snapshot._write_slice",
            "f'the value at {key!r} cannot be saved: {error}'",
            "f'a value cannot be saved: {error}'",
        ),
    ),
    breaks(
        "R6.5",
        "a save that fails drops the entry that it could not write",
        (
            SAVE,
            "snapshot.write(target, header, rows, self._codec, self._secret)",
            "try:\n    snapshot.write(target, header, rows, self._codec, self._secret)"
            "\nexcept ValueError:\n    self.clear()\n    raise",
        ),
    ),
    breaks(
        "R6.5",
        "a save that fails leaves an empty file",
        (WRITE, "os.unlink(unfinished)", "os.truncate(target, 0); os.unlink(unfinished)"),
    ),
    breaks(
        "R6.5",
        "a missing folder is made",
        (
            WRITE,
            "_remove_litter(folder, start)",
            "os.makedirs(folder, exist_ok=True); _remove_litter(folder, start)",
        ),
    ),
    breaks(
        "R6.5",
        "a full disk goes unsaid",
        (
            WRITE,
            "with contextlib.suppress(OSError):\n    os.unlink(unfinished)\nraise",
            "with contextlib.suppress(OSError):\n    os.unlink(unfinished)"
            "\nif not os.path.exists(target):\n    raise",
        ),
        (WRITE, "_flush_folder(folder)", "os.path.exists(folder) and _flush_folder(folder)"),
    ),
    breaks(
        "R6.6",
        "values are read while the file is written",
        (SAVE, ROW, "(key, self.peek(key, value), None if deadline is None else deadline + epoch)"),
    ),
    breaks(
        "R6.7",
        "the whole file is made in memory first",
        (
            "snapshot._Hashing.write",
            "if len(data) >= _CHUNK:",
            "if False:",
        ),
        ("snapshot._Hashing.write", "if len(self._pending) >= _CHUNK:", "if False:"),
    ),
    breaks(
        "R6.8",
        "everybody may read the file",
        (WRITE, "384", "420"),
    ),
    breaks(
        "R6.8",
        "the umask takes from the mode",
        (WRITE, "os.fchmod(descriptor, 384)", "pass"),
    ),
    breaks(
        "R6.9",
        "a save that fails leaves its temporary file",
        (WRITE, "os.unlink(unfinished)", "pass"),
    ),
    breaks(
        "R6.9",
        "what a killed save has left stays",
        (WRITE, "_remove_litter(folder, start)", "pass"),
    ),
    breaks(
        "R6.9",
        "the file of a save under way is taken for litter",
        (
            "atomic_file._remove_unless_in_use",
            "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
            "pass",
        ),
    ),
    breaks(
        "R6.9",
        "all saves of a path write to one temporary file",
        ("atomic_file._create", "secrets.token_hex(8)", "'one'"),
    ),
    breaks(
        "R6.10",
        "a value that changes meanwhile raises what pickle raises",
        ("pickling._dumped", "except Exception as error:", "except TypeError as error:"),
    ),
    breaks(
        "R6.10",
        "Python code takes each frame of a large value",
        (
            "pickling._Memory",
            "full = False",
            "full = False\ndef write(self, data):\n    return super().write(data)",
        ),
    ),
    breaks(
        "R6.10",
        "the objects in a container are pickled while it is walked",
        ("pickling._Pickler.met_inside", "return inside", "return []"),
    ),
    breaks(
        "R6.10",
        "a value that changes meanwhile is left out",
        (
            "snapshot._write_slice",
            "raise SnapshotError(f'the value at {key!r} cannot be saved: {error}') from error",
            "if 'again and again' not in str(error):\n    raise"
            "\nreturn stream.write(codec.dumps_rows([(key, None, rows[0][2])], False))",
        ),
    ),
    breaks(
        "R6.5",
        "the error for a refused value names no remedy",
        (
            "pickling._refusal",
            "f'{text}; to save it pass trust=[{name}] or trust=[Portable({name}, dump, load)]'",
            "f'{text} or trust=[Portable({name}, dump, load)]'",
        ),
    ),
]


class Rows:
    """A snapshot whose rows are known already."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def rows(self, most: int) -> list[Any]:
        """Return some further rows."""
        part = self._rows[:most]
        del self._rows[:most]
        return part

    def close(self) -> None:
        """End it."""
        self._rows = []


def rewritten(clause: str, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    """Add the cache that saves what `change` makes of the rows (key, value, deadline or None)."""

    def snapshot(former: Any, self: Any) -> Any:
        moment, now, size, *counted = former(self)
        return Rows(change(moment.rows(size))), now, size, *counted

    DEVIATIONS.wrap(clause, name, "_snapshot")(snapshot)


def without_ends_in_part(rows: list[Any]) -> list[Any]:
    """Leave out all deadlines unless every row has one."""
    if all(end is not None for _, _, end in rows):
        return rows
    return [(key, value, None) for key, value, _ in rows]


def copied(rows: list[Any]) -> list[Any]:
    """Copy values that are bytes."""
    return [
        (key, bytes(bytearray(value)) if type(value) is bytes else value, end)
        for key, value, end in rows
    ]


rewritten("R6.2", "expires_at is left out where most entries have none", without_ends_in_part)
rewritten("R6.3", "entries are written from most to least recently used", lambda rows: rows[::-1])
rewritten("R6.3", "entries are written by key", sorted)
rewritten("R6.7", "values are copied before they are written", copied)


@DEVIATIONS.wrap("R6.6", "set_many stores its entries one by one", "set_many")
def _(set_many: Any, self: Any, mapping: Any, ttl: Any = None) -> None:
    for key, value in mapping.items():
        time.sleep(0)
        self.set(key, value, ttl)


@DEVIATIONS.patch("R6.7", "hits wait until the order of use was walked")
def _(package: Any) -> None:
    def walked(snapshot: Any, self: Any) -> Any:
        moment, now, size, *counted = snapshot(self)
        rows = [row for _ in range(size) for row in moment.rows(1)]
        return Rows(rows), now, size, *counted

    wrap(package.DistributedCache, "_snapshot", walked)
    holds(package.DistributedCache, "_snapshot")
    waits(package.DistributedCache, "get")


@DEVIATIONS.patch("R6.7", "hits during the walk are forgotten")
def _(package: Any) -> None:
    saving: list[Any] = []

    def save(former: Any, self: Any, path: Any) -> None:
        saving.append(path)
        try:
            former(self, path)
        finally:
            saving.remove(path)

    def get(former: Any, self: Any, key: str, *default: Any) -> Any:
        return self.peek(key, *default) if saving else former(self, key, *default)

    wrap(package.DistributedCache, "save", save)
    wrap(package.DistributedCache, "get", get)
