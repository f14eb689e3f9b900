# Every command sets up what it needs: a fresh clone needs only Python 3.11-3.13 and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two processes, a file of tests each: half the time, and no file's fixtures twice; in the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo up cluster test test-tools test-slow test-faults check bench clean

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment with exactly the pinned versions

$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "Eye Dx needs Python 3.11, 3.12 or 3.13; found $$("$(PYTHON)" --version). Say which with: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@echo "Setting up $(VENV) (the first time takes a few minutes: PyTorch is large)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## Run the whole chain once, from photographs to delivered reports, and show what came out
	@$(BIN)/python -m eye_dx_demo

up: $(READY) ## Start the review desk, Dagster UI and daemon, MLflow UI and the monitor; one Ctrl-C stops all
	@exec $(BIN)/eye-dx up

cluster: $(READY) ## The same with two Celery workers over RabbitMQ and PostgreSQL on this machine (EYE_DX_QUEUE_URL, EYE_DX_RECORDS_URL)
	@EYE_DX_QUEUE_URL="$${EYE_DX_QUEUE_URL:-amqp://guest:guest@127.0.0.1:5672/%2F}" EYE_DX_DIAGNOSIS_RUNS="$${EYE_DX_DIAGNOSIS_RUNS:-2}" \
	EYE_DX_RECORDS_URL="$${EYE_DX_RECORDS_URL:-postgresql+psycopg://postgres@127.0.0.1:5432/eye_dx}" exec $(BIN)/eye-dx cluster

test: $(READY) ## Run the tests (services that do not answer are skipped unless EYE_DX_REQUIRE_SERVICES=1)
	@$(PYTEST)

test-tools: ## Install what only tests use, on Debian or Ubuntu as root: Chromium for the desk, poppler to read PDFs (without them, their tests are skipped)
	@{ command -v chromium && command -v pdftotext; } >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium poppler-utils >/dev/null; }

test-slow: $(READY) ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m slow

test-faults: $(READY) ## Kill, stop, fill and starve everything, many times (about an hour)
	@rm -f .fault-table; EYE_DX_FAULT_TABLE=$(CURDIR)/.fault-table $(BIN)/python -m pytest -m faults tests/faults; status=$$?; cat .fault-table; exit $$status

check: $(READY) ## Format, lint, types, import contracts, tests
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports
	@$(PYTEST)

bench: $(READY) ## Measure every speed claim and print the ratios
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## Remove the environment and caches; photographs, records and models stay
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Kept: data/, mlruns/, dagster_home/ (delete them yourself if you mean it)"
