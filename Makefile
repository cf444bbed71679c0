# One command each; `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cksum < pyproject.toml | cut -d' ' -f1)

.PHONY: help setup system-deps demo test test-fast test-crash lint types format bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with everything that demo and tests need

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[demo]" --group dev
	rm -f $(VENV)/.installed-*
	touch $@

demo: setup ## plan, lease and train on this machine, then leave nothing behind
	$(BIN)/broker demo

system-deps: ## Debian packages that some tests use (PostgreSQL); needs root
	sh tools/system-deps.sh

test: setup system-deps lint types ## every gate: format, lint, types, layers, docs, all tests with coverage
	sh tools/test.sh

test-fast: setup ## the tests that take less than ten seconds each
	$(BIN)/python -m pytest -n 2 -m "not slow and not crash"

test-crash: setup ## the whole crash matrix
	$(BIN)/python -m pytest -n 2 -m crash

lint: setup ## ruff format --check and ruff check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## mypy --strict
	$(BIN)/mypy

format: setup ## let ruff format and mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## run the benchmarks; figures go to benchmarks/RESULTS.md by hand
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file; done

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage*
