# Each target does all of its own set-up; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo up test quick check bench peers format clean

help:  ## what there is to run
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): requirements.lock pyproject.toml
	@echo "[1/4] environment: creating $(VENV) and installing the locked dependencies (about a minute, once)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Holdfast needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . >&2
	@touch $@

demo: $(STAMP)  ## the whole loop on generated card payments; ARGS="--headless --approve [--seed N]"
	@$(BIN)/holdfast demo $(ARGS)

up: $(STAMP)  ## every process of the platform on embedded PostgreSQL
	@$(BIN)/holdfast up $(ARGS)

test: $(STAMP)  ## all tests, with their own PostgreSQL and browser
	@tests/setup.sh
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

quick: $(STAMP)  ## format, lint, types and the fast tests: before each commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q -m "not slow and not browser" --ignore=tests/acceptance $(ARGS)

check: $(STAMP)  ## what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

bench: $(STAMP)  ## a benchmark: make bench NAME=replay ARGS=--quick
	$(BIN)/python -m benchmarks.$(or $(NAME),replay) $(ARGS)

peers: $(STAMP)  ## the peers' environments for benchmarks with --peers
	$(BIN)/python -m benchmarks.peers $(ARGS)

format: $(STAMP)  ## rewrite the formatting and the imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## the environment and caches
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache test-artifacts build dist
