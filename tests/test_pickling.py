"""Pickles of values that change while they are written, and what tells where reading has failed."""

import collections
import datetime
import decimal
import io
import pathlib
import pickle
import sys
import uuid

import pytest

from cache import Portable, SnapshotError, plain
from cache.pickling import TooLarge


class Box:
    def __init__(self, inside=None):
        self.inside = inside


class Packed:
    def __init__(self, inside):
        self.inside = inside


class Renamed:
    __slots__ = ("new",)


class Fresh:
    """Pickles as an object that is made anew each time."""

    def __reduce__(self):
        return Box, (decimal.Decimal(1),)


class Listing(list):
    pass


class Steps:
    """Calls a function at the nth step of Python code within the block, as other threads might."""

    def __init__(self, nth, function):
        self.nth, self.function, self.count = nth, function, 0

    def __call__(self, frame, event, argument):
        if event == "call":
            self.count += 1
            if self.count == self.nth or self.nth is None:
                self.function()

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)


MAKERS = {
    "int": int,
    "Decimal": decimal.Decimal,
    "UUID": lambda number: uuid.UUID(int=number),
    "path": lambda number: pathlib.PurePosixPath(str(number)),
    "time": datetime.datetime.fromtimestamp,
    "instance": Box,
    "packed": Packed,
}
BOXES = {
    "list": lambda items: list(items),
    "deque": lambda items: collections.deque(items, 20),
    "nested": lambda items: {"a": decimal.Decimal(7), "b": [list(items)], "c": Box(3)},
    "attribute": lambda items: Box(list(items)),
}
CODEC = plain.Codec(
    [
        *(Box, Fresh, Listing),
        Portable(Packed, lambda packed: packed.inside, Packed),
    ]
)


def replace(value, items):
    """Replace what is in a value of BOXES, in one step."""
    if isinstance(value, dict):
        value["b"][0][:] = items
    elif isinstance(value, Box):
        value.inside[:] = items
    elif isinstance(value, list):
        value[:] = items
    else:
        value.extend(items)


def texts_in(value):
    """Return how the items of a value of BOXES are told from each other."""
    if isinstance(value, dict):
        value = value["b"][0]
    elif isinstance(value, Box):
        value = value.inside
    return [str(getattr(item, "inside", item)) for item in value]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_container_that_changes_at_any_step_of_python_code_is_pickled_whole(kind, box):
    old = [MAKERS[kind](1) for _ in range(20)]
    new = [MAKERS[kind](2) for _ in range(20)]
    nth, torn, reached = 0, [], True
    while reached:
        nth += 1
        value = BOXES[box](old)
        with Steps(nth, lambda value=value: replace(value, new)) as steps:
            data = CODEC.dumps(value)
        reached = steps.count >= nth
        texts = texts_in(CODEC.loads(data))
        if len(texts) != 20 or len(set(texts)) != 1:
            torn.append((nth, texts))

    assert torn == []


@pytest.mark.parametrize("kind", ["Decimal", "instance"])
def test_what_changes_at_each_step_of_python_code_is_refused(kind):
    value = [MAKERS[kind](1)] * 20

    with (
        Steps(None, lambda: replace(value, [MAKERS[kind](2)] * 20)),
        pytest.raises(SnapshotError, match="another thread changes it again and again"),
    ):
        CODEC.dumps(value)


def test_a_large_value_of_built_in_types_has_no_python_code_run_inside_it():
    value = [1] * 40_000

    with Steps(None, lambda: replace(value, [value[0] + 1] * 40_000)):
        data = CODEC.dumps(value)

    assert len(set(CODEC.loads(data))) == 1


@pytest.mark.parametrize(
    "value",
    [
        [decimal.Decimal(1), {"a": (decimal.Decimal(2), [uuid.UUID(int=3)])}],
        [pathlib.PurePosixPath("a"), {pathlib.PurePosixPath("b"): pathlib.PurePosixPath}],
        collections.OrderedDict(a=[decimal.Decimal(1)], b=datetime.timedelta(1)),
        collections.defaultdict(list, a=[collections.Counter("aab")]),
    ],
)
def test_plain_pickle_reads_what_was_pickled_ahead(value):
    data = CODEC.dumps(value)

    assert pickle.loads(data) == CODEC.loads(data) == value


def test_one_object_in_two_places_stays_one():
    shared = decimal.Decimal(1)
    box = Box([shared])

    first, (second, inner), again = CODEC.loads(CODEC.dumps([shared, (shared, box), box]))

    assert first is second is inner.inside[0]
    assert again is inner


def test_an_instance_that_refers_to_itself_comes_back():
    box = Box([decimal.Decimal(1)])
    box.inside.append(box)

    found = CODEC.loads(CODEC.dumps([box]))[0]

    assert found.inside[1] is found


def test_an_object_that_pickles_as_a_fresh_one_is_pickled_once():
    data = CODEC.dumps([Fresh(), Fresh()])

    assert [type(each) for each in CODEC.loads(data)] == [Box, Box]
    assert data.count(b"Decimal") == 1


def test_a_subclass_of_list_keeps_its_items_however_often_it_is_tried():
    value = Listing([decimal.Decimal(1), decimal.Decimal(2)])
    value.note = "x"

    found = CODEC.loads(CODEC.dumps([value]))[0]

    assert (type(found), found, found.note) == (Listing, value, "x")


def test_a_long_list_of_rows_is_refused_before_it_takes_memory():
    rows = [(str(number), b"x" * 60_000, None) for number in range(1000)]

    with pytest.raises(TooLarge):
        CODEC.dumps_rows(rows, short=True)


@pytest.mark.parametrize("short", [True, False])
def test_rows_are_a_list_to_plain_pickle(short):
    rows = [("a", 1, None), ("b", decimal.Decimal(2), 3.0), ("c", [uuid.UUID(int=1)], None)]

    assert pickle.loads(CODEC.dumps_rows(rows, short)) == rows


def test_a_pickle_that_names_the_class_of_what_is_packed_as_a_value_is_refused():
    data = b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93."

    with pytest.raises(SnapshotError, match=r"types\.MappingProxyType is neither plain data"):
        CODEC.loads(data)


def test_an_attribute_that_a_class_has_no_more_is_told_with_the_class():
    data = b"\x80\x05c%s\nRenamed\n)\x81N}\x8c\x03oldK\x01s\x86b." % __name__.encode()

    with pytest.raises(SnapshotError) as caught:
        plain.Codec([Renamed]).loads(data)

    words = str(caught.value)
    assert words.startswith(f"{__name__}.Renamed cannot be read back: AttributeError: ")
    assert "old" in words


def test_a_call_that_fails_is_told_with_its_class_and_without_its_words():
    data = b"\x80\x05cdecimal\nDecimal\n\x8c\x06secret\x85R."

    with pytest.raises(SnapshotError) as caught:
        CODEC.loads(data)

    assert str(caught.value) == "decimal.Decimal cannot be read back: InvalidOperation"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (b"cdecimal\nDecimal\n\x8c\x01x\x85R", "decimal.Decimal cannot be read back"),
        (b"cos\nsystem\n\x8c\x01x\x85R", "os.system is neither plain data nor trusted"),
        (b"cos\nsystem\n)\x81", "os.system is neither plain data nor trusted"),
        (b"cdecimal\nDecimal\n)}\x92}K\x01K\x02sb", "decimal.Decimal cannot be read back"),
    ],
)
def test_the_items_that_cannot_be_read_are_told(broken, words):
    rows = b"\x80\x05](K\x01K\x02\x86K\x03]%sa\x86K\x05K\x06\x86e." % broken
    codec = plain.Codec()

    with pytest.raises(SnapshotError, match=words):
        codec.loads(rows)
    found = codec.unreadable(io.BytesIO(rows))

    assert [item[0] for item in found] == [3]


def test_what_is_no_list_has_no_items_that_cannot_be_read():
    assert plain.Codec().unreadable(io.BytesIO(b"\x80\x05K\x01.")) == []


def test_a_pickle_that_ends_early_has_no_items_that_cannot_be_read():
    assert plain.Codec().unreadable(io.BytesIO(b"\x80\x05](R")) == []


def test_state_for_what_stands_for_a_portable_is_refused():
    data = b"\x80\x05\x8c\x05types\x8c\x10MappingProxyType\x93}b."

    with pytest.raises(SnapshotError, match=r"state for types\.MappingProxyType is refused"):
        CODEC.loads(data)


class Global:
    """A class whose instance is pickled as the name of a global."""

    def __reduce__(self):
        return "GLOBAL"


GLOBAL = Global()


def remake():
    raise AssertionError("called")


class Remade:
    """A class whose instances are pickled by a function."""

    def __reduce__(self):
        return remake, ()


def test_an_instance_that_is_pickled_by_its_name_is_refused():
    with pytest.raises(SnapshotError, match=r"Global is pickled by the name of an object: GLOBAL"):
        plain.Codec([Global]).dumps([GLOBAL])


def test_an_instance_that_a_function_recreates_is_refused_with_the_remedy():
    with pytest.raises(SnapshotError, match=r"Remade is pickled by a function.*Portable\(Remade"):
        plain.Codec([Remade]).dumps([Remade()])


def test_a_function_is_refused():
    with pytest.raises(SnapshotError, match="remake is neither plain data nor trusted"):
        plain.Codec().dumps([remake])
