"""Glob patterns in Redis's dialect, matched in time proportional to pattern times key length.

The dialect is what Redis's `stringmatchlen` accepts (redis/src/util.c), over characters and not
bytes, with `[!a]` as a second spelling of `[^a]`. It differs from `fnmatch`'s: a backslash makes
the next character literal, an unclosed `[` is closed by the end of the pattern, `[]` matches
nothing.
"""

import re
import sys
from collections.abc import Callable
from functools import lru_cache

_SPECIAL = re.compile(r"[*?\[\\]")
_STAR = "*"  # as a token; every other token is a regular expression for one character


def escape(text: str) -> str:
    """Return a glob that matches `text` and nothing else. Raises TypeError if it is not a str."""
    if not isinstance(text, str):
        raise TypeError(f"only a str can be escaped, not {type(text).__name__}")
    return _SPECIAL.sub(r"\\\g<0>", text)


class Glob:
    """A compiled pattern."""

    __slots__ = ("_select", "matches", "pattern", "prefix")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        tokens = _tokens(pattern)
        #: The literal text that every match begins with.
        self.prefix = _literal_prefix(tokens)[0]
        #: Tell whether the whole of a key matches.
        self.matches: Callable[[str], bool]
        self._select: Callable[[list[str]], list[str]]
        self.matches, self._select = _plan(tokens)

    def select(self, keys: list[str]) -> list[str]:
        """Return those of `keys` that match, in their order.

        One call may hold the interpreter until it returns, so pass slices.
        """
        return self._select(keys)


@lru_cache(maxsize=256)
def compile_glob(pattern: str) -> Glob:
    """Return the compiled `pattern`; recently used ones are cached."""
    return Glob(pattern)


def _tokens(pattern: str) -> list[str]:
    """Split a pattern into `_STAR`s, literal characters and classes.

    A literal is the character itself, prefixed by `=`; a class is a regular expression.
    """
    tokens: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            if not tokens or tokens[-1] != _STAR:
                tokens.append(_STAR)
        elif char == "?":
            tokens.append(".")
        elif char == "[":
            expression, at = _char_class(pattern, at + 1)
            tokens.append(expression)
        else:
            if char == "\\" and at + 1 < len(pattern):
                at += 1
            tokens.append("=" + pattern[at])
        at += 1
    return tokens


def _char_class(pattern: str, at: int) -> tuple[str, int]:
    """Return the class that begins at `at`, behind its `[`, and where its last character is."""
    negated = pattern[at : at + 1] in ("^", "!")
    if negated:
        at += 1
    ranges: list[str] = []
    while at < len(pattern) and pattern[at] != "]":
        left = len(pattern) - at
        if pattern[at] == "\\" and left >= 2:
            at += 1
            ranges.append(_code(pattern[at]))
        elif left >= 3 and pattern[at + 1] == "-":
            # Either order, and whatever the end is: in Redis a `]` or a backslash here is itself.
            low, high = sorted((pattern[at], pattern[at + 2]))
            ranges.append(f"{_code(low)}-{_code(high)}")
            at += 2
        else:
            ranges.append(_code(pattern[at]))
        at += 1
    if not ranges:
        return ("." if negated else "(?!)"), at
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at


def _code(char: str) -> str:
    return f"\\U{ord(char):08x}"


def _plan(tokens: list[str]) -> tuple[Callable[[str], bool], Callable[[list[str]], list[str]]]:
    """Return how to match one key and how to select from many: the cheapest test that does."""
    literal = _literal(tokens)
    if literal is not None:
        return literal.__eq__, lambda keys: [key for key in keys if key == literal]
    if tokens == [_STAR]:
        return lambda key: True, list
    head, rest = _literal_prefix(tokens)
    if rest == [_STAR]:
        return lambda key: key.startswith(head), _beginning_with(head)
    if tokens[0] == _STAR:
        tail = _literal(tokens[1:])
        if tail is not None:
            size = len(tail)
            return (
                lambda key: key.endswith(tail),
                lambda keys: [key for key in keys if key[-size:] == tail],
            )
        inner = _literal(tokens[1:-1])
        if inner is not None and tokens[-1] == _STAR:
            return lambda key: inner in key, lambda keys: [key for key in keys if inner in key]
    match = re.compile(_expression(tokens), re.DOTALL).fullmatch
    candidates = _beginning_with(head)
    return (
        lambda key: match(key) is not None,
        lambda keys: list(filter(match, candidates(keys))),
    )


def _beginning_with(head: str) -> Callable[[list[str]], list[str]]:
    """Return how to select the keys that begin with `head`."""
    # They lie between it and the first that is above all of them. Two comparisons, of which the
    # first is often enough, take a fraction of the time of a slice or of a call of startswith.
    last = head.rstrip(chr(sys.maxunicode))
    if not last:
        return lambda keys: [key for key in keys if key.startswith(head)]
    above = last[:-1] + chr(ord(last[-1]) + 1)
    return lambda keys: [key for key in keys if above > key >= head]


def _literal(tokens: list[str]) -> str | None:
    """Return the text that the tokens spell, or None where they are more than literals."""
    head, rest = _literal_prefix(tokens)
    return None if rest else head


def _literal_prefix(tokens: list[str]) -> tuple[str, list[str]]:
    """Return the text that the tokens begin with, and the tokens behind it."""
    size = 0
    while size < len(tokens) and tokens[size][0] == "=":
        size += 1
    return "".join(token[1] for token in tokens[:size]), tokens[size:]


def _expression(tokens: list[str]) -> str:
    """Return a regular expression that never goes back behind a star it has passed.

    The first place where the text between two stars fits is as good as any later one, so an
    atomic group may hold on to it: that bounds the time, where plain `.*` would multiply it.
    """
    parts: list[str] = [""]
    for token in tokens:
        if token == _STAR:
            parts.append("")
        else:
            parts[-1] += re.escape(token[1]) if token[0] == "=" else token
    if len(parts) == 1:
        return parts[0]
    first, *middle, last = parts
    return first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"
