"""The parts of `RedisCache` that need no server."""

import logging
import math
import pickle
import sys
import threading

import pytest
import redis

from cache.plain import Codec
from cache.remote import lives
from cache.remote.leases import Leases
from cache.remote.link import link_to
from cache.remote.names import Names
from cache.remote.values import Values


@pytest.mark.parametrize(
    "life", [0.001, 1, 10.5, 86_400, 2**52 / 1000, 1e13, 8.64e13, 1e100, 1e308, sys.float_info.max]
)
def test_a_finite_life_comes_back(life):
    ticks = int(lives.ticks(life, 1000))

    assert 0 < ticks < 10**17
    assert lives.seconds(ticks, 1000) == pytest.approx(life)


def test_longer_lives_are_more_ticks():
    ticks = [int(lives.ticks(2.0**power, 1000)) for power in range(-9, 1024)]

    assert ticks == sorted(set(ticks))


def test_for_ever_is_for_ever():
    assert lives.ticks(math.inf, 1000) == b""
    assert lives.seconds(-1, 1000) == math.inf


def test_the_shortest_life_is_a_tick():
    assert lives.ticks(1e-9, 1000) == b"1"


@pytest.mark.parametrize("keys", [["a", "ü"], ["a\n", "\n", "b"], ["\ud800", "a"], [""], ["\n"]])
@pytest.mark.parametrize("namespace", ["shop", "a\nb", "\ud800"])
def test_keys_that_are_named_together_are_called_what_each_is(keys, namespace):
    """Those without newlines and lone surrogates are encoded in one piece."""
    names = Names(namespace)

    assert names.name_all(keys) == [names.name(key) for key in keys]


@pytest.mark.parametrize("text", ["a", "ü", "\ud800", "\U0001f600", "\0"])
def test_a_text_of_any_length_comes_back_as_the_codec_reads_it(text):
    """Short ones are read without the codec, up to where their pickles take another form."""
    values = Values(Codec())
    texts = [text * size for size in range(260)]

    raw = [values.encode(each, "k", b"k") for each in texts]

    assert [values.decode(each, b"k") for each in raw] == texts
    assert [Codec().loads(each) for each in raw] == texts


@pytest.mark.parametrize(
    ("like_a_text", "value"),
    [
        (pickle.dumps(["abc"], 5), ["abc"]),
        (pickle.dumps(b"abc", 5), b"abc"),
        (pickle.dumps("abc", 4), "abc"),
        (pickle.dumps("abc", 5).replace(b"\x95\x07" + b"\0" * 7, b""), "abc"),
        (pickle.dumps("abc", 5).replace(b"\x07", b"\x06").replace(b"\x94", b""), "abc"),
        # As long as a text of four bytes, but of three and an opcode.
        (pickle.dumps("abc", 5).replace(b"\x07", b"\x08").replace(b"\x94", b"\x94\x94"), "abc"),
    ],
    ids=["a list", "bytes", "protocol 4", "no frame", "no memo", "two memos"],
)
def test_what_only_resembles_a_text_is_the_codecs(like_a_text, value):
    assert Values(Codec()).decode(like_a_text, b"k") == value


def test_a_lease_that_is_not_renewed_is_logged_and_the_next_one_is_tried(caplog, wait_until):
    renewed = []

    def renew(name, token):
        renewed.append(name)
        if len(renewed) < 3:
            raise ZeroDivisionError("on purpose")

    leases = Leases(0.03, renew)
    with caplog.at_level(logging.ERROR, "cache"), leases.holding(b"k", b"token"):
        assert wait_until(lambda: len(renewed) > 3)

    assert caplog.text.count("ZeroDivisionError: on purpose") == 2
    assert wait_until(lambda: "cache-leases" not in [each.name for each in threading.enumerate()])


def test_where_no_thread_starts_a_factory_still_runs(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    leases = Leases(10.0, lambda name, token: None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    ran = []

    for number in (1, 2):  # the second one tries to start it again
        with leases.holding(b"k", b"token"):
            ran.append(number)

    assert ran == [1, 2]


def test_a_bell_without_a_server_leaves_nothing_open():
    with redis.Redis(port=1) as client, pytest.raises(redis.ConnectionError):
        link_to(client).bell(b"k")
