# vacpanel: `make` lists what can be done.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WAREHOUSE ?= demo-warehouse
PORT   ?= 5006
PYTEST_ARGS ?= --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test lint types format bench docs browser clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# One stamp a set of extras: pip runs again only when pyproject.toml changed.
$(VENV)/.made-%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

demo: $(VENV)/.made-demo  ## Install, build the embedded demo warehouse and serve the dashboard (PORT=5006)
	$(BIN)/vacpanel demo --warehouse $(WAREHOUSE) --port $(PORT)

test: $(VENV)/.made-test browser  ## Install with the test extras and pass every test, the browser's included
	$(BIN)/python -m pytest $(PYTEST_ARGS)

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	  else \
	    echo "The browser tests need Chromium: install Debian's package 'chromium' (as root: apt-get install chromium)." >&2; exit 1; \
	  fi; }

lint: $(VENV)/.made-test  ## Check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.made-test  ## Check types with mypy
	$(BIN)/mypy

format: $(VENV)/.made-test  ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.made-test  ## Run the benchmarks (ratios measured side by side in one run)
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py) || exit 1; done

docs: $(VENV)/.made-docs  ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## Remove caches, builds and the virtual environment
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
