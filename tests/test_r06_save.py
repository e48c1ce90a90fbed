"""R6: snapshots that are whole, plain and of one moment."""

import errno
import gc
import os
import pickle
import stat
import sys
import threading
import tracemalloc
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from cache import SnapshotError
from tests.disk import Disk

JOIN = 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot"


def header_of(file):
    """Return what the first pickle of a snapshot says."""
    try:
        header = pickle.load(file)
    except Exception as error:
        pytest.fail(f"not R6.1's format: pickle.load gives {type(error).__name__}: {error}")
    if not isinstance(header, dict) or not isinstance(header.get("entries"), int):
        pytest.fail("not R6.1's format: the first pickle is no dict that counts the entries")
    return header


def unpickled(path):
    """Return header and rows of a snapshot as anyone with plain pickle sees them."""
    with open(path, "rb") as file:
        header = header_of(file)
        rows = []
        while len(rows) < header["entries"]:
            try:
                rows += pickle.load(file)
            except Exception:
                pytest.fail(f"there are {len(rows)} of {header['entries']} entries")
    return header, rows


class Growing:
    """A trusted value that makes the dict it is in another size while that is pickled."""

    def __init__(self, times):
        self.times, self.inside = times, {}

    def __reduce__(self):
        if self.times:
            self.times -= 1
            if self.inside.pop("large", None) is None:
                self.inside[len(self.inside)] = None
        return str, ("grown",)


class Numbered:
    """A trusted value whose pickle is made by Python code."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return Numbered, (self.number,)

    def __str__(self):
        return self.number


class Waiting:
    """A trusted value that stops in the middle of being pickled."""

    def __init__(self):
        self.reached, self.go = threading.Event(), threading.Event()

    def __reduce__(self):
        self.reached.set()
        assert self.go.wait(JOIN)
        return Waiting, ()


@pytest.mark.clause("R6.1", "R6.3")
def test_plain_pickle_opens_it(cache, clock, path):
    cache.set("a", 1)
    cache.set("b", [2], ttl=60)
    cache.get("a")
    cache.get("x")

    cache.save(path)
    header, rows = unpickled(path)

    assert rows == [("b", [2], clock.wall() + 60), ("a", 1, None)]
    assert isinstance(header.pop("format"), str)
    assert isinstance(header.pop("version"), int)
    assert (
        header.items()
        >= {
            "saved_at": clock.wall(),
            "entries": 2,
            "hits": 1,
            "misses": 1,
            "evictions": 0,
            "expirations": 0,
        }.items()
    )


@pytest.mark.clause("R6.1", "R6.3")
def test_many_entries_come_in_several_lists(make_cache, path):
    cache = make_cache(10_000)
    cache.set_many({f"k{number}": number for number in range(10_000)})

    cache.save(path)
    header, rows = unpickled(path)

    assert header["entries"] == 10_000
    assert [row[1] for row in rows] == list(range(10_000))


@pytest.mark.clause("R6.1")
def test_the_digest_comes_last(cache, path):
    cache.save(path)

    with open(path, "rb") as file:
        header_of(file)
        assert len(file.read()) >= 32


@pytest.mark.clause("R6.2")
def test_expired_entries_are_left_out(cache, clock, path):
    cache.set("a", 1, ttl=1)
    cache.set("b", 2, ttl=2)
    clock.tick(1)

    cache.save(path)

    assert unpickled(path)[1] == [("b", 2, clock.wall() + 1)]


@pytest.mark.clause("R6.2")
def test_each_entry_carries_its_own_expiry(cache, clock, path):
    cache.set_many({"a": 1, "b": 2, "c": 3})
    cache.set("d", 4, ttl=60)
    cache.set("e", 5, ttl=0.5)

    cache.save(path)

    ends = {key: end for key, _, end in unpickled(path)[1]}
    begin = clock.wall()
    assert ends == {"a": None, "b": None, "c": None, "d": begin + 60, "e": begin + 0.5}


@pytest.mark.clause("R6.3")
def test_recency_is_kept(small_cache, path):
    small_cache.set_many({"a": 1, "b": 2, "c": 3})
    small_cache.get("a")

    small_cache.save(path)

    assert [row[0] for row in unpickled(path)[1]] == ["b", "c", "a"]


@pytest.mark.clause("R6.4")
def test_the_new_file_takes_the_place_of_the_old_one(cache, path):
    cache.set("a", 1)
    cache.save(path)
    old = os.stat(path).st_ino
    cache.set("a", 2)

    cache.save(path)

    assert unpickled(path)[1] == [("a", 2, None)]
    assert os.stat(path).st_ino != old


@pytest.mark.clause("R6.4")
def test_a_file_is_flushed_before_it_is_renamed_and_the_folder_after(cache, path, monkeypatch):
    steps = []
    for name in ("fsync", "fdatasync", "replace", "rename"):
        real = getattr(os, name, None)

        def record(*args, name=name, real=real):
            if name in ("replace", "rename"):
                steps.append("rename")
            else:
                folder = stat.S_ISDIR(os.fstat(args[0]).st_mode)
                steps.append("flush folder" if folder else "flush")
            return real(*args)

        monkeypatch.setattr(os, name, record, raising=False)

    cache.save(path)

    assert steps == ["flush", "rename", "flush folder"]


@pytest.mark.clause("R6.1", "R6.3")
def test_a_value_of_megabytes_keeps_its_place_among_small_ones(cache, path):
    cache.set_many({"a": 1, "large": bytes(3_000_000), "z": 2})

    cache.save(path)

    assert [row[0] for row in unpickled(path)[1]] == ["a", "large", "z"]


@pytest.mark.clause("R6.4")
def test_a_power_cut_at_any_step_leaves_the_old_snapshot_or_the_new_one(cache, path, monkeypatch):
    cache.save(path)
    old = path.read_bytes()
    cache.set("k", "x" * 100_000)
    disk = Disk(monkeypatch, path.parent)

    cache.save(path)

    assert disk.faults(path.name, old, path.read_bytes()) == []


@pytest.mark.clause("R6.4")
def test_all_of_the_file_has_left_the_process_when_it_is_flushed(cache, path, monkeypatch):
    cache.set("k", "x" * 100)
    flushed = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name, None)

        def record(descriptor, real=real):
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                flushed.append(found.st_size)
            return real(descriptor)

        monkeypatch.setattr(os, name, record, raising=False)

    cache.save(path)

    # A power cut right after the rename leaves what was flushed, and nothing written later.
    assert flushed[-1:] == [path.stat().st_size]


@pytest.mark.clause("R6.4")
def test_a_symbolic_link_is_followed(cache, tmp_path):
    link, target = tmp_path / "link", tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to(target)
    cache.set("a", 1)

    cache.save(link)

    assert link.is_symlink()
    assert unpickled(target)[1] == [("a", 1, None)]


@pytest.mark.clause("R6.5")
def test_a_missing_folder_is_an_os_error(cache, tmp_path, wording):
    with pytest.raises(FileNotFoundError, match=wording(r"missing/snapshot'$")):
        cache.save(tmp_path / "missing" / "snapshot")


@pytest.mark.clause("R6.5")
def test_a_folder_in_the_place_is_an_os_error(cache, tmp_path, wording):
    with pytest.raises(OSError, match=wording("folder")):
        cache.save(tmp_path)


@pytest.mark.clause("R6.5", "R10.1")
@pytest.mark.parametrize("value", [lambda: 1, threading.Lock(), object(), SnapshotError, {1: open}])
def test_a_refused_value_is_an_error_that_names_the_key(cache, path, value):
    cache.set("good", 1)
    cache.save(path)
    old = path.read_bytes()
    cache.set("the bad one", value)
    before = cache.stats()

    with pytest.raises(SnapshotError, match="the bad one"):
        cache.save(path)

    assert (path.read_bytes(), cache.stats()) == (old, before)
    assert cache.get("the bad one") is value


@pytest.mark.clause("R6.5", "R7.6")
def test_the_error_for_a_refused_value_names_the_remedy(cache, path, wording):
    def save():
        cache.set("k", Numbered("1"))  # a cache on a server refuses the value here already
        cache.save(path)

    with pytest.raises(SnapshotError, match=wording(r"pass trust=\[Numbered\]")):
        save()

    assert not path.exists()


@pytest.mark.clause("R6.5", "R6.9")
@pytest.mark.parametrize("step", [("fsync", "fdatasync"), ("replace", "rename")], ids=", ".join)
def test_a_failing_step_leaves_the_old_file_and_no_litter(cache, path, monkeypatch, step):
    cache.save(path)
    old = path.read_bytes()
    cache.set("a", 1)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in step:
        monkeypatch.setattr(os, name, full, raising=False)
    with pytest.raises(OSError, match="No space"):
        cache.save(path)

    assert path.read_bytes() == old
    assert os.listdir(path.parent) == ["snapshot"]


@pytest.mark.clause("R6.6", "R6.7")
def test_a_snapshot_is_the_moment_it_began_and_others_go_on(CacheImpl, path):
    value = Waiting()
    cache = CacheImpl(5000, trust=[Waiting])
    # More than go into one list of the file.
    keys = [f"k{number}" for number in range(3000)]
    cache.set_many({"w": value, **dict.fromkeys(keys, 1)})
    seen = []

    def change():
        cache.set_many({**dict.fromkeys(keys, 2), "new": 2})
        cache.delete("k2999")
        seen.append(cache.get("k0"))

    saver = threading.Thread(target=cache.save, args=(path,))
    changer = threading.Thread(target=change)
    saver.start()
    reached = value.reached.wait(JOIN)

    # While it is being written: nothing waits, and nothing shows.
    changer.start()
    changer.join(5)
    went_on = not changer.is_alive()
    value.go.set()
    changer.join(JOIN)
    saver.join(JOIN)

    assert (reached, went_on, seen) == (True, True, [2])
    assert [row[:2] for row in unpickled(path)[1]][1:] == [(key, 1) for key in keys]
    cache.close()


@pytest.mark.clause("R6.6")
def test_no_half_of_a_set_many_is_saved(make_cache, path, meanwhile):
    cache = make_cache(100)
    numbers = count()

    def write():
        cache.set_many(dict.fromkeys([f"k{at}" for at in range(20)], next(numbers)))

    write()
    seen = []
    with meanwhile(write):
        for _ in range(20):
            cache.save(path)
            seen.append({row[1] for row in unpickled(path)[1]})

    assert {len(values) for values in seen} == {1}


@pytest.mark.clause("R6.3", "R6.7")
def test_hits_during_saves_keep_the_order_of_use(make_cache, path, meanwhile):
    cache = make_cache(20_000)
    cache.set_many({f"k{number}": number for number in range(20_000)})
    order = [f"k{(number * 7919) % 20_000}" for number in range(20_000)]

    with meanwhile(lambda: cache.save(path)):
        for key in order:
            assert cache.get(key) is not None
    cache.save(path)

    assert [row[0] for row in unpickled(path)[1]] == order


@pytest.mark.clause("R6.7")
def test_a_hit_in_the_middle_of_a_save_neither_waits_nor_is_forgotten(cache, path):
    order = [f"k{number}" for number in range(20)]
    cache.set_many(dict.fromkeys(order))
    waited = []

    def hit_in_another_thread(phase, info):
        if phase == "start" and len(waited) < 10:
            order.append(order.pop(0))
            thread = threading.Thread(target=cache.get, args=(order[-1],))
            thread.start()
            thread.join(5)
            waited.append(thread.is_alive())

    # A garbage collection is what happens in the middle of anything.
    gc.callbacks.append(hit_in_another_thread)
    try:
        cache.save(path)
    finally:
        gc.callbacks.remove(hit_in_another_thread)
    cache.save(path)

    assert not any(waited)
    assert [row[0] for row in unpickled(path)[1]] == order


@pytest.mark.clause("R6.7")
def test_a_hit_waits_less_for_a_save_than_a_write(make_cache, path, waits):
    cache = make_cache(200_001)
    cache.set_many({f"k{number}": number for number in range(200_000)})

    def hits_go_on():
        (hit, write), took = waits(
            lambda: cache.save(path), lambda: cache.get("k7"), lambda: cache.set("other", 1)
        )
        return hit < max(0.03, write / 2) and write < max(0.03, took / 2)

    assert any(hits_go_on() for _ in range(6))


@pytest.mark.clause("R6.7")
@pytest.mark.parametrize("size", [20_000, 2_000_000])
def test_no_second_copy_of_all_values_is_made(cache, path, size):
    values = 10_000_000 // size
    cache.set_many({f"k{number}": bytes(size) for number in range(values)})

    tracemalloc.start()
    try:
        cache.save(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 6_000_000


@pytest.mark.clause("R6.8")
@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_mode_is_0600_whatever_the_umask(cache, path, umask):
    former = os.umask(umask)
    try:
        cache.save(path)
    finally:
        os.umask(former)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.clause("R6.9")
def test_two_saves_of_one_path_at_once_both_succeed(cache, path):
    cache.set_many({f"k{number}": number for number in range(500)})
    start, errors = threading.Barrier(4), []

    def save():
        start.wait(JOIN)
        for _ in range(25):
            try:
                cache.save(path)
            except Exception as error:
                errors.append(error)

    savers = [threading.Thread(target=save) for _ in range(4)]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join(JOIN)

    assert errors == []
    assert len(unpickled(path)[1]) == 500
    assert os.listdir(path.parent) == ["snapshot"]


@pytest.mark.clause("R6.10", "R10.1")
def test_a_value_that_changes_meanwhile_is_saved_whole_or_fails_by_key(cache, path, meanwhile):
    value, numbers = {}, count()
    cache.set("changing", value)

    def change():
        number = next(numbers)
        value[number % 5000] = number
        value.pop((number + 2500) % 5000, None)

    # At any moment the dict holds a run of numbers without a gap.
    change()
    failures = []
    with meanwhile(change):
        for _ in range(30):
            try:
                cache.save(path)
                ((_, saved, _),) = unpickled(path)[1]
                run = sorted(saved.values())
                assert run == list(range(run[0], run[0] + len(run)))
            except SnapshotError as error:
                failures.append(str(error))

    assert all("changing" in failure for failure in failures)


@pytest.mark.clause("R6.10", "R10.1")
@pytest.mark.parametrize("times", [1, 10**6], ids=["once", "always"])
def test_a_value_that_changes_under_the_pickler_is_saved_whole_or_fails_by_key(
    make_cache, path, times, error_of
):
    cache = make_cache(trust=[Growing])
    growing = Growing(times)
    # What is large has been written by the time that the change is noticed.
    growing.inside.update(large=bytes(3_000_000), grown=growing, more=1, most=2)
    cache.set("changing", growing.inside)

    error = error_of(cache.save, path)

    if error is None:
        assert error_of(cache.load, path) is None
        ((_, saved, _),) = unpickled(path)[1]
        assert (type(saved), saved and saved["grown"]) == (dict, "grown")
    else:
        assert (type(error), "changing" in str(error)) == (SnapshotError, True)


@pytest.mark.clause("R6.10", "R10.1")
@pytest.mark.parametrize(("kind", "length"), [(int, 40_000), (Decimal, 200)])
def test_a_list_that_is_replaced_at_each_step_is_saved_whole_or_fails_by_key(
    cache, path, kind, length, error_of
):
    value, numbers = [kind(0)] * length, count(1)
    cache.set("changing", value)

    def replace(frame, event, argument):
        # Between any two calls of Python code another thread may run.
        if event == "call":
            value[:] = [kind(next(numbers))] * length

    sys.setprofile(replace)
    try:
        error = error_of(cache.save, path)
    finally:
        sys.setprofile(None)

    if error is None:
        ((_, saved, _),) = unpickled(path)[1]
        assert (type(saved), saved and len(saved), len(set(saved or ()))) == (list, length, 1)
    else:
        assert (type(error), "changing" in str(error)) == (SnapshotError, True)


@pytest.mark.clause("R6.10", "R10.1")
@pytest.mark.parametrize("kind", [Decimal, Path, Numbered])
def test_a_list_of_objects_that_is_replaced_once_is_saved_whole_or_fails_by_key(
    make_cache, path, kind, error_of
):
    cache = make_cache(trust=[Numbered])
    value, old, new = [], [kind("1")] * 9, [kind("2") for _ in range(9)]
    cache.set("changing", value)
    cache.save(path)
    tries, steps, reached = 0, 0, True

    def replace(frame, event, argument):
        nonlocal steps, reached
        if event == "call":
            steps -= 1
            if steps == 0:
                reached = True
                value[:] = new

    while reached:
        value[:] = old
        tries += 1
        steps, reached = tries, False
        sys.setprofile(replace)
        try:
            error = error_of(cache.save, path)
        finally:
            sys.setprofile(None)
        assert error is None or (type(error) is SnapshotError and "changing" in str(error))
        assert error_of(cache.load, path) is None
        saved = cache.get("changing")
        assert (len(saved), len(set(map(str, saved)))) == (9, 1)
        cache.set("changing", value)

    assert tries > 9


@pytest.mark.clause("R6.5")
@pytest.mark.parametrize("verb", ["save", "load"])
@pytest.mark.parametrize("path", [None, 1.5, ["x"]])
def test_a_path_that_is_none_is_a_type_error(cache, verb, path):
    with pytest.raises(TypeError):
        getattr(cache, verb)(path)

    assert len(cache) == 0
