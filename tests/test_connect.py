"""`connect` turns a URL into a cache, or says at once what is wrong with it."""

import subprocess
import sys

import pytest

from cache import DistributedCache, connect


def test_memory_is_a_distributed_cache_with_the_options_of_the_query():
    with connect("memory://?max_size=2&default_ttl=2.5") as cache:
        cache["k"] = "v"

        assert isinstance(cache, DistributedCache)
        assert cache.stats().max_size == 2
        assert 2 < cache.ttl("k") <= 2.5


def test_options_may_be_keywords():
    with connect("memory://", max_size=3, secret=b"s", trust=["decimal"]) as cache:
        assert cache.stats().max_size == 3


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("mongo://host", {}, "unknown scheme 'mongo'"),
        ("no url", {}, "unknown scheme"),
        ("memory://?max_size=many", {}, "'max_size' cannot be 'many'"),
        ("memory://?max_size=", {}, "'max_size' cannot be ''"),
        ("memory://?max_sise=5", {}, "'max_sise' is unknown"),
        ("memory://", {"max_sise": 5}, "unknown option 'max_sise'"),
        ("memory://?max_size=5", {"max_size": 5}, "'max_size' is given twice"),
        ("memory://?max_size=5&max_size=5", {}, "'max_size' is given twice"),
        ("memory://?secret=s", {}, "'secret' belongs into no URL"),
        ("memory://host", {}, "no host"),
        ("memory://?max_size=0", {}, "at least 1"),
        ("memory://?default_ttl=nan", {}, "NaN"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_at_once(url, options, said):
    with pytest.raises(ValueError, match=said):
        connect(url, **options)


def test_a_url_must_be_a_str():
    with pytest.raises(TypeError, match="not bytes"):
        connect(b"memory://")


def test_nothing_optional_is_imported_with_the_package():
    look = "import sys, cache; print({'redis', 'cachetools'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=30)

    assert done.stdout == "set()\n", done.stderr
