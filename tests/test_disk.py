"""The model of a disk that loses power: which orders of steps it accepts."""

import os

import pytest

from cache import atomic_file
from tests.disk import Disk

OLD, NEW = b"old", b"the new content"


def create(path):
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)


def flush_folder(path):
    descriptor = os.open(path.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def write(path, *steps):
    """Write a file beside `path` and take these steps."""
    unfinished = path.with_name("unfinished")
    descriptor = create(unfinished)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        for step in steps:
            if step == "content":
                file.write(NEW)
            elif step == "leave the process":
                file.flush()
            elif step == "flush":
                os.fsync(descriptor)
            elif step == "remove":
                os.unlink(path)
            elif step == "rename":
                os.replace(unfinished, path)
            elif step == "flush folder":
                flush_folder(path)
    os.close(descriptor)


def found_by(monkeypatch, path, old, writer):
    """Return the faults of a writer where `path` has old content, or is no file."""
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as patches:
        disk = Disk(patches, path.parent)
        writer(path)
    return disk.faults(path.name, old, NEW)


@pytest.mark.parametrize("old", [OLD, None], ids=["old file", "no file"])
def test_the_order_that_keeps_the_file_whole_has_no_fault(monkeypatch, tmp_path, old):
    steps = ["content", "leave the process", "flush", "rename", "flush folder"]

    assert found_by(monkeypatch, tmp_path / "s", old, lambda path: write(path, *steps)) == []


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ("content, leave the process, rename, flush folder", "after change of names: 0 bytes"),
        ("content, leave the process, rename, flush folder", "after flush folder: 7 bytes"),
        ("content, flush, leave the process, rename, flush folder", "after change of names: 7"),
        ("content, leave the process, rename, flush, flush folder", "after change of names: 7"),
        ("content, leave the process, flush, rename", "at the end: still the old 3 bytes"),
        ("content, leave the process, flush, flush folder, rename", "at the end: still the old"),
        (
            "content, leave the process, flush, remove, rename, flush folder",
            "after change of names: nothing",
        ),
        ("content, leave the process, flush", "at the end: still the old 3 bytes"),
        ("rename, content, leave the process, flush, flush folder", "after change of names: 0"),
    ],
)
def test_a_wrong_order_has_a_fault(monkeypatch, tmp_path, steps, fault):
    faults = found_by(
        monkeypatch, tmp_path / "s", OLD, lambda path: write(path, *steps.split(", "))
    )

    assert [each for each in faults if each.startswith(fault)] != []


def in_place(path):
    descriptor = create(path)
    os.write(descriptor, NEW)
    os.fsync(descriptor)
    os.close(descriptor)
    flush_folder(path)


@pytest.mark.parametrize("writer", [in_place, lambda path: path.write_bytes(NEW)])
def test_a_file_that_is_written_in_place_has_a_fault(monkeypatch, tmp_path, writer):
    assert found_by(monkeypatch, tmp_path / "s", OLD, writer) != []


def test_a_flush_of_another_folder_makes_no_name_safe(monkeypatch, tmp_path):
    (tmp_path / "inner").mkdir()

    def writer(path):
        write(path, "content", "leave the process", "flush", "rename")
        flush_folder(tmp_path / "inner")  # of its parent

    faults = found_by(monkeypatch, tmp_path / "inner" / "s", OLD, writer)

    assert faults == ["at the end: still the old 3 bytes"]


def test_wrong_content_is_a_fault(monkeypatch, tmp_path):
    def writer(path):
        atomic_file.write(path, lambda file: file.write(NEW[:-1]))

    faults = found_by(monkeypatch, tmp_path / "s", OLD, writer)

    assert faults == ["after change of names: 14 bytes", "after flush folder: 14 bytes"]
