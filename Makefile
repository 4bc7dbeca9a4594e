# `make` lists the targets. Each one sets up what it needs, so any of them works on a fresh clone.

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$name && break; \
	done)
# PyTorch comes first and alone: resolved together with the rest, pip may take another build of it.
TORCH ?= torch==2.13.0
# Another package index for it, such as https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV := .venv
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
# A changed choice of PyTorch is a new stamp, so it is installed again.
TORCH_STAMP := $(VENV)/.torch-$(shell printf '%s' '$(TORCH) $(TORCH_INDEX)' | cksum | cut -d ' ' -f 1)
STAMP := $(VENV)/.installed
# dstui is not installed there: what it captures must not depend on that.
FRAMEWORKS := .frameworks
FRAMEWORKS_PIP := $(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check install --quiet
FRAMEWORKS_TORCH_STAMP := $(FRAMEWORKS)/$(notdir $(TORCH_STAMP))
WORKERS ?= 2
# The others in that folder are tools that benchmarks use.
BENCHMARKS ?= $(filter-out make_demo many_runs measure peer_program peers ptybench,$(basename $(notdir $(wildcard benchmarks/[a-z]*.py))))
# Small models gain nothing from threads, and parallel tests would fight for the cores.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-frameworks bench bench-peers soak docs clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r target text; do printf '%-22s %s\n' "$$target" "$$text"; done

setup: $(STAMP) ## make .venv with PyTorch, dstui and the developer tools (TORCH=, TORCH_INDEX= choose the build)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo 'No Python 3.11 or newer found; name one with `make setup PYTHON=/path/to/python3`' >&2; exit 1; }
	@# Debian ships Python without ensurepip, so the first try may leave half an environment.
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } \
		|| { echo 'This Python cannot make environments; install it with `apt install python3-venv`' >&2; exit 1; }
	@echo 'Making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)

$(TORCH_STAMP): | $(VENV)/bin/python
	@echo 'Installing $(TORCH)'
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	@rm -f $(VENV)/.torch-*
	@touch $@

$(STAMP): pyproject.toml $(TORCH_STAMP)
	@echo 'Installing dstui and its tools'
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: setup ## train a small MNIST model twice under `ds run`, then list and compare the two runs
	@rm -rf .demo
	@mkdir .demo
	@cp examples/mnist.py .demo/train.py
	@printf 'checkpoints/\n' > .demo/.gitignore
	@cd .demo && git init -q -b main && git add -A && git -c user.name=demo -c user.email=demo@localhost commit -q -m 'train a small model on MNIST'
	@cd .demo && $(RUN) && export PATH && set -ex \
		&& ds run -n slow-start train.py --learning-rate 0.02 --epochs 3 \
		&& ds run -n faster train.py --learning-rate 0.1 --epochs 3 \
		&& ds ls \
		&& ds diff @~1 @
	@printf '\nBoth runs are stored in .demo. To look around in the dashboard:\n\n  cd .demo && ../$(VENV)/bin/dstui\n\n'

test: setup ## check style, types and import walls, then run the tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(RUN) $(VENV)/bin/python -m pytest -n $(WORKERS) $(PYTEST)

$(FRAMEWORKS_TORCH_STAMP): | $(VENV)/bin/python
	@echo 'Making $(FRAMEWORKS) with $(TORCH)'
	@rm -rf $(FRAMEWORKS)
	@$(VENV)/bin/python -m venv $(FRAMEWORKS)
	@$(FRAMEWORKS_PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	@touch $@

$(FRAMEWORKS)/.installed: tests/frameworks/requirements.txt $(FRAMEWORKS_TORCH_STAMP)
	@echo 'Installing the frameworks'
	@$(FRAMEWORKS_PIP) --requirement $<
	@touch $@

test-frameworks: setup $(FRAMEWORKS)/.installed ## run programs of real frameworks, unchanged, in an environment of their own (3 GB)
	$(RUN) $(VENV)/bin/python -m pytest -m frameworks tests/frameworks $(PYTEST)

soak: setup ## run the large forms of the crash, safety and fuzz tests (hours)
	$(RUN) $(VENV)/bin/python -m pytest -n $(WORKERS) -m soak --timeout 0 $(PYTEST)

bench: setup ## run every benchmark and add one JSON line each to benchmarks/results/
	@mkdir -p benchmarks/results
	@# One after the other whatever -j says: two at once would measure each other.
	@status=0; for name in $(BENCHMARKS); do \
		if line=$$($(RUN) $(VENV)/bin/python -m benchmarks.$$name) && test -n "$$line"; then printf '%s\n' "$$line" | tail -n 1 | tee -a benchmarks/results/$$name.jsonl; \
		else echo "benchmarks/$$name.py failed" >&2; status=1; fi; \
	done; exit $$status

bench-peers: setup ## measure other trackers beside dstui, each in an environment of its own (2 GB), and add the JSON line
	@mkdir -p benchmarks/results
	@line=$$($(RUN) $(VENV)/bin/python -m benchmarks.peers) && test -n "$$line" && printf '%s\n' "$$line" | tail -n 1 | tee -a benchmarks/results/peers.jsonl

docs: setup ## write docs/cli.md and docs/keys.md anew from the program
	$(VENV)/bin/python docs/generate.py

clean: ## remove what make made: environments, .demo, caches
	rm -rf .venv .frameworks .peers .demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
