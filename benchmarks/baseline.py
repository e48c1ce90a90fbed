"""The obvious implementation, to measure against: one lock, one sweep, one pickle."""

import fnmatch
import pickle
import threading
import time
from collections import OrderedDict


class Baseline:
    def __init__(self, max_size=1000):
        self.lock, self.data, self.max_size = threading.RLock(), OrderedDict(), max_size
        self.hits = self.misses = self.evictions = self.expirations = 0

    def get(self, key, default=None):
        with self.lock:
            entry = self.data.get(key)
            if entry is None:
                self.misses += 1
                return default
            value, deadline = entry
            if deadline is not None and time.monotonic() >= deadline:
                del self.data[key]
                self.misses += 1
                self.expirations += 1
                return default
            self.data.move_to_end(key)
            self.hits += 1
            return value

    def set(self, key, value, ttl=None):
        with self.lock:
            deadline = None if ttl is None else time.monotonic() + ttl
            if key in self.data:
                self.data.move_to_end(key)
            elif len(self.data) >= self.max_size:
                self.data.popitem(last=False)
                self.evictions += 1
            self.data[key] = (value, deadline)

    def increment(self, key, amount=1):
        with self.lock:
            value, deadline = self.data.get(key, (0, None))
            if deadline is not None and time.monotonic() >= deadline:
                value, deadline = 0, None
            self.data[key] = (value + amount, deadline)
            self.data.move_to_end(key)
            return value + amount

    def get_or_set(self, key, factory, ttl=None):
        if (value := self.get(key)) is None:
            self.set(key, value := factory(), ttl)
        return value

    def keys(self, pattern="*"):
        with self.lock:
            now, match = time.monotonic(), fnmatch.fnmatchcase
            live = (key for key, (_, end) in self.data.items() if end is None or end > now)
            return [key for key in live if match(key, pattern)]

    def delete_pattern(self, pattern):
        with self.lock:
            for key in (doomed := self.keys(pattern)):
                del self.data[key]
            return len(doomed)

    def cleanup(self):
        with self.lock:
            now = time.monotonic()
            gone = [key for key, (_, end) in self.data.items() if end is not None and end <= now]
            for key in gone:
                del self.data[key]
            self.expirations += len(gone)
            return len(gone)

    def save(self, path):
        with self.lock, open(path, "wb") as file:
            pickle.dump(self.data, file)

    def load(self, path):
        with self.lock, open(path, "rb") as file:
            self.data = pickle.load(file)

    def clear(self):
        with self.lock:
            self.data.clear()
