"""The reader of RESP3, alone."""

import pytest

from cache.remote.resp3 import Push, Reader, ReplyError

MESSAGES = [
    (b"+OK\r\n", b"OK"),
    (b":42\r\n", b"42"),
    (b":-1\r\n", b"-1"),
    (b",1.5\r\n", b"1.5"),
    (b"(123456789012345678901\r\n", b"123456789012345678901"),
    (b"#t\r\n", b"t"),
    (b"_\r\n", None),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
    (b"=7\r\ntxt:abc\r\n", b"txt:abc"),
    (b"*0\r\n", []),
    (b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n", [b"a", [b"1", []]]),
    (b"%1\r\n+k\r\n~1\r\n+v\r\n", [b"k", [b"v"]]),
    (b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\nk\r\n$0\r\n\r\n", [b"invalidate", [b"k", b""]]),
    (b">2\r\n$10\r\ninvalidate\r\n_\r\n", [b"invalidate", None]),
]


@pytest.mark.parametrize(("data", "message"), MESSAGES)
def test_each_type_is_read(data, message):
    (read,) = Reader().feed(data)

    assert read == message
    assert isinstance(read, Push) == data.startswith(b">")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_messages_may_be_cut_anywhere(size):
    data = b"".join(part for part, _ in MESSAGES)
    reader = Reader()

    read = [
        message
        for start in range(0, len(data), size)
        for message in reader.feed(data[start : start + size])
    ]

    assert read == [message for _, message in MESSAGES]


@pytest.mark.parametrize("data", [b"-ERR no\r\n", b"!6\r\nERR no\r\n"])
def test_an_error_is_a_message(data):
    (error,) = Reader().feed(data)

    assert isinstance(error, ReplyError)
    assert str(error) == "ERR no"


def test_an_error_in_no_encoding_is_a_message_all_the_same():
    (error,) = Reader().feed(b"-ERR \xff\r\n")

    assert str(error) == "ERR \ufffd"


def test_a_long_text_that_comes_in_parts_is_read():
    reader, text = Reader(), b"x" * 200_000

    assert reader.feed(b"$%d\r\n" % len(text) + text[:100_000]) == []
    assert reader.feed(text[100_000:] + b"\r\n") == [text]


def test_what_is_no_resp3_is_named():
    with pytest.raises(ReplyError, match="begins with b'H'"):
        Reader().feed(b"HTTP/1.1 400\r\n")


@pytest.mark.parametrize(
    "data",
    [
        *(b"HTTP/1.1 400\r\n", b"\r\n", b"x" * 70_000),
        *(b"$x\r\n", b"$\r\n", b"*+1\r\n", b"%-5\r\n", b"*" + b"9" * 5_000 + b"\r\n"),
        b"$-7\r\n",  # which would lead back to its own beginning
    ],
)
def test_what_is_no_resp3_is_refused(data):
    with pytest.raises(ReplyError, match="not RESP3"):
        Reader().feed(data)


def test_time_is_proportional_to_what_comes_in(waits):
    def taken(number):
        data = b">2\r\n$10\r\ninvalidate\r\n*%d\r\n" % number + b"$3\r\nkey\r\n" * number
        reader, read = Reader(), []

        def feed():
            for start in range(0, len(data), 1000):
                read.extend(reader.feed(data[start : start + 1000]))

        _, took = waits(feed)
        assert len(read[0][1]) == number
        return took

    assert min(taken(40_000) for _ in range(3)) < 12 * min(taken(10_000) for _ in range(3))


def test_a_length_has_at_most_18_digits():
    assert Reader().feed(b"$000000000000000002\r\nab\r\n") == [b"ab"]

    with pytest.raises(ReplyError, match=r"not RESP3: a length of b'0{18}'$"):
        Reader().feed(b"$0000000000000000002\r\nab\r\n")
