# Set up from nothing with only Python 3.11 and git; every target installs first when that is stale.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: install quickstart test gpu check format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

quickstart: $(STAMP)
	$(BIN)/hub-trainer quickstart $(ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# What needs GPUs, on a machine with 2 or more of them (4 for hsdp); nothing else runs it.
gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check hub_trainer spaces tests
	$(BIN)/ruff check hub_trainer spaces tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

format: $(STAMP)
	$(BIN)/ruff check --fix hub_trainer spaces tests
	$(BIN)/ruff format hub_trainer spaces tests

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
