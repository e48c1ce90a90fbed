"""What a power cut leaves of a folder, at each step of a program that writes there.

A model of a disk that promises no more than POSIX does: the content of a file is safe when it was
there while fsync was called on the file. A name is safe after an fsync of the folder. Until then,
each change of names may or may not be on the disk, in any combination, and each file may have its
former content, all of the new one, or a part of it.
"""

import itertools
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

import pytest

_CALLS = ("open", "close", "write", "fchmod", "fsync", "fdatasync", "replace", "rename", "link")
_MORE_CALLS = ("unlink", "remove", "truncate", "ftruncate", "symlink")
_FLUSHES = ("fsync", "fdatasync")
Names = dict[str, int | None]  # to inodes; None for a name that goes


class Disk:
    """Notes what happens in a folder, at each call of `os` that could make a difference."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path) -> None:
        self._folder = folder
        self._names: Names = {}
        self._contents: dict[int, bytes] = {}
        self._steps: list[tuple[str, Any]] = []
        self._look()
        self._steps += [("flush", inode) for inode in self._contents]
        self._steps.append(("flush folder", None))
        self._before = len(self._steps)
        for name in (*_CALLS, *_MORE_CALLS):
            if hasattr(os, name):
                monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def faults(self, name: str, old: bytes | None, new: bytes) -> list[str]:
        """Return what could be at `name` after a power cut, but neither old nor new and whole.

        After the last step nothing but `new` may be there. None stands for no file.
        """
        found: dict[str, None] = {}
        for last in range(self._before, len(self._steps) + 1):
            step = self._steps[last - 1][0]
            for content in self._after(last, name):
                if content == new:
                    continue
                kind = "nothing" if content is None else f"{len(content)} bytes"
                if content != old:
                    found[f"after {step}: {kind}"] = None
                elif last == len(self._steps):
                    found[f"at the end: still the old {kind}"] = None
        return list(found)

    def _noting(self, name: str, real: Any) -> Any:
        def noting(*args: Any, **kwargs: Any) -> Any:
            self._look()
            try:
                result = real(*args, **kwargs)
            finally:
                self._look()
            if name in _FLUSHES:
                found = os.fstat(args[0])
                if stat.S_ISREG(found.st_mode):
                    self._steps.append(("flush", found.st_ino))
                elif found.st_ino == self._folder.stat().st_ino:
                    self._steps.append(("flush folder", None))
            return result

        return noting

    def _look(self) -> None:
        """Note which names and contents have changed."""
        names: Names = {}
        for entry in os.scandir(self._folder):
            names[entry.name] = inode = entry.inode()
            if inode not in self._names.values():  # it may be the number of a file that is gone
                self._contents.pop(inode, None)
                self._steps.append(("create", inode))
            content = _content(entry.path)
            if self._contents.get(inode) != content:
                self._contents[inode] = content
                self._steps.append(("write", (inode, content)))
        changed: Names = {
            name: names.get(name)
            for name in {**self._names, **names}
            if names.get(name) != self._names.get(name)
        }
        if changed:
            self._names = names
            self._steps.append(("change of names", changed))

    def _after(self, last: int, name: str) -> Iterator[bytes | None]:
        """Yield what may be at `name` if the power goes after so many steps."""
        safe_names: Names = {}
        pending: list[Names] = []
        safe: dict[int, bytes] = {}
        written: dict[int, bytes] = {}
        for step, what in self._steps[:last]:
            if step == "create":
                safe.pop(what, None)
            elif step == "write":
                written[what[0]] = what[1]
            elif step == "flush":
                safe[what] = written[what]
            elif step == "change of names":
                pending.append(what)
            else:
                for each in pending:
                    safe_names.update(each)
                pending = []
        for chosen in itertools.product((False, True), repeat=len(pending)):
            names = dict(safe_names)
            for each in itertools.compress(pending, chosen):
                names.update(each)
            inode = names.get(name)
            if inode is None:
                yield None
                continue
            former, latest = safe.get(inode, b""), written[inode]
            yield former
            if latest != former:
                yield from (latest, latest[: len(latest) // 2])


def _content(path: str) -> bytes:
    """Return what is in a file; a link is told apart from one by its text."""
    if os.path.islink(path):
        return b"-> " + os.fsencode(os.readlink(path))
    with open(path, "rb") as file:
        return file.read()
