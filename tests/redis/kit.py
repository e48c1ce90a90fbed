"""`RedisCache` as the kit makes caches: `pytest tests --cache-impl=tests.redis.kit:OnRedis`.

The first cache starts a server, and programs that the suites run find it by the environment. A
server's clock cannot be stopped, so it is made slow: an entry gets 100,000 times its life, and when
the test's clock moves, `advance` takes as much from what the keys have left. What really passes
meanwhile is less than the millisecond to which the server knows deadlines, and is rounded away.
"""

import atexit
import itertools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from math import ceil

import redis

from cache import arguments
from cache.redis_cache import RedisCache
from tests.servers import Server, binaries

# What a server cannot keep; docs/redis.md says what holds instead.
EXCEPTED = ",".join(
    (
        *("R1.2", "R4.2", "R4.3", "R8"),  # the server expires
        "R1.8",  # its clock
        "R2",  # its maxmemory-policy
        *("R6.3", "R6.6", "R7.1", "R7.4"),  # a walk over its keys has no order and is no moment
        "R6.7",  # a hit is a round trip, whatever else goes on
        "R10.1",  # what is stored is a copy
    )
)
CLASSES = {
    "OnRedis": ("redis", None),
    "OnRedisNear": ("redis", 10_000),
    "OnValkey": ("valkey", None),
    "OnValkeyNear": ("valkey", 10_000),
}
SLOWER = 100_000
ADDRESS = "CACHE_KIT_SERVER"
SHORTEN = """
local passed = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 and redis.call('TYPE', key).ok == 'string' then
        local counted = left <= 2^52
        if (counted and left or 2^((left - 2^52) / 2^46 + 52)) <= passed then
            redis.call('DEL', key)
        elseif counted then
            redis.call('PEXPIRE', key, left - passed)
        end
    end
end
"""
_numbers = itertools.count()


@lru_cache
def client(engine: str) -> redis.Redis:
    """Return a client of the server that all caches of the run share."""
    variable = f"{ADDRESS}_{engine}"
    if variable not in os.environ:
        folder = tempfile.mkdtemp()
        server = Server(binaries()[engine], pathlib.Path(folder)).start()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(server.kill)
        os.environ[variable] = server.url
    return redis.Redis.from_url(os.environ[variable])


class OnServer(RedisCache):
    """A cache in a namespace of its own.

    A `RedisCache` has neither a size nor an interval; they are checked, and that is all.
    """

    engine: str
    near: int | None
    _ticks = 1000 * SLOWER

    def __init__(
        self,
        max_size: int = 1000,
        *,
        default_ttl: float | timedelta | None = None,
        cleanup_interval: float | timedelta = 60.0,
        trust: Iterable[type | str] = (),
        secret: bytes | None = None,
    ) -> None:
        arguments.size(max_size)
        arguments.seconds(cleanup_interval, "cleanup_interval")
        super().__init__(
            client(self.engine),
            namespace=f"{os.getpid()}.{next(_numbers)}",
            default_ttl=default_ttl,
            trust=trust,
            secret=secret,
            near=self.near,
        )

    def _seconds(self, ms: int) -> float:
        return super()._seconds(SLOWER * ceil(ms / SLOWER) if 0 < ms < 2**52 else ms)

    def discard(self) -> None:
        """Leave nothing on the server, where the next test's walks would meet it.

        Neither what programs of the test have left there, in namespaces of their own.
        """
        client(self.engine).flushdb(asynchronous=True)

    @classmethod
    def advance(cls, seconds: float) -> None:
        """Let time pass on the server."""
        client(cls.engine).eval(SHORTEN, 0, round(seconds * 1000 * SLOWER))


def __getattr__(name: str) -> type[OnServer]:
    """Return a class, its server started: programs find it from then on."""
    if name not in CLASSES:
        raise AttributeError(name)
    engine, near = CLASSES[name]
    made = type(name, (OnServer,), {"engine": engine, "near": near})
    client(engine)
    globals()[name] = made
    return made


if __name__ == "__main__":
    print(EXCEPTED)
