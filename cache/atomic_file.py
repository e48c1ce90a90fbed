"""Replaces a file atomically: it is the old one or the new one, whole, whatever happens.

The new file is written beside the target with mode 0600, flushed to disk and renamed over it, and
the folder is flushed; after SQLite and Redis. A killed process leaves its unfinished file behind.
The next writer of the same target removes it. Files that are still being written are locked, and
the kernel releases the lock when a process ends.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from typing import BinaryIO

_MARK = ".unfinished-"


def write(path: str | bytes | os.PathLike[str], fill: Callable[[BinaryIO], None]) -> None:
    """Let `fill` write a new file and put it at `path`, following symbolic links.

    Raises OSError, and whatever `fill` raises; then the old file is unchanged and nothing is left
    beside it. If only the last step fails, the flush of the folder, the new file is in place.
    """
    target = os.path.realpath(os.fsdecode(path))
    _refuse_unless_file(target)
    folder, name = os.path.split(target)
    start = os.path.join(folder, f".{_label(name)}{_MARK}")
    _remove_litter(folder, start)
    try:
        descriptor, unfinished = _create(start)
    except OSError as error:
        error.filename = target  # the name that the caller knows
        raise
    try:
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                fill(file)
            os.fsync(descriptor)
            os.replace(unfinished, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
            raise
    finally:
        # Not earlier: the lock keeps other writers from removing the file as a leftover. fsync has
        # already reported whatever close could report.
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _flush_folder(folder)


def _refuse_unless_file(target: str) -> None:
    """Raise OSError if a file must not be renamed over `target`."""
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "the path of the file is a folder", target)
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "a symbolic link that cannot be followed", target)


def _label(name: str) -> str:
    """Return what identifies the leftovers of one target, no longer than a file name may be."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= 180 else hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _create(start: str) -> tuple[int, str]:
    """Create a file whose name begins with `start` and lock it; return its descriptor and name."""
    while True:
        unfinished = start + secrets.token_hex(8)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(unfinished, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor, unfinished
        except BlockingIOError:
            pass
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        # Between creation and lock, another writer took the file for a leftover and removes it.
        os.close(descriptor)


def _flush_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _remove_litter(folder: str, start: str) -> None:
    """Remove the files that killed writers of the same target left; best effort."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
    for name in names:
        litter = os.path.join(folder, name)
        if litter.startswith(start):
            with contextlib.suppress(OSError):
                _remove_unless_in_use(litter)


def _remove_unless_in_use(litter: str) -> None:
    descriptor = os.open(litter, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(litter)
    finally:
        os.close(descriptor)
