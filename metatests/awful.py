"""A cache that does what a judge must survive: it ends its process, and saves in another format.

pytest tests --cache-impl=metatests.awful:Awful
"""

import json
import os
import time
from typing import Any

from examples.cachetools_adapter import TTLAdapter


class Awful(TTLAdapter):
    """cachetools' TTLCache, whose `decrement` ends the process and whose snapshots are JSON."""

    def decrement(self, key: str, amount: float = 1, *, create: bool = True) -> Any:
        if isinstance(amount, float):
            os._exit(0)  # as if all had gone well
        os.abort()

    def save(self, path: str | os.PathLike[str]) -> None:
        entries = {}
        for key in self._entries:  # without the lock: other threads change it meanwhile
            time.sleep(0)  # part of the defect: hands the interpreter over
            entries[key] = self._entries.get(key)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(entries, file)
