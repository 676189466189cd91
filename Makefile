PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.swathe-installed

.PHONY: setup demo test calibrate controls faults lint bench clean

setup: $(STAMP)

# Made again whenever the requirements change, so every target below starts from what the files say.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[tasks,dashboard,export,postgres,test]'
	touch $@

demo: setup
	$(BIN)/swathe run tasks/scaling/lr_transfer.yaml

# Three processes keep two cores busy: many tests wait. Linear algebra on one thread each, as workers pin it.
test: setup
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadgroup

# How often verdicts are right where the truth is known, written into README.md: 20 minutes of processor time on 2 cores.
calibrate: setup
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.calibration

# Positive controls on real training: six minutes on 2 cores, eleven beside other work.
controls: setup
	$(BIN)/python -m pytest -m control tests/tasks/test_controls.py

# All of the fault suite; `make test` runs the quick part. SEEDS sweeps are killed at random, 40 minutes on 2 cores.
SEEDS ?= 100
faults: setup
	$(BIN)/python -m pytest tests/clusters tests/orchestrator -m outage
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
