"""What every suite builds on: caches that are checked after each test, and a clock to turn."""

import contextlib
import hashlib
import io
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import freezegun
import freezegun.api
import pytest

# The options --cache-impl, --clauses and --except-clauses; and what a test may be skipped for.
pytest_plugins = ["conformance", "tests.skips"]

# By default freezegun hands the real time to code that has `threading` on its call stack, which
# would let threads of a test live in another time than the test.
freezegun.configure(default_ignore_list=["_pytest.terminal", "_pytest.runner", "pytest_timeout"])


class Clock:
    """Time that stands still until it is told to move."""

    def __init__(
        self,
        frozen: Any,
        monkeypatch: pytest.MonkeyPatch,
        advance: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._frozen = frozen
        self._advance = advance
        self._monkeypatch = monkeypatch
        self._offset = 0.0

    def tick(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._frozen.tick(seconds)
        self._advance(seconds)

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock, as an administrator or NTP does; no time passes."""
        self._offset += seconds
        if self._offset == seconds:
            stepped = lambda: freezegun.api.fake_time() + self._offset  # noqa: E731
            for module in list(sys.modules.values()):
                if module.__name__.startswith("freezegun"):
                    continue
                for name, value in list(vars(module).items()):
                    if value is freezegun.api.fake_time:
                        self._monkeypatch.setattr(module, name, stepped)

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()


@pytest.fixture
def clock(
    monkeypatch: pytest.MonkeyPatch,
    CacheImpl: Callable[..., Any],  # noqa: N803
) -> Iterator[Clock]:
    """Freeze time at the start of a year; the test moves it.

    A cache whose clock is not this process's may bring a function `advance`, as an attribute of the
    factory, that is told of the seconds.
    """
    advance = getattr(CacheImpl, "advance", lambda seconds: None)
    with freezegun.freeze_time("2026-01-01") as frozen, monkeypatch.context() as patches:
        yield Clock(frozen, patches, advance)


@pytest.fixture(scope="session")
def CacheImpl(request: pytest.FixtureRequest) -> Callable[..., Any]:  # noqa: N802 - a class
    """Return the class under test, or whatever callable makes the caches under test."""
    return request.config.pluginmanager.get_plugin("kit").factory


@pytest.fixture
def make_cache(
    request: pytest.FixtureRequest,
    CacheImpl: Callable[..., Any],  # noqa: N803
) -> Iterator[Callable[..., Any]]:
    """Return a maker of caches; each is checked and closed after the test.

    A cache that isn't ours is judged clause by clause, so the invariants are not asked of it in
    tests that are about something else. One whose entries outlive it may bring a function
    `discard`, as an attribute of the factory, that removes them.
    """
    made = []
    foreign = request.config.pluginmanager.get_plugin("kit").foreign
    discard = getattr(CacheImpl, "discard", lambda cache: None)

    def make(*args: Any, **kwargs: Any) -> Any:
        made.append(CacheImpl(*args, **kwargs))
        return made[-1]

    yield make
    for cache in made:
        if not foreign:
            check_invariants(cache)
        if not foreign or hasattr(cache, "close"):
            cache.close()
        discard(cache)


@pytest.fixture
def cache(make_cache: Callable[..., Any]) -> Any:
    """Return a cache of 1,000 entries."""
    return make_cache(1000)


@pytest.fixture
def small_cache(make_cache: Callable[..., Any]) -> Any:
    """Return a cache of three entries."""
    return make_cache(max_size=3)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., bool]:
    """Return a function that waits for what another thread does by itself, and tells whether.

    It looks every few milliseconds, in real time; nothing else in the suites waits like that.
    """

    def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> bool:
        pause = threading.Event()
        for _ in range(round(timeout / 0.005)):  # no clock: the test's may stand still
            if condition():
                return True
            pause.wait(0.005)
        return bool(condition())

    return wait_until


@pytest.fixture(scope="session")
def meanwhile() -> Callable[[Callable[[], object]], Any]:
    """Return a context manager: a thread calls a function again and again until the block ends."""

    @contextlib.contextmanager
    def running(step: Callable[[], object]) -> Iterator[None]:
        done, errors = threading.Event(), []

        def repeat() -> None:
            try:
                while not done.is_set():
                    step()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(30)
        assert errors == []
        assert not thread.is_alive()

    return running


@pytest.fixture(scope="session")
def error_of() -> Callable[..., Exception | None]:
    """Return a function that gives what a call raises, or None, so that a test can assert it."""

    def error_of(call: Callable[..., object], *args: object) -> Exception | None:
        try:
            call(*args)
        except Exception as error:
            return error
        return None

    return error_of


@pytest.fixture(scope="session")
def waits() -> Callable[..., tuple[list[float], float]]:
    """Return a function that tells how long other threads wait while a call runs.

    `waits(call, *steps)` lets a thread for each step repeat it, and returns the longest that each
    took, and how long the call took itself, in seconds.
    """

    def waits(call: Callable[[], object], *steps: Callable[[], object]) -> tuple[Any, float]:
        done, running = threading.Event(), [threading.Event() for _ in steps]
        longest = [0.0] * len(steps)

        def repeat(at: int) -> None:
            last = time.perf_counter()
            while not done.is_set():
                steps[at]()
                running[at].set()
                now = time.perf_counter()
                longest[at] = max(longest[at], now - last)
                last = now

        threads = [threading.Thread(target=repeat, args=(at,)) for at in range(len(steps))]
        for thread in threads:
            thread.start()
        try:
            # A call that lets no other thread run would be over before they had begun.
            assert all(event.wait(30) for event in running)
            begin = time.perf_counter()
            call()
            took = time.perf_counter() - begin
        finally:
            done.set()
            for thread in threads:
                thread.join(30)
        return longest, took

    return waits


@pytest.fixture(scope="session")
def wording(request: pytest.FixtureRequest) -> Callable[[str], str | None]:
    """Return a function that gives back what an error has to say, of caches that aren't ours none.

    The contract names the classes of errors, and seldom their words.
    """
    foreign = request.config.pluginmanager.get_plugin("kit").foreign
    return lambda pattern: None if foreign else pattern


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> Callable[..., list[str]]:
    """Return a maker of commands: each runs a program that knows a `DistributedCache` to test."""
    beginning = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        + request.config.pluginmanager.get_plugin("kit").import_line()
    )

    def command(source: str, *arguments: object) -> list[str]:
        return [sys.executable, "-c", beginning + source, *map(str, arguments)]

    return command


@pytest.fixture
def seal(
    request: pytest.FixtureRequest,
    CacheImpl: Callable[..., Any],  # noqa: N803
    make_cache: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[bytes], bytes]:
    """Return a function that makes a snapshot of any pickles, by putting the digest behind them.

    The contract leaves the digest's form open. A cache whose files end otherwise than ours may
    bring a function `seal` of its own, as an attribute of the factory.
    """
    if hasattr(CacheImpl, "seal"):
        return CacheImpl.seal  # type: ignore[no-any-return]
    path = tmp_path_factory.mktemp("seal") / "snapshot"
    make_cache().save(path)
    data = path.read_bytes()
    foreign = request.config.pluginmanager.get_plugin("kit").foreign
    if foreign and sealed(data[: _size_of_pickle(data)]) != data:
        pytest.skip("the kit cannot seal snapshots of this form")
    return sealed


def _size_of_pickle(data: bytes) -> int:
    """Return how long the pickle is with which `data` begins, or 0 where there is none."""
    file = io.BytesIO(data)
    try:
        pickle.load(file)
    except Exception:  # another format, on which pickle may raise anything
        return 0
    return file.tell()


def sealed(body: bytes) -> bytes:
    """Return the snapshot whose pickles are `body`, in our form and without a secret."""
    mark = b"\n%cache digest%\n"
    digest = hashlib.blake2b(body, digest_size=32).digest()
    seal = hashlib.blake2b(digest, digest_size=32, person=b"cache no secret").digest()
    return body + mark + digest + seal + mark


def check_invariants(cache: Any) -> None:
    """Assert what holds of every cache at every moment."""
    stats = cache.stats()
    assert 0 <= stats.size <= stats.max_size
    assert len(cache) == stats.size
    assert min(stats.hits, stats.misses, stats.evictions, stats.expirations) >= 0
    live = cache.keys()
    assert len(set(live)) == len(live) <= stats.size
    before = cache.stats().expirations
    removed = cache.cleanup()
    after = cache.stats()
    assert after.expirations >= before + removed  # its own thread may clean up too
    # The index of deadlines agrees with the storage: cleanup leaves the live entries only, of
    # which some may expire before they are listed.
    assert len(cache.keys()) <= after.size <= len(live)
