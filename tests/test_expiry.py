"""The index of deadlines, without a cache: how wide its buckets are, and what work they make."""

from collections import OrderedDict

import pytest

from cache.expiry import ExpiryIndex


class Filed:
    """An index and the entries that it is about."""

    def __init__(self, index=None):
        self.index = index or ExpiryIndex()
        self.entries = OrderedDict()

    def put(self, key, deadline, life=100.0):
        slot = self.index.slot_for(deadline, life)
        self.entries[key] = (key, deadline, slot)
        self.index.buckets[slot][key] = None
        return slot

    def remove(self, key):
        _, _, slot = self.entries.pop(key)
        self.index.discard(key, slot, self.entries)

    def sweep(self, now, limit=1000):
        return self.index.sweep(self.entries, now, limit)


@pytest.fixture
def filed():
    return Filed()


def test_a_bucket_is_a_256th_of_the_power_of_two_above_the_life(filed):
    ends = [
        filed.index.buckets[filed.index.slot_for(1000.1, life)].end
        for life in (1.5, 100, 128, 127.9, 50, 63.9, 64, 256, 255)
    ]

    assert ends == [1000.1015625, 1000.5, 1001, 1000.5, 1000.25, 1000.25, 1000.5, 1002, 1001]


def test_deadlines_of_one_stretch_share_a_bucket(filed):
    for hundredth in range(1000):
        filed.put(str(hundredth), 1000 + hundredth / 100)

    assert len(filed.index.buckets) == 20
    assert {len(bucket) for bucket in filed.index.buckets.values()} == {50}


def test_a_bucket_ends_before_its_end(filed):
    first = filed.put("a", 1000.1)

    assert filed.put("b", 1000.5) != first
    assert filed.put("c", 1000.4) == first


def test_the_bucket_asked_for_last_is_at_hand(filed):
    slot = filed.index.slot_for(1000.1, 100.0)

    index = filed.index
    assert (index.slot, index.life, index.floor, index.end) == (slot, 100.0, 1000.1, 1000.5)


def test_a_deadline_noted_before_is_not_noted_again(filed):
    for number in range(100):
        filed.put(str(number), 1000.1, life=100.0 + number % 2)

    assert len(filed.index.heap) == 1


def test_an_earlier_deadline_is_found_after_a_tidying_too(filed):
    filed.put("late", 1000.4)
    filed.put("early", 1000.1)
    for number in range(200):
        filed.put(str(number), 1001.0 + number)

    assert not filed.index.due(1000.0)
    assert filed.index.due(1000.1)


def test_what_leaves_a_bucket_leaves_no_record(filed):
    slot = filed.put("a", 1000.1)
    filed.put("b", 1000.2)

    filed.remove("a")

    assert [*filed.index.buckets[slot]] == ["b"]


def test_a_key_that_was_set_again_leaves_its_former_bucket(filed):
    former = filed.put("a", 1000.1)
    filed.put("b", 1000.1)
    filed.put("a", 2000.1)

    filed.index.discard("a", former, filed.entries)

    assert [*filed.index.buckets[former]] == ["b"]
    assert filed.sweep(2001.0)[-1][0] == "a"


def test_a_key_that_is_back_in_its_bucket_keeps_its_record(filed):
    slot = filed.put("a", 1000.1)

    filed.index.discard("a", slot, filed.entries)

    assert [*filed.index.buckets[slot]] == ["a"]


def test_a_record_that_is_gone_already_is_no_error(filed):
    slot = filed.put("a", 1000.1)

    filed.index.discard("b", slot, filed.entries)

    assert [*filed.index.buckets[slot]] == ["a"]


def test_an_emptied_bucket_goes_unless_it_was_asked_for_last(filed):
    first = filed.put("a", 1000.1)
    last = filed.put("b", 2000.1)

    filed.remove("a")
    filed.remove("b")

    assert [*filed.index.buckets] == [last] != [first]


def test_nothing_is_due_of_an_empty_bucket_and_it_goes(filed):
    filed.put("a", 1000.1, life=1.0)
    filed.remove("a")

    assert filed.index.due(2000.0) is False
    assert (filed.index.buckets, filed.index.heap) == ({}, [])
    assert filed.put("a", 1000.1, life=1.0) in filed.index.buckets


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_a_sweep_removes_as_many_as_it_may(filed, apart):
    for number in range(20):
        filed.put(str(number), 1000.1 + number * apart)

    now = 1000.5 + 20 * apart
    assert filed.sweep(now, 0) == []
    assert 6 <= len(filed.sweep(now, 6)) <= 7
    assert sum(map(len, filed.index.buckets.values())) == len(filed.entries) in (13, 14)
    assert 1 <= len(filed.sweep(now, 1)) <= 2


def test_moving_counts_as_some_removals(filed):
    former = filed.put("first", 1000.1)
    for number in range(99):
        filed.put(str(number), 1000.4)

    gone = filed.sweep(1000.2, 8)

    moved = [entry for entry in filed.entries.values() if entry[2] != former]
    assert [entry[0] for entry in gone] == ["first"]
    assert 1 <= len(moved) <= 2
    assert not {entry[0] for entry in moved} & filed.index.buckets[former].keys()


def test_a_sweep_of_one_goes_on_in_a_bucket_of_live_entries(filed):
    filed.put("early", 1000.1)
    filed.put("late", 1000.4)

    gone = [entry[0] for _ in range(10) for entry in filed.sweep(1000.2, 1)]

    assert (gone, [*filed.entries]) == (["early"], ["late"])


def test_a_moved_entry_is_in_a_bucket_as_narrow_as_the_life_that_is_left(filed):
    former = filed.put("early", 1000.1)
    filed.put("late", 1000.4)

    filed.sweep(1000.2)

    _, deadline, slot = filed.entries["late"]
    assert 0 < filed.index.buckets[slot].end - deadline < 0.2 / 64
    assert "late" not in filed.index.buckets.get(former, {})
    assert "late" in filed.index.buckets[slot]


def test_a_record_of_a_former_deadline_moves_nothing(filed):
    filed.put("k", 1000.1)
    filed.put("k", 2000.1)  # a call from inside came between
    entry = filed.entries["k"]

    assert filed.sweep(1000.3) == []
    assert filed.entries["k"] is entry
    assert not filed.index.due(2000.0)


class Interrupted(ExpiryIndex):
    """An index in which something happens while a slot is looked for."""

    inside = None

    def slot_for(self, deadline, life):
        slot = super().slot_for(deadline, life)
        if self.inside:
            self.inside(slot)
        return slot


@pytest.mark.parametrize(
    ("inside", "left"),
    [
        (lambda filed, slot: filed.entries.pop("late"), {}),
        (lambda filed, slot: filed.entries.update(late=("new", None, None)), {"late": "new"}),
        (lambda filed, slot: filed.index.buckets.pop(slot), {"late": "late"}),
    ],
    ids=["removed", "written", "without its bucket"],
)
def test_what_happens_while_an_entry_is_moved_stays(inside, left):
    filed = Filed(Interrupted())
    filed.put("early", 1000.1)
    filed.put("late", 1000.4)
    filed.index.inside = lambda slot: inside(filed, slot)

    filed.sweep(1000.2, 5)

    assert {key: entry[0] for key, entry in filed.entries.items()} == left


def test_a_release_empties_every_bucket(filed):
    filed.put("a", 1000.1)
    filed.put("b", 2000.1)

    filed.index.release()

    assert [*map(len, filed.index.buckets.values())] == [0, 0]


def test_what_was_set_and_removed_at_once_leaves_little(filed):
    for number in range(5000):
        filed.put("k", 1000.0 + number)
        filed.remove("k")

    assert len(filed.index.buckets) < 300
    assert len(filed.index.heap) < 300
