"""The verbs that look at specs and tasks: plan, schema, tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swathe.orchestrator import spec


def read(shown) -> object:
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)


def test_plan_counts(workplace: Path, call) -> None:
    told = read(call("plan", "sweep.yaml", "--json"))
    assert [cell["values"]["width"] for cell in told["cells"]] == [64, 128]
    assert (told["configurations"], told["seeds"], told["trials"], told["parallelism"]) == (7, 2, 28, 28)
    assert told["modelled"] == 0


def test_plan_of_a_model_is_bound_by_its_generations(workplace: Path, call) -> None:
    overrides = [word for each in ("sampler=tpe", "configurations=24") for word in ("--set", each)]
    told = read(call("plan", "sweep.yaml", *overrides, "--json"))
    assert told["parallelism"] == 2 * told["generation"] * (told["lag"] + 1) * 2
    assert told["modelled"] == 12
    shown = call("plan", "sweep.yaml", *overrides)
    assert "24  a cell: lr by tpe in generations of 4, lag 1; 12 see a model" in shown.stdout
    assert "cells x generation x (lag + 1) x seeds" in shown.stdout


def test_plan_warns_runs_nothing_and_writes_nothing(project: Path, call) -> None:
    (project / "train.py").write_text("raise SystemExit('imported')")
    shown = call("plan", "sweep.yaml", "--set", "sampler=tpe", "--set", "configurations=14")
    assert shown.exit_code == 0
    assert "Warning: only" in shown.stderr
    assert sorted(path.name for path in project.iterdir()) == ["sweep.yaml", "train.py"]


def test_plan_of_a_bad_spec(workplace: Path, call) -> None:
    shown = call("plan", "sweep.yaml", "--set", "seeds=0")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("Error: --set seeds=0: ")
    assert shown.stderr.count("\n") == 1


def test_schema_is_the_grammar(call) -> None:
    assert read(call("schema")) == json.loads(json.dumps(spec.json_schema()))


def test_tasks_are_listed_without_being_imported_and_described_by_name(call) -> None:
    assert "lr-transfer" in [each["name"] for each in read(call("tasks", "--json"))]
    listed = call("tasks").stdout
    assert "lr-transfer" in listed.split() and "scaling: How training changes with width" in listed
    pytest.importorskip("torch")
    told = read(call("tasks", "lr-transfer", "--json"))
    assert {"train_loss", "val_loss", "val_accuracy"} < set(told["metrics"])
    assert told["space"]["lr"] == {"log2": [-8.0, 0.0], "num": 17}
    assert "paper     Noci" in call("tasks", "lr-transfer").stdout


def test_an_unknown_task_gives_the_nearest(call) -> None:
    shown = call("tasks", "lr-transfr")
    assert shown.exit_code == 2
    assert "lr-transfer" in shown.stderr
