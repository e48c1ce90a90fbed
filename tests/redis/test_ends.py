"""How a process ends that has a cache on a server: it prints nothing, whoever holds the cache."""

import subprocess
import sys

import pytest

PATIENCE = 30
PROGRAM = """
import sys
sys.path[:0] = {path!r}
import threading
import redis
from cache.redis_cache import RedisCache
cache = RedisCache(redis.Redis.from_url({url!r}), near={near!r})
cache.set("k", "v")
cache.get("k")
{end}
"""
ENDS = {
    "normally": "",
    "closed": "cache.close()",
    "in an excepthook": "sys.excepthook = lambda *_: cache.stats()",
    "in a hook of threads": "threading.excepthook = lambda *_: cache.stats()",
    "in a module of Python's": "import json; json.cache = cache",
    "memoized, in a module of Python's": "import json; json.text = cache.memoize()(lambda x: x)",
    "in a cycle": "cache.itself = cache",
}


@pytest.mark.clause("R8.4")
@pytest.mark.parametrize("near", [None, 100])
@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_silently_with_a_cache_on_a_server(server, near, end):
    program = PROGRAM.format(path=sys.path, url=server.url, near=near, end=ENDS[end])

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=PATIENCE, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
