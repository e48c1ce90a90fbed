"""`memoize` beyond its contract: how keys come about, and what type checkers make of it."""

import ast
import collections
import functools
import gc
import pathlib
import pickle
import subprocess
import sys
import textwrap
import weakref

import pytest

from cache import DistributedCache
from cache.functions import Identity, is_global
from cache.memoize import CacheInfo
from tests.process.test_interpreters import ROOT, pythons, run


def module_level(number):
    return [number]


CACHE = DistributedCache()


@CACHE.memoize
def memoized_here(number):
    return [number]


def written(tmp_path, source, name="function"):
    """Return the function of a module whose source is in a file."""
    path = tmp_path / f"module_{len([*tmp_path.iterdir()])}.py"
    path.write_text(textwrap.dedent(source))
    namespace = {"__name__": "module", "functools": functools}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    return namespace[name]


def digest(function):
    return Identity(function, closures=True).digest


# -- code ----------------------------------------------------------------------------------------


def test_comments_docstrings_and_layout_are_no_code(tmp_path):
    plain = written(tmp_path, "def function(a):\n    return (a, 'x')\n")
    dressed = written(
        tmp_path,
        '''
        # a comment

        def function(a):
            """Do something."""
            return (  # in two lines
                a, "x")
        ''',
    )

    assert digest(plain) == digest(dressed)


@pytest.mark.parametrize(
    "source",
    [
        "def function(a):\n    return a - 1\n",
        "def function(a):\n    return a + 1.0\n",
        "def function(a):\n    return a + True\n",
        "def function(b):\n    return b + 1\n",
        "def function(a):\n    return (lambda: a + 1)()\n",
        "def function(a):\n    '''Text.'''\n    '''More.'''\n    return a + 1\n",
    ],
)
def test_other_code_has_another_digest(tmp_path, source):
    before = written(tmp_path, "def function(a):\n    return a + 1\n")

    assert digest(before) != digest(written(tmp_path, source))


def test_a_source_that_is_another_by_now_is_not_taken_for_the_code(tmp_path):
    function = written(tmp_path, "def function(a):\n    return a + 1\n")
    (path,) = tmp_path.iterdir()
    as_written = digest(function)

    path.write_text("def function(a):\n    return a - 1\n")
    other = written(tmp_path, "def function(a):\n    return a - 1\n")

    assert digest(function) not in (as_written, digest(other))


@pytest.mark.parametrize(
    "source",
    [
        "def function(a, *, b=1):\n    return [n for n in a if n in {1, 2}], ..., a[1:2], (1,)\n",
        "def function(a):\n    return (lambda: 1)(), (lambda: 2)()\n",
        "function = [lambda a: 1, lambda a: 2][0]\n",
    ],
)
def test_code_without_a_source_is_known_by_its_bytecode(source):
    def made(text):
        namespace = {"__name__": "module"}
        exec(text, namespace)
        return namespace["function"]

    first, again = digest(made(source)), digest(made(source))
    other = digest(made(source.replace("1", "3")))

    assert first == again != other


def test_two_lambdas_of_one_line_are_told_apart(tmp_path):
    source = "function = lambda a: 1; other = lambda a: 2\n"

    assert digest(written(tmp_path, source)) != digest(written(tmp_path, source, "other"))


def test_a_decorator_counts_with_what_it_holds(tmp_path):
    source = """
        def deco(held):
            def decorate(f):
                @functools.wraps(f)
                def wrapper(*args, g=f):
                    return f(*args), held
                return wrapper
            return decorate

        @deco({})
        def function(a):
            return a
    """
    made = [written(tmp_path, source.format(held)) for held in ("1", "1", "True", "len", "max")]
    made += [written(tmp_path, source.format(held)) for held in ("object()", "object()", "deco")]
    made += [written(tmp_path, source.format("functools"))]

    assert len({digest(function) for function in made}) == 8
    assert digest(made[0]) == digest(made[1])
    assert len({Identity(function, closures=False).digest for function in made}) == 1


def test_a_function_that_holds_itself_has_a_digest():
    def outer():
        def factorial(n):
            return n * factorial(n - 1) if n else 1

        before = digest(factorial)
        return factorial, before

    factorial, before = outer()

    assert digest(factorial) == digest(outer()[0])
    assert len(before) == 16


def test_what_a_closure_does_not_hold_yet_is_no_error():
    def outer(value):
        def early():
            return late

        before = digest(early)
        late = value
        return before, digest(early)

    assert outer(1)[0] == outer(2)[0]
    assert outer(1)[1] != outer(2)[1]


def test_code_that_is_nested_deeply_is_known_by_its_bytecode(tmp_path):
    source = f"def function(a):\n    return {'+'.join(['a'] * 700)} + 1\n"
    first, again = written(tmp_path, source), written(tmp_path, source)

    assert digest(first) == digest(again)
    assert digest(first) != digest(written(tmp_path, source.replace("+ 1", "- 1")))


def test_a_source_that_is_no_python_any_more_is_not_taken_for_the_code(tmp_path):
    function = written(tmp_path, "def function(a):\n    return a + 1\n")
    (path,) = tmp_path.iterdir()

    path.write_text("def (")
    before = digest(function)

    path.unlink()
    assert digest(function) == before


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (module_level, True),
        (memoized_here, True),
        (functools.lru_cache(module_level), True),
        (len, True),
        (str, True),
        (lambda: 1, False),
        ([].append, False),
        ("".join, False),
        (functools.partial(module_level), False),
        (collections.Counter().update, False),
        (functools.wraps(module_level)(functools.partial(module_level)), False),
    ],
)
def test_which_callables_a_modules_name_stands_for(function, answer):
    assert is_global(function) is answer


# -- keys ----------------------------------------------------------------------------------------

KEYS = """
import functools
from cache import DistributedCache
cache = DistributedCache()
def logged(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        return f(*args, **kwargs)
    return wrapper
class Point:
    def __cache_key__(self):
        return (1, {2, 3})
    @cache.memoize
    def method(self, a, *, b=2.5, **rest):
        '''Do something.'''
        def inner(x: int) -> str:
            '''Inside.'''
            return f"{x!r:>{b}}" f"{a=}" "text" "\\u0378"
        match a:
            case [1, *others] if others: return [*map(inner, others)]
            case {"k": v}: return lambda *, k=1: k ** -1j
        try:
            with open("f") as f, open("g") as g: return a[1:2, ...], f, g
        except* (OSError, ValueError) as error:
            raise KeyError from error
@cache.memoize
@logged
def function(a):
    global point
    return a if a is not None else (yield)
point = Point()
print(point.method.key_for([1.5, "\\udc80"], k={Point}))
print(function.key_for({"a", "b"}))
"""


@pytest.mark.parametrize("way", ["a program text", "a file"])
def test_keys_are_the_same_on_every_python(tmp_path, way):
    (tmp_path / "module.py").write_text(KEYS)
    program = KEYS if way == "a program text" else "import module"
    if way == "a file":
        program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import module"

    outputs = {version: run(python, program, "") for version, python in pythons().items()}

    assert len({*outputs.values()}) == 1, outputs
    output, errors = outputs[sys.version_info[:2]]
    assert (len(output.split()), errors) == (2, "")


def test_the_keys_of_recent_calls_are_bounded(make_cache):
    function = make_cache(10).memoize()(lambda *args: args)
    for number in range(20_000):
        function(number, f"text {number}")
    function("x" * 100_000)

    texts = _texts_held(function)
    assert 1000 < len(texts) < 6000
    assert max(map(len, texts)) < 5000


def _texts_held(function):
    """Return the texts that are in what a memoized function remembers."""
    found, waiting, seen = [], [function], set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or type(thing).__module__ == "cache.core":
            continue
        seen.add(id(thing))
        if type(thing) is str:
            found.append(thing)
        elif type(thing) in (dict, tuple, list) or type(thing).__module__ == "cache.memoize":
            waiting += gc.get_referents(thing)
    return found


def test_a_local_class_that_was_an_argument_can_be_collected(cache):
    class Local:
        pass

    cache.memoize()(lambda kind: 1)(Local)
    reference = weakref.ref(Local)
    del Local
    gc.collect()

    assert reference() is None


# -- the object ----------------------------------------------------------------------------------


def test_a_memoized_function_is_pickled_by_its_name():
    assert pickle.loads(pickle.dumps(memoized_here)) is memoized_here


def test_a_memoized_function_prints_its_name():
    assert repr(memoized_here) == f"<memoized {__name__}.memoized_here>"


def test_a_bound_one_is_what_it_is_bound_to(cache):
    class Kind:
        def __cache_key__(self):
            return ()

        @cache.memoize(ignore=["self"])
        def method(self, number):
            return number

    bound = Kind().method

    assert bound(1) == 1
    assert bound.__get__(5) is bound
    assert bound.cache_info() == CacheInfo(0, 1, None, 1)
    assert type(pickle.loads(pickle.dumps(Pickled().method)).__self__) is Pickled


class Pickled:
    @CACHE.memoize(ignore=["self"])
    def method(self, number):
        return number

    @classmethod
    @CACHE.memoize
    def of_class(cls, number=0):
        return number


def test_a_class_method_that_a_name_leads_to_needs_no_call_before():
    Pickled.of_class.refresh(5)

    assert Pickled.of_class.invalidate(5)


def test_wrapping_twice_is_one_function_within_another(cache):
    twice = cache.memoize()(memoized_here)

    assert twice(1) == [1]
    assert twice.key_for(1).startswith(f"{__name__}.memoized_here:")
    assert twice.__wrapped__ is memoized_here


def test_a_class_can_be_memoized(cache):
    class Kind:
        def __init__(self, number):
            self.number = number

    memoized = cache.memoize()(Kind)

    assert memoized(1) is memoized(1) is not memoized(2)
    assert cache.memoize()(collections.Counter)("ab") == collections.Counter("ab")


def test_what_frameworks_note_on_a_function_stays_and_hides_no_helper(cache):
    def function(number):
        return number

    function.route, function.invalidate = "/numbers", None

    memoized = cache.memoize()(function)

    assert (memoized.route, memoized.__module__) == ("/numbers", __name__)
    assert memoized.invalidate(1) is False


def test_names_to_ignore_may_come_from_an_iterator(cache):
    memoized = cache.memoize(ignore=iter(["number"]))(module_level)

    assert memoized.key_for(1) == memoized.key_for(2)


# -- type checkers -------------------------------------------------------------------------------

TYPED = """
from typing import assert_type
from cache import Cache, DistributedCache
cache: Cache[object] = DistributedCache()
@cache.memoize
def bare(number: int, text: str = "") -> list[int]:
    return [number]
@cache.memoize(60, key=lambda number: str(number), prefix="p:", store_if=lambda value: value)
def full(number: int) -> list[int]:
    return [number]
class Shop:
    @cache.memoize(ttl=5, ignore=("self",))
    def find(self, number: int) -> str:
        return str(number)
    @classmethod
    @cache.memoize
    def of_class(cls, number: int) -> str:
        return str(number)
    @staticmethod
    @cache.memoize()
    def static(number: int) -> str:
        return str(number)
assert_type(bare(1), list[int])
assert_type(full(number=1), list[int])
assert_type(full.refresh(1), list[int])
assert_type(Shop().find(1), str)
assert_type(Shop().find.invalidate(1), bool)
assert_type(Shop().find.key_for(number=1), str)
assert_type(Shop().find.refresh(1), str)
assert_type(Shop.find(Shop(), 1), str)
assert_type(Shop.of_class(1), str)
assert_type(Shop().of_class(1), str)
assert_type(Shop.static(1), str)
assert_type(bare.cache_info().hits, int)
assert_type(bare.__wrapped__(1), list[int])
"""
WRONG = ["bare('1')", "full()", "Shop().find()", "Shop().find.invalidate('1')", "full.nothing()"]


@pytest.mark.timeout(300)
def test_mypy_sees_the_signatures_that_calls_have(tmp_path):
    path = tmp_path / "typed.py"
    path.write_text(TYPED + "".join(f"{each}\n" for each in WRONG))
    begin = len(TYPED.splitlines())

    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "mypy", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )

    lines = [int(line.split(":")[1]) for line in ended.stdout.splitlines() if ": error:" in line]
    assert lines == [*range(begin + 1, begin + 1 + len(WRONG))], ended.stdout


def test_the_typed_program_runs():
    tree = ast.parse(TYPED)

    exec(compile(tree, "", "exec"), {"__name__": "typed"})

    assert pathlib.Path(ROOT, "cache", "py.typed").exists()
