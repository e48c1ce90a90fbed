"""The parts below the cache, each without one, and what no clause says of the cache itself."""

import decimal
import fractions
import gc
import hashlib
import inspect
import io
import os
import pickle
import pickletools
import sys
import threading
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from math import inf
from random import Random

import pytest

import cache as cache_package
from cache import (
    DistributedCache,
    SnapshotError,
    core,
    expiry,
    patterns,
    plain,
    room,
    snapshot,
    sweeper,
    trust,
)
from cache.expiry import FULL, ExpiryIndex


def test_the_package_gives_its_public_names_and_no_others():
    names = "Cache CacheError CacheStats CacheUnavailable DistributedCache Health Portable"

    assert sorted(cache_package.__all__) == [
        *names.split(),
        *("SnapshotError", "connect", "escape", "fingerprint"),
    ]
    assert all(hasattr(cache_package, name) for name in cache_package.__all__)


class Fails:
    def __reduce__(self):
        raise LookupError("on purpose")


class FailsOnce:
    calls = 0

    def __reduce__(self):
        FailsOnce.calls += 1
        if FailsOnce.calls == 1:
            raise LookupError("on purpose")
        return FailsOnce, ()


def test_the_index_drops_records_without_an_entry():
    index = ExpiryIndex()
    slot = index.slot_for(10.0, 10.0)
    index.buckets[slot]["k"] = None

    assert index.due(10.0)
    assert index.sweep(OrderedDict(), 10.0, 5) == []
    assert not index.due(10.0)


def test_the_index_knows_nothing_of_an_unknown_slot():
    index = ExpiryIndex()

    index.discard("k", 1.0, OrderedDict())

    assert not index.due(1e300)


def test_the_defaults_of_a_cache(CacheImpl):
    with CacheImpl() as cache:
        assert cache.stats().max_size == 1000

    assert inspect.signature(CacheImpl).parameters["cleanup_interval"].default == 60.0


def test_a_moved_class_is_written_under_its_old_name(monkeypatch):
    monkeypatch.setitem(trust.FORMER_MODULES, "decimal", "decimal")
    codec = plain.Codec()
    value = [decimal.Decimal(1), decimal.Decimal, None, fractions.Fraction(1, 2), {"a": (1.5,)}]

    data = codec.dumps(value)

    assert codec.loads(data) == pickle.loads(data) == value


def test_a_moved_class_is_written_once_whatever_was_written_before(monkeypatch):
    monkeypatch.setitem(trust.FORMER_MODULES, "fractions", "former")
    kind = fractions.Fraction

    data = plain.Codec().dumps([b"x" * 200_000, kind, kind])

    names = [code.name for code, _, _ in pickletools.genops(data)]
    assert [data.count(name) for name in (b"former", b"Fraction", b"fractions")] == [1, 1, 0]
    assert names.count("STACK_GLOBAL") == 1
    assert len(data) < 201_000


def test_what_a_value_raises_while_it_is_pickled_is_a_snapshot_error():
    with pytest.raises(SnapshotError, match="LookupError"):
        plain.Codec([Fails]).dumps(Fails())


def test_a_trusted_module_has_only_its_own_classes():
    codec = plain.Codec([__name__])

    with pytest.raises(SnapshotError, match=r"test_parts\.OrderedDict"):
        codec.loads(b"c" + __name__.encode() + b"\nOrderedDict\n.")


@pytest.mark.parametrize(
    ("pattern", "prefix", "hits", "misses"),
    [
        ("*", "", ["", "a"], []),
        ("ab", "ab", ["ab"], ["a", "abc"]),
        ("ab*", "ab", ["ab", "abc"], ["a", "xab"]),
        ("*ab", "", ["ab", "xab"], ["abc"]),
        ("*ab*", "", ["ab", "xabc"], ["a", "axb"]),
        ("ab*[cd]?", "ab", ["abce", "abxde"], ["ab", "abc", "xabce"]),
    ],
)
def test_a_compiled_pattern_tells_one_key_as_it_selects_many(pattern, prefix, hits, misses):
    glob = patterns.compile_glob(pattern)

    assert (glob.pattern, glob.prefix) == (pattern, prefix)
    assert [key for key in [*hits, *misses] if glob.matches(key)] == hits
    assert glob.select([*misses, *hits]) == hits


def test_a_pattern_used_again_is_not_compiled_again():
    first = patterns.compile_glob("a*b")

    again = patterns.compile_glob("a*b")

    assert again is first


def written(path, values, codec=None):
    rows = [(str(number), value, None) for number, value in enumerate(values)]
    counters = dict.fromkeys(("hits", "misses", "evictions", "expirations"), 0)

    def take(most):
        part = rows[:most]
        del rows[:most]
        return part

    header = {"saved_at": 0.0, **counters, "entries": len(rows)}
    snapshot.write(path, header, take, codec or plain.Codec())
    return path


def rewritten(path, body):
    digest = hashlib.blake2b(body, digest_size=32).digest()
    mark, seal = snapshot._MARK, snapshot._seal(digest, None)
    path.write_bytes(body + mark + digest + seal + mark)


def test_what_is_larger_than_a_frame_is_a_slice_of_its_own(tmp_path):
    path = written(tmp_path / "s", [b"x" * 100_000] * 200)

    _, slices = snapshot.read(path, plain.Codec())
    sizes = [len(keys) for keys, _, _ in slices]

    assert sum(sizes) == 200
    assert set(sizes) == {1}


@pytest.mark.parametrize(
    ("value", "count", "sizes"),
    [
        (b"", 12_000, [64, 128, 256, 512, 1024, 2000, 2000]),
        (b"x" * 700, 250, [64, 64, 64, 58]),
    ],
)
def test_slices_grow_until_they_take_a_while(tmp_path, value, count, sizes):
    path = written(tmp_path / "s", [value + str(number).encode() for number in range(count)])

    _, slices = snapshot.read(path, plain.Codec())

    assert [len(keys) for keys, _, _ in slices][: len(sizes)] == sizes


def test_a_source_tells_where_it_is_and_goes_there():
    source = snapshot._Source(io.BytesIO(b"abcdef" + b"x" * (1 << 20)))

    begin = source.tell(), source.read(3), source.tell()
    source.seek(1)
    again = source.tell(), source.read(2), source.tell()
    source.read(1 << 20)

    assert begin == (0, b"abc", 3)
    assert again == (1, b"bc", 3)
    assert (source.tell(), source.read(9)) == ((1 << 20) + 3, b"xxx")


@pytest.mark.parametrize("sizes", [[1, 2], [1 << 20], [1 << 19, 1 << 19, 3], [5, 3 << 20, 7]])
def test_what_is_written_is_in_the_file_and_in_the_digest_in_its_order(sizes):
    file = io.BytesIO()
    stream = snapshot._Hashing(file)
    parts = [bytes([at]) * size for at, size in enumerate(sizes)]

    counts = [stream.write(part) for part in parts]
    digest = stream.digest()

    assert (counts, file.getvalue()) == (sizes, b"".join(parts))
    assert digest == hashlib.blake2b(file.getvalue(), digest_size=32).digest()


def test_what_waits_to_be_written_stays_below_two_chunks():
    file = io.BytesIO()
    stream = snapshot._Hashing(file)

    for number in range(1, 6):
        stream.write(b"x" * (1 << 19))

        assert number * (1 << 19) - len(file.getvalue()) < 1 << 20


def test_a_seal_is_what_it_was_in_every_version():
    key = hashlib.blake2b(b"secret", person=b"cache secret").digest()

    seal = snapshot._seal(b"digest", b"secret")

    assert (
        seal == hashlib.blake2b(b"digest", digest_size=32, key=key, person=b"cache seal").digest()
    )
    assert snapshot._seal(b"digest", None) != seal


MARK = b"\n%cache digest%\n"
TRAILER = 2 * len(MARK) + 64


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: b"", "'{}' is cut short: it has 0 bytes"),
        (lambda data: data[:10], "'{}' is cut short: it has 10 bytes"),
        (lambda data: data[:3] + b"x" * 60, "'{}' is cut short: it has 63 bytes"),
        (lambda data: data[:3] + b"x" * 61, "'{}' is not a snapshot"),
        (lambda data: data[:2] + b"x" * 20, "'{}' is not a snapshot"),
        (lambda data: b"x" * 500, "'{}' is not a snapshot"),
        (lambda data: MARK, "'{}' is not a snapshot"),
        (lambda data: data[:-1], "'{}' is cut short: its digest is missing"),
        (lambda data: data[:-1] + b"x", "'{}' is damaged: it does not have the digest"),
        (
            lambda data: data[:-TRAILER] + b"x" + data[1 - TRAILER :],
            "'{}' is damaged: it does not have the digest",
        ),
        (
            lambda data: data[:-1].replace(b"versionK\x01", b"versionK\x02"),
            "'{}' is cut short: its digest is missing",
        ),
        (
            lambda data: data[:-1].replace(b"version\x94K\x01", b"version\x94K\x02"),
            "'{}' is of a newer version than this library's 1",
        ),
    ],
)
def test_a_file_that_is_no_whole_snapshot_is_called_what_it_is(tmp_path, edit, message):
    path = written(tmp_path / "s", [1])
    path.write_bytes(edit(path.read_bytes()))

    with pytest.raises(SnapshotError) as caught:
        snapshot.read(path, plain.Codec())

    assert str(caught.value).startswith(message.format(path))


def test_a_refused_value_is_told_with_the_files_name(tmp_path):
    FailsOnce.calls = 1
    path = written(tmp_path / "s", [FailsOnce()], plain.Codec([FailsOnce]))

    _, slices = snapshot.read(path, plain.Codec())

    with pytest.raises(
        SnapshotError,
        match=f"^'{path}': the value at '0' cannot be loaded: \\S+FailsOnce is neither",
    ):
        next(slices)


def test_a_value_that_can_be_pickled_the_second_time_is_saved(tmp_path):
    codec = plain.Codec([FailsOnce])
    FailsOnce.calls = 0
    large = b"x" * 2_000_000
    path = written(tmp_path / "s", [large, FailsOnce(), 2], codec)

    values = [value for _, part, _ in snapshot.read(path, codec)[1] for value in part]

    assert [type(value) for value in values] == [bytes, FailsOnce, int]
    assert values[0] == large
    assert path.stat().st_size < len(large) + 10_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"anything else", "'.*s' is not a snapshot"),
        (None, "'.*s': damaged: its header"),
    ],
)
def test_a_right_digest_makes_no_snapshot_of_it(tmp_path, body, message):
    path = tmp_path / "s"
    if body is None:
        body = pickle.dumps({"format": "cache snapshot", "version": 1, "hits": -1}, 5)
    rewritten(path, body)

    with pytest.raises(SnapshotError, match=message):
        snapshot.read(path, plain.Codec())


def test_a_file_that_shrinks_while_it_is_read_has_another_digest():
    assert snapshot._digest_of(io.BytesIO(b"ab"), 5) == snapshot._digest_of(io.BytesIO(b"ab"), 2)


def test_without_threads_the_cache_does_without(CacheImpl, monkeypatch, caplog):
    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    caplog.set_level("DEBUG")
    with CacheImpl() as cache:
        cache.set("k", 1)

        assert cache.get("k") == 1
    assert [record.name for record in caplog.records] == ["cache"]


def test_the_thread_has_a_name_that_tells_whose_it_is(cache):
    assert "cache-cleanup" in {thread.name for thread in threading.enumerate()}


def test_at_the_very_end_no_thread_is_tried(CacheImpl, monkeypatch):
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    before = threading.active_count()

    with CacheImpl():
        assert threading.active_count() == before


def test_the_thread_ends_where_its_cache_is_gone():
    ended = threading.Lock()
    ended.acquire()

    assert sweeper._run(lambda: None, ended, 0.001) is None


def test_more_than_a_slice_is_cleaned_up(make_cache, clock):
    cache = make_cache(5000)
    cache.set_many({f"k{number}": number for number in range(5000)}, ttl=1)
    clock.tick(1)

    assert (cache.cleanup(), len(cache)) == (5000, 0)


class Uses:
    """Garbage that uses keys when it is collected, which is in the middle of a save's walk."""

    def __init__(self, cache, times):
        self.itself, self.cache, self.times = self, cache, times

    def __del__(self):
        for _ in range(self.times):
            self.cache.get("a")


@pytest.mark.parametrize("times", [1, 12_000])
def test_a_use_during_the_walk_of_a_save_counts_after_it(small_cache, tmp_path, times):
    small_cache.set_many({"a": 1, "b": 2, "c": 3})
    gc.collect()
    Uses(small_cache, times)

    small_cache.save(tmp_path / "s")
    small_cache.set("d", 4)

    assert sorted(small_cache.keys()) == ["a", "c", "d"]
    assert small_cache.stats().hits == times


def test_a_save_leaves_a_disabled_collector_alone(small_cache, tmp_path):
    small_cache.set("a", 1)
    gc.disable()
    try:
        small_cache.save(tmp_path / "s")
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_after_a_fork_the_parent_goes_on(cache):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    thread = threading.Thread(target=cache.set, args=("k", 1))
    thread.start()
    thread.join(30)

    assert cache.get("k") == 1


def test_a_cache_can_be_referred_to_weakly(cache):
    assert weakref.ref(cache)() is cache


def test_the_text_of_a_cache_tells_no_key_and_no_value(small_cache):
    small_cache.set("secret-key", "secret-value")

    assert repr(small_cache) == f"<{type(small_cache).__name__} with 1 of 3 entries>"


@pytest.mark.parametrize("pairs", [[("k", 1)], "k", None, 3])
def test_set_many_takes_mappings_only(cache, pairs):
    with pytest.raises(TypeError, match="mapping"):
        cache.set_many(pairs)

    assert cache.keys() == []


@pytest.mark.parametrize("size", [0, 1000, 400_000])
def test_an_ordered_dict_with_room_is_empty_and_keeps_order(size):
    entries = room.ordered_dict(size)

    assert len(entries) == 0
    assert list(entries) == []
    entries["b"], entries["a"] = 1, 2
    entries.move_to_end("b")
    assert list(entries.items()) == [("a", 2), ("b", 1)]


def test_an_ordered_dict_with_room_does_not_grow_until_it_is_full():
    entries = room.ordered_dict(200_000)
    before = dict.__sizeof__(entries)

    for number in range(200_000):
        entries[str(number)] = None

    assert dict.__sizeof__(entries) == before


@pytest.mark.parametrize("size", [100_001, 150_000, 174_762, 174_763, 200_000, 349_525, 349_526])
def test_an_ordered_dict_with_room_is_no_larger_than_one_that_grew(size):
    entries, grown = room.ordered_dict(size), {None: None}

    before = dict.__sizeof__(entries)
    for number in range(size):
        entries[str(number)] = grown[str(number)] = None

    assert dict.__sizeof__(entries) == before <= dict.__sizeof__(grown) + 100


def test_a_pickle_of_lines_is_read(tmp_path):
    value = ["text", 5, {"k": (1.5, None)}]

    source = snapshot._Source(io.BytesIO(pickle.dumps(value, 0)))

    assert plain.Codec().load(source) == value


def test_an_earlier_deadline_in_the_same_slot_is_found_in_time():
    index, entries = ExpiryIndex(), OrderedDict()
    for key, deadline in (("late", 1003.0), ("early", 1001.0)):
        slot = index.slot_for(deadline, 1000.0)
        index.buckets[slot][key] = None
        entries[key] = (key, deadline, slot)

    assert len(index.buckets) == 1
    assert not index.due(1000.5)
    assert index.sweep(entries, 1002.0, 10) == [("early", 1001.0, slot)]
    assert [*entries] == ["late"]
    assert index.sweep(entries, 1003.0, 10)[0][0] == "late"


class Tidied(ExpiryIndex):
    times = 0

    def _tidy(self):
        Tidied.times += 1
        super()._tidy()


def test_the_index_is_tidied_seldom_and_forgets_the_buckets_that_are_gone():
    Tidied.times, index, entries = 0, Tidied(), OrderedDict()
    for number in range(4000):
        index.buckets[index.slot_for(1000.0 + number, 100)]["k"] = None

    assert 4 <= Tidied.times <= 12
    index.sweep(entries, 1e6, 10**6)
    for number in range(300):
        index.buckets[index.slot_for(2e6 + number, 100)]["k"] = None
        index.due(2e6 + number)
    index._tidy()
    assert len(index._where) <= len(index.buckets) + 1


@pytest.mark.parametrize("ttl", [1000, 1000.5])
def test_a_full_bucket_is_followed_by_another(ttl):
    index = ExpiryIndex()
    first = index.slot_for(5000.0, 1000)
    index.buckets[first].update(dict.fromkeys(map(str, range(FULL))))

    second = index.slot_for(5000.0, ttl)

    assert second != first
    assert index.slot_for(5000.0, 1000) == second


def test_a_burst_with_one_ttl_fills_several_buckets(make_cache, clock):
    cache = make_cache(FULL + 10)
    for number in range(FULL + 10):
        cache.set(str(number), number, ttl=1000)

    sizes = sorted(map(len, cache._expiry.buckets.values()))

    assert sizes == [10, FULL]
    clock.tick(1000)
    assert cache.cleanup() == FULL + 10


WAITING = {
    "get of what has expired": lambda cache, path: cache.get("expired"),
    "exists": lambda cache, path: cache.exists("k"),
    "ttl": lambda cache, path: cache.ttl("k"),
    "get_many": lambda cache, path: cache.get_many(["k"]),
    "keys": lambda cache, path: cache.keys(),
    "stats": lambda cache, path: cache.stats(),
    "set": lambda cache, path: cache.set("k", 1),
    "set for a while": lambda cache, path: cache.set("k", 1, 1000),
    "add": lambda cache, path: cache.add("new", 1),
    "replace": lambda cache, path: cache.replace("k", 1),
    "set_many": lambda cache, path: cache.set_many({"k": 1}),
    "increment": lambda cache, path: cache.increment("k"),
    "touch": lambda cache, path: cache.touch("k"),
    "get_or_set": lambda cache, path: cache.get_or_set("new", int),
    "pop": lambda cache, path: cache.pop("k"),
    "delete": lambda cache, path: cache.delete("k"),
    "delete_many": lambda cache, path: cache.delete_many(["k"]),
    "delete_pattern": lambda cache, path: cache.delete_pattern("*"),
    "clear": lambda cache, path: cache.clear(),
    "cleanup": lambda cache, path: cache.cleanup(),
    "reset_stats": lambda cache, path: cache.reset_stats(),
    "close": lambda cache, path: cache.close(),
    "save": lambda cache, path: cache.save(path),
    "load": lambda cache, path: cache.load(path),
}


@pytest.mark.parametrize("verb", WAITING)
def test_a_verb_waits_for_the_thread_that_is_inside(cache, clock, tmp_path, verb):
    cache.set("k", 1, ttl=1000)
    cache.set("expired", 1, ttl=1)
    cache.save(tmp_path / "s")
    clock.tick(2)

    with ThreadPoolExecutor(1) as holder, ThreadPoolExecutor(1) as other:
        holder.submit(cache._lock.acquire).result(30)
        call = other.submit(WAITING[verb], cache, tmp_path / "s")
        early = wait([call], 0.03).done
        holder.submit(cache._lock.release).result(30)
        call.result(30)

    assert early == set()


def check_index(cache):
    """Assert that every entry with a deadline is on record where it belongs, and nothing else."""
    expiry, records = cache._expiry, 0
    for key, (_, deadline, slot) in cache._entries.items():
        assert (deadline is None) == (slot is None)
        if slot is not None:
            bucket = expiry.buckets[slot]
            assert bucket.floor <= deadline < bucket.end
            assert key in bucket
            assert any(found == (bucket.floor, slot) for found in expiry.heap)
            records += 1
    assert sum(map(len, expiry.buckets.values())) == records


@pytest.mark.parametrize("size", [30, 1000])
def test_whatever_is_called_the_index_agrees_with_the_entries(make_cache, clock, tmp_path, size):
    cache, random = make_cache(size), Random(size)
    steps = [
        *[lambda key: cache.set(key, 1, random.choice([None, 1, 1, 1, 1.1, 2, 50, inf]))] * 20,
        *[lambda key: cache.set_many({key: 1, key + "x": 2}, random.choice([1, 3]))] * 2,
        lambda key: cache.add(key, 1, 1),
        lambda key: cache.replace(key, 1, 1),
        lambda key: cache.touch(key, random.choice([None, 1, 2])),
        *[lambda key: cache.delete(key)] * 2,
        lambda key: cache.increment(key),
        lambda key: cache.get(key),
        lambda key: cache.cleanup(),
        lambda key: clock.tick(random.choice([0.001, 0.004, 0.1, 0.5])),
    ]
    for number in range(3000):
        random.choice(steps)(f"k{random.randrange(60)}")
        if number % 10 == 0:
            check_index(cache)
    cache.save(tmp_path / "s")
    cache.load(tmp_path / "s")

    check_index(cache)
    assert 0 < len(cache) <= size


def test_a_hit_that_another_thread_comes_between_is_decided_anew(cache, monkeypatch):
    def gone(key):
        raise KeyError(key)

    cache.set("k", 1)
    monkeypatch.setattr(cache, "_touch", gone)

    assert cache.get("k") == 1
    assert cache.stats()[:2] == (1, 0)


@pytest.mark.parametrize("ttl", [None, 1000])
def test_what_happens_while_keys_are_matched_counts(cache, clock, monkeypatch, ttl):
    real, steps = core._slices_of, [lambda: cache.delete("a1"), lambda: cache.set("a2", "new", ttl)]

    def meanwhile(items):
        if steps:
            steps.pop(0)()
        return real(items)

    monkeypatch.setattr(core, "_slices_of", meanwhile)
    cache.set_many({"a1": 1, "a2": 2, "a3": 3}, ttl)

    assert {"a2", "a3"} <= set(cache.keys("a*"))
    assert cache.delete_pattern("a*") == 1
    assert cache.get_many(["a2", "a3"]) == {"a2": "new"}


def test_a_key_that_gets_another_life_is_not_kept_twice(cache):
    first, again = ("-".join(["a", "key"]) for _ in range(2))
    cache.set(first, 1, ttl=10)
    alone = sys.getrefcount(again)

    cache.set(again, 2, ttl=1000)

    assert sys.getrefcount(again) == alone
    assert cache.ttl("a-key") > 900


COUNTED = {"hits": 0, "misses": 0, "evictions": 0, "expirations": 0, "entries": 0}


@pytest.mark.parametrize(
    "header",
    [[], {}, COUNTED | {"hits": -1}, COUNTED | {"misses": True}, COUNTED | {"entries": "1"}],
    ids=repr,
)
def test_a_header_without_its_counters_is_damaged(header):
    with pytest.raises(SnapshotError, match="damaged: its header lacks a counter"):
        snapshot._checked_header(header)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((("k", 1, None),), "it does not have as many entries as its header says"),
        ([], "it does not have as many entries as its header says"),
        ([("k", 1, None)] * 3, "it does not have as many entries as its header says"),
        ([["k", 1, None]], "an entry is not a key, a value and an expiry"),
        ([("k", 1)], "an entry is not a key, a value and an expiry"),
        ([("k", 1, None), (b"k", 1, None)], "an entry is not a key, a value and an expiry"),
        ([("a", 1, None), ("b", 1, "soon")], "the expiry of 'b' is not a number of seconds"),
        ([("a", 1, 5), ("b", 1, inf)], "the expiry of 'b' is not a number of seconds"),
    ],
    ids=repr,
)
def test_a_slice_of_another_shape_is_damaged(rows, words):
    with pytest.raises(SnapshotError) as caught:
        snapshot._checked_columns(rows, 2)

    assert str(caught.value) == f"damaged: {words}"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_every_byte_goes_into_the_digest(size):
    data = b"x" * size

    found = snapshot._digest_of(io.BytesIO(data), size)

    assert found == hashlib.blake2b(data, digest_size=32).digest()


@pytest.mark.parametrize(
    ("written_with", "read_with", "words"),
    [
        (b"a", b"b", "is sealed with another secret than this cache's, or its seal is damaged"),
        (b"a", None, "is sealed with a secret, and this cache has none; or its seal is damaged"),
        (None, b"a", "is not sealed, and this cache has a secret"),
    ],
)
def test_a_file_says_how_its_seal_differs(make_cache, tmp_path, written_with, read_with, words):
    path = tmp_path / "s"
    make_cache(secret=written_with).save(path)

    with pytest.raises(SnapshotError) as caught:
        snapshot.read(path, plain.Codec(), read_with)

    assert str(caught.value) == f"'{path}' {words}"


def test_a_secret_of_another_type_is_named():
    with pytest.raises(TypeError, match="secret must be bytes, not str"):
        snapshot.checked_secret("secret")


@pytest.mark.parametrize(
    ("inside", "removed", "left"),
    [
        (lambda cache: cache.delete("a1"), 1, {}),
        (lambda cache: cache.increment("a1"), 1, {"a1": 2}),
        (lambda cache: cache.clear(), 0, {}),
    ],
    ids=["delete", "increment", "clear"],
)
@pytest.mark.parametrize("step", [1, 2])
def test_what_happens_while_a_pattern_is_deleted_counts(
    cache, monkeypatch, inside, removed, left, step
):
    real, calls = core._slices_of, []

    def meanwhile(items):
        calls.append(items)
        if len(calls) == step:
            inside(cache)
        return real(items)

    monkeypatch.setattr(core, "_slices_of", meanwhile)
    cache.set_many({"a1": 1, "a2": 1})

    assert cache.delete_pattern("a*") == removed
    assert cache.get_many(["a1", "a2"]) == left
    assert cache._journals == {}


class Watched(core.DistributedCache):
    """A cache that notes whether its lock is held where it ought to be."""

    held = ()

    def _remove_locked(self, key, entry, gone):
        self.held = [*self.held, self._lock._is_owned()]
        return super()._remove_locked(key, entry, gone)


class Journals(dict):
    """The journals of a cache, which note whether its lock is held when they change."""

    def __init__(self, cache):
        self.cache = cache

    def __setitem__(self, key, journal):
        self.cache.held = [*self.cache.held, self.cache._lock._is_owned()]
        super().__setitem__(key, journal)

    def pop(self, key, default=None):
        self.cache.held = [*self.cache.held, self.cache._lock._is_owned()]
        return super().pop(key, default)


def test_a_pattern_is_deleted_under_the_lock(monkeypatch):
    with Watched() as cache:
        cache.set_many({"a1": 1, "a2": 1})
        keys = cache._flights.keys
        cache.held = []
        cache._journals = Journals(cache)

        def running():
            cache.held = [*cache.held, cache._lock._is_owned()]
            return keys()

        monkeypatch.setattr(cache._flights, "keys", running)
        cache.delete_pattern("a*")

        assert cache.held == [True] * 5


def test_who_holds_the_lock_waits_for_no_flight_and_stores_all_the_same(cache):
    with cache._lock:
        assert cache.get_or_set("k", lambda: 1) == 1

    assert cache.get("k") == 1


def test_what_another_leader_has_landed_meanwhile_is_taken_as_it_is(cache, monkeypatch):
    join = cache._flights.join

    def joining(key):
        cache.set("k", "theirs")
        return join(key)

    monkeypatch.setattr(cache._flights, "join", joining)

    assert cache.get_or_set("k", lambda: "ours", ttl=5) == "theirs"
    assert cache.ttl("k") == inf


def test_who_leads_a_flight_runs_the_factory_of_a_call_from_inside(cache, monkeypatch):
    """As a finalizer may, before the flight's own factory runs."""
    join, inside = cache._flights.join, []

    def joining(key):
        joined = join(key)
        inside.append(cache.get_or_set(key, lambda: "inside"))
        return joined

    monkeypatch.setattr(cache._flights, "join", joining)

    assert cache.get_or_set("k", lambda: "outside") == "inside"
    assert (inside, cache.get("k")) == (["inside"], "inside")


def test_a_made_value_is_looked_for_and_stored_under_the_lock(cache):
    begun, go = threading.Event(), threading.Event()

    def factory():
        begun.set()
        go.wait(30)

    with ThreadPoolExecutor(1) as holder, ThreadPoolExecutor(1) as other:
        holder.submit(cache._lock.acquire).result(30)
        call = other.submit(cache.get_or_set, "k", factory)
        early = begun.wait(0.03)
        holder.submit(cache._lock.release).result(30)
        begun.wait(30)
        holder.submit(cache._lock.acquire).result(30)
        go.set()
        done = wait([call], 0.03).done
        holder.submit(cache._lock.release).result(30)
        call.result(30)

    assert (early, done) == (False, set())


@pytest.mark.parametrize("closed", [False, True])
def test_a_forked_child_cleans_up_unless_its_cache_is_closed(CacheImpl, closed):
    with CacheImpl() as cache:
        if closed:
            cache.close()
        before = set(threading.enumerate())

        cache._after_fork_in_child()
        begun = set(threading.enumerate()) - before

        assert len(begun) == (not closed)
    for thread in begun:
        thread.join(30)


def test_what_never_expires_is_loaded_without_a_record(small_cache, tmp_path):
    small_cache.set_many({"a": 1, "b": 2})
    small_cache.save(tmp_path / "s")

    small_cache.load(tmp_path / "s")

    check_index(small_cache)
    assert small_cache.keys() == ["a", "b"]


def stepping(cache, monkeypatch, meanwhile):
    """Let the walk of a save take a key at a time, and something happen after each."""
    monkeypatch.setattr(core, "_WALK", 1)
    monkeypatch.setattr(core.gc, "collect", lambda generation: meanwhile())
    cache.set_many({"a": 1, "b": 2, "c": 3})


def test_hits_go_on_during_the_walk_and_do_not_disturb_it(small_cache, monkeypatch):
    calls = []

    def use():
        calls.append(small_cache.get("a"))
        assert len(calls) < 10, "the walk begins anew and anew"

    stepping(small_cache, monkeypatch, use)
    with small_cache._lock:
        keys, _ = small_cache._walk_locked()

    assert (keys, calls) == (["a", "b", "c"], [1, 1, 1])
    assert list(small_cache._entries) == ["b", "c", "a"]


def test_a_walk_begins_anew_after_a_hit_that_was_under_way(small_cache, monkeypatch):
    steps = [lambda: small_cache._entries.move_to_end("a")]
    stepping(small_cache, monkeypatch, lambda: steps and steps.pop()())

    with small_cache._lock:
        keys, entries = small_cache._walk_locked()

    assert keys == ["b", "c", "a"]
    assert [entry[0] for entry in entries] == [2, 3, 1]


def test_after_a_save_a_hit_moves_its_key_at_once(small_cache, tmp_path):
    small_cache.set_many({"a": 1, "b": 2})
    small_cache.save(tmp_path / "s")

    small_cache.get("a")

    assert list(small_cache._entries) == ["b", "a"]
    assert not small_cache._uses


@pytest.mark.parametrize("replace", ["clear", "load"])
def test_a_hit_in_other_content_moves_its_key_there(small_cache, tmp_path, replace):
    small_cache.set_many({"a": 1, "b": 2})
    small_cache.save(tmp_path / "s")
    if replace == "clear":
        small_cache.clear()
        small_cache.set_many({"a": 1, "b": 2})
    else:
        small_cache.load(tmp_path / "s")

    assert small_cache.get("a") == 1
    assert list(small_cache._entries) == ["b", "a"]


def test_hits_wait_while_the_last_of_the_queue_is_replayed(small_cache, monkeypatch):
    replay, waited = small_cache._replay_locked, []
    small_cache.set_many({"a": 1, "b": 2})

    def replaying():
        with ThreadPoolExecutor(1) as other:
            call = other.submit(small_cache._touch, "b")
            waited.append(wait([call], 0.03).done == set())
            waited.append(small_cache._touch == small_cache._touch_waiting)
            replay()
            small_cache._lock.release()
            call.result(30)
            small_cache._lock.acquire()

    monkeypatch.setattr(small_cache, "_replay_locked", replaying)
    small_cache._uses.append("a")
    with small_cache._lock:
        small_cache._walk_locked()

    assert waited == [True, True]
    assert list(small_cache._entries) == ["a", "b"]


def test_a_hit_that_noted_its_key_too_late_replays_it_itself(small_cache):
    small_cache.set_many({"a": 1, "b": 2})
    with small_cache._lock:
        small_cache._walk_locked()

    with ThreadPoolExecutor(1) as holder, ThreadPoolExecutor(1) as other:
        holder.submit(small_cache._lock.acquire).result(30)
        call = other.submit(small_cache._note, "a")
        early = wait([call], 0.03).done
        holder.submit(small_cache._lock.release).result(30)
        call.result(30)

    assert early == set()
    assert (list(small_cache._entries), list(small_cache._uses)) == (["b", "a"], [])


def test_many_noted_hits_are_replayed_before_hits_have_to_wait(small_cache, monkeypatch):
    replay, touches = small_cache._replay_locked, []
    small_cache.set_many({"a": 1, "b": 2})
    small_cache._uses.extend(["a"] * 6000)

    def replaying():
        touches.append(small_cache._touch)
        replay()

    monkeypatch.setattr(small_cache, "_replay_locked", replaying)
    with small_cache._lock:
        small_cache._walk_locked()

    assert touches == [small_cache._note]


def test_a_new_key_in_a_full_cache_makes_room_before_it_is_stored(make_cache, clock):
    cache = make_cache(3)
    cache.set_many({"a": 1, "b": 2, "c": 3})
    sizes = []

    real = cache._make_room_locked
    cache._make_room_locked = lambda size, now, gone: (sizes.append(size), real(size, now, gone))
    cache.set_many({"d": 4, "e": 5, "e2": 6})
    cache.set_many({"e": 7})

    assert sizes == [2, 2, 2]
    assert sorted(cache.keys()) == ["d", "e", "e2"]


def test_a_forked_child_forgets_the_flights_of_its_parent(CacheImpl):
    with CacheImpl() as cache, ThreadPoolExecutor(1) as other:
        other.submit(cache._flights.join, "k").result(30)

        cache._after_fork_in_child()

        assert cache._flights.keys() == []


def test_what_has_expired_is_found_however_many_buckets_there_were(make_cache, clock):
    cache = make_cache(2)
    cache._expiry._numbers = count(10**15)
    cache.set("live", 1)
    cache.set("expired", 1, ttl=1)
    clock.tick(1)

    cache.set_many({"new": 1})

    assert sorted(cache.keys()) == ["live", "new"]


def test_a_refused_copy_is_told_what_to_do(cache):
    with pytest.raises(TypeError, match=f"^a {type(cache).__name__} cannot .* use save"):
        pickle.dumps(cache)


def test_lives_that_share_a_bucket_do_not_fill_it_beyond_its_size(cache, clock, monkeypatch):
    for module in (core, expiry):
        monkeypatch.setattr(module, "FULL", 10)

    for number in range(100):
        cache.set(str(number), 1, ttl=1000 + number % 2 / 2)

    assert max(map(len, cache._expiry.buckets.values())) == 10


def test_a_deadline_at_the_end_of_a_bucket_goes_into_the_next(cache, clock):
    cache.set("a", 1, ttl=128)
    clock.tick(cache._expiry.end - cache._entries["a"][1])

    cache.set("b", 1, ttl=128)

    check_index(cache)
    assert len(cache._expiry.buckets) == 2


class Time:
    """Stands in for the module `time`."""

    def __init__(self):
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)


def test_others_get_the_lock_between_two_slices(cache, clock, monkeypatch):
    cache.set_many({"a": 1, "b": 2, "c": 3}, ttl=1)
    clock.tick(1)
    cache.set_many({"d": 4, "e": 5, "f": 6})
    monkeypatch.setattr(core, "time", Time())
    monkeypatch.setattr(core, "_SWEEP", 1)
    monkeypatch.setattr(core, "_SLICE", 1)

    cache.cleanup()
    cleaning = len(core.time.slept)
    cache.delete_pattern("*")

    assert cleaning >= 1
    assert len(core.time.slept) >= cleaning + 3
    assert set(core.time.slept) == {core._YIELD}


@pytest.mark.parametrize("verb", ["save", "load", "clear"])
def test_a_hit_waits_for_nobody_who_is_inside(cache, tmp_path, verb):
    cache.save(tmp_path / "s")
    WAITING[verb](cache, tmp_path / "s")
    cache.set("k", 1)

    with ThreadPoolExecutor(1) as holder, ThreadPoolExecutor(1) as other:
        holder.submit(cache._lock.acquire).result(30)
        call = other.submit(cache.get, "k")
        done = wait([call], 5).done
        holder.submit(cache._lock.release).result(30)

    assert done == {call}


def test_a_call_from_inside_stores_nothing_that_store_if_refuses():
    with DistributedCache() as cache:
        with cache._lock:
            made = cache.get_or_set("k", int, store_if=bool)

        assert (made, cache.exists("k")) == (0, False)
