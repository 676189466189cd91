"""A tiny project and a finished sweep of it, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swathe.orchestrator.cli import swathe

TASK = """
import math
import time

import numpy as np


def train(trial):
    p = trial.params
    noise = np.random.default_rng(trial.seed("init")).normal(0, 0.05)
    best = p.get("best", -4) - p.get("slope", 0) * math.log2(p["width"] / 64)
    if p["lr"] > p.get("explode", 9):
        trial.report(0, loss=float("nan"))
    if p["lr"] > p.get("crash", 9):
        raise RuntimeError(f"the learning rate {p['lr']} is too large")
    if p["lr"] > p.get("starve", 9):
        raise MemoryError("no memory is left")
    for step in range(p.get("steps", 3)):
        trial.report(step, loss=(math.log2(p["lr"]) - best) ** 2 + noise + 1 / (step + 1))
        time.sleep(p.get("sleep", 0.0))
    print("trained", trial.name)
    trial.artifact("weights.txt").write_text(str(noise))
    return {"loss": (math.log2(p["lr"]) - best) ** 2 + noise, "noise": noise}
"""

SPEC = """
name: tiny
task: train.py:train
metric: loss
grid: {width: [64, 128]}
search:
  lr: {log2: [-6, 0], num: 7}
sampler: grid
seeds: 2
"""

Swathe = Callable[..., Result]


def make_project(folder: Path) -> Path:
    """A folder with a task and a spec."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(TASK, encoding="utf-8")
    (folder / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    return folder


@pytest.fixture
def call() -> Swathe:
    """The command line in this process: `call("list", "--json")`."""

    def called(*arguments: object) -> Result:
        return CliRunner().invoke(swathe, [str(argument) for argument in arguments])

    return called


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project, which is the working directory."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a sweep `tiny`, all complete, and one `mixed`, with diverged and failed trials. Only read it."""
    folder = make_project(tmp_path_factory.mktemp("finished"))
    spec, common = folder / "sweep.yaml", ["--cluster", "inline", "--dir", str(folder / "sweeps")]
    done = CliRunner().invoke(swathe, ["run", str(spec), *common])
    assert done.exit_code == 0, done.output
    mixed = ["name=mixed", "fixed.explode=0.9", "fixed.crash=0.4", "limits.failures=1.0"]
    overrides = [word for each in mixed for word in ("--set", each)]
    done = CliRunner().invoke(swathe, ["run", str(spec), *common, *overrides])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def workplace(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished project as the working directory."""
    monkeypatch.chdir(finished)
    return finished
