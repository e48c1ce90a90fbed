"""The codec, without a file: what it refuses it names."""

import io
import struct
import zoneinfo

import pytest

from cache import SnapshotError, plain


class Untrusted:
    pass


class Altered:
    pass


def function():
    raise AssertionError("nobody calls it")


CLASS_REMEDY = "to save it pass trust=[Untrusted] or trust=[Portable(Untrusted, dump, load)]"


@pytest.mark.parametrize(
    ("value", "name", "remedy"),
    [
        (Untrusted(), "Untrusted", CLASS_REMEDY),
        (Untrusted, "Untrusted", CLASS_REMEDY),
        ([function], "function", "no function can be saved"),
    ],
    ids=["instance", "class", "function"],
)
def test_what_is_refused_is_named_with_the_remedy(value, name, remedy):
    with pytest.raises(SnapshotError) as caught:
        plain.Codec().dumps(value)

    assert str(caught.value) == f"{__name__}.{name} is neither plain data nor trusted; {remedy}"


def test_no_function_is_trusted_though_its_type_is():
    with pytest.raises(SnapshotError, match=r"\.function is neither"):
        plain.Codec(["builtins", __name__]).dumps(function)


def test_the_type_of_a_bad_trust_is_named():
    with pytest.raises(TypeError, match="names of modules and Portables, not int"):
        plain.Codec([1])


def test_what_is_no_pickle_is_refused_by_its_error():
    with pytest.raises(SnapshotError, match="not a whole pickle: EOFError"):
        plain.Codec().loads(b"")


def test_a_name_that_a_trusted_module_does_not_have_is_refused():
    with pytest.raises(SnapshotError, match=r"\.Missing is neither plain data nor trusted"):
        plain.Codec([__name__]).loads(b"c" + __name__.encode() + b"\nMissing\n.")


def test_a_trusted_class_is_found_where_its_trusted_module_does_not_have_it():
    local = type("Local", (), {"__module__": __name__})
    codec = plain.Codec([local, __name__])

    found = codec.loads(b"c" + __name__.encode() + b"\nLocal\n.")

    assert found is local


def test_a_state_for_a_class_itself_is_refused_by_its_name():
    pickle = b"c" + __name__.encode() + b"\nAltered\n}b."

    with pytest.raises(SnapshotError, match=r"state for the class \S+\.Altered itself is refused"):
        plain.Codec([Altered]).loads(pickle)


def test_a_zone_without_a_key_is_refused():
    header = struct.pack(">4sc15x6l", b"TZif", b"\0", 0, 0, 0, 0, 1, 4)
    zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(header + struct.pack(">lBB4s", 0, 0, 0, b"UTC")))

    with pytest.raises(SnapshotError, match="cannot be pickled"):
        plain.Codec().dumps(zone)
