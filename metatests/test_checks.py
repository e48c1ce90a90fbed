"""Each check accepts a good input and rejects a bad one: a check that cannot fail is a defect."""

import functools
import inspect

import pytest

from metatests import assertions, modules, suites

CLAUSES = {"R1.1": "One.", "R1.2": "Two.", "R2.1": "Three."}
R1_1 = "@pytest.mark.clause('R1.1')\n"
R1 = "@pytest.mark.clause('R1.1', 'R1.2')\ndef test_a(): ...\n"
R2 = "@pytest.mark.clause('R2.1')\ndef test_b(): ...\n"
FIXTURES = "".join(f"@pytest.fixture\ndef {name}(): ...\n" for name in sorted(suites.PROMISED))
LAYERS = [{"low"}, {"middle", "other"}, {"top"}]


def upward(sources):
    there = {module.partition(".")[0] for module in sources}
    rest = {"low": "", "middle": "", "other": "", "top": ""}
    present = {module: source for module, source in rest.items() if module not in there}
    return modules.upward_imports({**present, **sources}, LAYERS)


def body(text):
    return "def test_a(cache):\n" + "".join(f"    {line}\n" for line in text.splitlines())


def method(text):
    return "class C:\n    def m(self):\n" + "".join(
        f"        {line}\n" for line in text.splitlines()
    )


# For each check: what it is given besides the source, good inputs, bad inputs. These are texts that
# the check reads; none is run.
CHECKS = [
    (
        assertions.toothless,
        [
            body("assert cache.get('k') is None"),
            body("with pytest.raises(KeyError):\n    cache['k']"),
            body("pytest.raises(KeyError, cache.pop, 'k')"),
            body("for key in cache:\n    assert key == 'k'"),
            body("def factory():\n    assert cache\ncache.get_or_set('k', factory)"),
            "def check(cache):\n    assert len(cache) == 1\n" + body("check(cache)"),
        ],
        [
            body("cache.get('k')"),
            body("..."),
            body("assert True"),  # refused, because it holds of every cache
            body("return\nassert cache.get('k') is None"),
            # Refused, because it never gets to assert.
            body("pytest.skip('later')\nassert cache.get('k') is None"),  # skips before it
            body("if False:\n    assert cache.get('k') is None"),
            body("for _ in []:\n    assert cache.get('k') is None"),
            body("for _ in range(0):\n    assert cache.get('k') is None"),
            body("while 0:\n    assert cache.get('k') is None"),
            body("def never():\n    assert cache.get('k') is None"),
            body("try:\n    assert cache.get('k') is None\nexcept AssertionError:\n    pass"),
            body("with contextlib.suppress(Exception):\n    assert cache.get('k') is None"),
            body("with pytest.raises(KeyError):\n    raise KeyError"),
            "def check(cache):\n    print(cache)\n" + body("check(cache)"),
            "def check(cache):\n    assert True\n"  # refused, because the helper cannot fail
            + body("check(cache)"),
            "class TestIt:\n    def test_a(self):\n        pass",
        ],
    ),
    (
        assertions.trivial_assertions,
        [
            body("assert cache.get('k')"),
            body("assert len(cache) >= 1"),
            body("assert a is b or c"),
            body("assert (a, b) == (1, 2)"),
            body("assert not errors"),
            body("assert type(key) in ([], [str])"),
            body("with pytest.raises((TypeError, ValueError)):\n    cache.get(1)"),
            body("try:\n    assert cache\nexcept Exception as error:\n    errors.append(error)"),
            body("try:\n    assert cache\nexcept KeyError:\n    pass"),
        ],
        [
            *(body(f"assert {test}") for test in ("True", "1", "'text'", "...", "not None")),
            *(body(f"assert {test}") for test in ("1 == 1", "2 > 1", "None is None", "-1")),
            *(body(f"assert {test}") for test in ("x == x", "f(x) == f(x)", "x is x", "x <= x")),
            *(body(f"assert {test}") for test in ("x or True", "x or not x", "(x, 'said')")),
            *(body(f"assert {test}") for test in ("[x]", "{'a': x}", "f'{x}'", "lambda: x")),
            *(body(f"assert {test}") for test in ("len(x) >= 0", "0 <= len(x)", "len(x) > -1")),
            *(
                body(f"assert {test}")
                for test in ("x in [x]", "x in (1, x)", "isinstance(x, object)")
            ),
            *(
                body(f"assert {test}")
                for test in ("cache.exists", "all([])", "any([True])", "bool(1)")
            ),
            *(body(f"assert {test}") for test in ("(x < 3) is not None", "(x and y) is not None")),
            *(body(f"assert {test}") for test in ("x == mock.ANY", "True and 1", "(y := 1)")),
            body("with pytest.raises(Exception):\n    cache.get(1)"),
            body("with pytest.raises((KeyError, BaseException)):\n    cache.get(1)"),
            body("with pytest.raises(KeyError):\n    cache['k']\n    raise KeyError"),
            body("try:\n    assert cache\nexcept:\n    pass"),
            body("try:\n    assert cache\nexcept AssertionError as error:\n    print(error)"),
            body("try:\n    assert cache\nexcept (KeyError, AssertionError):\n    pass"),
            body("with suppress(AssertionError):\n    assert cache"),
        ],
    ),
    (
        functools.partial(suites.uncovered, clauses=CLAUSES),
        [[R1 + R2], [R1, R2]],
        [[], [R1], [R1 + R2, "@pytest.mark.clause('R9.9')\ndef test_c(): ..."]],
    ),
    (
        functools.partial(suites.misnamed_files, clauses=CLAUSES),
        [["test_r01_ttl.py", "test_r02_lru.py"]],
        [
            ["test_r01_ttl.py"],
            ["test_r01_ttl.py", "test_r02_lru.py", "test_r03_more.py"],
            ["test_r01_ttl.py", "test_r02_lru.py", "test_r02_more.py"],
            ["test_r1_ttl.py", "test_r02_lru.py"],
            ["test_r01.py", "test_r02_lru.py"],
        ],
    ),
    (
        functools.partial(suites.misplaced_tests, requirement="R1"),
        [R1_1 + "def test_a(): ...", "@pytest.mark.clause('R2.1', 'R1.1')\ndef test_a(): ..."],
        ["def test_a(): ...", "@pytest.mark.clause('R10.1')\ndef test_a(): ..."],
    ),
    (
        suites.misnamed_tests,
        ["def test_none_is_a_value(): ...", "def test_the_mode_is_0600(): ..."],
        [
            *("def test_get(): ...", "def test_the_get(): ...", "def testEverythingThatIs(): ..."),
            *("def test_a_key_is_gone_2(): ...", "def test_todo_about_keys(): ..."),
        ],
    ),
    (
        suites.uncollected,
        [
            "def helper(): ...\ndef test_a(): helper()",
            "@pytest.fixture\ndef path(): ...\ndef test_a(path): ...",
            "@pytest.fixture(autouse=True)\ndef clean(): ...",
        ],
        ["def tset_a(): ...", "def check_a(): ...", "def _test_a(): ...", "class CheckA: ..."],
    ),
    (
        suites.missing_fixtures,
        [FIXTURES, FIXTURES.replace("@pytest.fixture", "@pytest.fixture(scope='session')")],
        [FIXTURES.replace("def clock", "def watch"), FIXTURES.replace("@pytest.fixture\n", "", 1)],
    ),
    (
        suites.shadowed_fixtures,
        ["@pytest.fixture\ndef path(): ..."],
        ["@pytest.fixture\ndef cache(): ...", "class TestA:\n    def clock(self): ..."],
    ),
    (
        functools.partial(suites.without_clock, timed=["R1.1"]),
        [R1_1 + "def test_a(cache, clock): ...", "def test_b(cache): ..."],
        [R1_1 + "def test_a(cache): ..."],
    ),
    (
        functools.partial(suites.real_time, polling=["wait_until"]),
        [body("clock.tick(1)"), "def wait_until():\n    time.perf_counter()"],
        [
            body("time.time()"),
            body("monotonic()"),
            body("end = time.perf_counter() + 1"),
            body("datetime.datetime.now()"),
        ],
    ),
    (
        functools.partial(suites.sleeps, polling=["wait_until"]),
        [
            body("event = Event()\nThread(target=event.set).start()\nevent.wait(1)"),
            body("value.reached.wait(1)")
            + "class V:\n    def f(self):\n        self.reached.set()",
            body("barrier = Barrier(2)\nbarrier.wait(1)"),
            body("go = Event()\nduring(*(factory, go), 1)\ngo.wait(1)"),
            "def wait_until():\n    pause = Event()\n    pause.wait(1)",
        ],
        [
            # A test that sleeps is slow, or fails by chance: all of these are refused.
            body("time.sleep(1)"),  # refused where it is called by its module
            body("sleep(0.1)"),  # … imported by name
            body("await_(asyncio.sleep(1))"),  # … of another module
            body("threading.Event().wait(1)"),
            body("pause = threading.Event()\npause.wait(1)"),
            body("go, pause = Event(), Event()\ngo.set()\npause.wait(1)"),
            body("value.never.wait(1)"),
            body("def factory():\n    time.sleep(1)\nfactory()"),  # refused in a test's function
            "PROGRAM = 'import time; time.sleep(1)'",  # refused in a program that a test runs
            "def helper():\n    time.sleep(1)",  # refused in a function beside the tests
        ],
    ),
    (
        suites.private_names,
        [
            "from cache.expiry import ExpiryIndex\n" + body("cache.__len__()"),
            body("f('_k')"),
            body("os._exit(0)"),
            "class Time:\n    def __call__(self):\n        return self._now",
        ],
        [
            body("cache._entries"),
            body("cache._exit()"),
            body("getattr(cache, '_entries')"),
            body("monkeypatch.setattr(cache, '_lock', None)"),
            body("cache.__dict__['entries']"),
            body("vars(cache)"),
            "class Mine(DistributedCache):\n    def f(self):\n        return self._entries",
            "from cache.core import _MISSING",
        ],
    ),
    (
        functools.partial(suites.inner_imports, public=["DistributedCache", "escape"]),
        [
            "from cache import escape\nimport cachetools",
            "PROGRAM = 'from cache import DistributedCache\\ncache.set(1, 2)\\n'",
        ],
        [
            body("monkeypatch.setattr('cache.core.monotonic', f)"),
            body("importlib.import_module('cache.core')"),
            "import cache",
            "import cache.core",
            "from cache import core",
            "from cache.core import DistributedCache",
            body("from cache.core import DistributedCache"),
            "PROGRAM = 'import os\\nfrom cache.core import inf\\n'",
        ],
    ),
    (
        suites.unjoined,
        [
            body("thread = Thread(target=f)\nthread.start()\nthread.join(30)"),
            body("ts = [Thread() for _ in range(2)]\nfor t in ts:\n    t.join(timeout=3)"),
            body("ts = [Thread()]\nfor t in ts[1:]:\n    t.join(3)"),
            body("ts = [Thread(), Thread()]\nfor t in ts:\n    t.join(3)"),
            body("one, two = Thread(), Timer(1, f)\none.join(1)\ntwo.join(1)"),
            body("', '.join(names)\nevent.wait(3)"),
            body("with ThreadPoolExecutor() as pool:\n    pool.submit(f).result(3)"),
        ],
        [
            body("thread = Thread(target=f)\nthread.start()"),
            body("thread = Thread(target=f)\nthread.join()"),
            body("threading.Thread(target=f).start()"),
            body("ts = [Thread() for _ in range(2)]\nfor t in ts:\n    t.start()"),
            body("ts = [Thread()]\nfor t in ts:\n    t.join()"),
            body("one, two = Thread(), Thread()\none.join(1)"),
            body("one = Thread()\nThread(target=f).start()\none.join(1)"),
            body("one = Thread()\none = Thread()\none.join(1)"),
            body("event.wait()"),
            body("with ThreadPoolExecutor() as pool:\n    pool.submit(f).result()"),
            "def helper():\n    thread = Thread(target=f)\n    thread.start()",
        ],
    ),
    (
        functools.partial(suites.unexcused, excuses=["there is no fork here", "no … here"]),
        [
            # A skip is accepted where the registry lists its reason, and nowhere else.
            "@pytest.mark.skipif(not fork, reason='there is no fork here')\n"  # accepted as a mark
            "def test_a(): ...",
            body("pytest.skip('there is no fork here')"),  # accepted as a call
            "pytestmark = [pytest.mark.skipif(no, reason='there is no fork here')]",
            body("pytest.skip(f'no {server} here')"),  # accepted with a name in its reason
            body("def inner():\n    return 1\ninner()"),
            "@pytest.mark.parametrize('n', [1, pytest.param(2, marks=pytest.mark.soak)])\n"
            + body("..."),
        ],
        [
            "@pytest.mark.skip\ndef test_a(): ...",  # refused, because it gives no reason
            "@pytest.mark.skip(reason='flaky')\ndef test_a(): ...",  # refused: none that is listed
            "@pytest.mark.skipif(True, reason='slow')\ndef test_a(): ...",  # refused likewise
            "@pytest.mark.xfail\ndef test_a(): ...",
            "@pytest.mark.xfail(reason='some day')\ndef test_a(): ...",
            "@unittest.skip('x')\ndef test_a(): ...",
            "@pytest.mark.soak\ndef test_a(): ...",
            "@pytest.mark.parametrize('n', [pytest.param(2, marks=pytest.mark.skip)])\n"
            + body("..."),
            "pytestmark = pytest.mark.usefixtures('x')",
            "pytestmark = [pytest.mark.skipif(True, reason='slow')]",
            "pytestmark = [pytest.mark.soak]",
            "collect_ignore = ['test_r01_ttl.py']",
            "pytest.importorskip('redis')",
            body("pytest.skip(reason)"),
            body("pytest.skip(f'{reason}')"),
            body("if not cache:\n    return\nassert cache"),
            "class TestA:\n    __test__ = False",
        ],
    ),
    (
        functools.partial(suites.approximations, exact=["R3.1"], allowed=["test_it"]),
        [
            body("assert cache.get('n') == 8 * 500"),
            body("assert took < 0.03"),
            "def test_it(cache):\n    assert cache.ttl('k') == pytest.approx(6)",
        ],
        [
            body("assert cache.ttl('k') == pytest.approx(6)"),
            body("assert math.isclose(cache.ttl('k'), 6)"),
            body("assert abs(cache.ttl('k') - 6) < 1"),
            body("assert round(cache.ttl('k')) == 6"),
            "@pytest.mark.clause('R3.1')\n" + body("assert cache.get('n') >= 3999"),
            "@pytest.mark.clause('R3.1')\n" + body("assert 0 < cache.get('n') <= 4000"),
        ],
    ),
    (
        functools.partial(suites.conditional, allowed=["test_it"]),
        [
            body("if cache:\n    cache.clear()\nassert not cache.keys()"),
            "@pytest.mark.parametrize('near', [1])\ndef test_a(near):\n"
            "    if near:\n        assert cache.get(near)",
            "def test_it(cache):\n    if cache:\n        assert cache.keys()",
        ],
        [
            body("if cache.keys():\n    assert cache.get('k') == 1"),
            body("if os.environ.get('CI'):\n    assert cache"),
            body("if 0:\n    assert cache"),
            body("if cache.keys():\n    with pytest.raises(KeyError):\n        cache['k']"),
            body("for key in cache:\n    if key == 'k':\n        assert cache[key] == 1"),
        ],
    ),
    (
        functools.partial(suites.patched, allowed=["test_it"]),
        [
            body("monkeypatch.setattr(os, 'replace', record)"),
            body("value.cache = 1"),
            "def test_it(cache):\n    cache.get = None",
            "class Value:\n    def get(self): ...\n    def set(self): ...",
            "class Mine(DistributedCache):\n    def get(self): ...\n    def set(self): ...\n"
            "    def pop(self): ...",
        ],
        [
            body("monkeypatch.setattr(cache, 'get', lambda key: 1)"),
            body("monkeypatch.setattr(CacheImpl, 'get', lambda key: 1)"),
            body("monkeypatch.setattr(type(cache), 'keys', list)"),
            body("kind = type(cache)\nmonkeypatch.setattr(kind, 'keys', list)"),
            body("mine = make_cache(3)\nmine.get = dict().get"),
            body("cache.cleanup = int"),
            body("setattr(cache, 'ttl', int)"),
            "from unittest import mock",
            "import unittest.mock",
            "class Fake:\n    def get(self): ...\n    def set(self): ...\n    def pop(self): ...",
        ],
    ),
    (
        suites.loosened,
        [
            "@pytest.mark.timeout(600)\n" + body("assert cache"),
            "@pytest.mark.filterwarnings('ignore:.*fork')\n" + body("assert cache"),
            "@settings(max_examples=400, deadline=None)\n" + body("assert cache"),
        ],
        [
            "@pytest.mark.timeout(0)\n" + body("assert cache"),
            "@pytest.mark.timeout(None)\n" + body("assert cache"),
            "@pytest.mark.timeout(86_400)\n" + body("assert cache"),
            "@pytest.mark.filterwarnings('ignore')\n" + body("assert cache"),
            "@pytest.mark.filterwarnings('ignore::Warning')\n" + body("assert cache"),
            "@pytest.mark.filterwarnings('default')\n" + body("assert cache"),
            "@settings(phases=[Phase.explicit])\n" + body("assert cache"),
            "@seed(1)\n" + body("assert cache"),
            body("assume(cache.keys())\nassert cache"),
        ],
    ),
    (
        suites.decorated,
        [
            "@pytest.mark.clause('R1.1')\n@given(st.text())\ndef test_a(text): ...",
            "mine = pytest.mark.skipif(True, reason='no')\n@mine\ndef test_a(text): ...",
            "@contextlib.contextmanager\ndef helper(): ...",
        ],
        [
            "@forgiving\ndef test_a(cache): ...",
            "def mine(test): ...\n@mine\ndef test_a(cache): ...",
            "@unittest.expectedFailure\ndef test_a(cache): ...",
            "@retry(3)\ndef test_a(cache): ...",
        ],
    ),
    (
        suites.deaf,
        [
            "def check(cache):\n    return cache.keys() == []",
            "def nothing():\n    return None",
            "def fail(*arguments):\n    raise OSError",
            "@pytest.fixture\ndef engine(request):\n    return 'redis'",
        ],
        [
            "def check(cache):\n    return True",
            "def wait_until(condition, timeout=10):\n    return True",
            "def lost(log, kept):\n    pass",
            "def eventually(holds):\n    '''Wait.'''",
        ],
    ),
    (
        suites.duplicates,
        [{"a": "def test_a(): x()\ndef test_b(): y()"}, {"a": "def test_a(): x()", "b": ""}],
        [
            {"a": "def test_a(): x()\ndef test_a(): y()"},
            {"a": "def test_a(): x()", "b": "def test_a(): y()"},
            {"a": "def test_a(): x()", "b": "def test_b():\n    '''Said.'''\n    x()"},
            {"a": "class TestA:\n    def test_a(self): x()\n    def test_a(self): y()"},
        ],
    ),
    (
        upward,
        [
            {
                "top": "from . import low\nfrom .middle import f",
                "middle": "import os\nfrom .low import g",
            },
            {"top": "from cache.low import f"},
            {"top.__init__": "from ..low import f\nfrom .a import g", "top.a": "from . import g"},
        ],
        [
            {"low": "from .top import f"},
            {"low": "from . import middle"},
            {"low": "def f():\n    from .top import g"},
            {"low": "if TYPE_CHECKING:\n    from .top import T"},
            {"low": "import cache.top"},
            {"low": "from cache import DistributedCache"},
            {"low": "import cache"},
            {"low": "importlib.import_module('cache.top')"},
            {"middle": "from .other import f"},
            {"middle.a": "from ..other import f"},
            {"middle.a": "def f():\n    from ... import cache"},
            {"top": "from . import unheard_of"},
            {"unheard_of": ""},
        ],
    ),
    (
        modules.unlocked_calls,
        [
            method(
                "with self._lock:\n    for k in ks:\n        if k:\n            self._x_locked()"
            ),
            method("self._acquire()\ntry:\n    self._x_locked()\nfinally:\n    self._release()"),
            method("c._lock.acquire()\ntry:\n    c._x_locked()\nfinally:\n    c._lock.release()"),
            "class C:\n    def _y_locked(self):\n        return self._x_locked()",
            "def f(cache):\n    with cache._lock:\n        return [cache._x_locked(k) for k in ks]",
        ],
        [
            method("self._x_locked()"),
            method("with self._lock:\n    pass\nself._x_locked()"),
            method("with other._lock:\n    self._x_locked()"),
            method("with self._lock:\n    later = lambda: self._x_locked()"),
            method("with self._lock:\n    def later():\n        self._x_locked()"),
            method("self._acquire()\nself._x_locked()\nself._release()"),
            method("self._acquire()\ntry:\n    self._x_locked()\nfinally:\n    pass"),
            method("self._acquire()\ntry:\n    f()\nfinally:\n    self._x_locked()"),
            method("try:\n    self._x_locked()\nfinally:\n    self._release()"),
            method("with self._other:\n    self._x_locked()"),
            method("while self._x_locked():\n    pass"),
            method("match k:\n    case 1:\n        self._x_locked()"),
            method("return self._x_locked"),
            "class C:\n    def _y_locked(self):\n        with self._lock:\n            pass",
            "def f():\n    x_locked()",
        ],
    ),
    (
        modules.undocumented,
        ['"""M."""\nclass C:\n    """C."""\n    def m(self):\n        "M."\n    def _p(self): ...'],
        [
            "def f():\n    '''F.'''",
            '"""M."""\ndef f(): ...',
            '"""M."""\nclass C: ...',
            '"""M."""\nclass C:\n    """C."""\n    def m(self): ...',
            '"""M."""\nasync def f():\n    """ """',
        ],
    ),
    (
        functools.partial(modules.wall_clock, allowed=["save"]),
        ["def save():\n    time.time()", "def f():\n    time.monotonic()\n    time.sleep(1)"],
        [
            "def f():\n    time.time()",
            "now = time.time",
            "from time import time",
            "def f():\n    return datetime.datetime.now()",
            "def f():\n    date.today()",
            "def f():\n    time.time_ns()",
        ],
    ),
]
EXAMPLES = [
    pytest.param(check, example, good, id=f"{number}-{'accepts' if good else 'rejects'}-{at}")
    for number, (check, *both) in enumerate(CHECKS)
    for good, examples in zip((True, False), both, strict=True)
    for at, example in enumerate(examples)
]


@pytest.mark.parametrize(("check", "example", "good"), EXAMPLES)
def test_a_check_accepts_the_good_and_rejects_the_bad(check, example, good):
    assert (check(example) == []) is good, check(example)


def test_every_check_is_checked():
    checked = {getattr(check, "func", check).__name__ for check, *_ in CHECKS}
    helpers = {"tests_of", "checking_helpers", "assertions", "reached", "is_trivial", "markers"}
    helpers |= {
        "raises_by_itself",
        "is_raises",
        "approximate",
        "clauses_of",
        "public_names",
        "layers_of",
        "upward_imports",
    }

    public = {
        name
        for module in (assertions, suites, modules)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    }

    assert public - helpers == checked - {"upward"}
    assert all(good and bad for _, good, bad in CHECKS)


def test_clauses_are_read_from_the_contract():
    contract = "- **R1.1** A sentence.\n- **R1.2**\nR1.3 no item\n- **R10.1** Another: `a`.\n"

    assert suites.clauses_of(contract) == {"R1.1": "A sentence.", "R10.1": "Another: `a`."}


def test_public_names_are_read_from_the_package():
    assert suites.public_names("from .core import A\n__all__ = ['A', 'b']") == {"A", "b"}
    with pytest.raises(ValueError, match="no __all__"):
        suites.public_names("from .core import A")


def test_layers_are_read_from_the_design():
    design = "# D\n\n## Layers\n\n    a, b\n      → c\n        → d\n\nText, more.\n"

    assert modules.layers_of(design) == [{"a", "b"}, {"c"}, {"d"}]
    with pytest.raises(ValueError, match="no layers"):
        modules.layers_of("# D\n")
