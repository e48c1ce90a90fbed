"""How values are stored on the server: numbers as the server writes them, others as safe pickles.

    an int of 64 bits    its digits, as INCRBY has them
    a float              the shortest text that reads back as the same float: 5.0, 1e+16, inf
    anything else        \\x80…, a pickle of plain data and trusted classes (see `plain`)
    with a secret        \\x00, a seal of 32 bytes, and the pickle

The seal covers the name too, so a value that was moved to another key is refused. Numbers have no
seal, because the server adds to them.
"""

import hashlib
import hmac
import re
from typing import Any

from ..errors import SnapshotError
from ..plain import Codec

_INT = re.compile(rb"-?[0-9]{1,19}")
_FLOAT = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|inf|nan)")
_MOST_DIGITS = 400  # no float's text is longer than its 308 digits before the point, and some
_LARGEST = 2**63 - 1
_SEALED = b"\x00"
_SEAL = 32  # bytes
# The pickle of a str of up to 255 bytes, the commonest value, lies between these two: the protocol,
# the length of what follows, and the length of the text; then MEMOIZE and the end.
_TEXT_HEADS = [
    b"\x80\x05\x95" + (size + 4).to_bytes(8, "little") + b"\x8c" + bytes((size,))
    for size in range(256)
]
_TEXT_TAIL = b"\x94."
_TEXT_AT, _TEXT_END = len(_TEXT_HEADS[0]), -len(_TEXT_TAIL)
_AROUND_TEXT = _TEXT_AT - _TEXT_END


class Values:
    """Turns values into bytes and back, within what `codec` allows."""

    def __init__(self, codec: Codec, secret: bytes | None = None) -> None:
        self._codec = codec
        self._key: bytes | None = None
        if secret is not None:
            # blake2b takes keys of up to 64 bytes; a hash keeps longer secrets distinct.
            self._key = hashlib.blake2b(secret, person=b"cache secret").digest()

    def encode(self, value: Any, key: str, name: bytes) -> bytes:
        """Return `value` as bytes. A refused one raises SnapshotError that names key and type."""
        kind = type(value)
        if kind is int and -_LARGEST <= value <= _LARGEST:
            return b"%d" % value
        if kind is float:
            return repr(value).encode()
        try:
            data = self._codec.dumps(value)
        except SnapshotError as error:
            raise SnapshotError(f"the value at {key!r} cannot be stored: {error}") from error
        if self._key is None:
            return data
        return _SEALED + self._seal(name, data) + data

    def decode(self, raw: bytes, name: bytes) -> Any:
        """Return the value. Raises SnapshotError saying why it cannot be read; runs no code."""
        if self._key is None:
            size = len(raw) - _AROUND_TEXT
            if 0 <= size < 256 and raw.startswith(_TEXT_HEADS[size]) and raw.endswith(_TEXT_TAIL):
                # Flat for speed: a tenth of an unpickler's time. Lone surrogates need the
                # unpickler.
                try:
                    return raw[_TEXT_AT:_TEXT_END].decode()
                except UnicodeDecodeError:
                    pass
            if raw[:1] == b"\x80":
                return self._codec.loads(raw)
        if _INT.fullmatch(raw):
            return int(raw)
        if len(raw) <= _MOST_DIGITS and _FLOAT.fullmatch(raw):
            return float(raw)
        if self._key is None:
            sealed = raw[:1] == _SEALED
            raise SnapshotError("sealed with a secret" if sealed else "no value of a cache's")
        seal, data = raw[1 : 1 + _SEAL], raw[1 + _SEAL :]
        if raw[:1] != _SEALED or not hmac.compare_digest(self._seal(name, data), seal):
            raise SnapshotError("not sealed with this cache's secret")
        return self._codec.loads(data)

    def _seal(self, name: bytes, data: bytes) -> bytes:
        assert self._key is not None
        seal = hashlib.blake2b(digest_size=_SEAL, key=self._key, person=b"cache value")
        seal.update(b"%d:" % len(name) + name)
        seal.update(data)
        return seal.digest()
