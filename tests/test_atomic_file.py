"""A file that is written whole or not at all: what stands beside it, and what errors leave."""

import contextlib
import errno
import fcntl
import os
import re

import pytest

from cache import atomic_file
from tests.disk import Disk


def fill(file):
    file.write(b"whole")


def beside(folder):
    """Return a function for `write` that notes the names in the folder meanwhile."""
    names = []
    return names, lambda file: names.extend(os.listdir(folder))


def descriptors():
    return len(os.listdir("/dev/fd"))


@pytest.fixture
def litter(tmp_path):
    """Make a file as a killed writer of `s` leaves it."""
    file = tmp_path / ".s.unfinished-0123456789abcdef"
    file.write_bytes(b"half")
    return file


@pytest.mark.parametrize(
    ("length", "label"), [(180, "n{180}"), (181, "[0-9a-f]{32}"), (255, "[0-9a-f]{32}")]
)
def test_the_unfinished_file_is_hidden_and_named_after_the_target(tmp_path, length, label):
    names, note = beside(tmp_path)

    atomic_file.write(tmp_path / ("n" * length), note)

    (name,) = names
    assert re.fullmatch(rf"\.{label}\.unfinished-[0-9a-f]{{16}}", name)


def test_the_litter_of_a_killed_writer_goes(tmp_path, litter):
    atomic_file.write(tmp_path / "s", fill)

    assert os.listdir(tmp_path) == ["s"]


def test_the_litter_of_another_target_stays(tmp_path, litter):
    atomic_file.write(tmp_path / "t", fill)

    assert litter.read_bytes() == b"half"


def test_a_file_that_is_being_written_is_no_litter(tmp_path, litter):
    with open(litter) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        atomic_file.write(tmp_path / "s", fill)

        assert litter.exists()


@pytest.mark.parametrize("step", ["fill", "fsync", "replace"])
def test_another_writer_of_the_same_target_leaves_this_ones_file(tmp_path, monkeypatch, step):
    mine, after = [], []

    def write_as_another(*_):
        mine.extend(os.listdir(tmp_path))
        monkeypatch.undo()
        atomic_file.write(tmp_path / "s", lambda file: file.write(b"another's"))
        after.extend(os.listdir(tmp_path))

    def meddling(real):
        def call(*args):
            write_as_another()
            return real(*args)

        return call

    if step == "fill":
        atomic_file.write(tmp_path / "s", write_as_another)
    else:
        monkeypatch.setattr(os, step, meddling(getattr(os, step)))
        with contextlib.suppress(FileNotFoundError):
            atomic_file.write(tmp_path / "s", fill)

    assert sorted(after) == sorted([*mine, "s"])


def test_the_file_is_the_owners_alone_before_anything_is_written_to_it(tmp_path):
    modes = []
    former = os.umask(0)
    try:
        atomic_file.write(
            tmp_path / "s", lambda file: modes.append(os.fstat(file.fileno()).st_mode & 0o777)
        )
    finally:
        os.umask(former)

    assert modes == [0o600]


def test_a_link_is_no_litter(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"other")
    link = tmp_path / ".s.unfinished-0123456789abcdef"
    link.symlink_to(other)

    atomic_file.write(tmp_path / "s", fill)

    assert link.is_symlink()
    assert other.read_bytes() == b"other"


def test_a_folder_that_cannot_be_listed_is_written_to(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    atomic_file.write(tmp_path / "s", fill)

    assert (tmp_path / "s").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("make", "number", "words"),
    [
        (lambda path: path.mkdir(), errno.EISDIR, "the path of the file is a folder"),
        (
            lambda path: path.symlink_to(path.name),
            errno.ELOOP,
            "a symbolic link that cannot be followed",
        ),
    ],
    ids=["folder", "link to itself"],
)
def test_what_is_in_the_way_is_refused_before_anything_is_written(tmp_path, make, number, words):
    path = tmp_path / "s"
    make(path)
    names, note = beside(tmp_path)

    with pytest.raises(OSError, match=words) as caught:
        atomic_file.write(path, note)

    error = caught.value
    assert (error.errno, error.strerror, error.filename) == (number, words, str(path))
    assert names == []


def test_a_missing_folder_is_told_by_the_targets_name(tmp_path):
    path = tmp_path / "missing" / "s"

    with pytest.raises(FileNotFoundError) as caught:
        atomic_file.write(path, fill)

    assert caught.value.filename == str(path)


def test_an_unfinished_file_that_is_gone_hides_no_error(tmp_path):
    def remove_and_fail(file):
        for name in os.listdir(tmp_path):
            os.unlink(tmp_path / name)
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        atomic_file.write(tmp_path / "s", remove_and_fail)


def test_a_close_that_fails_is_no_error_after_the_flush(tmp_path, monkeypatch):
    close = os.close

    def close_and_fail(descriptor):
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", close_and_fail)
    atomic_file.write(tmp_path / "s", fill)

    assert (tmp_path / "s").read_bytes() == b"whole"


@pytest.mark.parametrize("old", [b"old", None], ids=["old file", "no file"])
@pytest.mark.parametrize("size", [5, 1 << 20], ids=["small", "large"])
def test_a_power_cut_at_any_step_leaves_the_old_file_or_the_new_one(
    tmp_path, monkeypatch, litter, old, size
):
    path = tmp_path / "s"
    if old is not None:
        path.write_bytes(old)
    disk = Disk(monkeypatch, tmp_path)

    def fill(file):
        for _ in range(3):
            file.write(b"x" * size)
            os.fchmod(file.fileno(), 0o600)  # a call, so that the disk looks at the file

    atomic_file.write(path, fill)

    assert disk.faults("s", old, b"x" * 3 * size) == []


def test_a_power_cut_after_a_failed_flush_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s"
    path.write_bytes(b"old")
    disk = Disk(monkeypatch, tmp_path)
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        atomic_file.write(path, fill)

    assert disk.faults("s", b"old", b"old") == []


def refusing(number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("step", ["unlink", "close"])
def test_tidying_up_hides_no_error(tmp_path, monkeypatch, step):
    real = getattr(os, step)

    def tidy_and_fail(what):
        real(what)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    monkeypatch.setattr(os, step, tidy_and_fail)

    with pytest.raises(OSError, match="No locks") as caught:
        atomic_file.write(tmp_path / "s", fill)

    assert caught.value.errno == errno.ENOLCK


def no_locks(monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))


def busy_once(monkeypatch):
    real, calls = fcntl.flock, []

    def flock(descriptor, how):
        calls.append(descriptor)
        if len(calls) == 1:
            raise BlockingIOError
        return real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    return calls


def test_a_link_that_leads_nowhere_is_an_os_error(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    with pytest.raises(OSError, match="symbolic link"):
        atomic_file.write(tmp_path / "a", fill)


def test_a_file_taken_for_litter_is_begun_again(tmp_path, monkeypatch):
    calls = busy_once(monkeypatch)

    atomic_file.write(tmp_path / "s", fill)

    assert (tmp_path / "s").read_bytes() == b"whole"
    assert len(calls) == 2


def test_a_removed_file_is_begun_again(tmp_path, monkeypatch):
    real, calls = fcntl.flock, []

    def removed_first(descriptor, how):
        calls.append(descriptor)
        if len(calls) == 1:
            os.unlink(next(tmp_path.iterdir()))
        return real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    atomic_file.write(tmp_path / "s", fill)

    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_a_file_system_without_locks_is_an_os_error_without_litter(tmp_path, monkeypatch):
    no_locks(monkeypatch)

    with pytest.raises(OSError, match="No locks"):
        atomic_file.write(tmp_path / "s", fill)

    assert list(tmp_path.iterdir()) == []


def test_a_long_name_is_written_beside_under_a_short_one(tmp_path):
    path = tmp_path / ("ü" * 120)

    atomic_file.write(path, fill)

    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize("prepare", [lambda monkeypatch: None, no_locks, busy_once])
def test_no_descriptor_is_left_open(tmp_path, monkeypatch, prepare):
    before = descriptors()
    prepare(monkeypatch)

    for content in (fill, lambda file: file.nothing):
        try:
            atomic_file.write(tmp_path / "s", content)
        except (OSError, AttributeError):
            pass

    assert descriptors() == before


def test_looking_at_litter_leaves_no_descriptor_open(tmp_path, litter):
    with open(litter) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        before = descriptors()

        atomic_file.write(tmp_path / "s", fill)

        assert descriptors() == before
