"""A wall clock that is stepped under a running process, by the system and not by Python."""

import os
import subprocess

import pytest

# All that asks the C library for the time of day gets it with an offset.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static long offset = 0;
void shim_step(long seconds) { offset += seconds; }
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, now);
    if (which == CLOCK_REALTIME) now->tv_sec += offset;
    return result;
}
"""
STEPS = """
import ctypes, pickle, sys, time
path, seconds = sys.argv[1], int(sys.argv[2])
shim = ctypes.CDLL(None)
cache = DistributedCache()
cache.set("short", 1, ttl=100)
cache.set("long", 1, ttl=400_000_000)
cache.save(path + "-before")
before, wall = cache.ttl("short"), time.time()

shim.shim_step(ctypes.c_long(seconds))

assert abs(time.time() - wall - seconds) < 10
assert before - 10 < cache.ttl("short") <= before
assert cache.cleanup() == 0
assert sorted(cache.keys()) == ["long", "short"]
cache.save(path)
with open(path, "rb") as file:
    header = pickle.load(file)
    ends = {key: end for key, _, end in pickle.load(file)}
assert abs(header["saved_at"] - time.time()) < 10
assert abs(ends["short"] - time.time() - 100) < 10
other = DistributedCache()
other.load(path)
assert abs(other.ttl("short") - 100) < 10
other.load(path + "-before")
print(other.ttl("short"), other.ttl("long"))
"""
YEARS = 315_576_000  # ten of them, in seconds


@pytest.mark.clause("R1.8", "R6.2", "R7.1", "R7.2")
@pytest.mark.parametrize(
    ("step", "short", "long"),
    [(YEARS, None, 400_000_000 - YEARS), (-YEARS, 100 + YEARS, 400_000_000 + YEARS)],
    ids=["forward", "back"],
)
def test_a_step_of_ten_years_changes_no_life_in_the_process(
    tmp_path, program, compiled, step, short, long
):
    library = compiled(SHIM)

    process = subprocess.run(
        program(STEPS, tmp_path / "snapshot", step),
        env={**os.environ, "LD_PRELOAD": library},
        capture_output=True,
        timeout=50,
        check=False,
    )

    assert (process.returncode, process.stderr) == (0, b"")
    lives = [None if word == b"None" else float(word) for word in process.stdout.split()]
    assert lives == [short and pytest.approx(short, abs=30), pytest.approx(long, abs=30)]
