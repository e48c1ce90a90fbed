"""Chooses the store: the compiled one if there is one, otherwise its twin in Python.

The environment variable `CACHE_NO_EXTENSIONS`, set to anything but an empty text, chooses the one
in Python. `KIND` says which one serves: "c" or "py". The contract of both is `docs/store.md`.
"""

import os

if os.environ.get("CACHE_NO_EXTENSIONS"):
    from ._store_py import KIND, Store, specialize
else:
    try:
        from ._store import KIND, Store, specialize
    except ImportError:  # nothing was compiled
        from ._store_py import KIND, Store, specialize

__all__ = ["KIND", "Store", "specialize"]
