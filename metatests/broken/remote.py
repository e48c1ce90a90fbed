"""Broken caches on the server's side: each module's own tests have to notice what it does wrong.

Most are what a careful engineer does in a refactoring: two steps change places, a check is done
once instead of twice, a state is not reset.
"""

from .deviation import Deviations

DEVIATIONS = Deviations()

# -- breaker -------------------------------------------------------------------------------------

BREAKER = "breaker.Breaker"
DEVIATIONS.edit(
    "breaker",
    "a late success closes a breaker that has opened since",
    (f"{BREAKER}.succeeded", "ticket != self._ticket", "ticket > self._ticket"),
)
DEVIATIONS.edit(
    "breaker",
    "a late failure counts for the state of now",
    (f"{BREAKER}.failed", "ticket != self._ticket", "ticket > self._ticket"),
)
DEVIATIONS.edit(
    "breaker",
    "a probe keeps the ticket of those before it",
    (f"{BREAKER}.allow", "self._ticket += 1", "pass"),
)
DEVIATIONS.edit(
    "breaker",
    "what it opens keeps its ticket",
    (f"{BREAKER}.failed", "self._ticket += 1", "pass"),
)
DEVIATIONS.edit(
    "breaker",
    "it opens one failure late",
    (f"{BREAKER}.failed", "self._failures >= self._threshold", "self._failures > self._threshold"),
)
DEVIATIONS.edit(
    "breaker",
    "two probes run at a time",
    (f"{BREAKER}.allow", "self._until = now + self._cooldown", "pass"),
)
DEVIATIONS.edit(
    "breaker",
    "a probe that fails leaves it half open",
    (
        f"{BREAKER}.failed",
        "self._until, self._probing = (now + self._cooldown, False)",
        "self._until = now + self._cooldown",
    ),
)
DEVIATIONS.edit(
    "breaker",
    "a success does not end the failures in a row",
    (
        f"{BREAKER}.succeeded",
        "self._failures, self._until = (0, None)",
        "self._until = None",
    ),
)
DEVIATIONS.edit(
    "breaker",
    "what the breaker refuses is tried again",
    ("breaker.retrying", "except BreakerOpen:", "except ZeroDivisionError:"),
)
DEVIATIONS.edit(
    "breaker",
    "an attempt may begin that ends after the deadline",
    ("breaker.retrying", "clock() + pause + longest > end", "clock() + pause > end"),
)
DEVIATIONS.edit(
    "breaker",
    "the attempt that the caller has made is not counted",
    ("breaker.retrying", "attempt = 0", "attempt = 0 if failed is None else -1"),
)

# -- near ----------------------------------------------------------------------------------------

NEAR = "near.Near"
DEVIATIONS.edit(
    "near",
    "an invalidation leaves the fetches under way alone",
    (f"{NEAR}._forget_locked", "fetches.epoch += 1", "pass"),
)
DEVIATIONS.edit(
    "near",
    "a store ends the fetch before it decides",
    (f"{NEAR}.store", "gone: list[Entry] = []", "self.abandon(token)\ngone: list[Entry] = []"),
    (f"{NEAR}.store", "self._ended_locked(token)", "pass"),
)
DEVIATIONS.edit(
    "near",
    "an invalidation looks for entries before fetches",
    (
        f"{NEAR}.invalidate",
        "key in self._fetches or key in self._entries or key in self._bells",
        "key in self._entries or key in self._fetches or key in self._bells",
    ),
)
DEVIATIONS.edit(
    "near",
    "the life counts from the answer",
    (f"{NEAR}.store", "life = began + min(ttl, self._bound) - now", "life = min(ttl, self._bound)"),
)
DEVIATIONS.edit(
    "near",
    "what comes after the trust has ended is stored",
    (
        f"{NEAR}.store",
        "epoch == fetches.epoch and life > 0 and self._trusted > now",
        "epoch == fetches.epoch and life > 0",
    ),
)
DEVIATIONS.edit(
    "near",
    "of two fetches with different values the former stays",
    (
        f"{NEAR}.store",
        "if fetches.stored != raw:\n    self._let_go_locked(key, gone)",
        "if fetches.stored != raw:\n    pass",
    ),
)
DEVIATIONS.edit(
    "near",
    "a fetch that was stored lets another one store",
    (f"{NEAR}.store", "fetches.epoch += 1\nself._ended_locked(token)", "self._ended_locked(token)"),
)
DEVIATIONS.edit(
    "near",
    "a fetch that finds nothing leaves what is here",
    (f"{NEAR}.drop", "self._forget_locked(token.key, gone)", "pass"),
)
DEVIATIONS.edit(
    "near",
    "a reset leaves the fetches under way alone",
    (f"{NEAR}.reset", "fetches.epoch += 1", "pass"),
)
DEVIATIONS.edit(
    "near",
    "a reset empties it before it refuses what is under way",
    (f"{NEAR}.reset", "with self._lock:", "self.clear()\nwith self._lock:"),
    (f"{NEAR}.reset", "self.clear()\nfor bell in bells:", "for bell in bells:"),
)
DEVIATIONS.edit(
    "near",
    "a reader does not ask whether it is trusted",
    (
        f"{NEAR}.reader",
        "deadline > monotonic() < self._trusted",
        "deadline > monotonic()",
    ),
)
DEVIATIONS.edit(
    "near",
    "many are read one after the other",
    (f"{NEAR}.read_many", "if self._live_locked(key, gone) is None:", "if False:"),
)
DEVIATIONS.edit(
    "near",
    "latches stay shut where invalidations may be missed",
    (f"{NEAR}.distrust", "for bell in bells:\n    bell.ring()", "pass"),
)

# -- tracking ------------------------------------------------------------------------------------

TRACKING = "tracking.Tracking"
STEP = f"{TRACKING}._step"
DEVIATIONS.edit(
    "tracking",
    "the sink is trusted before it is reset",
    (
        STEP,
        "sink.reset()\nself._complete = True",
        "sink.trust(min(line.until for line in list(self._lines.values())))"
        "\nsink.reset()\nself._complete = True",
    ),
)
DEVIATIONS.edit(
    "tracking",
    "the sink keeps what it has when the connections are made anew",
    (STEP, "sink.reset()\nself._complete = True", "self._complete = True"),
)
DEVIATIONS.edit(
    "tracking",
    "trust counts from the answer",
    (
        "tracking._Line._answered",
        "self.until = asked + self._heartbeat",
        "self.until = time.monotonic() + self._heartbeat",
    ),
)
DEVIATIONS.edit(
    "tracking",
    "the newest of the connections decides how long the sink is trusted",
    (STEP, "min(...)", "max(...)"),
)
DEVIATIONS.edit(
    "tracking",
    "a cut connection does not end the trust",
    (
        STEP,
        "sink.distrust()\nself._drop(selector, name)\nlogger.debug(...)",
        "self._drop(selector, name)\nlogger.debug(...)",
    ),
    (STEP, "self._complete = False\nsink.distrust()", "self._complete = False"),
)
DEVIATIONS.edit(
    "tracking",
    "a restart in the middle of a step is overlooked",
    (STEP, "if not self._anew:", "if True:"),
)
DEVIATIONS.edit(
    "tracking",
    "a restart trusts until the connections are made anew",
    (f"{TRACKING}.restart", "sink.distrust()", "pass"),
)
DEVIATIONS.edit(
    "tracking",
    "names that are no keys end what was told with them",
    (
        f"{TRACKING}._tell",
        "for name in names:\n    with contextlib.suppress(UnicodeDecodeError):"
        "\n        keys.append(self._key_of(name))",
        "with contextlib.suppress(UnicodeDecodeError):"
        "\n    for name in names:\n        keys.append(self._key_of(name))",
    ),
)
DEVIATIONS.edit(
    "tracking",
    "the removal of everything is passed over",
    (f"{TRACKING}._tell", "sink.reset()\nreturn", "return"),
)
DEVIATIONS.edit(
    "tracking",
    "a forked child goes on with its parent's connections",
    (
        f"{TRACKING}.after_fork_in_child",
        "os.close(line.socket.detach())",
        "line.socket.shutdown(socket.SHUT_RDWR)",
    ),
)
DEVIATIONS.edit(
    "tracking",
    "a silent connection is waited for",
    (
        "tracking._Line.beat",
        "now - max(self.asked, self.heard) > self._heartbeat",
        "now - max(self.asked, self.heard) > 1000 * self._heartbeat",
    ),
)
DEVIATIONS.edit(
    "tracking",
    "only silence counts, though the server still tells",
    ("tracking._Line.beat", "max(self.asked, self.heard)", "self.asked"),
)

# -- redis_cache ---------------------------------------------------------------------------------

CACHE = "redis_cache.RedisCache"
DEVIATIONS.edit(
    "redis_cache",
    "an own write is noted near before it is made",
    (
        f"{CACHE}._write",
        "return (self._calls.make if idempotent else self._calls.make_once)(step)",
        "self._near is None or self._near.wrote(keys)"
        "\nresult = (self._calls.make if idempotent else self._calls.make_once)(step)"
        "\nkeys = ()\nreturn result",
    ),
)
DEVIATIONS.edit(
    "redis_cache",
    "a write that failed leaves what is near",
    (
        f"{CACHE}._write",
        "if not self._lenient:\n    raise",
        "if not self._lenient:\n    keys = ()\n    raise",
    ),
)
DEVIATIONS.edit(
    "redis_cache",
    "debts are not settled before a read",
    (
        f"{CACHE}._read",
        "self._calls.settle(self._remove_matching)\nvalue = self._fetched(key, name)",
        "value = self._fetched(key, name)",
    ),
)
DEVIATIONS.edit(
    "redis_cache",
    "debts are settled after a read",
    (
        f"{CACHE}._read",
        "self._calls.settle(self._remove_matching)\nvalue = self._fetched(key, name)",
        "value = self._fetched(key, name)\nself._calls.settle(self._remove_matching)",
    ),
)
DEVIATIONS.edit(
    "redis_cache",
    "debts are not settled before a write",
    (f"{CACHE}._write", "self._calls.settle(self._remove_matching)", "pass"),
)
DEVIATIONS.edit(
    "redis_cache",
    "a failed write is not owed",
    (f"{CACHE}._write", "self._calls.owe(map(self._name, keys))", "pass"),
)
DEVIATIONS.edit(
    "redis_cache",
    "what is not idempotent is sent again",
    (
        f"{CACHE}._write",
        "self._calls.make if idempotent else self._calls.make_once",
        "self._calls.make",
    ),
)
DEVIATIONS.edit(
    "redis_cache",
    "a fetch begins after the request",
    (
        f"{CACHE}._fetched",
        "with near.fetching((key,)) as tokens:\n    row = self._calls.make(self._link.row, name)"
        "\n    return self._kept(near, tokens, key, row, name)",
        "row = self._calls.make(self._link.row, name)"
        "\nwith near.fetching((key,)) as tokens:"
        "\n    return self._kept(near, tokens, key, row, name)",
    ),
)
DEVIATIONS.edit(
    "redis_cache",
    "values are removed before leases",
    (f"{CACHE}._remove_matching", "('hash', 'string')", "('string', 'hash')"),
)
DEVIATIONS.edit(
    "redis_cache",
    "a factory that fails keeps its lease",
    (f"{CACHE}._lead", "self._script(scripts.FREE, name, token)", "pass"),
)
DEVIATIONS.edit(
    "redis_cache",
    "a lease is not renewed while the factory runs",
    (f"{CACHE}._lead", "with self._leases.holding(name, token):", "if True:"),
)
DEVIATIONS.edit(
    "redis_cache",
    "what exists says is not said near",
    (f"{CACHE}.exists", "self._outdated(key)", "pass"),
)
DEVIATIONS.edit(
    "redis_cache",
    "a child goes on with the leases of its parent",
    (f"{CACHE}._after_fork_in_child", "self._leases.reset()", "pass"),
)
DEVIATIONS.edit(
    "redis_cache",
    "a child has no tracking of its own",
    (f"{CACHE}._after_fork_in_child", "self._tracking.start()", "pass"),
)

# -- remote/calls --------------------------------------------------------------------------------

CALLS = "remote/calls.Calls"
DEVIATIONS.edit(
    "remote/calls",
    "a debt is forgotten before it is paid",
    (
        f"{CALLS}.settle",
        "self.make(self._link.unlink, [name for name, _ in debts])\nself._paid(self._names, debts)",
        "self._paid(self._names, debts)\nself.make(self._link.unlink, [name for name, _ in debts])",
    ),
)
DEVIATIONS.edit(
    "remote/calls",
    "a debt of a pattern is forgotten before it is paid",
    (
        f"{CALLS}.settle",
        "remove_matching(pattern)\nself._paid(self._patterns, [(pattern, debt)])",
        "self._paid(self._patterns, [(pattern, debt)])\nremove_matching(pattern)",
    ),
)
DEVIATIONS.edit(
    "remote/calls",
    "what is owed again while it is paid is forgotten",
    (f"{CALLS}._paid", "owed.get(key) is debt", "key in owed"),
)
DEVIATIONS.edit(
    "remote/calls",
    "names are forgotten before all of the namespace is owed",
    (
        f"{CALLS}.owe",
        "self._patterns[self._everything] = object()\nself._names.clear()",
        "self._names.clear()\nself._patterns[self._everything] = object()",
    ),
)
DEVIATIONS.edit(
    "remote/calls",
    "others read while what is owed is removed",
    (
        f"{CALLS}.settle",
        "self._settles() or not settling.acquire(blocking=not self._apart())",
        "not settling.acquire(blocking=not self._apart())",
    ),
)
DEVIATIONS.edit(
    "remote/calls",
    "only a refusal is tried once more, and a cut too",
    (f"{CALLS}.make_once", "except Refused:", "except CacheUnavailable:"),
)
DEVIATIONS.edit(
    "remote/calls",
    "the first attempt does not count towards the deadline",
    (f"{CALLS}.make", "self._deadline - (monotonic() - began)", "self._deadline"),
)
DEVIATIONS.edit(
    "remote/calls",
    "a call from inside waits between its attempts",
    (f"{CALLS}.make", "if self._apart():", "if False:"),
)
DEVIATIONS.edit(
    "remote/calls",
    "an error of the caller's leaves the failures in a row",
    (f"{CALLS}._failed", "self.breaker.succeeded(ticket)\nraise error", "raise error"),
)
DEVIATIONS.edit(
    "remote/calls",
    "connections that lead to a demoted server are kept",
    (f"{CALLS}._attempt", "self._link.drop_connections()", "pass"),
)
DEVIATIONS.edit(
    "remote/calls",
    "a child finds the breaker as its parent has it",
    (f"{CALLS}.after_fork_in_child", "self.breaker.reset()", "pass"),
)

# -- remote/leases -------------------------------------------------------------------------------

LEASES = "remote/leases.Leases"
DEVIATIONS.edit(
    "remote/leases",
    "a child takes over the renewing of its parent",
    (
        f"{LEASES}.reset",
        "self._renewing = False",
        "self._renewing = getattr(self, '_renewing', False)",
    ),
)
DEVIATIONS.edit(
    "remote/leases",
    "a child renews the leases of its parent",
    (
        f"{LEASES}.reset",
        "self._held: dict[bytes, bytes] = {}",
        "self._held = getattr(self, '_held', {})",
    ),
)
DEVIATIONS.edit(
    "remote/leases",
    "a lease is renewed when its life is over",
    (
        f"{LEASES}.__init__",
        "min(life / 3, threading.TIMEOUT_MAX)",
        "min(life, threading.TIMEOUT_MAX)",
    ),
)
DEVIATIONS.edit(
    "remote/leases",
    "a lease that is given back is renewed on",
    (f"{LEASES}.holding", "self._held.pop(token, None)", "pass"),
)
DEVIATIONS.edit(
    "remote/leases",
    "the thread that ends does not say so",
    (f"{LEASES}._run", "self._renewing = False\nreturn", "return"),
)
DEVIATIONS.edit(
    "remote/leases",
    "each lease has a thread",
    (f"{LEASES}.holding", "start = not self._renewing", "start = True"),
)
DEVIATIONS.edit(
    "remote/leases",
    "an error while one lease is renewed ends the others",
    (
        f"{LEASES}._run",
        "logger.exception('a lease was not renewed')",
        "logger.exception('a lease was not renewed')\nbreak",
    ),
)
DEVIATIONS.edit(
    "remote/leases",
    "where no thread starts it is taken to run",
    (
        f"{LEASES}._start",
        "with self._lock:\n    self._renewing = False",
        "pass",
    ),
)
DEVIATIONS.edit(
    "remote/leases",
    "a lease may live for no millisecond",
    (f"{LEASES}.__init__", "max(round(life * 1000), 1)", "round(life * 1000)"),
)

# -- remote/link ---------------------------------------------------------------------------------

LINK = "remote/link.Link"
CLUSTER = "remote/link.ClusterLink"
DEVIATIONS.edit(
    "remote/link",
    "the client tries again by itself",
    (f"{LINK}._prepared", "client.set_retry(...)", "pass"),
)
DEVIATIONS.edit(
    "remote/link",
    "a child asks over its parent's connections",
    (f"{LINK}.after_fork_in_child", "self._own = None", "pass"),
)
DEVIATIONS.edit(
    "remote/link",
    "a call from inside asks over the client that is in use",
    (f"{LINK}.apart", "self._prepared(twin(self._model))", "self._model"),
)
DEVIATIONS.edit(
    "remote/link",
    "a script that the server has forgotten is not sent again",
    (f"{LINK}.run", "except NoScriptError:", "except ZeroDivisionError:"),
)
DEVIATIONS.edit(
    "remote/link",
    "a life is set after the value",
    (
        f"{LINK}.set",
        "self.client.execute_command('SET', name, value, 'PX', ms)",
        "self.client.execute_command('SET', name, value)"
        "\nself.client.execute_command('PEXPIRE', name, ms)",
    ),
)
DEVIATIONS.edit(
    "remote/link",
    "many are read one by one",
    (
        f"{LINK}.get_many",
        "self.client.execute_command('MGET', *names)",
        "[self.get(name) for name in names]",
    ),
)
DEVIATIONS.edit(
    "remote/link",
    "connections in use are dropped too",
    (f"{LINK}.drop_connections", "inuse_connections=False", "inuse_connections=True"),
)
DEVIATIONS.edit(
    "remote/link",
    "a lease is taken for an entry",
    (f"{LINK}.exists", "(b'string', 'string')", "(b'string', 'string', b'hash')"),
)
DEVIATIONS.edit(
    "remote/link",
    "a refusal is taken for a cut",
    ("remote/link.failure", "return Refused(...)", "return CacheUnavailable(...)"),
)
DEVIATIONS.edit(
    "remote/link",
    "a latch without a server leaves its connection open",
    ("remote/link.Bell.__init__", "pubsub.close()\nraise", "raise"),
)
DEVIATIONS.edit(
    "remote/link",
    "on a cluster the ttl is asked for only after the value",
    (f"{CLUSTER}.rows", "_shorter(before, after)", "after"),
)
DEVIATIONS.edit(
    "remote/link",
    "on a cluster the ttl is asked for only before the value",
    (f"{CLUSTER}.rows", "_shorter(before, after)", "before"),
)
