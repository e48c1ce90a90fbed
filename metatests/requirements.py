"""The clauses of the contract, and what else the metatests hold the project to.

The sentences are those of docs/contract.md, word for word: a metatest keeps both equal.
"""

# ruff: noqa: RUF001 - the contract multiplies with the sign for it

CLAUSES = {
    "R1.1": "An entry set with `ttl=10` is live at 9.999 s and expired at exactly 10.0 s.",
    "R1.2": "`get` and `exists` on an expired entry remove it from storage.",
    "R1.3": "`ttl=None` means `default_ttl`; `default_ttl=None` and `math.inf` mean never.",
    "R1.4": "Setting a key again replaces its deadline, also by none.",
    "R1.5": "TTLs are per key.",
    "R1.6": "Fractions of a second count.",
    "R1.7": (
        "A TTL is an int or float of seconds, however large, or a `timedelta`; zero, a "
        "negative and NaN are a ValueError, any other type, bool among them, is a TypeError, "
        "and nothing changes; the same goes for `default_ttl` and `cleanup_interval`."
    ),
    "R1.8": (
        "A step of the wall clock while the process runs changes no entry's remaining life: "
        "deadlines are monotonic inside the process, and wall-clock `expires_at` in a "
        "snapshot."
    ),
    "R2.1": (
        "These make a key most recently used: `get`, `get_many`, `set`, `set_many`, "
        "`increment`, an `add`, `replace` or `touch` that succeeds, a hit of `get_or_set` or "
        "`cache[key]`; these do not: `exists`, `keys`, `ttl`, `stats`, `in`, `len`, "
        "iteration, an `add` or `replace` that fails, `save`."
    ),
    "R2.2": (
        "A new key in a full cache evicts exactly the least recently used live entry, and "
        "counts one eviction."
    ),
    "R2.3": "Overwriting evicts nothing.",
    "R2.4": (
        "An expired entry never costs a live one its place: expired entries make room first, "
        "and count as expirations, not as evictions."
    ),
    "R2.5": (
        "`max_size=1` works; a `max_size` below 1 is a ValueError, one that is no int (a "
        "bool is none) a TypeError."
    ),
    "R3.1": "It is atomic: N threads with M increments each add up to exactly N × M.",
    "R3.2": (
        "A key that is missing or expired becomes `amount`, with `ttl`, or else `default_ttl`; "
        "with `create=False` it is a KeyError."
    ),
    "R3.3": "A live key keeps its deadline.",
    "R3.4": (
        "Ints and floats can be counted; any other value (a str, a bool, None) is a "
        "ValueError that names the key and the type, and the entry stays as it was."
    ),
    "R3.5": "An `amount` that is no int or float is a TypeError.",
    "R3.6": "`decrement(k, n)` does what `increment(k, -n)` does.",
    "R4.1": (
        "Each `get`, each key of `get_many`, each `get_or_set`, each `pop` and each read by "
        "`cache[key]` is one hit or one miss; an expired entry is a miss, so is a caller "
        "that waits for another's factory, and a `get_or_set` whose factory fails; a call "
        "refused for its arguments is no read."
    ),
    "R4.2": (
        "`evictions` grows by one for each eviction, never for deletion, expiry, overwriting "
        "or `clear`; `expirations` grows by one for each expired entry that is removed, "
        "however it was found (overwriting or deleting it too), but not by `clear` and "
        "`load`."
    ),
    "R4.3": "`size` is the length of storage, and so is `len(cache)`.",
    "R4.4": (
        "The counters are exact under concurrency: hits + misses is the number of reads made."
    ),
    "R4.5": "`stats()` shows one consistent moment.",
    "R4.6": "`hit_rate` is 0.0 before the first read.",
    "R5.1": (
        "The dialect is Redis's: `*` is any run, `?` one character, then `[abc]`, `[a-z]` and"
        " `[^a]` for none of them (`[!a]` is a second spelling), and `\\` makes the next "
        "character literal; an unclosed `[` is closed by the end of the pattern; the rest "
        "(`[]`, `[^]`, reversed ranges, `\\` in ranges) is as in Redis's `stringmatchlen`; "
        "case counts, and the whole key must match, newlines included."
    ),
    "R5.2": (
        'Where nothing matches the list is `[]`; `""` matches the empty key only, so '
        '`keys("")` is `[]` where that key is not live.'
    ),
    "R5.3": "Expired keys are neither listed nor counted.",
    "R5.4": "`delete_pattern` returns exactly how many it deleted.",
    "R5.5": "A pattern that is no str is a TypeError.",
    "R5.6": (
        "No pattern, however hostile, takes more than time proportional to pattern × key length."
    ),
    "R5.7": "Pauses do not grow with the cache: they are at most 30 ms with a million entries.",
    "R5.8": "`escape(text)` matches `text` and nothing else.",
    "R6.1": (
        "The file consists of pickles, and plain `pickle.load` reads it with no class of ours"
        " needed: first comes a dict with `format`, `version`, `saved_at`, `hits`, `misses`, "
        "`evictions`, `expirations` and `entries`, which says how many follow; then, by "
        "further `pickle.load`s on the same open file, come lists of `(key, value, "
        "expires_at)` from least to most recently used, until there are that many; then comes"
        " the digest."
    ),
    "R6.2": (
        "Expired entries are left out; each other entry carries `expires_at`, in epoch "
        "seconds or None."
    ),
    "R6.3": "Recency is kept.",
    "R6.4": (
        "All or nothing: the file at `path` is the old one or the new one, whole, whatever "
        "happens (full disk, kill, power cut), as the new one is written beside it, flushed "
        "to disk and renamed, and the folder is flushed; a symbolic link is followed."
    ),
    "R6.5": (
        "An error raises: OSError where there is no folder, no permission or no room, "
        "SnapshotError naming the key where a value cannot be pickled or is not trusted; the "
        "cache is untouched and so is the old file, unless only the last flush of the folder "
        "failed: then the file is whole, old or new."
    ),
    "R6.6": "A snapshot is one moment: it holds no half of a `set_many`.",
    "R6.7": (
        "Other threads go on: with a million small entries a hit (on a build with the GIL) "
        "waits at most 30 ms, a write at most a second (the walk in recency order), and no "
        "second copy of all values is made."
    ),
    "R6.8": "The file's mode is 0600.",
    "R6.9": (
        "A failed save leaves no temporary file; a killed one leaves at most one, which the "
        "next save of that path removes; two saves of one path at once both succeed, and the "
        "file of one of them stays."
    ),
    "R6.10": (
        "A value that another thread changes meanwhile is saved whole in some state, or "
        "fails as in R6.5."
    ),
    "R7.1": (
        "It replaces the content in one moment; recency, values and remaining life, "
        "`expires_at - time.time()` seconds, come back."
    ),
    "R7.2": "What expired in between is dropped.",
    "R7.3": "The counters become the saved ones.",
    "R7.4": (
        "Of a snapshot larger than `max_size` the most recent entries stay, and no eviction "
        "is counted."
    ),
    "R7.5": (
        "A missing file is FileNotFoundError; otherwise SnapshotError says, as far as the "
        "bytes tell, whether the file is no snapshot, cut short, damaged or of a newer "
        "version; the cache is as it was."
    ),
    "R7.6": (
        "Nothing in a snapshot runs code but the methods of trusted classes: only plain data "
        "comes back, and what `trust` names; anything else is a SnapshotError naming the "
        "type. Plain data is None, bool, int, float, complex, str, bytes, bytearray, tuple, "
        "list, dict, set, frozenset, range; deque, OrderedDict and defaultdict of these, "
        "Counter; the types of datetime, ZoneInfo, Decimal, Fraction, UUID, those of pathlib "
        "and of ipaddress; and these types themselves, as a defaultdict's factory is one. "
        "`trust` takes classes, and names of modules: a name trusts the classes *defined* in "
        "that module, but no function, no dotted name (a nested class is trusted by naming "
        "the class itself) and nothing that the module merely imports. What `load` would "
        "refuse, `save` refuses."
    ),
    "R7.7": (
        "A digest over the whole file is checked before anything is unpickled: any flipped "
        "bit and any cut is noticed."
    ),
    "R7.8": (
        '`secret=b"…"` keys the digest: a file sealed with another secret, or with none, is '
        "refused unread, in constant time; no two different secrets open each other's files."
    ),
    "R7.9": (
        "Pauses are at most 30 ms with a million small entries, the release of the old ones "
        "included; so are those of `clear`."
    ),
    "R7.10": "A file saved on one supported Python loads on every other, older or newer.",
    "R8.1": (
        "A daemon thread that `__init__` starts runs `cleanup` every `cleanup_interval` "
        "seconds; where the interpreter, on its way out, starts no thread, the cache does "
        "without."
    ),
    "R8.2": "`cleanup` removes every expired entry and returns how many.",
    "R8.3": (
        "Its cost follows the number that expired, pauses are at most 30 ms with a million "
        "entries, and what is kept to find them stays in proportion to storage, however often"
        " keys are set again."
    ),
    "R8.4": (
        "A cache that is no longer referenced is collected, and its thread ends within two "
        "seconds; `close` ends it within two, may be called twice, and the cache still "
        "serves; the exit of an interpreter with live caches never hangs and prints nothing."
    ),
    "R8.5": (
        "After `fork`, whatever other threads were doing, the child's cache works and has its"
        " own thread."
    ),
    "R8.6": "An error in the thread is logged, and the thread goes on.",
    "R9.1": (
        "One `threading.RLock` guards every change of state that takes more than one atomic "
        "step of the interpreter. Every public method may be called from any thread, and from"
        " code that a call of the same thread happens to run (a finalizer, a comparison, a "
        "weakref callback, a factory) without deadlock or broken state; a call made while its"
        " own thread holds the lock never waits for another thread's factory."
    ),
    "R9.2": (
        "While the lock is held none of this runs: factories, pickling and unpickling, glob "
        "matching, the release of removed values."
    ),
    "R9.3": (
        "`get_or_set` runs one factory per key at a time; waiters get its value or its "
        "exception; a factory that needs its own key, directly or through another flight that"
        " waits for it, gets a RuntimeError, not a deadlock. Where another call wrote the key"
        " meanwhile, that write stays, and where one removed it (`delete`, `pop`, "
        "`delete_pattern`, `clear`, `load`), the factory's value is not stored; either way "
        "the callers get it."
    ),
    "R10.1": (
        "Keys are str, of any length and any characters, else it is a TypeError; a str "
        "subclass counts as its plain text, whatever methods it has. Values are anything, "
        "None included (`exists` tells it from absence), and are handed out as they are, not "
        "copied."
    ),
    "R10.2": "`get` of a missing key gives `default`; `cache[key]` raises KeyError.",
    "R10.3": "Nothing raises on an empty cache.",
    "R10.4": "A failed call changes nothing, but counts the read that it was.",
    "R10.5": "A cache is always true, empty or not, and equal only to itself.",
    "R10.6": "Pickling or copying a cache is a TypeError that points to `save`.",
    "R11.1": (
        "Two calls share a key exactly where the function is the same and all bound "
        "arguments, defaults included, are equal in type and in value, at every depth: "
        "`f(1, b=2)` and `f(a=1, b=2)` share one; `1`, `True` and `1.0` do not, nor do "
        "`(1,)` and `(True,)`; the order of a dict's or a set's items does not matter; "
        "values that compare equal and can still be told apart (`0.0` and `-0.0`, "
        '`Decimal("1.0")` and `Decimal("1.00")`, one moment in two time zones) are not '
        "equal here, and a NaN equals itself."
    ),
    "R11.2": (
        "An argument enters a key only by a rendering that tells it from every other: the"
        " plain data of R7.6, enums, dataclasses (every field, whatever its `repr=` or "
        "`compare=`), named tuples, classes and module-level functions (by module and "
        "qualified name), and containers of these; NumPy arrays and scalars and pandas "
        "objects by dtype, shape and whole content where those libraries are loaded; "
        "instances of a class with `__cache_key__()` by what it returns; anything else is"
        " a TypeError that names the parameter and the remedies (`key=`, `ignore=`, "
        "`__cache_key__`); no `repr`, `str`, `hash` or `id` of an unknown object ever "
        "decides a key."
    ),
    "R11.3": (
        "The default key is `module.qualname:` and a digest of at least 128 bits: no "
        "argument's text stands in a key, so none reaches snapshots, servers or logs; "
        "keys are the same in every process and on every supported Python."
    ),
    "R11.4": (
        "`key=` makes the rest of the key from the call's arguments, a str as it is or a "
        "tuple of values of R11.2; `prefix=` replaces `module.qualname:`, so "
        '`memoize(prefix="user:", key=lambda id: str(id))` stores at `user:1`; `ignore=` '
        "leaves parameters out by name."
    ),
    "R11.5": (
        "Two functions never share results: one that replaces another of the same name "
        "with other code (a notebook cell that is run again, a new release) starts cold; "
        "lambdas, local functions and other callables without a module-level name are "
        "cached for this one object, unless `prefix=` says otherwise."
    ),
    "R11.6": (
        "It works on functions, methods, class methods and static methods, and through "
        "`functools.partial`; bound attributes (`obj.method.invalidate(1)`) and type "
        "checkers (mypy, pyright) see the signature without `self`."
    ),
    "R11.7": (
        "The decorated function has `key_for`, `invalidate`, `invalidate_all`, `refresh` "
        "(it calls and stores anew), `cache_info()` and `__wrapped__` (the uncached "
        "function); `invalidate_all` removes what any process has stored under the "
        "prefix, after a restart too."
    ),
    "R11.8": (
        "A result that is awaitable, a generator or an iterator is a TypeError and is not"
        " stored, with `get_or_set` alike; a coroutine function is refused by `memoize`; "
        "exceptions are never stored, and the leader's exception reaches each waiter with"
        " the leader's traceback intact."
    ),
    "R11.9": "Where `store_if(value)` is false the value is returned and not stored.",
}

# The clauses about a moment at which something expires: their tests turn the clock.
TIMED = (
    *("R1.1", "R1.2", "R1.4", "R1.5", "R1.6", "R1.8", "R2.4"),
    *("R4.3", "R5.3", "R6.2", "R7.2", "R8.2"),
)

# The reasons for which a test may be left out.
EXCUSES = {
    "there is no fork here": "Windows has none",
    "there is no C compiler here": "calls of the system are made to fail by a library in C",
    "no …-server here": "the suites of RedisCache run on every engine that is installed",
    "the kit cannot seal snapshots of this form": "another cache's digest may have any form",
}

# The suites that see more than the public names.
WHITE_BOX = {
    "tests/redis/test_growth_on_servers.py": "the near cache is weighed as well",
    "tests/test_parts.py": "it tests the modules below the cache, each alone",
    "tests/test_interleavings.py": "what two orders of calls leave behind is compared whole",
    "tests/test_forks.py": "a fork in the middle of a call is made by the call's own parts",
}

# Where `cache/` asks for the time of day: deadlines go by the monotonic clock everywhere else.
WALL_CLOCK = {
    ("redis_cache", "save"): "`saved_at`",
    ("redis_cache", "_rows"): "`expires_at` of each entry",
    ("redis_cache", "_set_all"): "the life that is left of each entry",
    ("core", "_header_locked"): "`saved_at`, from which `expires_at` of each entry follows",
    ("core", "load"): "the life that is left of each entry",
}

# The clauses about numbers that have to be exact: no test of these is content with an inequality.
EXACT = (
    *("R2.2", "R2.3", "R3.1", "R3.6", "R4.1", "R4.2", "R4.3", "R4.4"),
    *("R5.4", "R8.2"),
)

# The tests that compare approximately all the same, and why.
APPROXIMATE = {
    "test_a_step_of_ten_years_changes_no_life_in_the_process": "real time passes meanwhile",
    "test_pauses_double_up_to_their_cap_and_are_a_random_part_of_it": "sums of floats",
    "test_pauses_are_up_to_20_ms_at_first_and_to_half_a_second_in_the_end": "sums of floats",
    "test_sums_are_those_of_python": "a server's clock goes on",
    "test_a_snapshot_moves_between_engines": "a server's clock goes on",
    "test_a_finite_life_comes_back": "a server keeps milliseconds",
    "test_a_ttl_of_any_length_is_taken": "sums of floats",
    "test_a_timedelta_is_its_seconds": "sums of floats",
    "test_the_deadline_of_a_live_key_stays": "sums of floats",
    "test_the_ttl_of_a_call_does_not_move_the_deadline_of_a_live_key": "sums of floats",
    "test_the_life_left_goes_by_the_wall_clock": "sums of floats",
    "test_a_clear_meanwhile_ends_delete_pattern": "R5.4: the finalizer may come at any removal",
}

# The tests in which an assertion depends on something that is no parameter of the case.
CONDITIONAL = {
    "test_a_child_waits_for_no_thread_that_asked_for_a_clusters_nodes": "parent and child differ",
    "test_a_value_that_changes_under_the_pickler_is_saved_whole_or_fails_by_key": "R6.10: either",
    "test_a_list_that_is_replaced_at_each_step_is_saved_whole_or_fails_by_key": "R6.10: either",
    "test_every_line_of_the_examples_gives_what_its_comment_says": "lines without a comment",
}

# The tests of contractual suites that put something in the place of a method of the cache.
PATCHING = {
    "test_the_time_between_two_cleanups_is_the_interval": "it waits for the thread's call",
    "test_an_error_in_the_thread_is_logged_and_it_goes_on": "nothing else makes cleanup fail",
    "test_a_tiny_interval_takes_no_processor": "it counts the thread's calls",
}

# The tests that read a clock which no test turns.
REAL_TIME = {
    "churned": "a server's clock cannot be stopped",
    "test_a_tiny_interval_takes_no_processor": "how often the thread runs, in real time",
    "made": "a fixture that asks the frozen clock for the next round moment",
}

# The clauses of which metatests/broken has one deviation only.
BROKEN_ONCE = {
    "R1.5": "the deadline is in the entry: nothing but sharing one breaks it",
    "R1.6": "rounding is the one way to lose a fraction",
    "R1.8": "deadlines go by one clock or by the other",
    "R3.1": "a sum is lost between a read and a write, or not",
    "R4.4": "a count is lost between a read and a write, or not",
    "R4.5": "a moment is one, or two",
    "R5.6": "matching tries again, or not",
}

# The lists of exceptions here; the record of the suites knows how long each is.
EXCEPTIONS = (
    "EXCUSES",
    "WHITE_BOX",
    "WALL_CLOCK",
    "APPROXIMATE",
    "CONDITIONAL",
    "PATCHING",
    "BROKEN_ONCE",
)

# What is meant to be weaker than the record of the suites says, and why: a line as
# `python -m metatests.inventory` prints it. A line that is no more true goes with the next change.
LOWERED: dict[str, str] = {
    "pragma cache/redis_cache.py 2": "a re-entrant call with a store_if",
    "pragma cache/unpickling.py 1": "whether an object is met twice is the collector's to say",
    "pragma cache/trust.py 1": "the library is here in the tests",
    "pragma cache/pandas_portables.py 1": "pandas 3 makes no zones of pytz",
    "pragma cache/snapshot.py 1": "the unpickler's stack also has what is not a row yet",
    "- 1/3 0+2 tests/redis/test_growth_on_servers.py::test_from_the_third_round_on_nothing_grows": (
        "seconds of real time show noise: it is for minutes, in the soak"
    ),
    "open tests/test_growth.py::test_from_the_third_hour_on_nothing_grows 3900": (
        "hours of churn, on a machine that may be busy"
    ),
    "size tests/redis/test_growth_on_servers.py::test_from_the_third_round_on_nothing_grows 38": (
        "seconds of real time show noise: it is for minutes, in the soak"
    ),
    "open tests/test_growth.py::test_nothing_grows_by_one_kind_of_churn_alone 300": (
        "hours of churn, on a machine that may be busy"
    ),
    "open tests/test_growth.py::test_a_cache_that_leaks_is_seen_to_grow 300": (
        "hours of churn, on a machine that may be busy"
    ),
    "exceptions WHITE_BOX 4": "the near cache of a server is weighed, too",
    "open tests/test_packaging.py::test_the_sdist_holds_every_file_of_the_project 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_packaging.py::test_the_suites_run_from_the_sdist 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_packaging.py::test_the_wheel_holds_the_package_and_nothing_else 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_packaging.py::test_the_version_of_the_package_is_that_of_the_distribution"
    " 300": "a program of its own, on a machine that may be busy",
    "open tests/test_packaging.py::test_what_building_leaves_in_the_tree_is_ignored 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_packaging.py::test_help_shows_no_machinery_of_typing 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_typing.py::test_the_examples_of_the_readme_pass 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_typing.py::test_an_engine_that_lacks_verbs_is_refused 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_typing.py::test_an_engine_whose_verb_has_another_signature_is_refused 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "open tests/test_typing.py::test_a_value_of_another_type_than_the_caches_is_refused 300": (
        "a program of its own, on a machine that may be busy"
    ),
    "- 2/7 1 tests/test_parts.py::test_the_package_gives_its_public_names_and_no_others": (
        "one name more; a starred tuple in a list counts as one value"
    ),
    "R11.9 5/10 1 tests/test_r11_memoize.py::test_waiters_get_the_value_that_store_if_refuses": (
        "how often the factory runs is another test's"
    ),
    "open tests/redis/test_remote_parts.py::test_the_first_attempt_counts_towards_the_deadline 0": (
        "one attempt alone shows it; the former test passed without it"
    ),
    "open tests/test_memoize.py::test_mypy_sees_the_signatures_that_calls_have 300": (
        "seconds that mypy may take on a busy machine"
    ),
    "open tests/test_r11_memoize.py::test_waiters_get_the_value_that_store_if_refuses 6": (
        "waiters that are counted, newly"
    ),
    "type: ignore cache/memoize.py 3": "a hit is written flat",
    "type: ignore cache/pandas_portables.py 1": "pandas has no types here",
    "pragma cache/naming.py 2": "what another thread may do between two steps",
    "pragma cache/functions.py 2": "`python -c`, and a constant of Python 3.14",
    "pragma cache/arrays.py 1": "a dtype of a library that is not here",
    "pragma cache/core.py 19": "one more branch that only a re-entrant call takes",
    "size tests/test_growth.py::test_nothing_grows_by_one_kind_of_churn_alone 43": (
        "MORE is 40 hours and was 60: memoize fills its memory in the first hours"
    ),
    "size tests/test_memoize.py 5": "the cases of R11 are parameters of their tests",
    "exceptions CONDITIONAL 4": "R6.10 has a second test",
    "exceptions WHITE_BOX 3": "forks and calls in the middle of others compare what is inside",
    "exceptions REAL_TIME 2": "a fixture asks the frozen clock for the next round moment",
    "type: ignore cache/fingerprint.py 1": "a class of the user's is asked for its __cache_key__",
    "type: ignore cache/memoize.py 2": "a hit is written flat",
    "noqa cache/sweeper.py 1": "at the interpreter's exit contextlib may be gone",
    "noqa cache/near.py 1": "at the interpreter's exit contextlib may be gone",
    "noqa cache/tracking.py 1": "at the interpreter's exit contextlib may be gone",
    "fmt: cache/expiry.py 1": "newly counted",
}
