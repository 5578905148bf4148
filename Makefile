# Thin: each target makes the environment if needed, then runs one command.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One thread each: on few shared cores two BLAS threads run the small products here many times slower.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export XLA_FLAGS ?= --xla_cpu_multi_thread_eigen=false

.DEFAULT_GOAL := help
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help install reproduce gallery apps docs test test-papers test-all test-full test-wheel coverage mutants bench lint dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  variables: PYTHON=$(PYTHON) VENV=$(VENV) ARGS="more options for the command"'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

install: $(STAMP) ## make the environment

reproduce: $(STAMP) ## reproduce the papers' figures and claims at quick size, into runs/reproduce
	$(BIN)/riemgn reproduce --quick --jobs 2 --out runs/reproduce $(ARGS)

gallery: $(STAMP) ## draw the essays in figures/ again and check their numbers
	$(BIN)/python -m figures $(ARGS)

apps: $(STAMP) ## open the apps with sliders in figures/apps
	$(BIN)/marimo edit figures/apps $(ARGS)

docs: $(STAMP) ## build the documentation into build/site, warnings are errors
	$(BIN)/python -m figures.site $(ARGS)

test: $(STAMP) ## run the tests: laws, closed forms, bad input, interop, snippets
	$(PYTEST) $(ARGS)

test-papers: $(STAMP) ## run the items of the papers at quick size
	$(PYTEST) --dist worksteal -m papers $(ARGS)

test-all: $(STAMP) ## run every test but the items at full size, then the tests on the wheel
	$(PYTEST) -m "not full" $(ARGS)
	$(MAKE) test-wheel

test-full: $(STAMP) ## run the items of the papers at full size, an hour and more
	RIEMGN_TEST_OPTIMISED=1 $(BIN)/python -m pytest -m full $(ARGS)

test-wheel: dist ## run the tests on the package installed from its wheel, outside the checkout
	$(BIN)/python -m tests.wheel $(ARGS)

coverage: $(STAMP) ## run the tests and name the files of which they run less than 95 % of the lines
	$(PYTEST) --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report --precision=1 | awk 'NR == 1 || /^TOTAL/ || /%$$/ && $$NF + 0 < 95'

mutants: $(STAMP) ## change operators and numbers at random places and see whether the tests notice
	$(BIN)/python -m tests.mutation $(ARGS)

bench: $(STAMP) ## run the benchmarks; ARGS=geometry for one of them
	$(BIN)/python -m tests.bench $(ARGS)

lint: $(STAMP) ## ruff, pyright, the import contracts and the word counts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --config setup.cfg
	$(BIN)/python -m tests.words

dist: $(STAMP) ## build wheel and source archive into dist
	rm -rf dist
	$(BIN)/python -m build

clean: ## remove the environment, the caches and what a build leaves
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find riemgn tests -name __pycache__ -type d -prune -exec rm -rf {} +
