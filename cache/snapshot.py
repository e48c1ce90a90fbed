"""The snapshot file: pickles that plain `pickle.load` reads, and a digest that seals them.

    header      a dict: format, version, saved_at, counters, entries (how many follow)
    slices      lists of (key, value, expires_at), from least to most recently used
    trailer     mark, digest of all before it, seal of the digest, mark

Slices keep each call of the pickler short, since no other thread runs during it, and they are never
all in memory. The seal is keyed by the secret, so a file with another secret is refused before
anything in it is unpickled. The mark is on both sides of the digests, so that a file that is cut
short can be distinguished from a damaged one.
"""

import hashlib
import hmac
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from . import atomic_file
from .errors import SnapshotError
from .pickling import TooLarge
from .plain import Codec

FORMAT = "cache snapshot"
VERSION = 1

Row = tuple[str, Any, float | None]
# Keys, values and expiries as columns: one C call can process a slice of a column.
Columns = tuple[list[str], list[Any], list[float | None]]

_MARK = b"\n%cache digest%\n"
_DIGEST = 32  # bytes
_TRAILER = len(_MARK) + 2 * _DIGEST + len(_MARK)
# The beginning of the header's pickle: protocol, frame, dict, then format and version.
_BEGINNING = b"\x80\x05\x95"
_HEAD = re.compile(
    rb"\x80\x05\x95.{8}\}\x94\(\x8c\x06format\x94\x8c\x0ecache snapshot\x94\x8c\x07version\x94"
    rb"(?:K(?P<byte>.)|(?P<larger>[MJ\x8a]))",
    re.DOTALL,
)
_COUNTERS = ("hits", "misses", "evictions", "expirations", "entries")
_CHUNK = 1 << 20  # bytes that are read and hashed at once
_SLICE_BYTES = 64 * 1024  # a slice of this size takes about a millisecond
_MOST_ROWS = 2_000
_FAR = sys.float_info.max


def checked_secret(secret: bytes | None) -> bytes | None:
    """Return `secret` if it is valid: non-empty bytes, or None."""
    if secret is not None:
        if not isinstance(secret, bytes):
            raise TypeError(f"secret must be bytes, not {type(secret).__name__}")
        if not secret:
            raise ValueError("secret must not be empty")
    return secret


def write(
    path: str | bytes | os.PathLike[str],
    header: dict[str, Any],
    rows: Callable[[int], list[Row]],
    codec: Codec,
    secret: bytes | None = None,
) -> None:
    """Write a snapshot of the `header["entries"]` rows that the calls of `rows(most)` return.

    `header` holds `saved_at` and the counters besides; format and version are added. Raises
    OSError, and SnapshotError with the key of a value that `codec` refuses; the file at `path` is
    then unchanged (see `atomic_file.write`).
    """

    def fill(file: BinaryIO) -> None:
        stream = _Hashing(file)
        stream.write(codec.dumps({"format": FORMAT, "version": VERSION, **header}))
        size = 64
        while part := rows(size):
            written = _write_slice(part, codec, stream)
            if written < _SLICE_BYTES // 2:
                size = min(size * 2, _MOST_ROWS)
            elif written > _SLICE_BYTES:
                size = max(size // 2, 1)
        digest = stream.digest()
        file.write(_MARK + digest + _seal(digest, secret) + _MARK)

    atomic_file.write(path, fill)


def read(
    path: str | bytes | os.PathLike[str], codec: Codec, secret: bytes | None = None
) -> tuple[dict[str, Any], Iterator[Columns]]:
    """Check the snapshot at `path` and return its header and an iterator over its slices.

    Nothing is unpickled before digest and seal are verified. Raises OSError, and SnapshotError that
    says what the file is instead; the iterator raises SnapshotError too, naming refused types.
    """
    name = os.fspath(path)
    file = open(path, "rb")  # noqa: SIM115 - closed by the iterator, or right below
    try:
        size = os.fstat(file.fileno()).st_size
        _check(file, name, size, secret)
        source = _Source(file)
        try:
            header = _checked_header(codec.load(source))
        except SnapshotError as error:
            raise SnapshotError(f"{name!r}: {error}") from error
    except BaseException:
        file.close()
        raise
    return header, _slices(source, name, header["entries"], codec)


def _slices(source: "_Source", name: Any, entries: int, codec: Codec) -> Iterator[Columns]:
    with source.file:
        while entries > 0:
            place = source.tell()
            try:
                rows = codec.load(source)
            except SnapshotError as error:
                source.seek(place)
                told = _told(codec.unreadable(source))
                raise SnapshotError(f"{name!r}: {told}{error}") from error
            try:
                columns = _checked_columns(rows, entries)
            except SnapshotError as error:
                raise SnapshotError(f"{name!r}: {error}") from error
            del rows
            entries -= len(columns[0])
            yield columns


def _told(items: list[Any]) -> str:
    """Return the beginning of an error message about one of these rows."""
    for item in items:
        # The unpickler's stack also has what is not a row yet.
        if type(item) is tuple and item and type(item[0]) is str:  # pragma: no branch
            return f"the value at {item[0]!r} cannot be loaded: "
    return ""


def columns_of(rows: list[Row]) -> Columns:
    """Turn rows into columns."""
    # Not zip(*rows): it creates one iterator for each row, which the garbage collector takes for
    # long-lived objects, so that it traverses the whole heap again and again.
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _write_slice(rows: list[Row], codec: Codec, stream: "_Hashing") -> int:
    """Write rows as one list, or as several if it would be large or a value is refused.

    Each list is pickled in memory and only then written, so that no Python code runs, and no other
    thread with it, in the middle of a value. Returns how many bytes are written.
    """
    alone = len(rows) == 1
    try:
        return stream.write(codec.dumps_rows(rows, not alone))
    except TooLarge:
        pass
    except SnapshotError as error:
        if alone:
            key = rows[0][0]
            raise SnapshotError(f"the value at {key!r} cannot be saved: {error}") from error
        # A value that another thread is changing may be consistent a moment later.
    half = len(rows) // 2
    return _write_slice(rows[:half], codec, stream) + _write_slice(rows[half:], codec, stream)


class _Source:
    """A file for the unpickler that is read in large chunks, from its beginning.

    Each system call, `tell` too, releases the interpreter for a moment. A thread that waits for it
    starts its wait again each time without getting it. If that happens more often than every switch
    interval, it waits during the whole load.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._start = 0  # the chunk's offset in the file
        self._next = 0  # the next byte's offset in the chunk
        self._chunk = b""
        self.seek(0)

    def read(self, size: int, /) -> bytes:
        data = self._chunk[self._next : self._next + size]
        self._next += len(data)
        if len(data) < size:
            self._start += len(self._chunk)
            short = size - len(data)
            self._chunk = self.file.read(max(short, _CHUNK))
            self._next = min(short, len(self._chunk))
            data += self._chunk[:short]
        return data

    def readline(self) -> bytes:
        line = b""
        while (byte := self.read(1)) not in (b"", b"\n"):
            line += byte
        return line + byte

    def tell(self) -> int:
        return self._start + self._next

    def seek(self, place: int, /) -> None:
        self.file.seek(place)
        self._start = place
        self._next = 0
        self._chunk = b""


class _Hashing:
    """A file that hashes what is written to it.

    It hashes and writes in large chunks. Both release the interpreter, and beside a busy thread it
    takes a switch interval, 5 ms, to get it back. See also `_Source`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.blake2b(digest_size=_DIGEST)
        self._pending = bytearray()

    def write(self, data: bytes) -> int:
        if len(data) >= _CHUNK:
            self._flush()
            self._pass_on(data)
        else:
            self._pending += data
            if len(self._pending) >= _CHUNK:
                self._flush()
        return len(data)

    def digest(self) -> bytes:
        self._flush()
        return self._hash.digest()

    def _flush(self) -> None:
        self._pass_on(self._pending)
        self._pending.clear()

    def _pass_on(self, data: bytes | bytearray) -> None:
        self._hash.update(data)
        self._file.write(data)


def _seal(digest: bytes, secret: bytes | None) -> bytes:
    """Return the keyed digest of the digest; different for every secret, and for none."""
    if secret is None:
        return hashlib.blake2b(digest, digest_size=_DIGEST, person=b"cache no secret").digest()
    # blake2b takes keys of up to 64 bytes; a hash keeps longer secrets distinct.
    key = hashlib.blake2b(secret, person=b"cache secret").digest()
    return hashlib.blake2b(digest, digest_size=_DIGEST, key=key, person=b"cache seal").digest()


def _check(file: BinaryIO, name: Any, size: int, secret: bytes | None) -> None:
    """Raise SnapshotError unless the file is a whole snapshot, sealed with this secret."""
    head = file.read(256)
    found = _HEAD.match(head)
    file.seek(max(size - _TRAILER, 0))
    trailer = file.read(_TRAILER)
    if not (trailer.startswith(_MARK) or trailer.endswith(_MARK)) or len(trailer) < _TRAILER:
        if found is None:
            if _BEGINNING.startswith(head[:3]) and len(head) < 64:
                raise SnapshotError(f"{name!r} is cut short: it has {len(head)} bytes")
            raise SnapshotError(f"{name!r} is not a snapshot")
        if _version(found) > VERSION:
            raise _newer(name)
        raise SnapshotError(f"{name!r} is cut short: its digest is missing")
    digest = trailer[len(_MARK) : len(_MARK) + _DIGEST]
    seal = trailer[len(_MARK) + _DIGEST : -len(_MARK)]
    whole = trailer == _MARK + digest + seal + _MARK
    if not whole or not hmac.compare_digest(_digest_of(file, size - _TRAILER), digest):
        raise SnapshotError(f"{name!r} is damaged: it does not have the digest that it names")
    if found is None:
        raise SnapshotError(f"{name!r} is not a snapshot")
    if _version(found) > VERSION:
        raise _newer(name)
    if not hmac.compare_digest(_seal(digest, secret), seal):
        if secret is None:
            words = "is sealed with a secret, and this cache has none; or its seal is damaged"
        elif hmac.compare_digest(_seal(digest, None), seal):
            words = "is not sealed, and this cache has a secret"
        else:
            words = "is sealed with another secret than this cache's, or its seal is damaged"
        raise SnapshotError(f"{name!r} {words}")


def _version(found: "re.Match[bytes]") -> float:
    return found["byte"][0] if found["byte"] is not None else math.inf


def _newer(name: Any) -> SnapshotError:
    return SnapshotError(f"{name!r} is of a newer version than this library's {VERSION}")


def _digest_of(file: BinaryIO, size: int) -> bytes:
    """Return the digest of the file's first `size` bytes."""
    file.seek(0)
    total = hashlib.blake2b(digest_size=_DIGEST)
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            break
        total.update(chunk)
        size -= len(chunk)
    return total.digest()


def _checked_header(header: Any) -> dict[str, Any]:
    if type(header) is not dict or any(
        type(header.get(name)) is not int or header[name] < 0 for name in _COUNTERS
    ):
        raise SnapshotError("damaged: its header lacks a counter")
    return header


def _checked_columns(rows: Any, most: int) -> Columns:
    """Return the columns of a list of (str, value, epoch seconds or None); else SnapshotError."""
    if type(rows) is not list or not 0 < len(rows) <= most:
        raise SnapshotError("damaged: it does not have as many entries as its header says")
    if set(map(type, rows)) != {tuple} or set(map(len, rows)) != {3}:
        raise SnapshotError("damaged: an entry is not a key, a value and an expiry")
    keys, values, ends = columns_of(rows)
    if set(map(type, keys)) != {str}:
        raise SnapshotError("damaged: an entry is not a key, a value and an expiry")
    if set(map(type, ends)) != {type(None)}:
        for key, end in zip(keys, ends, strict=True):
            if end is not None and not (type(end) in (float, int) and -_FAR <= end <= _FAR):
                raise SnapshotError(f"damaged: the expiry of {key!r} is not a number of seconds")
    return keys, values, ends
