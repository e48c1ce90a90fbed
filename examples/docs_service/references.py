"""A stream of references found on every machine: what the standard library's sources import."""

import ast
import functools
import importlib.util
import itertools
import pathlib
import sys
import sysconfig
from collections.abc import Iterator

# They open windows or browsers, print, need what is not everywhere, or are not meant to be read.
LEFT_OUT = {
    *("antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo"),
    *("msilib", "winreg", "winsound", "msvcrt", "nt", "_winapi", "__main__"),
}


def references(most: int) -> list[str]:
    """Return the first `most` imports, in their order, of modules that this machine has."""
    return list(itertools.islice(filter(_exists, _imports()), most))


def _imports() -> Iterator[str]:
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for source in sorted([*library.glob("*.py"), *library.glob("*/*.py")]):
        top = source.relative_to(library).parts[0].removesuffix(".py")
        if top in LEFT_OUT or top not in sys.stdlib_module_names:
            continue
        try:
            tree = ast.parse(source.read_bytes())
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module


@functools.cache
def _exists(name: str) -> bool:
    top = name.split(".")[0]
    if top in LEFT_OUT or top not in sys.stdlib_module_names:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
