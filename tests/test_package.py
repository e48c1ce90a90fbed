"""What `import cache` gives, and what it leaves alone."""

import ast
import pathlib
import subprocess
import sys

import pytest

import cache

STUB = pathlib.Path(cache.__file__).with_suffix(".pyi")


def printed(program: str) -> str:
    """Return what a new interpreter prints."""
    run = [sys.executable, "-c", program]
    return subprocess.run(run, capture_output=True, text=True, timeout=30, check=True).stdout


def test_redis_is_imported_with_rediscache_and_not_before():
    assert printed(
        "import sys, cache; from cache import *\n"
        "print('redis' in sys.modules)\n"
        "from cache import RedisCache\n"
        "print('redis' in sys.modules, RedisCache.__module__)"
    ).split() == ["False", "True", "cache.redis_cache"]


def test_without_redis_the_package_works_and_rediscache_names_the_extra():
    assert printed(
        "import sys; sys.modules['redis'] = None\n"
        "import cache, pydoc\n"
        "from cache import *\n"
        "assert 'RedisCache' in pydoc.render_doc(cache)\n"
        "try: from cache import RedisCache\n"
        "except ImportError as error: print(error)"
    ) == ("RedisCache needs redis-py; install the extra: pip install 'distributed-cache[redis]'\n")


def test_what_the_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'cache' has no attribute 'RedisCach'"):
        cache.RedisCach


def test_help_finds_rediscache():
    assert "class RedisCache" in printed(
        "import pydoc; print(pydoc.render_doc('cache.RedisCache'))"
    )


def test_the_stub_has_what_the_package_has():
    """Type checkers read it in place of the package."""
    found = {
        alias.asname: (f"cache.{node.module}", alias.name)
        for node in ast.parse(STUB.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert found.keys() == {*cache.__all__, "RedisCache"}
    for name, (module, own) in found.items():
        assert getattr(cache, name) is getattr(sys.modules[module], own), name
