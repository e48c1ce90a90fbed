# Every target makes its virtual environment by itself when it is missing or stale.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/ready
# The tests find the redis-server of the environment there.
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: help demo test test-all check metatest bench soak clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

$(READY): setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed'; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check '.[check]'
	$(RUN) -m pip uninstall --quiet --yes distributed-cache
	rm -rf build *.egg-info
	touch $(READY)

demo: $(READY)  ## serve documentation from the cache, kill the server, restart it warm
	$(RUN) -m examples.docs_service

test: $(READY)  ## run all suites in their quick version
	$(RUN) -m pytest

test-all:  ## run the suites on every CPython from 3.11 up that is found
	@for p in $$(ls -d $$(echo "$$PATH" | tr : '\n' | sed 's|$$|/python3.1[1-9]|') \
			$${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.1[1-9].*/bin/python 2>/dev/null); do \
		$$p -c 'import sys; print(sys.version)' >/dev/null 2>&1 || continue; \
		v=$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		case " $$seen " in *" $$v "*) continue;; esac; seen="$$seen $$v"; \
		echo "== Python $$v"; \
		$(MAKE) --no-print-directory test PYTHON=$$p VENV=.build/venv-$$v || exit 1; \
	done

check: $(READY)  ## lint, format, types and branch coverage
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m coverage run -m pytest -q
	$(RUN) -m coverage report

metatest: $(READY)  ## read the suites: every clause has a test, and every test asserts
	$(RUN) -m pytest metatests

bench: $(READY)  ## compare with the obvious implementation: speed, and how long a hit waits
	$(RUN) -m benchmarks

soak: $(READY)  ## run the long versions: storms, kills, forks by the hundred
	$(RUN) -m pytest -m soak

clean:  ## remove what the other targets made
	rm -rf $(VENV) .build .hypothesis .mypy_cache .ruff_cache
