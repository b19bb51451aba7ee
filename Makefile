# Everything runs from a .venv beside this file, made on first use and left alone until pyproject.toml or constraints.txt changes.
#
#   make demo PYTHON=python3.12                                                   another interpreter
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"  another build of torch (see constraints.txt)

PYTHON ?= python3
PIP_FLAGS ?=

BIN := .venv/bin
PIP_INSTALL = -m pip install $(PIP_FLAGS) -c constraints.txt
INSTALL = $(BIN)/python $(PIP_INSTALL)

# What `make quick` runs, without what is marked slow: every package, in a minute.
QUICK := \
  tests/test_objective.py tests/test_objective_over.py tests/test_second_derivatives.py tests/test_results.py \
  tests/test_files.py tests/results tests/checkpoint/test_checkpoint.py tests/checkpoint/test_content.py \
  tests/checkpoint/test_fit.py tests/checkpoint/test_read.py tests/checkpoint/test_write.py \
  tests/models/test_models.py tests/data/test_digits.py \
  tests/data/test_split.py tests/linalg/test_basis.py tests/linalg/test_slq.py tests/linalg/test_hutchpp.py \
  tests/linalg/test_xtrace.py tests/operators/test_hessian.py tests/measure/test_metrics.py \
  tests/measure/test_analyze.py tests/optim/test_contract.py tests/optim/test_sam.py tests/surface/test_grid.py \
  tests/surface/test_directions.py tests/surface/test_persistence.py tests/training/test_loop.py \
  tests/training/test_schedule.py tests/tracking/test_limit.py tests/tracking/test_tracker.py \
  tests/studies/test_seeds.py tests/figures tests/cli/test_analyze.py tests/cli/test_console.py

.PHONY: help demo quick test check format build gallery bench clean
.NOTPARALLEL:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

demo: .venv/.installed  ## train on real digits with SGD and SAM, measure both, say what the numbers show
	$(BIN)/landscape demo

quick: .venv/.installed-dev  ## in a minute: formatting, lint, types and import contract beside a fast part of the tests
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@{ $(BIN)/mypy && $(BIN)/lint-imports --no-logo; } & \
	  $(BIN)/pytest -q -n 2 -m "not slow" --durations-min=5 $(QUICK); tests=$$?; wait $$! && exit $$tests

test: .venv/.installed-dev  ## formatting, lint, types, import contract, tests and docstring examples (what CI runs)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2

check: test  ## the same as test

format: .venv/.installed-dev  ## rewrite the sources in the house format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

build: .venv/.installed-dev  ## make the sdist and the wheel in dist/
	rm -rf build dist
	$(BIN)/python -m build --no-isolation

gallery: .venv/.installed-dev  ## draw every kind of figure that takes no study, from networks that it trains (ARGS="--cifar10 PATH")
	PYTHONPATH=. $(BIN)/python reports/gallery/make.py $(ARGS)

bench: .venv-bench/.installed  ## time us beside the tools before us, in an environment with all of them (an hour; ARGS="--quick --rows b")
	.venv-bench/bin/python -m benchmarks $(ARGS)

clean:  ## remove caches and build outputs (to install afresh, delete .venv as well)
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) -e .
	@touch $@

# What the tests need includes what the demo needs, so this install settles both.
.venv/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) -e ".[dev]"
	@touch .venv/.installed $@

.venv-bench/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt | .venv-bench/bin/pip
	.venv-bench/bin/python $(PIP_INSTALL) -e ".[parquet]"
	.venv-bench/bin/python $(PIP_INSTALL) --no-deps -r benchmarks/requirements.txt
	@touch $@

# pip is the last thing `python -m venv` writes: where it is missing, the environment is missing or was left half-made.
$(BIN)/pip .venv-bench/bin/pip:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'make: Python 3.11 or newer is needed, and PYTHON=$(PYTHON) is' \
	    "$$("$(PYTHON)" --version 2>/dev/null || echo 'not found'). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'make: $(PYTHON) cannot make virtual environments (no venv or ensurepip). On Debian or Ubuntu: apt install python3-venv' >&2; exit 1; }
	"$(PYTHON)" -m venv $(@:/bin/pip=)
