# Needs Python 3.11 or newer, make and git; everything else is installed into .venv.
#
#     make demo                       make test                      make PYTHON=python3.12 demo
#     make demo DEMO_ARGS="--seed 2"  make test PYTEST_ARGS="-k walk"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
PYTEST_ARGS ?=

# The installs are not repeated until one of these changes. The package itself is installed in place
# (editable), so a change of the code needs no install.
INSTALL_INPUTS := pyproject.toml constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-fast lint format coverage coverage-of-ops hooks clean distclean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED)  ## run the whole pipeline on the built-in scenes, into runs/demo
	$(BIN)/tag2mask demo --out runs/demo $(DEMO_ARGS)

test: $(INSTALLED_DEV)  ## run every test
	$(BIN)/pytest -q $(PYTEST_ARGS)

test-fast: $(INSTALLED_DEV)  ## run the tests that take seconds
	$(BIN)/pytest -q -m 'not slow' $(PYTEST_ARGS)

lint: $(INSTALLED_DEV)  ## check style, format, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED_DEV)  ## put the code into the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(INSTALLED_DEV)  ## run every test and list the lines that none of them reached
	$(BIN)/pytest -q --cov --cov-report=term-missing $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory coverage-of-ops

# Reads what the last run with --cov has left behind.
coverage-of-ops: $(INSTALLED_DEV)
	@percent=$$($(BIN)/coverage report --include='*/ops/*' --precision=2 --fail-under=95 --format=total) \
		&& echo "line coverage of ops/: $$percent%" \
		|| { $(BIN)/coverage report --include='*/ops/*' --show-missing; \
		     echo "line coverage of ops/ is below 95%: add tests for the lines above."; exit 1; }

hooks: $(INSTALLED_DEV)  ## check every commit with the linters before it is made
	$(BIN)/pre-commit install

clean:  ## remove caches, build leftovers and runs/demo; other runs stay
	rm -rf build dist src/*.egg-info htmlcov .coverage coverage.xml runs/demo
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## the same, and .venv
	rm -rf $(VENV)

# A .venv without a working pip (left by an install that was stopped) is made again.
define make_venv
@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	command -v $(PYTHON) >/dev/null 2>&1 \
		|| { echo "tag2mask needs Python 3.11 or newer, and there is no '$(PYTHON)' here." \
		          "Install it, or name it: make PYTHON=/path/to/python3"; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tag2mask needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
		          "Name a newer one: make PYTHON=python3.12"; exit 1; }; \
	echo "Making $(VENV)"; \
	$(PYTHON) -m venv $(VENV); \
fi
@echo "Installing into $(VENV): once, a few minutes, mostly PyTorch"
endef

$(INSTALLED): $(INSTALL_INPUTS)
	$(make_venv)
	$(BIN)/python -m pip install -c constraints.txt -e '.[weights]'
	@touch $@

$(INSTALLED_DEV): $(INSTALL_INPUTS)
	$(make_venv)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $(INSTALLED) $@
