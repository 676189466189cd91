PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.swathe-installed

.PHONY: setup demo test faults lint bench clean

setup: $(STAMP)

# Made again whenever the requirements change, so every target below starts from what the files say.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[tasks,dashboard,export,postgres,test]'
	touch $@

demo: setup
	$(BIN)/swathe run tasks/scaling/lr_transfer.yaml

test: setup
	$(BIN)/python -m pytest

# All of the fault suite; `make test` runs the quick part. SEEDS sweeps are killed at random, 40 minutes on 2 cores.
SEEDS ?= 100
faults: setup
	$(BIN)/python -m pytest tests/faults --faults=all --seeds=$(SEEDS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# All of it takes about an hour on two idle cores; `python -m tests.benchmarks NAME` runs one.
bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) build dist sweeps .pytest_cache .ruff_cache .hypothesis
