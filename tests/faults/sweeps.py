"""Small sweeps, drawn by a seed, whose task writes down each execution and misbehaves by its parameters alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swathe.orchestrator import spec
from swathe.orchestrator.spec import Sweep

RAN = "SWATHE_TEST_RAN"

HALVING = {"name": "halving", "min_step": 1, "reduction": 2}

# Each execution leaves a line: the trial, the step it begins with, when.
TASK = """
import math, os, time


def train(trial):
    p = trial.params
    state = trial.restore() or {"step": -1, "total": 0.0}
    with open(os.environ["SWATHE_TEST_RAN"], "a") as file:
        file.write(f"{trial.name} {state['step'] + 1} {time.time()!r}\\n")
    total = state["total"]
    for step in range(state["step"] + 1, p["steps"]):
        time.sleep(p["sleep"])
        if step == 1 and p["x"] < 0.06:
            raise RuntimeError("this part of the space raises")
        if step == 1 and p["x"] > p.get("deadly", 1.0):
            os._exit(7)
        total = 0.5 * total + (p["x"] - 0.4) ** 2 + trial.seed("noise") / 2**31 * 0.01 + 0.1 * p.get("width", 0)
        loss = math.nan if step == 2 and p["x"] > 0.9 else total
        trial.report(step, state=lambda: {"step": step, "total": total}, loss=loss, twice=2 * total)
    return {"loss": total, "steps_done": step + 1}
"""


@dataclass(frozen=True)
class Project:
    """A spec with its task in a folder, and where its sweeps go."""

    folder: Path
    sweep: Sweep

    @property
    def spec(self) -> Path:
        return self.folder / "sweep.yaml"

    def directory(self, name: str) -> Path:
        return self.folder / name

    def sweep_in(self, name: str) -> Path:
        return self.directory(name) / self.sweep.name

    @property
    def ran(self) -> Path:
        return self.folder / "ran.txt"


def long_but(values: Sequence[Any], *quick: Any) -> list[Any]:
    """Parameters of a test: `quick` are always run, the others in the whole suite only."""
    assert set(quick) <= set(values)
    return [each if each in quick else pytest.param(each, marks=pytest.mark.long) for each in values]


def make(folder: Path, **fields: Any) -> Project:
    """A project whose spec has the given fields; the others are small."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(TASK, encoding="utf-8")
    fixed = {"steps": 4, "sleep": 0.0, **fields.pop("fixed", {})}
    plain = {
        "name": "tiny",
        "task": "./train.py:train",
        "metric": "loss",
        "grid": {"width": [1, 2]},
        "search": {"x": {"low": 0.0, "high": 1.0}},
        "configurations": 12,
        "seeds": 2,
        "sampler": "random",
        "limits": {"failures": 1.0, "attempts": 5},
        **fields,
        "fixed": fixed,
    }
    sweep = Sweep(**plain).rooted(folder)
    (folder / "sweep.yaml").write_text(sweep.to_yaml(), encoding="utf-8")
    return Project(folder, spec.load(folder / "sweep.yaml"))


def draw(folder: Path, seed: int) -> Project:
    """The project of `seed`: a grid or none, one of several samplers, one to three replicates, halving or not."""
    draws = random.Random(f"sweep {seed}")
    sampler = draws.choice(["random", "tpe", "tpe", "qmc"])
    generation = draws.choice([2, 3, 4])
    fields: dict[str, Any] = {
        "grid": draws.choice([{}, {"width": [1, 2]}, {"width": [1, 2], "depth": ["a", "b"]}]),
        "seeds": draws.randint(1, 3),
        "sampler": {"name": sampler, "generation": generation},
        "configurations": generation * (draws.randint(6, 8) if sampler == "tpe" else draws.randint(2, 5)),
        "seed": seed,
        "fixed": {"sleep": draws.choice([0.0, 0.001, 0.005])},
    }
    if draws.random() < 0.6:
        fields["pruner"] = HALVING
        fields["fixed"]["steps"] = 6
    return make(folder, **fields)


def draw_deadly(folder: Path, seed: int) -> Project:
    """One that is smaller and slower, in which about one trial in twelve kills its worker, each time it is tried."""
    draws = random.Random(f"deadly {seed}")
    sampler = draws.choice(["random", "tpe"])
    fields: dict[str, Any] = {
        "grid": draws.choice([{}, {"width": [1, 2]}]),
        "seeds": draws.randint(1, 2),
        "sampler": {"name": sampler, "generation": 2},
        "configurations": 14 if sampler == "tpe" else 10,
        "seed": seed,
        "limits": {"failures": 1.0, "attempts": 3},
        "fixed": {"sleep": 0.02, "steps": 6, "deadly": 0.92},
        **({"pruner": HALVING} if draws.random() < 0.6 else {}),
    }
    return make(folder, **fields)
