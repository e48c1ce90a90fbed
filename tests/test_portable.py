"""Classes that are saved as plain data by functions of the user's."""

import fractions
import pickle
import types

import pytest

from cache import Portable, SnapshotError, plain

SPACE = Portable(
    types.SimpleNamespace,
    lambda space: {"a": space.a},
    lambda data: types.SimpleNamespace(**data),
)


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return type(other) is Point and (other.x, other.y) == (self.x, self.y)

    def __hash__(self):
        return hash((self.x, self.y))


class Special(Point):
    pass


class Inner:
    pass


def fail(_):
    raise LookupError("a value that nobody should read")


POINT = Portable(Point, lambda point: (point.x, point.y), lambda data: Point(*data))
SAFE = plain.Codec([POINT, SPACE])


def packed(name, data):
    """Return a pickle as a Portable's is, of any name and data."""
    inside = pickle.dumps({"type": name, "data": data}, 5)[2:-1]
    return b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93" + inside + b"\x85R."


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2),
        [Point(1, [2]), {"k": (Point(fractions.Fraction(1, 2), Point(3, 4)),)}],
        {Point(1, 2): {Point(3, 4)}},
        types.SimpleNamespace(a=Point(1, 2)),
    ],
)
def test_what_a_portable_saves_comes_back(value):
    assert SAFE.loads(SAFE.dumps(value)) == value


def test_one_object_is_dumped_and_loaded_once():
    dumps, loads = [], []
    portable = Portable(
        Point,
        lambda point: dumps.append(point) or [point.x, fractions.Fraction(1)],
        lambda data: loads.append(data) or Point(*data),
    )
    codec, point = plain.Codec([portable]), Point(1, 2)

    first, (second,) = codec.loads(codec.dumps([point, (point,)]))

    assert first is second
    assert (dumps, len(loads)) == ([point], 1)


def test_plain_pickle_needs_no_class_of_ours():
    found = pickle.loads(SAFE.dumps([Point(1, 2), types.SimpleNamespace(a=1)]))

    assert [dict(each) for each in found] == [
        {"type": f"{__name__}.Point", "data": (1, 2)},
        {"type": "types.SimpleNamespace", "data": {"a": 1}},
    ]


def test_a_subclass_is_not_saved_by_the_portable_of_its_base():
    with pytest.raises(SnapshotError, match=r"\.Special is neither plain data nor trusted"):
        SAFE.dumps(Special(1, 2))


def test_the_class_itself_is_no_value():
    with pytest.raises(SnapshotError, match=r"\.Point is neither plain data nor trusted"):
        SAFE.dumps([Point])


def test_what_dump_returns_has_to_be_plain_or_trusted():
    codec = plain.Codec([Portable(Point, lambda point: Inner(), fail)])

    with pytest.raises(SnapshotError, match=r"\.Inner is neither plain data nor trusted"):
        codec.dumps(Point(1, 2))


def test_a_dump_that_returns_its_own_object_is_refused():
    codec = plain.Codec([Portable(Point, lambda point: [point], fail)])

    with pytest.raises(SnapshotError, match=r"the dump of \S+\.Point returned what holds the same"):
        codec.dumps([Point(1, 2)])


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        (plain.Codec(), r"\.Point is neither plain data nor trusted$"),
        (plain.Codec([SPACE]), r"\.Point is neither plain data nor trusted$"),
        (plain.Codec([Point]), r"\.Point is neither plain data nor trusted$"),
        (
            plain.Codec([Portable(Point, fail, fail)]),
            r"^the load of \S+\.Point raised LookupError$",
        ),
        (
            plain.Codec([Portable(Point, fail, lambda data: Special(1, 2))]),
            r"^the load of \S+\.Point returned \S+\.Special$",
        ),
    ],
)
def test_what_a_portable_has_saved_is_refused_by_others_with_its_type(codec, words):
    data = SAFE.dumps(Point(1, 2))

    with pytest.raises(SnapshotError, match=words):
        codec.loads(data)


@pytest.mark.parametrize("verb", ["dump", "load"])
def test_the_text_of_a_snapshot_error_is_kept(verb):
    def refuse(_):
        raise SnapshotError("it has no corners")

    codec = plain.Codec(
        [Portable(Point, refuse if verb == "dump" else id, refuse if verb == "load" else id)]
    )

    with pytest.raises(SnapshotError) as caught:
        codec.loads(codec.dumps(Point(1, 2)))

    assert str(caught.value) == f"the {verb} of {__name__}.Point: it has no corners"


def test_a_dump_that_fails_is_told_with_its_type():
    with pytest.raises(SnapshotError) as caught:
        plain.Codec([Portable(Point, fail, fail)]).dumps([Point(1, 2)])

    assert str(caught.value) == f"the dump of {__name__}.Point raised LookupError"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packed(f"{__name__}.Point", 5), r"the load of \S+\.Point raised TypeError"),
        (packed(f"{__name__}.Point", {}), r"the load of \S+\.Point raised TypeError"),
        (packed("os.system", "true"), r"os\.system is neither plain data nor trusted"),
        (packed(["list"], "true"), "is neither plain data nor trusted"),
        (packed(f"{__name__}.fail", 1), r"\.fail is neither plain data nor trusted"),
        (packed("", (1, 2)), "is neither plain data nor trusted"),
        (
            b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93K\x01\x85R.",
            "lacks its type or data",
        ),
        (
            b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93}\x85R.",
            "lacks its type or data",
        ),
        (b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93)R.", "."),
        (b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93)\x81.", "."),
        (b"\x80\x05]\x8c\x05types\x8c\x10MappingProxyType\x93a.", "is neither plain data"),
        (b"\x80\x05\x8c\x05types\x8c\x0fSimpleNamespace\x93)R.", "is neither plain data"),
        (b"\x80\x05\x8c\x08builtins\x8c\x0cmappingproxy\x93}\x85R.", "is neither plain data"),
    ],
)
def test_a_pickle_that_misuses_a_portable_is_refused(data, words):
    with pytest.raises(SnapshotError, match=words):
        SAFE.loads(data)


def test_state_for_an_object_that_a_portable_has_made_is_its_own_matter():
    data = packed("types.SimpleNamespace", {"a": 1})[:-1] + b"}\x8c\x01bK\x02sb."

    assert SAFE.loads(data) == types.SimpleNamespace(a=1, b=2)


def test_the_text_of_a_portable_names_its_class():
    assert repr(POINT) == f"<Portable {__name__}.Point>"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Point", fail, fail), "kind must be a class, not str"),
        ((Point, 1, fail), "dump must be callable, not int"),
        ((Point, fail, None), "load must be callable, not NoneType"),
    ],
)
def test_what_makes_no_portable_is_a_type_error(arguments, words):
    with pytest.raises(TypeError, match=words):
        Portable(*arguments)


@pytest.mark.parametrize(
    ("trust", "words"),
    [
        ([POINT, SPACE, POINT], r"two Portables of \S+\.Point"),
        ([Portable(dict, dict, dict)], "builtins.dict is plain data and needs no Portable"),
    ],
)
def test_a_portable_that_would_not_be_used_is_a_value_error(trust, words):
    with pytest.raises(ValueError, match=words):
        plain.Codec(trust)


@pytest.mark.parametrize("secret", [None, b"secret"])
def test_a_cache_saves_and_loads_what_is_portable(make_cache, tmp_path, secret):
    cache = make_cache(trust=[POINT], secret=secret)
    cache.set_many({"a": Point(1, 2), "b": [Point(3, {"c": Point(4, 5)})]})
    cache.save(tmp_path / "s")
    cache.clear()

    cache.load(tmp_path / "s")

    assert cache.get_many(["a", "b"]) == {"a": Point(1, 2), "b": [Point(3, {"c": Point(4, 5)})]}


@pytest.mark.parametrize("verb", ["save", "load"])
def test_an_error_of_a_portable_is_told_with_key_and_class(make_cache, tmp_path, verb):
    writer = make_cache(trust=[POINT])
    broken = make_cache(trust=[Portable(Point, fail, fail)])
    for cache in (writer, broken):
        cache.set_many({"a": 1, "the bad one": {"x": Point(1, 2)}, "z": 3})
    writer.save(tmp_path / "s")
    before = (tmp_path / "s").read_bytes()

    with pytest.raises(SnapshotError, match=r"'the bad one' .*\.Point raised LookupError$"):
        getattr(broken, verb)(tmp_path / "s")

    assert (len(broken), (tmp_path / "s").read_bytes()) == (3, before)
