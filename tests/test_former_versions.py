"""Snapshots that former versions wrote still load."""

import base64
import collections
import datetime
import decimal
import fractions
import ipaddress
import math
import pathlib
import pickle
import uuid
import zoneinfo

import pytest

from cache import SnapshotError

# Written at the turn of 2026, on CPython 3.13, by the code of the commit 96a9b4f.
UNSEALED = base64.b64decode(
    "gAWVfQAAAAAAAAB9lCiMBmZvcm1hdJSMDmNhY2hlIHNuYXBzaG90lIwHdmVyc2lvbpRLAYwIc2F2ZWRfYXSUR0Ha"
    "VW5AAAAAjARoaXRzlEsBjAZtaXNzZXOUSwKMCWV2aWN0aW9uc5RLAIwLZXhwaXJhdGlvbnOUSwCMB2VudHJpZXOU"
    "SwR1LoAFlSsCAAAAAAAAXZQojAVzaG9ydJSMBGdvbmWUR0HaVW5CgAAAh5SMB2xpYnJhcnmUXZQojAhkYXRldGlt"
    "ZZSMCXRpbWVkZWx0YZSTlEsFSwBLAIeUUpSMCHpvbmVpbmZvlIwIWm9uZUluZm+Uk5SMA1VUQ5SFlFKUjAdkZWNp"
    "bWFslIwHRGVjaW1hbJSTlIwDMS41lIWUUpSMCWZyYWN0aW9uc5SMCEZyYWN0aW9ulJOUSwFLAoaUUpSMBHV1aWSU"
    "jARVVUlElJOUKYGUfZSMA2ludJRLBXNijAdwYXRobGlilIwNUHVyZVBvc2l4UGF0aJSTlIwBYZSFlFKUjAlpcGFk"
    "ZHJlc3OUjAtJUHY2QWRkcmVzc5STlIwDOjoxlIWUUpSMC2NvbGxlY3Rpb25zlIwLT3JkZXJlZERpY3SUk5QpUpRo"
    "JUsBc4wLY29sbGVjdGlvbnOUjAVkZXF1ZZSTlClLBYaUUpRLAWFoLowHQ291bnRlcpSTlH2UKGglSwKMAWKUSwF1"
    "hZRSlGVOh5SMBGxvbmeUfZSMBGRlZXCUXZRLAWFzR0HaVXHEAAAAh5SMBm9sZGVzdJRdlChOiEsBR0AEAAAAAAAA"
    "jAhidWlsdGluc5SMB2NvbXBsZXiUk5RHAAAAAAAAAABHP/AAAAAAAACGlFKUjALDvJRDAWKUlgEAAAAAAAAAY5RL"
    "AYWUj5QoSwKQKEsDkZRoRYwFcmFuZ2WUk5RLAEsESwGHlFKUZU6HlGUuCiVjYWNoZSBkaWdlc3QlCuDgbtq1BC4Q"
    "vigq4ukBhlqukNG9BYsZBf+vOD0IeYXXQyANWysZCuw2ra+bNoOtrp3kngJooGONv1y5K/TLgTsKJWNhY2hlIGRp"
    "Z2VzdCUK"
)
SEALED = base64.b64decode(
    "gAWVfQAAAAAAAAB9lCiMBmZvcm1hdJSMDmNhY2hlIHNuYXBzaG90lIwHdmVyc2lvbpRLAYwIc2F2ZWRfYXSUR0Ha"
    "VW5AAAAAjARoaXRzlEsBjAZtaXNzZXOUSwKMCWV2aWN0aW9uc5RLAIwLZXhwaXJhdGlvbnOUSwCMB2VudHJpZXOU"
    "SwR1LoAFlSsCAAAAAAAAXZQojAVzaG9ydJSMBGdvbmWUR0HaVW5CgAAAh5SMB2xpYnJhcnmUXZQojAhkYXRldGlt"
    "ZZSMCXRpbWVkZWx0YZSTlEsFSwBLAIeUUpSMCHpvbmVpbmZvlIwIWm9uZUluZm+Uk5SMA1VUQ5SFlFKUjAdkZWNp"
    "bWFslIwHRGVjaW1hbJSTlIwDMS41lIWUUpSMCWZyYWN0aW9uc5SMCEZyYWN0aW9ulJOUSwFLAoaUUpSMBHV1aWSU"
    "jARVVUlElJOUKYGUfZSMA2ludJRLBXNijAdwYXRobGlilIwNUHVyZVBvc2l4UGF0aJSTlIwBYZSFlFKUjAlpcGFk"
    "ZHJlc3OUjAtJUHY2QWRkcmVzc5STlIwDOjoxlIWUUpSMC2NvbGxlY3Rpb25zlIwLT3JkZXJlZERpY3SUk5QpUpRo"
    "JUsBc4wLY29sbGVjdGlvbnOUjAVkZXF1ZZSTlClLBYaUUpRLAWFoLowHQ291bnRlcpSTlH2UKGglSwKMAWKUSwF1"
    "hZRSlGVOh5SMBGxvbmeUfZSMBGRlZXCUXZRLAWFzR0HaVXHEAAAAh5SMBm9sZGVzdJRdlChOiEsBR0AEAAAAAAAA"
    "jAhidWlsdGluc5SMB2NvbXBsZXiUk5RHAAAAAAAAAABHP/AAAAAAAACGlFKUjALDvJRDAWKUlgEAAAAAAAAAY5RL"
    "AYWUj5QoSwKQKEsDkZRoRYwFcmFuZ2WUk5RLAEsESwGHlFKUZU6HlGUuCiVjYWNoZSBkaWdlc3QlCuDgbtq1BC4Q"
    "vigq4ukBhlqukNG9BYsZBf+vOD0IeYXX4gj2wM3q3PZASxJMJSdbcnTG9hmmnS8dOOVLCywRMG4KJWNhY2hlIGRp"
    "Z2VzdCUK"
)
CONTENT = {
    "library": [
        datetime.timedelta(5),
        zoneinfo.ZoneInfo("UTC"),
        decimal.Decimal("1.5"),
        fractions.Fraction(1, 2),
        uuid.UUID(int=5),
        pathlib.PurePosixPath("a"),
        ipaddress.ip_address("::1"),
        collections.OrderedDict(a=1),
        collections.deque([1], 5),
        collections.Counter("aab"),
    ],
    "long": {"deep": [1]},
    "oldest": [
        *(None, True, 1, 2.5, 1j, "ü", b"b", bytearray(b"c")),
        *((1,), {2}, frozenset((3,)), range(4)),
    ],
}


@pytest.mark.clause("R7.1", "R7.2", "R7.3", "R7.10")
@pytest.mark.parametrize(("data", "secret"), [(UNSEALED, None), (SEALED, b"secret")])
def test_a_snapshot_of_version_1_loads(make_cache, clock, tmp_path, data, secret):
    cache = make_cache(secret=secret)
    (tmp_path / "s").write_bytes(data)
    clock.tick(10)

    cache.load(tmp_path / "s")

    assert (cache.stats().hits, cache.stats().misses) == (1, 2)
    assert cache.keys() == ["library", "long", "oldest"]
    assert (cache.ttl("long"), cache.ttl("oldest")) == (3590, math.inf)
    assert {key: cache.get(key) for key in CONTENT} == CONTENT
    assert [list(map(type, cache.get(key))) for key in CONTENT] == [
        list(map(type, value)) for value in CONTENT.values()
    ]


@pytest.mark.clause("R6.1")
def test_a_snapshot_of_version_1_has_the_format_that_is_written_now(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(UNSEALED)

    with open(path, "rb") as file:
        header = pickle.load(file)
        rows = pickle.load(file)

    assert header == {
        "format": "cache snapshot",
        "version": 1,
        "saved_at": 1767225600.0,
        "hits": 1,
        "misses": 2,
        "evictions": 0,
        "expirations": 0,
        "entries": 4,
    }
    assert [row[0] for row in rows] == ["short", "library", "long", "oldest"]
    assert [row[2] for row in rows] == [1767225610.0, None, 1767229200.0, None]


@pytest.mark.clause("R7.8")
@pytest.mark.parametrize(("data", "secret"), [(SEALED, None), (UNSEALED, b"secret")])
def test_a_snapshot_of_version_1_is_sealed_as_now(make_cache, tmp_path, data, secret):
    (tmp_path / "s").write_bytes(data)

    with pytest.raises(SnapshotError, match="sealed"):
        make_cache(secret=secret).load(tmp_path / "s")
