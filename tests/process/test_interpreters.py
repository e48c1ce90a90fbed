"""A snapshot that one Python has saved is loaded by every other that this machine has."""

import os
import pathlib
import subprocess
import sys

ROOT = str(pathlib.Path(__file__).parents[2])
MAKE_VALUES = """
import collections, datetime, decimal, fractions, ipaddress, pathlib, sys, uuid, zoneinfo
from cache import DistributedCache
values = {
    "atoms": [None, True, 7, -(1 << 70), 2.5, 1j, "text\\n\\udc80", b"bytes", bytearray(b"b")],
    "containers": ((1,), [2], {"k": 3}, {4}, frozenset({5}), range(1, 9, 2)),
    "collections": [
        collections.deque([1], 3),
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
    ],
    "times": [
        datetime.date(2026, 1, 2),
        datetime.time(3, 4, tzinfo=datetime.timezone.utc),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.timedelta(1, 2, 3),
    ],
    "numbers": [decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=5)],
    "paths": [pathlib.Path("/a/b"), pathlib.PurePosixPath("c"), pathlib.PureWindowsPath("d\\\\e")],
    "addresses": [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_interface("::1/64"),
    ],
}
cache = DistributedCache(secret=b"secret")
"""
SAVE = (
    MAKE_VALUES
    + """
for key, value in values.items():
    cache.set(key, value, ttl=1000)
cache.get("atoms")
cache.save(sys.argv[1])
"""
)
LOAD = (
    MAKE_VALUES
    + """
cache.load(sys.argv[1])
assert cache.stats().hits == 1
for key, value in values.items():
    assert 0 < cache.ttl(key) <= 1000
    found = cache.get(key)
    assert found == value and repr(found) == repr(value), (key, found)
print(len(cache))
"""
)


def run(python, program, path):
    """Return what the program prints, as output and errors."""
    ended = subprocess.run(
        [python, "-c", program, path],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return ended.stdout, ended.stderr


def pythons():
    """Return this interpreter and one of each other supported version that is found."""
    found = {sys.version_info[:2]: sys.executable}
    folders = [pathlib.Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    folders += sorted(pyenv.glob("versions/3.*/bin"))
    probe = "import sys; print(*sys.version_info[:2], sys.implementation.name)"
    for folder in folders:
        for python in sorted(folder.glob("python3.[0-9]*")):
            if not python.name.removeprefix("python3.").isdigit():
                continue
            answer = subprocess.run(
                [python, "-I", "-c", probe], capture_output=True, text=True, check=False
            )
            words = answer.stdout.split()
            if answer.returncode == 0 and words[2] == "cpython":
                version = int(words[0]), int(words[1])
                if version >= (3, 11):
                    found.setdefault(version, str(python))
    return found


def test_every_python_loads_what_every_other_has_saved(tmp_path):
    found = pythons()

    loaded = {}
    for writer, python in found.items():
        path = tmp_path / "{}.{}".format(*writer)
        assert run(python, SAVE, path) == ("", "")
        for reader, other in found.items():
            loaded[writer, reader] = run(other, LOAD, path)

    assert loaded == {(writer, reader): ("7\n", "") for writer in found for reader in found}
