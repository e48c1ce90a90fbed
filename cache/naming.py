"""Names of classes and functions that are the same in every process, and tokens for others."""

import secrets
import sys
import weakref
from typing import Any

# The modules that define classes of the standard library differ between Pythons.
_FORMER_MODULES = {"pathlib._local": "pathlib"}
_tokens: dict[int, tuple[Any, str]] = {}  # id to a weak reference and the token


def name_of(thing: Any) -> str:
    """Return the module and the qualified name of a class or function, the same on every Python."""
    module = thing.__module__
    return f"{_FORMER_MODULES.get(module, module)}.{thing.__qualname__}"


def leads_back(thing: Any) -> bool:
    """Tell whether importing the module and qualified name of a class or function returns it."""
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def token_of(thing: Any) -> str:
    """Return a text of 128 random bits that stays the same during the life of this object.

    None of the object's own methods is called, not even `__hash__`.
    """
    place = id(thing)
    known = _tokens.get(place)
    if known is not None and known[0]() is thing:
        return known[1]

    def forget(gone: Any) -> None:
        if _tokens.get(place, (None,))[0] is gone:  # pragma: no branch - else another's by now
            del _tokens[place]

    token = secrets.token_hex(16)
    try:
        entry = weakref.ref(thing, forget), token
    except TypeError:
        return token  # an object without weak references gets another token each time
    stored = _tokens.setdefault(place, entry)
    # It may be the token of a former object, whose callback has not run yet.
    if stored[0]() is not thing:  # pragma: no cover
        stored = _tokens[place] = entry
    return stored[1]
