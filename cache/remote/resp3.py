"""An incremental parser of RESP3: replies, and the pushes between them.

redis-py's parser is not used. It starts a message again with each part that arrives, so the
invalidation of a million deleted keys would take it minutes; and its releases differ in how they
handle pushes.
"""

from typing import Any

_MOST_LINE = 65_536  # bytes; no line of a server is longer
_MOST_DIGITS = 18  # of a length


class ReplyError(Exception):
    """The server refused a command, or its data is not RESP3."""


class Push(list[Any]):
    """A message that is no answer to a command."""


class _Open:
    """A list that is being read, and the number of missing elements."""

    __slots__ = ("items", "missing")

    def __init__(self, items: list[Any], missing: int) -> None:
        self.items = items
        self.missing = missing


class Reader:
    """Turns bytes into messages, in time proportional to their number, in parts of any size."""

    def __init__(self) -> None:
        self._buffer = b""
        self._open: list[_Open] = []  # nested lists

    def feed(self, data: bytes) -> list[Any]:
        """Return the messages that `data` completes. An error reply becomes a ReplyError.

        Text and numbers are bytes, null is None, a map is the list of its keys and values. Raises
        ReplyError if the data is not RESP3.
        """
        buffer = self._buffer + data
        messages: list[Any] = []
        at = 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            kind, value = buffer[at : at + 1], buffer[at + 1 : end]
            item: Any = value
            following = end + 2
            if kind in b"$=!" and value != b"-1":
                end = following + _length(value)
                if len(buffer) < end + 2:
                    break
                item = buffer[following:end]
                following = end + 2
            elif kind in b"*~%>" and value != b"-1":
                items: list[Any] = Push() if kind == b">" else []
                missing = _length(value) * (2 if kind == b"%" else 1)
                if missing:
                    self._open.append(_Open(items, missing))
                    at = following
                    continue
                item = items
            elif kind not in b"+-:,#(_$=!*~%>":
                raise ReplyError(f"not RESP3: a message that begins with {kind!r}")
            if kind == b"_" or (kind in b"$*" and value == b"-1"):
                item = None
            elif kind in b"-!":
                item = ReplyError(bytes(item).decode("utf-8", "replace"))
            at = following
            self._complete(item, messages)
        self._buffer = buffer[at:]
        if len(self._buffer) > _MOST_LINE and b"\r\n" not in self._buffer[:_MOST_LINE]:
            raise ReplyError("not RESP3: a line without an end")
        return messages

    def _complete(self, item: Any, messages: list[Any]) -> None:
        """Append a finished item to its list, and each list that it completes to the outer one."""
        while self._open:
            innermost = self._open[-1]
            innermost.items.append(item)
            innermost.missing -= 1
            if innermost.missing:
                return
            item = self._open.pop().items
        messages.append(item)


def _length(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        raise ReplyError(f"not RESP3: a length of {text[:_MOST_DIGITS]!r}")
    return int(text)
