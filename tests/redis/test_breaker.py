"""The circuit breaker and the repetition of calls, alone: no server, and time that is turned."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from cache.breaker import Breaker, retrying
from cache.errors import CacheError, CacheUnavailable

PATIENCE = 10


class Time:
    """A clock that stands still; to sleep on it is to turn it."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def breaker(clock):
    return Breaker(threshold=3, cooldown=10, clock=clock)


def fail(breaker, times=1):
    for _ in range(times):
        breaker.failed(breaker.allow())


def test_unavailable_is_an_error_of_ours_and_a_connection_error():
    assert issubclass(CacheUnavailable, CacheError)
    assert issubclass(CacheUnavailable, ConnectionError)


def test_it_opens_at_so_many_failures_in_a_row(breaker):
    fail(breaker, 2)
    assert breaker.state == "closed"

    fail(breaker)

    assert breaker.state == "open"
    with pytest.raises(CacheUnavailable):
        breaker.allow()


def test_a_success_begins_the_count_anew(breaker):
    states = []

    for _ in range(5):
        for _ in range(2):
            breaker.failed(0)  # the ticket of a breaker that has always been closed
        breaker.succeeded(0)
        states.append(breaker.state)

    assert states == ["closed"] * 5


def test_it_refuses_for_exactly_its_cooldown(breaker, clock):
    fail(breaker, 3)

    clock.now += 9.999
    with pytest.raises(CacheUnavailable):
        breaker.allow()
    clock.now += 0.001

    assert breaker.state == "half-open"
    breaker.allow()


def test_one_probe_at_a_time_when_half_open(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    probe = breaker.allow()

    with pytest.raises(CacheUnavailable):
        breaker.allow()
    assert breaker.state == "half-open"
    breaker.succeeded(probe)

    assert breaker.state == "closed"
    assert [breaker.allow() for _ in range(3)]


def test_a_call_that_comes_while_a_probe_closes_the_breaker_goes_through(clock):
    """It sees the breaker half open; the probe's success comes before it has the lock."""
    meanwhile = []

    def told():
        while meanwhile:
            meanwhile.pop()()
        return clock()

    breaker = Breaker(threshold=1, cooldown=10, clock=told)
    fail(breaker)
    clock.now += 10
    probe = breaker.allow()
    meanwhile.append(lambda: breaker.succeeded(probe))

    ticket = breaker.allow()

    assert breaker.state == "closed"
    breaker.failed(ticket)
    assert breaker.state == "open"


def test_of_many_threads_that_meet_a_half_open_breaker_one_probes(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    meeting = threading.Barrier(16)

    def allowed():
        meeting.wait(PATIENCE)
        try:
            return breaker.allow()
        except CacheUnavailable:
            return None

    with ThreadPoolExecutor(16) as pool:
        tickets = [future.result(PATIENCE) for future in [pool.submit(allowed) for _ in range(16)]]

    assert sum(ticket is not None for ticket in tickets) == 1


def test_a_probe_that_fails_opens_it_for_another_cooldown(breaker, clock):
    fail(breaker, 3)
    clock.now += 10

    fail(breaker)

    assert breaker.state == "open"
    clock.now += 9.999
    with pytest.raises(CacheUnavailable):
        breaker.allow()
    clock.now += 0.001
    breaker.succeeded(breaker.allow())
    assert breaker.state == "closed"


def test_after_a_probe_the_count_begins_at_zero(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    breaker.succeeded(breaker.allow())

    fail(breaker, 2)

    assert breaker.state == "closed"


def test_a_probe_whose_outcome_nobody_tells_is_given_up(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    lost = breaker.allow()

    clock.now += 10
    probe = breaker.allow()
    breaker.failed(lost)

    breaker.succeeded(probe)
    assert breaker.state == "closed"


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_call_from_before_it_opened_decides_nothing(breaker, clock, outcome):
    slow = [breaker.allow() for _ in range(4)]
    fail(breaker, 3)

    getattr(breaker, outcome)(slow[0])
    assert breaker.state == "open"
    clock.now += 10
    assert breaker.state == "half-open"
    probe = breaker.allow()
    getattr(breaker, outcome)(slow[1])

    assert breaker.state == "half-open"
    with pytest.raises(CacheUnavailable):
        breaker.allow()
    breaker.succeeded(probe)
    assert breaker.state == "closed"
    for ticket in slow[2:] * 3:
        getattr(breaker, outcome)(ticket)
    assert breaker.state == "closed"


def test_nothing_is_locked_while_a_call_runs(breaker):
    running, over = threading.Event(), threading.Event()

    def slow():
        ticket = breaker.allow()
        running.set()
        assert over.wait(PATIENCE)
        breaker.succeeded(ticket)

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(slow)
        assert running.wait(PATIENCE)
        fail(breaker, 3)
        state = breaker.state
        over.set()
        call.result(PATIENCE)

    assert state == breaker.state == "open"


class Interrupted(float):
    """A number that calls `come` when it is first compared or reckoned with."""

    def __new__(cls, value, come):
        made = super().__new__(cls, value)
        made.come = [come]
        return made

    def met(self):
        while self.come:
            self.come.pop()()
        return float(self)

    def __add__(self, other):
        return self.met() + other

    def __rsub__(self, other):
        return other - self.met()

    def __ge__(self, other):
        return self.met() >= other

    def __ne__(self, other):
        return self.met() != other


@pytest.mark.parametrize(
    ("failures", "step"),
    [
        (3, lambda breaker, number: breaker.allow()),
        (3, lambda breaker, number: breaker.state),
        (2, lambda breaker, number: breaker.failed(breaker.allow())),
        (2, lambda breaker, number: breaker.succeeded(number(breaker.allow()))),
    ],
    ids=["a probe", "the state", "a failure", "a success"],
)
def test_no_other_thread_comes_between_what_is_read_and_what_is_written(failures, step):
    now, came = [1000.0], []
    breaker = Breaker(threshold=3, cooldown=10, clock=lambda: now[-1])
    fail(breaker, failures)

    with ThreadPoolExecutor(1) as pool:

        def come():
            now.append(1010.0)
            came.append(wait([pool.submit(lambda: breaker.state)], 0.05).done)

        now.append(Interrupted(1010.0, come))
        step(breaker, lambda number: Interrupted(number, come))

    assert came == [set()]


class Stepwise(Breaker):
    """A breaker whose steps without the lock others may come between.

    `read` is called once `_until` has been read, `set` when it is about to be set.
    """

    read = set = None

    def come(self, when):
        act = getattr(self, when)
        setattr(self, when, None)
        if act:
            act()

    @property
    def _until(self):
        value = self.until
        self.come("read")
        return value

    @_until.setter
    def _until(self, value):
        self.come("set")
        self.until = value


def test_a_call_that_is_let_through_as_it_opens_does_not_close_it(clock):
    """The ticket is read before the state: it is then a former state's, or both are of now."""
    breaker = Stepwise(threshold=1, cooldown=10, clock=clock)
    first = breaker.allow()
    breaker.read = lambda: breaker.failed(first)

    ticket = breaker.allow()
    assert breaker.state == "open"
    breaker.succeeded(ticket)

    assert breaker.state == "open"


def test_a_call_that_is_let_through_while_it_opens_does_not_close_it(clock):
    """What is written when it opens is the state first, and the ticket then."""
    breaker = Stepwise(threshold=1, cooldown=10, clock=clock)
    first, tickets = breaker.allow(), []
    breaker.set = lambda: tickets.append(breaker.allow())

    breaker.failed(first)
    breaker.succeeded(*tickets)

    assert breaker.state == "open"


def test_it_is_guarded_by_the_lock_that_it_is_given(clock):
    lock = threading.RLock()
    breaker = Breaker(threshold=1, cooldown=10, lock=lock, clock=clock)
    fail(breaker)

    with ThreadPoolExecutor(1) as pool:
        with lock:
            waiting = pool.submit(lambda: breaker.state)
            came = wait([waiting], 0.05).done
        assert waiting.result(PATIENCE) == "open"

    assert came == set()


def test_who_is_refused_is_told_for_how_long(breaker, clock):
    fail(breaker, 3)
    clock.now += 7.5

    with pytest.raises(CacheUnavailable, match=r"not asked for 2\.50 s"):
        breaker.allow()


def test_who_is_refused_is_told_of_a_probe(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    breaker.allow()

    with pytest.raises(CacheUnavailable, match="a probe is under way"):
        breaker.allow()


def test_the_wall_clock_has_no_say(monkeypatch):
    breaker = Breaker(threshold=1, cooldown=3600)
    fail(breaker)

    monkeypatch.setattr(time, "time", lambda: 2e10)

    assert breaker.state == "open"


def test_reset_closes_it_with_nothing_counted(breaker):
    fail(breaker, 3)

    breaker.reset()

    fail(breaker, 2)
    assert breaker.state == "closed"


class Flaky:
    """A call that fails so many times, each in so many seconds, and then returns its number."""

    def __init__(self, clock, failures, seconds=0.0, error=CacheUnavailable):
        self.calls = 0
        self._clock, self._failures, self._seconds, self._error = clock, failures, seconds, error

    def __call__(self):
        self.calls += 1
        self._clock.now += self._seconds
        if self.calls <= self._failures:
            raise self._error(f"failure {self.calls}")
        return self.calls


def retried(call, attempts, deadline, clock, **options):
    return retrying(call, attempts, deadline, clock=clock, sleep=clock.sleep, **options)


def test_a_call_is_made_again_until_it_succeeds(clock):
    assert retried(Flaky(clock, 2), 3, 10, clock) == 3


def test_the_last_error_is_raised_after_so_many_attempts(clock):
    call = Flaky(clock, 9)

    with pytest.raises(CacheUnavailable, match="failure 3"):
        retried(call, 3, 10, clock)

    assert call.calls == 3
    assert len(clock.slept) == 2


def test_a_first_attempt_that_failed_is_one_of_them(clock):
    call, first = Flaky(clock, 1), CacheUnavailable("the first one")

    assert retried(call, 3, 10, clock, failed=first) == 2
    assert len(clock.slept) == 2
    with pytest.raises(CacheUnavailable, match="failure 2"):
        retried(Flaky(clock, 9), 3, 10, clock, failed=first)
    with pytest.raises(CacheUnavailable, match="the first one"):
        retried(call, 1, 10, clock, failed=first)

    assert call.calls == 2


def test_a_pause_is_not_begun_that_would_leave_too_little_time(clock):
    call = Flaky(clock, 9)

    with pytest.raises(CacheUnavailable, match="failure 1"):
        retried(call, 9, 0.5, clock, base=0.4, longest=0.2, jitter=lambda: 1.0)

    assert clock.slept == []


def test_pauses_double_up_to_their_cap_and_are_a_random_part_of_it(clock):
    most, least = Time(), Time()
    for one, share in ((most, 1.0), (least, 0.25)):
        with pytest.raises(CacheUnavailable):
            retried(Flaky(one, 9), 6, 10, one, base=0.1, cap=0.5, jitter=lambda: share)

    assert most.slept == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])
    assert least.slept == pytest.approx([0.025, 0.05, 0.1, 0.125, 0.125])


def test_two_callers_pause_for_different_times(clock):
    for _ in range(2):
        with pytest.raises(CacheUnavailable):
            retried(Flaky(clock, 9), 2, 10, clock)

    assert clock.slept[0] != clock.slept[1]


def test_no_attempt_begins_that_could_outlast_the_deadline(clock):
    began = clock.now
    call = Flaky(clock, 99, seconds=0.5)

    with pytest.raises(CacheUnavailable):
        retried(call, 99, 2.0, clock, longest=0.5)

    assert clock.now - began <= 2.0
    assert call.calls == 3


@pytest.mark.parametrize(("deadline", "options"), [(0.5, {}), (1.0, {"longest": 0.5})])
def test_an_attempt_that_ends_with_the_deadline_is_made(clock, deadline, options):
    call = Flaky(clock, 99, seconds=0.5)

    with pytest.raises(CacheUnavailable):
        retried(call, 99, deadline, clock, jitter=lambda: 0.0, **options)

    assert call.calls == 2


def test_pauses_are_up_to_20_ms_at_first_and_to_half_a_second_in_the_end(clock):
    with pytest.raises(CacheUnavailable):
        retried(Flaky(clock, 9), 8, 10, clock, jitter=lambda: 1.0)

    assert clock.slept == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5])


def test_what_the_breaker_refuses_is_not_tried_again(breaker, clock):
    call = Flaky(clock, 99)

    def guarded():
        ticket = breaker.allow()
        try:
            return call()
        except CacheUnavailable:
            breaker.failed(ticket)
            raise

    with pytest.raises(CacheUnavailable):
        retried(guarded, 99, 100, clock)

    assert call.calls == 3
    assert len(clock.slept) == 3


def test_other_errors_pass_at_once(clock):
    call = Flaky(clock, 9, error=KeyError)

    with pytest.raises(KeyError):
        retried(call, 3, 10, clock)

    assert call.calls == 1
