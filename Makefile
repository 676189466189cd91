PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.swathe-installed

.PHONY: setup demo test lint bench clean

setup: $(STAMP)

# Made again whenever the requirements change, so every target below starts from what the files say.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[tasks,dashboard,postgres,test]'
	touch $@

demo: setup
	$(BIN)/swathe run tasks/scaling/lr_transfer.yaml

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) build dist sweeps .pytest_cache .ruff_cache .hypothesis
