"""The names of keys on the server: the text of the namespace, a colon, and the cache's key.

`%`, `:`, `{` and `}` in a namespace are escaped as in URLs, so the first colon ends it: no name in
one namespace begins with the prefix of another. With `one_slot` the namespace is a hash tag, which
makes a cluster store all its keys in one slot.
"""

import contextlib
import re
from collections.abc import Iterable, Sequence

from ..patterns import Glob, escape

_ESCAPED = re.compile(r"[%:{}]")


class Names:
    """Turns keys into names on the server and back."""

    def __init__(self, namespace: str, one_slot: bool = False) -> None:
        """Raise TypeError if the namespace is not a str, ValueError if it is empty."""
        if not isinstance(namespace, str):
            raise TypeError(f"a namespace must be a str, not {type(namespace).__name__}")
        if not namespace:
            raise ValueError("a namespace must not be empty")
        self.namespace = namespace
        text = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", namespace)
        self._text_prefix = f"{{{text}}}:" if one_slot else f"{text}:"
        self.prefix = self._text_prefix.encode("utf-8", "surrogatepass")
        self._size = len(self.prefix)

    def name(self, key: str) -> bytes:
        """Return the name of `key`."""
        return self.prefix + key.encode("utf-8", "surrogatepass")

    def name_all(self, keys: Sequence[str]) -> list[bytes]:
        """Return the names of `keys`, of which there is at least one."""
        # Encoding them together takes a third of the time. Newlines or lone surrogates prevent it.
        between = "\n" + self._text_prefix
        try:
            names = (self._text_prefix + between.join(keys)).encode().split(b"\n")
        except UnicodeEncodeError:
            names = []
        return names if len(names) == len(keys) else [self.name(key) for key in keys]

    def key(self, name: bytes) -> str:
        """Return the key with that name. Raises UnicodeDecodeError for a foreign name."""
        return name[self._size :].decode("utf-8", "surrogatepass")

    def scan_pattern(self, glob: Glob) -> bytes:
        """Return a pattern for the server that matches all matches of `glob`, and only our names.

        It consists of the literal prefix of `glob` only: the server matches bytes, and a hostile
        pattern could keep it busy for ever.
        """
        return escape(self._text_prefix + glob.prefix).encode("utf-8", "surrogatepass") + b"*"

    def selected(self, names: list[bytes], glob: Glob) -> list[bytes]:
        """Return those of `names`, found by the glob's `scan_pattern`, whose keys match."""
        if glob.pattern == escape(glob.prefix) + "*":  # the server has already matched it
            with contextlib.suppress(UnicodeDecodeError):
                # All at once: a newline is never part of a character of several bytes.
                b"\n".join(names).decode("utf-8", "surrogatepass")
                return names
        return [name for name, _ in self.matching(names, glob)]

    def matching(self, names: Iterable[bytes], glob: Glob) -> list[tuple[bytes, str]]:
        """Return those of `names` whose keys match, with their keys."""
        pairs = []
        for name in names:
            try:
                key = self.key(name)
            except UnicodeDecodeError:  # a foreign key
                continue
            if glob.matches(key):
                pairs.append((name, key))
        return pairs
