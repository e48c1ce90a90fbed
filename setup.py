"""The compiled part; everything else stands in setup.cfg."""

from setuptools import Extension, setup

# Optional: without a compiler the package is installed all the same, and its Python store serves.
setup(ext_modules=[Extension("cache.memory._store", ["cache/memory/_store.c"], optional=True)])
