"""A save that is killed, or fails at any system call, leaves the old file or the new one."""

import os
import random
import signal
import subprocess
import sys

import pytest

from cache import SnapshotError

SAVER = """
import sys
cache = DistributedCache(5000)
path, number = sys.argv[1], 0
print("ready", flush=True)
while True:
    number += 1
    cache.set_many({f"k{at}": number for at in range(3000)})
    cache.save(path)
"""
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
static __thread int armed = 0, left = 0;  /* other threads' calls are no save's */
void shim_arm(int nth) { armed = 1; left = nth; }
int shim_disarm(void) { armed = 0; return left > 0; }
static int fails(void) {
    if (!armed || --left != 0) return 0;
    errno = ENOSPC;
    return 1;
}
#define WRAP(type, name, params, args) \\
    type name params { \\
        static type (*real) params; \\
        if (!real) real = dlsym(RTLD_NEXT, #name); \\
        return fails() ? (type)-1 : real args; \\
    }
WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, flock, (int fd, int how), (fd, how))
WRAP(int, close, (int fd), (fd))
WRAP(off_t, lseek64, (int fd, off_t at, int how), (fd, at, how))
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size))
int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list more;
    mode_t mode;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    return fails() ? -1 : real(path, flags, mode);
}
"""
FAULTS = """
import ctypes, os, sys
path = sys.argv[1]
shim = ctypes.CDLL(None)
cache = DistributedCache()
cache.set("k", "old")
cache.save(path)
old = open(path, "rb").read()
cache.set("k", "new")
before, failed = cache.stats(), 0
for nth in range(1, 200):
    error = None
    shim.shim_arm(nth)
    try:
        cache.save(path)
    except OSError as caught:
        error = caught
    finally:
        unreached = shim.shim_disarm()
    assert os.listdir(os.path.dirname(path)) == ["snapshot"], (nth, os.listdir())
    assert cache.stats() == before
    data = open(path, "rb").read()
    if error is None:
        other = DistributedCache()
        other.load(path)
        assert other.get("k") == "new"
    else:
        failed += 1
        if data != old:
            other = DistributedCache()
            other.load(path)
            assert other.get("k") == "new"
    if unreached:
        break
    open(path, "wb").write(old)
else:
    raise AssertionError("the save has no end")
print(nth, failed)
"""


def start(command, **environment):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes)


def in_the_middle(folder):
    """Return when a save has another file beside the snapshot, or after so many looks."""
    any(len(os.listdir(folder)) > 1 for _ in range(20_000))


@pytest.mark.clause("R6.4", "R6.9")
@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
def test_a_killed_save_leaves_a_whole_file_and_at_most_one_other(
    make_cache, program, tmp_path, kills
):
    path, dice = tmp_path / "snapshot", random.Random(1)
    for number in range(kills):
        process = start(program(SAVER, path))
        assert process.stdout.readline() == b"ready\n"
        while not path.exists():
            assert process.poll() is None
        try:
            process.wait(dice.uniform(0.001, 0.1))
        except subprocess.TimeoutExpired:
            if number % 2:
                in_the_middle(tmp_path)
            process.send_signal(signal.SIGKILL)
        process.communicate()

        cache = make_cache(5000)
        cache.load(path)
        assert len(set(cache.get_many(f"k{at}" for at in range(3000)).values())) == 1
        assert len(os.listdir(tmp_path)) <= 2
        cache.save(path)
        assert os.listdir(tmp_path) == ["snapshot"]


@pytest.mark.clause("R6.4", "R6.5", "R6.9")
def test_each_system_call_of_a_save_may_fail(program, compiled, tmp_path):
    shim = compiled(SHIM)
    folder = tmp_path / "folder"
    folder.mkdir()

    process = start(program(FAULTS, folder / "snapshot"), LD_PRELOAD=shim)
    output, errors = process.communicate(timeout=50)

    assert (process.returncode, errors) == (0, b"")
    calls, failed = map(int, output.split())
    assert calls > 8
    assert failed > 4


@pytest.mark.clause("R7.5", "R7.6", "R7.7")
@pytest.mark.parametrize("files", [500, pytest.param(20_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
def test_mutated_files_never_load_and_run_nothing(cache, tmp_path, files):
    path, dice = tmp_path / "snapshot", random.Random(2)
    cache.set_many({"a": {1: [2.5, b"x"]}, "b": ("c", None)}, ttl=60)
    cache.save(path)
    data, events = path.read_bytes(), []
    watching = True

    def watch(event, arguments):
        if watching and event in ("os.system", "exec", "subprocess.Popen", "import"):
            events.append(event)

    sys.addaudithook(watch)
    for _ in range(files):
        mutated = bytearray(data)
        for _ in range(dice.randint(1, 8)):
            at = dice.randrange(len(mutated))
            kind = dice.randrange(3)
            if kind == 0:
                mutated[at] = dice.randrange(256)
            elif kind == 1:
                del mutated[at : at + dice.randrange(9)]
            else:
                mutated[at:at] = dice.randbytes(dice.randrange(9))
        if mutated == data:
            continue
        path.write_bytes(mutated)
        with pytest.raises(SnapshotError):
            cache.load(path)
    watching = False

    assert events == []
    assert sorted(cache.keys()) == ["a", "b"]
