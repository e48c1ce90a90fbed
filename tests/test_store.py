"""The store's contract, docs/store.md: each test runs on the compiled store and on its twin."""

import gc
import importlib
import math
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import freezegun
import pytest

from tests.stores import NAMES, present

MISSING = object()


@pytest.fixture(params=present())
def Store(request: pytest.FixtureRequest) -> Any:  # noqa: N802 - a class
    return importlib.import_module(NAMES[request.param]).Store


@pytest.fixture
def clock() -> Iterator[Any]:
    with freezegun.freeze_time("2026-01-01") as frozen:
        yield frozen


@pytest.fixture
def make(Store: Any) -> Iterator[Callable[..., Any]]:
    """Return a maker of stores; the invariants of each are checked after the test."""
    made = []

    def make(*args: Any, **kwargs: Any) -> Any:
        made.append(Store(*args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each._check()


@pytest.fixture
def store(make: Callable[..., Any]) -> Any:
    return make(100)


def content(store: Any) -> list[tuple[str, Any, float | None]]:
    """Return the live rows, from least to most recently used."""
    snapshot = store._snapshot()[0]
    rows = []
    while part := snapshot.rows(3):
        rows += part
    return rows


def keys_of(store: Any) -> list[str]:
    return [key for key, _, _ in content(store)]


def walked(walk: Any) -> list[str]:
    found: list[str] = []
    while part := walk.slice():
        found += part
    return found


class Kept:
    """A value that tells when it goes."""


# -- verbs -----------------------------------------------------------------------------------------


def test_a_key_that_nobody_set_is_the_default(store):
    assert store.get("k") is None
    assert store.get("k", MISSING) is MISSING
    assert store.get(key="k", default=MISSING) is MISSING


def test_a_value_comes_back_as_the_same_object(store):
    value = Kept()

    store.set("k", value)

    assert store.get("k") is value
    assert store["k"] is value


def test_a_missing_key_is_a_key_error_that_holds_its_plain_text(store):
    class Hostile(str):
        __slots__ = ()

        def __repr__(self):
            raise AssertionError

    with pytest.raises(KeyError) as caught:
        store[Hostile("k")]

    assert type(caught.value.args[0]) is str


@pytest.mark.parametrize("verb", ["get", "exists", "ttl", "pop", "delete", "peek", "increment"])
def test_a_key_that_is_no_str_is_a_type_error(store, verb):
    with pytest.raises(TypeError, match="a key must be a str, not int"):
        getattr(store, verb)(1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda store: store.get(), "key"),
        (lambda store: store.get("k", 1, 2), "get"),
        (lambda store: store.get("k", other=1), "other"),
        (lambda store: store.set("k", 1, key="k"), "key"),
        (lambda store: store.increment("k", 1, True), "increment"),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error(store, call, words):
    with pytest.raises(TypeError, match=words):
        call(store)


@pytest.mark.parametrize("ttl", [0, -1, -0.5, math.nan, -math.inf])
def test_a_ttl_that_is_not_above_zero_is_a_value_error_that_changes_nothing(store, ttl):
    store.set("k", 1)

    with pytest.raises(ValueError, match="ttl must be above zero"):
        store.set("k", 2, ttl)

    assert store.peek("k") == 1


@pytest.mark.parametrize("ttl", [True, "1", b"1", [1]])
def test_a_ttl_that_is_no_number_is_a_type_error(store, ttl):
    store.set("k", 1, ttl=1)

    with pytest.raises(TypeError, match="ttl must be"):
        store.set("k", 2, ttl=ttl)

    assert store.peek("k") == 1


@pytest.mark.parametrize("ttl", [10, 10.0])
def test_an_entry_is_live_before_its_deadline_and_no_longer(store, clock, ttl):
    store.set("k", 1, ttl=ttl)

    clock.tick(9.999)
    before = store.get("k")
    clock.tick(0.001)

    assert (before, store.get("k")) == (1, None)
    assert len(store) == 0


def test_a_store_has_a_default_life(make, clock):
    store = make(10, 5.0)

    store.set("k", 1)
    clock.tick(5)

    assert store.exists("k") is False


@pytest.mark.parametrize("ttl", [10**400, math.inf, 1e308])
def test_a_life_may_be_as_long_as_one_likes(store, clock, ttl):
    store.set("k", 1, ttl=ttl)

    clock.tick(10**8)

    assert store.get("k") == 1


def test_ttl_tells_what_is_left(store, clock):
    store.set("never", 1)
    store.set("k", 1, ttl=10)

    clock.tick(4)

    assert store.ttl("k") == pytest.approx(6)
    assert store.ttl("never") == math.inf
    assert store.ttl("none") is None


def test_setting_again_replaces_the_deadline_also_by_none(store, clock):
    store.set("k", 1, ttl=1)
    store.set("k", 2)

    clock.tick(100)

    assert store.get("k") == 2


def test_a_shorter_life_takes_the_place_of_a_longer_one(store, clock):
    for key in "abcdefgh":
        store.set(key, 1, ttl=100)
    for key in "hgfe":
        store.set(key, 2, ttl=1)

    clock.tick(1)

    assert store._sweep() == 4
    assert sorted(keys_of(store)) == ["a", "b", "c", "d"]


def test_a_full_store_evicts_the_least_recently_used_entry(make):
    store = make(3)
    for key in "abc":
        store.set(key, key)

    store.get("a")
    store.set("d", "d")

    assert keys_of(store) == ["c", "a", "d"]
    assert store._counters() == (1, 0, 1, 0, 3)


def test_an_expired_entry_goes_before_a_live_one(make, clock):
    store = make(3)
    store.set("a", 1)
    store.set("b", 2, ttl=1)
    store.set("c", 3)

    clock.tick(1)
    store.set("d", 4)

    assert keys_of(store) == ["a", "c", "d"]
    assert store._counters() == (0, 0, 0, 1, 3)


def test_any_number_of_deadlines_may_move_later(make, clock):
    """Whether to another time or away, and back again."""
    store = make(12_000)
    keys = [str(number) for number in range(12_000)]

    store.set_many(dict.fromkeys(keys, 1), ttl=5)
    store.set_many(dict.fromkeys(keys, 2), ttl=50)
    store.set_many(dict.fromkeys(keys[::2], 3))
    store.set_many(dict.fromkeys(keys[::3], 4), ttl=20)
    store._check()
    clock.tick(20)
    size = store._snapshot()[2]
    store.set("new", 1)
    clock.tick(30)

    assert size == 8_000
    assert sum(iter(store._sweep, 0)) + store._counters()[3] >= 8_000
    assert sorted(keys_of(store)) == sorted(
        ["new", *(key for number, key in enumerate(keys) if number % 2 == 0 and number % 3)]
    )


def test_an_outdated_deadline_expires_nobody(make, clock):
    store = make(3)
    for key in "abc":
        store.set(key, 1, ttl=1)
    for key in "abc":
        store.set(key, 2, ttl=10)

    clock.tick(1)
    store.set("d", 3)

    assert keys_of(store) == ["b", "c", "d"]
    assert store._counters()[2:4] == (1, 0)


def test_add_stores_where_the_key_is_free(store, clock):
    assert store.add("k", 1, ttl=1) is True
    assert store.add("k", 2) is False
    clock.tick(1)
    assert store.add("k", 3) is True
    assert store.peek("k") == 3


def test_replace_stores_where_the_key_is_live(store, clock):
    assert store.replace("k", 1) is False
    store.set("k", 1, ttl=1)
    assert store.replace("k", 2, ttl=1) is True
    clock.tick(1)
    assert store.replace("k", 3) is False


def test_touch_gives_a_new_deadline_and_makes_most_recently_used(store, clock):
    store.set("a", 1, ttl=1)
    store.set("b", 1)

    touched = store.touch("a", ttl=10)
    clock.tick(9)

    assert touched is True
    assert keys_of(store) == ["b", "a"]
    assert store.touch("c") is False


def test_pop_returns_and_removes(store):
    store.set("k", None)

    assert store.pop("k", MISSING) is None
    assert store.pop("k", MISSING) is MISSING
    assert store._counters() == (1, 1, 0, 0, 0)


def test_delete_tells_whether_a_live_entry_went(store, clock):
    store.set("k", 1, ttl=1)
    store.set("j", 1)

    clock.tick(1)

    assert (store.delete("k"), store.delete("j"), store.delete("j")) == (False, True, False)
    assert store._counters()[3] == 1


def test_a_deleted_item_that_is_missing_is_a_key_error(store):
    store["k"] = 1
    del store["k"]

    with pytest.raises(KeyError, match="k"):
        del store["k"]


def test_in_is_exists(store):
    store.set("k", None)

    assert "k" in store
    assert "j" not in store
    assert store._counters()[:2] == (0, 0)


def test_increment_adds_and_keeps_the_deadline(store, clock):
    store.set("n", 1, ttl=10)

    total = store.increment("n", 2.5)
    clock.tick(10)

    assert total == 3.5
    assert "n" not in store


def test_increment_creates_with_a_ttl(store, clock):
    store.increment("n", 5, ttl=1)
    store.increment("n", ttl=100)

    clock.tick(1)

    assert "n" not in store


def test_increment_without_create_is_a_key_error(store):
    with pytest.raises(KeyError, match="n"):
        store.increment("n", create=False)

    assert len(store) == 0


@pytest.mark.parametrize("value", ["1", True, None, [1]])
def test_what_is_no_number_is_not_counted(store, value):
    store.set("n", value)

    with pytest.raises(ValueError, match="n"):
        store.increment("n")

    assert store.peek("n") is value


@pytest.mark.parametrize("amount", ["1", True, None])
def test_a_store_takes_numbers_only_for_amounts(store, amount):
    with pytest.raises(TypeError, match="amount"):
        store.increment("n", amount)


def test_subclasses_of_numbers_count_as_plain_numbers(store):
    class Odd(int):
        def __add__(self, other):
            raise AssertionError

    store.set("n", Odd(4))

    assert store.increment("n", Odd(3)) == 7
    assert type(store.peek("n")) is int
    assert store.decrement("n", Odd(2)) == 5


def test_a_sum_that_overflows_changes_nothing(store):
    store.set("n", 10**400)

    with pytest.raises(OverflowError):
        store.increment("n", 0.5)

    assert store.peek("n") == 10**400


def test_many_keys_are_read_and_counted_in_order(store, clock):
    store.set_many({"a": 1, "b": 2, "c": 3}, ttl=1)
    store.set("d", 4)

    found = store.get_many(["b", "d", "none", "a", "a"])
    clock.tick(1)

    assert found == {"b": 2, "d": 4, "a": 1}
    assert store._counters() == (4, 1, 0, 0, 4)
    assert store.get_many(["a", "d"]) == {"d": 4}
    assert store._counters() == (5, 2, 0, 1, 3)


def test_more_keys_than_the_store_has_room_for_leave_the_last_ones(make):
    store = make(3)

    store.set_many(dict.fromkeys("abcdefg", 1))

    assert keys_of(store) == ["e", "f", "g"]
    assert store._counters()[2] == 4


@pytest.mark.parametrize("keys", ["ab", b"ab", bytearray(b"ab")])
@pytest.mark.parametrize("verb", ["get_many", "delete_many"])
def test_a_text_is_no_list_of_keys(store, verb, keys):
    with pytest.raises(TypeError, match="keys must be an iterable of str"):
        getattr(store, verb)(keys)


def test_many_keys_are_deleted_in_one_step(store):
    store.set_many(dict.fromkeys("abc", 1))

    assert store.delete_many(["a", "c", "x", "a"]) == 2
    assert keys_of(store) == ["b"]


def test_peek_counts_nothing_and_moves_nothing(store, clock):
    store.set("a", 1, ttl=1)
    store.set("b", 2)

    assert store.peek("a") == 1
    clock.tick(1)
    assert store.peek("a", MISSING) is MISSING
    assert store._counters() == (0, 0, 0, 0, 2)
    assert keys_of(store) == ["b"]


def test_get_or_set_answers_a_hit_and_hands_on_all_else(Store):
    asked = []

    class Cache(Store):
        def _get_or_set_missing(self, *args, **kwargs):
            asked.append((args, kwargs))
            value = self.get(args[0], MISSING)
            return "made" if value is MISSING else value

    cache = Cache(10)
    cache.set("k", 1)

    assert cache.get_or_set("k", str) == 1
    assert cache._counters()[:2] == (1, 0)
    assert cache.get_or_set("j", str, 5) == "made"
    assert cache.get_or_set("k", str, store_if=bool) == 1
    assert ("j", str, 5) in [args for args, _ in asked]


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "\0", "é", "€", "😀", "\ud800", "k" * 10_000, "a\nb"])
def test_any_text_is_a_key(store, key):
    store.set(key, 1)

    assert store.get("".join([key])) == 1
    assert keys_of(store) == [key]


def test_keys_of_a_subclass_count_as_their_text(store):
    class Hostile(str):
        __slots__ = ()

        def __hash__(self):
            raise AssertionError

        def __eq__(self, other):
            raise AssertionError

        def __str__(self):
            return "another"

    store.set(Hostile("k"), 1)

    assert store.get("k") == 1
    assert type(keys_of(store)[0]) is str


def test_a_hundred_thousand_keys_are_told_apart(make):
    store = make(200_000)
    for number in range(100_000):
        store.set(f"key:{number}", number, ttl=3600 if number % 2 else None)
    for number in range(0, 100_000, 3):
        store.delete(f"key:{number}")
    for number in range(100_000, 130_000):
        store.set(f"key:{number}", number)

    expected = {f"key:{n}": n for n in range(130_000) if n >= 100_000 or n % 3}
    assert all(store.get(key) == value for key, value in expected.items())
    assert len(store) == len(expected)
    assert store.get("key:0") is None


# -- watches ---------------------------------------------------------------------------------------


def test_a_key_that_nobody_changed_is_landed(store):
    store._watch("k")

    assert store._watched() == ["k"]
    assert store._land("k", 1, math.inf) is True
    assert store.peek("k") == 1
    assert store._watched() == []


CHANGES = {
    "set": lambda store: store.set("k", 2),
    "set_many": lambda store: store.set_many({"k": 2}),
    "add": lambda store: store.add("k", 2),
    "increment": lambda store: store.increment("k"),
    "delete": lambda store: store.delete("k"),
    "delete_many": lambda store: store.delete_many(["k"]),
    "pop": lambda store: store.pop("k"),
    "forget": lambda store: store._forget(["k", "j"]),
    "swap": lambda store: store._swap(type(store)(10), False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_key_that_was_changed_is_not_landed(store, change):
    store._watch("k")
    CHANGES[change](store)
    before = store.peek("k", MISSING)

    assert store._land("k", 1, math.inf) is False
    assert store.peek("k", MISSING) is before


@pytest.mark.parametrize("look", [lambda store: store.get("k"), lambda store: store.set("j", 1)])
def test_a_look_and_other_keys_do_not_count_as_changes(store, look):
    store._watch("k")
    store._watch("other")
    look(store)

    assert store._unwatch("k") is True
    assert store._unwatch("k") is False


def test_a_landed_value_has_the_life_that_it_was_given(store, clock):
    store._watch("k")
    store._land("k", 1, 5.0)

    clock.tick(5)

    assert "k" not in store


# -- sweeping, swapping, filling -------------------------------------------------------------------


def test_a_sweep_removes_what_has_expired(make, clock):
    store = make(5_000)
    for number in range(5_000):
        store.set(str(number), number, ttl=number % 5 + 1)

    clock.tick(3)
    swept = 0
    while removed := store._sweep():
        swept += removed

    assert swept == 3_000
    assert store._counters() == (0, 0, 0, 3_000, 2_000)


def test_swapped_content_is_the_others_with_order_and_deadlines(make, clock):
    store, other = make(10), make(10)
    store.set_many({"a": 1, "b": 2}, ttl=10)
    store.get("a")
    store.get("none")

    store._swap(other, False)
    clock.tick(10)

    assert len(store) == 0
    assert keys_of(other) == []
    assert len(other) == 2
    assert store._counters()[:2] == (1, 1)


def test_counters_are_swapped_on_request(make):
    store, other = make(10), make(10)
    store._set_counters(1, 2, 3, 4)
    other._set_counters(5, 6, 7, 8)

    store._swap(other, True)

    assert store._counters()[:4] == (5, 6, 7, 8)
    assert other._counters()[:4] == (1, 2, 3, 4)


def test_released_content_goes_bit_by_bit_and_counts_as_nothing(make):
    store = make(20_000)
    values = [Kept() for _ in range(10_000)]
    references = [weakref.ref(value) for value in values]
    store.set_many({str(n): value for n, value in enumerate(values)})
    del values

    steps = 0
    while store._release():
        steps += 1

    assert steps > 0
    assert not any(reference() for reference in references)
    assert store._counters() == (0, 0, 0, 0, 0)
    store.set("k", 1)
    assert keys_of(store) == ["k"]


def test_filling_keeps_what_is_live_and_counts_nothing(make, clock):
    store = make(4)
    store._reserve(100)
    now = store._now()

    store._fill(list("abcdea"), list(range(6)), [None, -5.0, 0, 5, 2.5, 7], now, now)

    assert content(store) == [("d", 3, now + 5), ("e", 4, now + 2.5), ("a", 5, now + 7)]
    assert store._counters() == (0, 0, 0, 0, 3)


def test_filling_beyond_the_bound_keeps_the_last_rows(make):
    store = make(2)

    store._fill(list("abcd"), list(range(4)), [None] * 4, 0.0, 0.0)

    assert keys_of(store) == ["c", "d"]
    assert store._counters() == (0, 0, 0, 0, 2)


# -- walks -----------------------------------------------------------------------------------------


def test_a_walk_finds_each_live_key_once(make, clock):
    store = make(10_000)
    for number in range(10_000):
        store.set(str(number), number, ttl=1 if number % 2 else None)

    clock.tick(1)

    assert sorted(walked(store._walk(False))) == sorted(str(n) for n in range(0, 10_000, 2))


def test_a_walk_ends_where_the_content_is_swapped(make):
    store, other = make(10), make(10)
    store.set("k", 1)
    walk = store._walk(True)

    store._swap(other, False)

    assert walk.slice() is None
    assert walk.delete(["k"]) == 0


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.set("k", 2),
        lambda store: store.increment("k"),
        lambda store: store.touch("k"),
        lambda store: (store.delete("k"), store.set("k", 2)),
    ],
)
def test_a_walk_deletes_only_what_was_not_written_since(store, write):
    store.set_many({"k": 1, "j": 1})
    walk = store._walk(True)

    write(store)
    store.set("new", 1)

    assert walk.delete(["k", "j", "new", "none"]) == 1
    assert sorted(keys_of(store)) == ["k", "new"]


def test_a_walk_counts_the_live_ones_that_it_deletes(store, clock):
    store.set("a", 1, ttl=1)
    store.set("b", 1)
    walk = store._walk(True)

    clock.tick(1)

    assert walk.delete(["a", "b"]) == 1
    walk.close()
    assert walk.delete(["b"]) == 0


def test_reads_do_not_keep_an_entry_from_a_walk(store):
    store.set("k", 1)
    walk = store._walk(True)

    store.get("k")

    assert walk.delete(["k"]) == 1


# -- snapshots -------------------------------------------------------------------------------------

INTERRUPTIONS = {
    "hit": lambda store: store.get("a"),
    "overwrite": lambda store: store.set("a", 9),
    "new": lambda store: store.set("new", 9),
    "increment": lambda store: store.increment("b"),
    "touch": lambda store: store.touch("c", ttl=1),
    "delete": lambda store: store.delete("a"),
    "pop": lambda store: store.pop("e"),
    "many": lambda store: (store.get_many(list("edcba")), store.set_many({"b": 9, "d": 9})),
    "evict": lambda store: store.set_many({str(n): n for n in range(100)}),
    "swap": lambda store: store._swap(type(store)(100), False),
    "release": lambda store: store._release(),
}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("read", range(6))
def test_a_snapshot_is_one_moment_whatever_happens_while_it_is_read(
    store, clock, read, interruption
):
    for number, key in enumerate("abcde"):
        store.set(key, number, ttl=number or None)
    snapshot, now, size, *_ = store._snapshot()

    rows = snapshot.rows(read)
    INTERRUPTIONS[interruption](store)
    rows += snapshot.rows(1)
    INTERRUPTIONS[interruption](store)
    rows += snapshot.rows(100)

    expected = [(k, n, now + n if n else None) for n, k in enumerate("abcde")]
    assert rows == expected
    assert (size, snapshot.rows(1)) == (5, [])


def test_a_snapshot_leaves_out_what_has_expired(store, clock):
    store.set("a", 1, ttl=1)
    store.set("b", 1, ttl=2)
    store.set("c", 1, ttl=9)
    store.set("a", 2, ttl=9)

    clock.tick(2)
    snapshot, _, size, *_ = store._snapshot()

    assert size == 2
    assert [key for key, _, _ in snapshot.rows(10)] == ["c", "a"]
    assert len(store) == 3


def test_a_snapshot_knows_the_counters_of_its_moment(store):
    store._set_counters(1, 2, 3, 4)

    snapshot, now, _, *counted = store._snapshot()

    assert counted == [1, 2, 3, 4]
    assert now == pytest.approx(store._now(), abs=60)
    snapshot.close()
    assert snapshot.rows(1) == []


def test_several_snapshots_are_several_moments(store):
    store.set("a", 1)
    first = store._snapshot()[0]
    store.set("a", 2)
    second = store._snapshot()[0]
    store.set("a", 3)

    assert [row[1] for row in first.rows(9)] == [1]
    assert [row[1] for row in second.rows(9)] == [2]


# -- trust -----------------------------------------------------------------------------------------


def test_what_is_not_trusted_is_not_read(store, clock):
    store.set("k", 1, ttl=100)
    store._trust(store._now() + 10)

    trusted = store._read("k", MISSING), store._read_many(["k", "k"])
    clock.tick(10)

    assert trusted == (1, {"k": 1})
    assert store._read("k", MISSING) is MISSING
    assert store._read_many(["k"]) is None
    assert store.get("k") == 1
    assert store._counters()[:2] == (4, 0)


def test_a_missing_key_is_not_counted_where_trust_is_asked_for(store, clock):
    store.set("k", 1, ttl=1)
    clock.tick(1)

    assert store._read("k", MISSING) is MISSING
    assert store._read_many(["j"]) is None
    assert store._counters()[:2] == (0, 0)


def test_a_key_that_is_no_plain_str_is_missing_for_a_trusted_read(store):
    class Loud(str):
        __slots__ = ()

        def __hash__(self):
            raise AssertionError

    store.set("k", 1)

    for key in (Loud("k"), 7, None, []):
        assert store._read(key, MISSING) is MISSING
    assert store._counters()[:2] == (0, 0)


def test_a_trusted_read_of_many_converts_its_keys(store):
    class Loud(str):
        __slots__ = ()

        def __hash__(self):
            raise AssertionError

    store.set("k", 1)

    assert store._read_many([Loud("k"), "k"]) == {"k": 1}
    with pytest.raises(TypeError, match="a key must be a str, not int"):
        store._read_many(["k", 7])
    assert store._counters()[:2] == (2, 0)


# -- values that the caller lets go of -------------------------------------------------------------


def test_what_a_put_replaces_goes_with_the_list_that_it_returns(store, clock):
    store.set("k", Kept())
    there = weakref.ref(store.peek("k"))

    gone = store._put("k", "new", 10.0)

    assert store.peek("k") == "new"
    assert store.ttl("k") == 10
    assert there() is not None
    del gone
    assert there() is None


def test_what_makes_room_for_a_put_goes_with_the_list_that_it_returns(make):
    store = make(1)
    store.set("old", Kept())
    there = weakref.ref(store.peek("old"))

    gone = store._put("new", 1, math.inf)

    assert keys_of(store) == ["new"]
    assert store._counters() == (0, 0, 1, 0, 1)
    assert there() is not None
    del gone
    assert there() is None


def test_a_put_counts_as_a_write(store):
    store._watch("k")

    assert store._put("k", 1, math.inf) == []

    assert not store._land("k", 2, math.inf)
    assert content(store) == [("k", 1, None)]


def test_what_is_taken_goes_with_the_list_that_is_returned(store, clock):
    store.set_many({"a": Kept(), "b": Kept(), "c": 3})
    store.set("x", Kept(), ttl=1)
    there = [weakref.ref(store.peek(key)) for key in "abx"]
    clock.tick(1)

    gone = store._take(["a", "none", "b", "x", "a"])

    assert keys_of(store) == ["c"]
    assert store._counters() == (0, 0, 0, 1, 1)
    assert all(reference() is not None for reference in there)
    del gone
    assert [reference() for reference in there] == [None] * 3


def test_a_taken_key_counts_as_changed(store):
    store._watch("k")

    assert store._take(["k"]) == []

    assert not store._unwatch("k")


def test_a_str_subclass_is_put_and_taken_as_its_text(store):
    class Loud(str):
        __slots__ = ()

        def __hash__(self):
            raise AssertionError

    store._put(Loud("k"), 1, math.inf)
    assert keys_of(store) == ["k"]
    store._take([Loud("k")])

    assert keys_of(store) == []
    with pytest.raises(TypeError, match="a key must be a str, not int"):
        store._put(1, 1, math.inf)
    with pytest.raises(TypeError, match="a key must be a str, not int"):
        store._take([1])


def test_a_store_takes_the_lock_of_the_layer_above(Store):
    """The compiled one needs none: it only may be given one."""
    lock = threading.RLock()
    store = Store(10, lock=lock)
    store.set("k", 1)

    with ThreadPoolExecutor(1) as pool, lock:
        reading = pool.submit(store.get, "k")
        done = wait([reading], 0.05).done

    assert reading.result() == 1
    assert bool(done) == (Store.__module__ == NAMES["c"])


# -- memory and calls from inside ------------------------------------------------------------------


def test_a_value_goes_when_its_entry_goes(store):
    values = [Kept() for _ in range(3)]
    references = [weakref.ref(value) for value in values]
    for key, value in zip("abc", values, strict=True):
        store.set(key, value)
    del values, value

    store.set("a", 1)
    store.delete("b")
    store.pop("c")

    assert [reference() for reference in references] == [None] * 3


def test_a_store_that_holds_itself_is_collected(Store):
    class Cache(Store):
        pass

    cache = Cache(10)
    cache.set("self", [cache])
    cache.set("text", "x")
    reference = weakref.ref(cache)

    del cache
    gc.collect()

    assert reference() is None


def test_a_finalizer_may_call_the_store(store):
    class Calling:
        def __del__(self):
            calls.append(store.get("other"))
            store.set("k", "from inside")

    calls: list[Any] = []
    store.set("other", 1)
    store.set("k", Calling())

    store.set("k", 2)

    assert calls == [1]
    assert store.get("k") == "from inside"


def test_a_clock_may_call_the_store(store, monkeypatch):
    def clock():
        if not asked:
            asked.append(True)
            store.set("inside", 1)
        return 100.0

    asked: list[bool] = []
    store.set("k", 1, ttl=1)
    monkeypatch.setattr(importlib.import_module(type(store).__module__), "monotonic", clock)

    store.get("k")

    assert store.get("inside") == 1


def test_a_store_is_not_pickled(store):
    with pytest.raises(TypeError):
        pickle.dumps(store)


@pytest.mark.parametrize("size", [0, -1])
def test_a_store_needs_room_for_one(Store, size):
    with pytest.raises(ValueError, match="max_size must be at least 1"):
        Store(size)


# -- what is skipped, what is ended, and the real clock --------------------------------------------


def test_a_walk_and_a_snapshot_go_past_any_number_of_expired_entries(make, clock):
    store = make(100_000)
    store.set_many({str(number): number for number in range(70_000)}, ttl=1)
    store.set("live", 1)

    clock.tick(1)
    snapshot, _, size, *_ = store._snapshot()

    assert size == 1
    assert [key for key, _, _ in snapshot.rows(2_000)] == ["live"]
    assert walked(store._walk(False)) == ["live"]


def test_an_expired_entry_that_is_written_again_is_in_no_earlier_snapshot(store, clock):
    store.set("a", 1, ttl=1)
    store.set("b", 1)
    clock.tick(1)
    snapshot = store._snapshot()[0]

    store.set("a", 2)

    assert [key for key, _, _ in snapshot.rows(9)] == ["b"]


def test_a_real_clock_ends_a_life_of_a_nanosecond(store):
    store.set("k", 1, ttl=1e-9)

    assert store.get("k") is None
