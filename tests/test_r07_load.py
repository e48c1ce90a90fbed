"""R7: what was saved comes back, and nothing else does anything."""

import collections
import datetime
import decimal
import fractions
import functools
import hashlib
import ipaddress
import pathlib
import pickle
import uuid
import zoneinfo

import pytest

from cache import SnapshotError

HERE = datetime.timezone(datetime.timedelta(hours=2))
PLAIN = [
    *(None, True, 1, -(10**40), 1.5, float("inf"), 2j, "ü\ud800", b"\0", bytearray(b"x")),
    *((1, (2,)), [1, [2]], {"a": {1: 2}}, {1, 2}, frozenset({3}), range(1, 9, 2)),
    *(collections.deque([1, 2], 5), collections.OrderedDict(b=1, a=2), collections.Counter("aab")),
    *(collections.defaultdict(list, a=[1]), collections.defaultdict(collections.Counter)),
    *(datetime.date(2020, 1, 2), datetime.time(1, 2, tzinfo=HERE), datetime.timedelta(1, 2, 3)),
    *(datetime.datetime(2020, 1, 2, 3, fold=1), datetime.datetime(2020, 1, 1, tzinfo=HERE)),
    *(datetime.UTC, HERE, zoneinfo.ZoneInfo("UTC")),
    *(decimal.Decimal("1.50"), fractions.Fraction(1, 3), uuid.UUID(int=7), uuid.uuid1()),
    *(pathlib.Path("/x/y"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("c:/x")),
    *(ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")),
    *(ipaddress.ip_interface("10.0.0.1/8"), ipaddress.ip_address("1.2.3.4")),
    *(int, dict, decimal.Decimal, [uuid.UUID, {"t": datetime.date}]),
]


class Trusted:
    class Nested:
        pass

    def __init__(self, inner=None):
        self.inner = inner

    def __eq__(self, other):
        return type(other) is Trusted and other.inner == self.inner

    __hash__ = None


class Slotted:
    __slots__ = ("a",)


class Changing:
    """A class that has another slot than when it was saved."""

    __slots__ = ("a",)

    def __reduce__(self):
        return Changing, (), (None, {"former": 1})


class Telling:
    made = 0

    def __init__(self):
        Telling.made += 1

    def __reduce__(self):
        return Telling, ()


def some_function():
    raise AssertionError("called")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot"


@pytest.fixture
def forge(cache, path, seal):
    """Return a function that puts any pickle in the place of the rows, with a right digest."""

    def forge(rows, cache=cache):
        cache.set("k", "v")
        cache.save(path)
        with open(path, "rb") as file:
            pickle.load(file)
            header = path.read_bytes()[: file.tell()]
        path.write_bytes(seal(header + rows))
        cache.clear()
        cache.set("old", 1)

    return forge


@pytest.mark.clause("R7.1")
def test_content_recency_and_life_come_back(make_cache, clock, path):
    cache, other = make_cache(3), make_cache(3)
    cache.set("a", [1], ttl=10)
    cache.set_many({"b": 2, "c": 3})
    cache.get("a")
    cache.save(path)
    other.set("old", 1)

    clock.tick(4)
    other.load(path)
    life = other.ttl("a")
    other.set("d", 4)

    assert sorted(other.keys()) == ["a", "c", "d"]
    assert (life, other.get("a"), other.ttl("c")) == (6, [1], float("inf"))


@pytest.mark.clause("R7.1", "R1.8")
def test_the_life_left_goes_by_the_wall_clock(cache, clock, path):
    cache.set("k", "v", ttl=100)
    cache.save(path)

    clock.step_wall(60)
    cache.load(path)

    assert cache.ttl("k") == pytest.approx(40)


@pytest.mark.clause("R7.2")
def test_what_expired_in_between_is_dropped(cache, clock, path):
    cache.set_many({"a": 1, "b": 2}, ttl=5)
    cache.set("c", 3)
    cache.save(path)

    clock.tick(5)
    cache.load(path)

    assert (cache.keys(), len(cache), cache.stats().expirations) == (["c"], 1, 0)


@pytest.mark.clause("R7.1")
def test_loaded_deadlines_hold(cache, clock, path):
    cache.set_many({f"k{number}": number for number in range(100)}, ttl=5)
    cache.save(path)
    cache.load(path)

    clock.tick(4.999)
    before = len(cache.keys())
    clock.tick(0.001)

    assert (before, cache.cleanup()) == (100, 100)


@pytest.mark.clause("R7.3", "R2.2")
def test_counters_become_the_saved_ones(make_cache, path):
    cache, other = make_cache(1), make_cache(1)
    cache.set_many({"a": 1, "b": 2})
    cache.get_many(["b", "b", "b", "x", "x"])
    cache.save(path)
    other.get("y")

    other.load(path)

    stats = other.stats()
    assert stats == cache.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.expirations) == (3, 2, 1, 0)


@pytest.mark.clause("R7.4")
@pytest.mark.parametrize("ttl", [None, 60])
def test_a_larger_snapshot_keeps_the_most_recent(make_cache, path, ttl):
    cache, small = make_cache(5000), make_cache(3)
    cache.set_many({f"k{number}": number for number in range(5000)}, ttl)
    cache.save(path)

    small.load(path)

    assert sorted(small.keys()) == ["k4997", "k4998", "k4999"]
    assert small.stats().evictions == 0


@pytest.mark.clause("R7.2", "R7.4")
def test_what_expired_takes_no_place_of_what_lives(make_cache, clock, path):
    cache, small = make_cache(), make_cache(3)
    cache.set_many({"a": 1, "b": 2, "c": 3, "d": 4})
    cache.set_many({"e": 5, "f": 6}, ttl=1)
    cache.save(path)

    clock.tick(1)
    small.load(path)

    assert sorted(small.keys()) == ["b", "c", "d"]


@pytest.mark.clause("R7.5")
def test_a_missing_file_is_file_not_found(cache, path):
    with pytest.raises(FileNotFoundError):
        cache.load(path)


@pytest.mark.clause("R7.5")
@pytest.mark.parametrize("data", [b"hello", b"\x89PNG" * 100, pickle.dumps({"a": 1}) * 9])
def test_another_file_is_said_to_be_no_snapshot(cache, path, data):
    path.write_bytes(data)

    with pytest.raises(SnapshotError, match="not a snapshot"):
        cache.load(path)


@pytest.mark.clause("R7.5", "R7.7", "R10.4")
def test_every_cut_is_said_to_be_one(cache, path):
    cache.set("k", "v")
    cache.save(path)
    data = path.read_bytes()
    before = cache.stats()

    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(SnapshotError, match=r"cut short|damaged"):
            cache.load(path)

    assert (cache.stats(), cache.keys()) == (before, ["k"])


@pytest.mark.clause("R7.5", "R7.7")
def test_every_flipped_bit_is_noticed(cache, path):
    cache.set_many({"k": "v", "l": decimal.Decimal(1)}, ttl=60)
    cache.save(path)
    data = path.read_bytes()

    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(SnapshotError, match=r"damaged|sealed"):
            cache.load(path)

    assert sorted(cache.keys()) == ["k", "l"]


@pytest.mark.clause("R7.5")
@pytest.mark.parametrize("newer", [1, 255, 65_535, 10**10, 10**20])
def test_a_newer_version_is_said_to_be_one(cache, path, seal, newer):
    cache.save(path)
    with open(path, "rb") as file:
        header = pickle.load(file)
    header["version"] += newer
    path.write_bytes(seal(pickle.dumps(header, 5)))

    with pytest.raises(SnapshotError, match="newer version"):
        cache.load(path)


@pytest.mark.clause("R7.6")
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_data_comes_back(cache, path, value, error_of):
    cache.set("k", value)

    errors = error_of(cache.save, path), error_of(cache.load, path)

    assert errors == (None, None)
    assert cache.get("k") == value
    assert type(cache.get("k")) is type(value)


@pytest.mark.clause("R7.6")
def test_a_defaultdict_keeps_its_factory(cache, path):
    cache.set("k", collections.defaultdict(collections.Counter))
    cache.save(path)

    cache.load(path)

    assert cache.get("k")["new"] == collections.Counter()


@pytest.mark.clause("R7.6")
@pytest.mark.parametrize("trust", [[Trusted], [__name__]], ids=["class", "module"])
def test_what_is_trusted_comes_back(make_cache, path, trust):
    cache = make_cache(trust=trust)
    cache.set("k", Trusted([1]))
    cache.save(path)

    cache.load(path)

    assert cache.get("k") == Trusted([1])


@pytest.mark.clause("R7.6")
def test_a_slotted_class_comes_back(make_cache, path):
    cache = make_cache(trust=[Slotted])
    value = Slotted()
    value.a = 5
    cache.set("k", value)
    cache.save(path)

    cache.load(path)

    assert cache.get("k").a == 5


@pytest.mark.clause("R7.6", "R10.1")
@pytest.mark.parametrize(
    ("trust", "value"),
    [
        ([], Trusted()),
        ([__name__], some_function),
        ([__name__], Trusted.Nested()),
        ([__name__], functools.partial(int)),
        (["tests"], Trusted()),
        ([Trusted], Trusted.Nested()),
        ([Trusted], Trusted(some_function)),
    ],
)
def test_save_refuses_what_load_would_refuse(make_cache, path, trust, value, wording):
    cache = make_cache(trust=trust)
    cache.set("k", value)

    with pytest.raises(SnapshotError, match=wording(r"'k'.*neither plain data nor trusted")):
        cache.save(path)

    assert not path.exists()


@pytest.mark.clause("R7.6")
def test_a_nested_class_is_trusted_by_naming_it(make_cache, path):
    cache = make_cache(trust=[Trusted.Nested])
    cache.set("k", Trusted.Nested())
    cache.save(path)

    cache.load(path)

    assert type(cache.get("k")) is Trusted.Nested


@pytest.mark.clause("R7.6")
def test_what_is_not_trusted_is_refused_by_type_and_nothing_changes(make_cache, path):
    writer, reader = make_cache(trust=[Trusted]), make_cache()
    writer.set("k", Trusted())
    writer.save(path)
    reader.set("old", 1)

    with pytest.raises(SnapshotError, match="Trusted"):
        reader.load(path)

    assert reader.keys() == ["old"]


@pytest.mark.clause("R7.5", "R7.6")
def test_a_field_that_a_class_has_no_more_is_told_with_key_and_class(
    make_cache, path, forge, wording
):
    cache = make_cache(trust=[Changing])
    forge(pickle.dumps([("the bad one", {"x": [Changing()]}, None)], 5), cache)

    with pytest.raises(SnapshotError, match=wording(r"'the bad one'.*\.Changing .*former")):
        cache.load(path)

    assert cache.keys() == ["old"]


def call(module, name, *args):
    """Return a pickle of rows that calls a function by name."""
    packed = b"".join(pickle.dumps(arg, 0)[:-1] for arg in args)
    return b"\x80\x04]((X\x01\x00\x00\x00kc%s\n%s\n(%stRNte." % (
        module.encode(),
        name.encode(),
        packed,
    )


HOSTILE = {
    "os.system": call("os", "system", "true"),
    "subprocess": call("subprocess", "call", "true"),
    "eval": call("builtins", "eval", "1"),
    "getattr": call("builtins", "getattr", "x", "y"),
    "type": call("builtins", "type", "X"),
    "object": call("builtins", "object"),
    "import": call("builtins", "__import__", "os"),
    "partial": call("functools", "partial"),
    "reconstructor": call("copyreg", "_reconstructor"),
    "dotted": b"\x80\x04]((X\x01\x00\x00\x00k\x8c\x08datetime\x8c\x0cdatetime.now\x93)RNte.",
    "path method": b"\x80\x04]((X\x01\x00\x00\x00k\x8c\x07pathlib\x8c\x08Path.cwd\x93)RNte.",
}


@pytest.mark.clause("R7.6")
@pytest.mark.parametrize("attack", HOSTILE)
def test_no_name_outside_plain_data_is_resolved(cache, path, forge, attack, wording):
    forge(HOSTILE[attack])

    with pytest.raises(SnapshotError, match=wording("neither plain data nor trusted")):
        cache.load(path)

    assert cache.keys() == ["old"]


@pytest.mark.clause("R7.6")
@pytest.mark.parametrize(
    ("trust", "name"),
    [
        (__name__, "SnapshotError"),  # imported
        (__name__, "some_function"),
        (__name__, "Trusted.Nested"),
        (__name__[:-1], "Trusted"),
        (Slotted, "Trusted"),
        (Trusted, "Trusted.Nested"),
    ],
)
def test_trust_is_in_nothing_beside_what_it_names(make_cache, path, forge, trust, name, wording):
    cache = make_cache(trust=[trust])
    named = b"".join(b"\x8c%c%s" % (len(text), text.encode()) for text in (__name__, name))
    forge(b"\x80\x04]((\x8c\x01k%s\x93)RNte." % named, cache)

    with pytest.raises(SnapshotError, match=wording("neither plain data nor trusted")):
        cache.load(path)

    assert cache.keys() == ["old"]


@pytest.mark.clause("R7.6")
def test_no_state_is_set_on_a_class(cache, path, forge, wording):
    state = b"(N}X\x09\x00\x00\x00numeratorK\x05st"
    forge(b"\x80\x04]((X\x01\x00\x00\x00kcfractions\nFraction\n%sbNte." % state)

    with pytest.raises(SnapshotError, match=wording("state for the class")):
        cache.load(path)

    assert fractions.Fraction(1, 2).numerator == 1


@pytest.mark.clause("R7.6")
@pytest.mark.parametrize(
    "rows",
    [
        pickle.dumps([("k", 1)]),
        pickle.dumps([(1, 2, None)]),
        pickle.dumps([("k", 1, "soon")]),
        pickle.dumps([("k", 1, float("nan"))]),
        pickle.dumps([("k", 1, 10**400)]),
        pickle.dumps([["k", 1, None]]),
        pickle.dumps({"k": 1}),
        pickle.dumps([]),
        pickle.dumps([("k", 1, None)] * 2),
        b"\x80\x04.",
        b"",
    ],
)
def test_rows_that_are_none_are_said_to_be_damaged(cache, path, forge, rows):
    forge(rows)

    with pytest.raises(SnapshotError):
        cache.load(path)

    assert cache.keys() == ["old"]


@pytest.mark.clause("R7.7")
def test_nothing_is_unpickled_before_the_digest_is_right(make_cache, path):
    cache = make_cache(trust=[Telling])
    cache.set("k", Telling())
    cache.save(path)
    made = Telling.made
    cache.load(path)
    loaded = Telling.made
    data = path.read_bytes()

    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(SnapshotError):
            cache.load(path)

    assert (loaded - made, Telling.made - loaded) == (1, 0)


@pytest.mark.clause("R7.7")
def test_a_change_anywhere_in_a_large_file_is_noticed(cache, path, error_of):
    cache.set_many({f"k{number}": bytes(100_000) for number in range(40)})
    cache.save(path)
    cache.clear()
    size = path.stat().st_size

    for at in range(50_000, size, 100_000):
        with open(path, "r+b", buffering=0) as file:
            file.seek(at)
            file.write(b"\1")
            changed = error_of(cache.load, path)
            file.seek(at)
            file.write(b"\0")
        assert type(changed) is SnapshotError, at
    unchanged = error_of(cache.load, path)

    assert (unchanged, len(cache)) == (None, 40)


@pytest.mark.clause("R7.8")
def test_the_same_secret_opens(make_cache, path):
    writer, reader = make_cache(secret=b"s" * 100), make_cache(secret=b"s" * 100)
    writer.set("k", "v")
    writer.save(path)

    reader.load(path)

    assert reader.get("k") == "v"


@pytest.mark.clause("R7.8")
@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"a", b"b"),
        (b"a", None),
        (None, b"a"),
        (b"x" * 64, b"x" * 65),
        (b"x" * 64 + b"a", b"x" * 64 + b"b"),
        (b"a", b"a\0"),
        (b"k" * 200, hashlib.blake2b(b"k" * 200).digest()),
    ],
)
def test_no_other_secret_opens(make_cache, path, written, read, wording):
    writer, reader = make_cache(secret=written), make_cache(secret=read)
    writer.set("k", "v")
    writer.save(path)

    with pytest.raises(SnapshotError, match=wording("secret")):
        reader.load(path)

    assert len(reader) == 0


@pytest.mark.clause("R7.5", "R7.8")
@pytest.mark.parametrize(
    ("written", "read", "words"),
    [
        (None, b"a", "not sealed"),
        (b"a", None, "this cache has none"),
        (b"a", b"b", "another secret"),
    ],
)
def test_what_is_wrong_with_the_seal_is_said(make_cache, path, written, read, words, wording):
    writer, reader = make_cache(secret=written), make_cache(secret=read)
    writer.save(path)

    with pytest.raises(SnapshotError, match=wording(words)):
        reader.load(path)


@pytest.mark.clause("R7.8")
@pytest.mark.parametrize("secret", [None, b"b"])
def test_a_file_of_another_secret_is_refused_unread(make_cache, path, secret):
    writer, reader = (make_cache(trust=[Telling], secret=each) for each in (b"a", secret))
    writer.set("k", Telling())
    writer.save(path)
    made = Telling.made

    with pytest.raises(SnapshotError):
        reader.load(path)

    assert Telling.made == made


@pytest.mark.clause("R7.8")
@pytest.mark.parametrize(
    ("secret", "error"), [("text", TypeError), (1, TypeError), (b"", ValueError)]
)
def test_a_bad_secret_is_refused(CacheImpl, secret, error, wording):
    with pytest.raises(error, match=wording("secret")):
        CacheImpl(secret=secret)


@pytest.mark.clause("R7.6")
@pytest.mark.parametrize(
    ("trust", "error"), [("os", TypeError), ([1], TypeError), ([""], ValueError), (5, TypeError)]
)
def test_a_bad_trust_is_refused(CacheImpl, trust, error, wording):
    with pytest.raises(error, match=wording("trust")):
        CacheImpl(trust=trust)


@pytest.mark.clause("R7.9")
@pytest.mark.parametrize("verb", ["load", "clear"])
def test_others_go_on_while_the_content_is_replaced(make_cache, path, waits, verb):
    cache = make_cache(100_001)
    make_cache().save(path)

    def others_go_on():
        cache.set_many({f"k{at}": tuple(map(str, range(at, at + 20))) for at in range(100_000)})
        if verb == "load":
            cache.save(path)
        (pause,), took = waits(
            (lambda: cache.load(path)) if verb == "load" else cache.clear,
            lambda: cache.set("other", 1),
        )
        return pause < max(0.03, took / 5)

    assert any(others_go_on() for _ in range(3))


@pytest.mark.clause("R7.9", "R7.1")
def test_readers_see_the_old_content_or_the_new(make_cache, path, meanwhile):
    cache = make_cache(5000)
    cache.set_many({f"k{number}": "new" for number in range(5000)})
    cache.save(path)
    cache.set_many({f"k{number}": "old" for number in range(5000)})
    wrong = []

    def read():
        seen = set(cache.get_many(["k0", "k2500", "k4999"]).values())
        if len(seen) != 1 or cache.get("k77") is None:
            wrong.append(seen)

    with meanwhile(read):
        for _ in range(10):
            cache.load(path)
            cache.set_many({f"k{number}": "old" for number in range(5000)})

    assert wrong == []


@pytest.mark.clause("R7.10")
def test_paths_are_written_under_the_name_that_every_python_knows(cache, path):
    cache.set("k", [pathlib.Path("/x"), None, {"a": (pathlib.PureWindowsPath("c:/x"), 1.5)}])

    cache.save(path)

    assert b"pathlib._local" not in path.read_bytes()
    cache.load(path)
    assert cache.get("k")[0] == pathlib.Path("/x")


@pytest.mark.clause("R7.10")
def test_the_name_that_python_3_13_gives_to_paths_is_read(cache, path, forge, error_of):
    forge(
        b"\x80\x04]((X\x01\x00\x00\x00k\x8c\x0epathlib._local\x8c\x0dPurePosixPath\x93"
        b"X\x01\x00\x00\x00a\x85RNte."
    )

    error = error_of(cache.load, path)

    assert error is None
    assert cache.get("k") == pathlib.PurePosixPath("a")


@pytest.mark.clause("R7.6")
def test_an_extension_code_resolves_to_nothing(cache, path, forge, wording):
    import copyreg

    copyreg.add_extension("os", "system", 240)
    try:
        pickle.loads(b"\x80\x04\x82\xf0.")  # once used, it is in a cache of pickle's own
        forge(b"\x80\x04]((X\x01\x00\x00\x00k\x82\xf0(X\x04\x00\x00\x00truetRNte.")
        with pytest.raises(SnapshotError, match=wording("240")):
            cache.load(path)
    finally:
        copyreg.remove_extension("os", "system", 240)

    assert cache.keys() == ["old"]
