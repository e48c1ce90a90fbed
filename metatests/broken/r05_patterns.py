"""Caches whose globs mean something else."""

import re
from typing import Any

from .deviation import Deviations, breaks

CACHE = "core.DistributedCache"
TOKENS = "patterns._tokens"
CLASS = "patterns._char_class"

DEVIATIONS = Deviations()
DEVIATIONS += [
    breaks(
        "R5.1",
        "patterns are fnmatch's",
        (
            "patterns.Glob.__init__",
            "_plan(tokens)",
            "(lambda key: __import__('fnmatch').fnmatchcase(key, pattern),"
            " lambda keys: __import__('fnmatch').filter(keys, pattern))",
        ),
    ),
    breaks(
        "R5.1",
        "a backslash is a character like any other",
        (TOKENS, "char == '\\\\' and at + 1 < len(pattern)", "False"),
    ),
    breaks(
        "R5.1",
        "an open bracket stands for itself",
        (TOKENS, "char == '['", "char == '[' and ']' in pattern[at:]"),
    ),
    breaks(
        "R5.1",
        "? is any run",
        (TOKENS, "tokens.append('.')", "tokens.append(_STAR)"),
    ),
    breaks(
        "R5.1",
        "? does not match a newline",
        ("patterns._plan", "re.DOTALL", "0"),
    ),
    breaks(
        "R5.1",
        "case does not count",
        ("patterns._plan", "re.DOTALL", "re.DOTALL | re.IGNORECASE"),
    ),
    breaks(
        "R5.1",
        "the beginning of a key is enough",
        (
            "patterns._plan",
            "re.compile(_expression(tokens), re.DOTALL).fullmatch",
            "re.compile(_expression(tokens), re.DOTALL).match",
        ),
    ),
    breaks(
        "R5.1",
        "[!a] is no negation",
        (CLASS, "('^', '!')", "('^',)"),
    ),
    breaks(
        "R5.1",
        "a reversed range is empty",
        (
            CLASS,
            "low, high = sorted((pattern[at], pattern[at + 2]))",
            "low, high = (pattern[at], max(pattern[at], pattern[at + 2]))",
        ),
    ),
    breaks(
        "R5.1",
        "[] begins a class that holds the bracket",
        (
            CLASS,
            "while at < len(pattern) and pattern[at] != ']':\n    left = len(pattern) - at"
            "\n    if pattern[at] == '\\\\' and left >= 2:\n        at += 1"
            "\n        ranges.append(_code(pattern[at]))"
            "\n    elif left >= 3 and pattern[at + 1] == '-':"
            "\n        low, high = sorted((pattern[at], pattern[at + 2]))"
            "\n        ranges.append(f'{_code(low)}-{_code(high)}')\n        at += 2"
            "\n    else:\n        ranges.append(_code(pattern[at]))\n    at += 1",
            "start = at\nwhile at < len(pattern) and (pattern[at] != ']' or at == start):"
            "\n    left = len(pattern) - at\n    if pattern[at] == '\\\\' and left >= 2:"
            "\n        at += 1\n        ranges.append(_code(pattern[at]))"
            "\n    elif left >= 3 and pattern[at + 1] == '-':"
            "\n        low, high = sorted((pattern[at], pattern[at + 2]))"
            "\n        ranges.append(f'{_code(low)}-{_code(high)}')\n        at += 2"
            "\n    else:\n        ranges.append(_code(pattern[at]))\n    at += 1",
        ),
    ),
    breaks(
        "R5.1",
        "a range may not end with a bracket",
        (
            CLASS,
            "left >= 3 and pattern[at + 1] == '-'",
            "left >= 3 and pattern[at + 1] == '-' and (pattern[at + 2] != ']')",
        ),
    ),
    breaks(
        "R5.3",
        "keys lists what has expired",
        (
            "core._live_keys",
            "(entry := entries.get(key)) is not None and (entry[1] is None or entry[1] > now)",
            "entries.get(key) is not None",
        ),
    ),
    breaks(
        "R5.3",
        "keys takes all entries for live ones",
        (f"{CACHE}.keys", "not self._expiry.heap", "True"),
    ),
    breaks(
        "R5.3",
        "delete_pattern counts what has expired",
        (f"{CACHE}._delete_unwritten", "if entry[1] is None or entry[1] > now:", "if True:"),
    ),
    breaks(
        "R5.4",
        "delete_pattern deletes the first slice only",
        ("core._slices_of", "while items:", "if items:"),
    ),
    breaks(
        "R5.6",
        "a star backtracks",
        ("patterns._expression", "'(?>.*?'", "'(?:.*?'"),
    ),
    breaks(
        "R5.7",
        "keys matches all in one go",
        (f"{CACHE}.keys", "for part in _slices_of(keys):", "for part in [keys]:"),
    ),
    breaks(
        "R5.7",
        "delete_pattern matches all in one go",
        (
            f"{CACHE}.delete_pattern",
            "for part in _slices_of(keys):",
            "for part in [keys]:",
        ),
    ),
    breaks(
        "R5.7",
        "delete_pattern removes all in one go",
        (f"{CACHE}.delete_pattern", "for part in _slices_of(doomed):", "for part in [doomed]:"),
    ),
    breaks(
        "R5.7",
        "a slice of a large cache is left out",
        ("core._slices_of", "while items:", "while len(items) >= _SLICE or 0 < len(items) < 1000:"),
    ),
]


@DEVIATIONS.wrap("R5.5", "bytes are a pattern", "keys", "delete_pattern")
def _(verb: Any, self: Any, pattern: Any = "*") -> Any:
    return verb(self, pattern.decode() if isinstance(pattern, bytes) else pattern)


@DEVIATIONS.wrap("R5.5", "None is the pattern that matches all", "keys", "delete_pattern")
def _(verb: Any, self: Any, pattern: Any = "*") -> Any:
    return verb(self, "*" if pattern is None else pattern)


@DEVIATIONS.wrap("R5.2", "the empty pattern matches all", "keys")
def _(keys: Any, self: Any, pattern: Any = "*") -> Any:
    return keys(self, pattern if pattern != "" else "*")


@DEVIATIONS.wrap("R5.2", "the empty pattern matches nothing", "keys")
def _(keys: Any, self: Any, pattern: Any = "*") -> Any:
    return keys(self, pattern) if pattern != "" else []


@DEVIATIONS.wrap("R5.2", "no match gives None", "keys")
def _(keys: Any, self: Any, pattern: Any = "*") -> Any:
    return keys(self, pattern) or None


@DEVIATIONS.wrap("R5.4", "delete_pattern returns how many matched before", "delete_pattern")
def _(delete_pattern: Any, self: Any, pattern: str) -> int:
    return int(delete_pattern(self, pattern)) + 1


@DEVIATIONS.patch("R5.8", "escape forgets the backslash")
def _(cache: Any) -> None:
    cache.escape = lambda text: re.sub(r"([*?\[])", r"\\\1", text)


@DEVIATIONS.patch("R5.8", "escape forgets the bracket")
def _(cache: Any) -> None:
    cache.escape = lambda text: re.sub(r"([*?\\])", r"\\\1", text)


@DEVIATIONS.patch("R5.8", "escape doubles the brackets, as glob.escape does")
def _(cache: Any) -> None:
    cache.escape = lambda text: re.sub(r"([*?[])", r"[\1]", text)
