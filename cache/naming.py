"""What names a class or function in every process, and what stands in where no name leads to it."""

import secrets
import sys
import weakref
from typing import Any

# Where classes of the standard library are defined differs between Pythons.
_FORMER_MODULES = {"pathlib._local": "pathlib"}
_tokens: dict[int, tuple[Any, str]] = {}  # id to a weak reference and the token


def name_of(thing: Any) -> str:
    """Return the module and the qualified name of a class or function, the same on every Python."""
    module = thing.__module__
    return f"{_FORMER_MODULES.get(module, module)}.{thing.__qualname__}"


def leads_back(thing: Any) -> bool:
    """Tell whether the module and the qualified name of a class or function lead to it."""
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def token_of(thing: Any) -> str:
    """Return a text of 128 random bits, the same for this one object as long as it lives.

    The object's own methods, `__hash__` among them, are not asked.
    """
    place = id(thing)
    known = _tokens.get(place)
    if known is not None and known[0]() is thing:
        return known[1]

    def forget(gone: Any) -> None:
        if _tokens.get(place, (None,))[0] is gone:
            del _tokens[place]

    token = secrets.token_hex(16)
    try:
        entry = weakref.ref(thing, forget), token
    except TypeError:
        return token  # such an object has another token each time
    stored = _tokens.setdefault(place, entry)
    if stored[0]() is not thing:  # it is of an object that is gone, whose callback has yet to run
        stored = _tokens[place] = entry
    return stored[1]
