"""A sweep with every kind of end, and one that goes on for as long as a test wants."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from swathe.analysis.exports.following import Follower
from swathe.orchestrator.cli import swathe
from swathe.orchestrator.cli.opening import opened_home
from swathe.orchestrator.home import Home

TASK = """
import math
import time
from pathlib import Path

GATE = Path(__file__).with_name("gate")


def train(trial):
    p = trial.params
    distance = abs(math.log2(p["lr"]) + 3) + (p["optimizer"] == "sgd")
    if p["lr"] == 1.0 and p["optimizer"] == "sgd":
        raise RuntimeError("no such layer")
    for step in range(4):
        loss = distance + 1 / (step + 1) + trial.seed("init") / 2**31 / 100
        trial.report(step, loss=math.nan if p["lr"] == 0.5 else loss, accuracy=-loss)
    if p.get("gated") and p["lr"] == 0.25:
        while not GATE.exists() and step < 3000:
            step += 1
            trial.report(step, loss=loss, accuracy=-loss)
            time.sleep(0.1)
    return {"loss": loss, "extra": 7.0}
"""

SPEC = """
name: ends
task: train.py:train
metric: loss
grid: {width: [64, 128]}
search:
  lr: {log2: [-6, 0], num: 7}
  optimizer: {choices: [adam, sgd]}
sampler: grid
seeds: 2
limits: {failures: 1.0}
pruner: {name: threshold, upper: 3.9}
"""


@dataclass(frozen=True)
class Project:
    """A folder with a task and a spec, and the command line in it."""

    folder: Path

    def call(self, *arguments: object) -> Result:
        """The command line in this process."""
        there = ["--dir", self.folder / "sweeps"]
        return CliRunner().invoke(swathe, [str(each) for each in (*arguments, *there)])

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """The command line in a process of its own."""
        command = [sys.executable, "-m", "swathe.orchestrator.cli", *map(str, arguments)]
        command += ["--dir", str(self.folder / "sweeps")]
        unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=self.folder, env=unbuffered)

    def wait(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until `condition` is true; its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain"
            time.sleep(0.05)
        return value


def _project(folder: Path) -> Project:
    (folder / "train.py").write_text(TASK, encoding="utf-8")
    (folder / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    return Project(folder)


@pytest.fixture(scope="session")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A sweep `ends` of 56 trials that were complete, pruned, diverged and failed. Only read it."""
    project = _project(tmp_path_factory.mktemp("ends"))
    done = project.call("run", project.folder / "sweep.yaml", "--cluster", "inline")
    assert done.exit_code == 0, done.output
    return project


@pytest.fixture
def follower(ends: Project) -> Iterator[Follower]:
    """One who has seen nothing yet of the sweep `ends`."""
    with opened_home(Home.of(ends.folder / "sweeps" / "ends")) as sweep:
        yield Follower(sweep.folder, sweep.reader)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A sweep `runs` of which some trials have ended; one reports until there is a file `gate`."""
    project = _project(tmp_path_factory.mktemp("runs"))
    changes = ("name=runs", "fixed.gated=true", "seeds=1", "grid.width=[64]")
    overrides = [word for each in changes for word in ("--set", each)]
    process = project.start("run", "sweep.yaml", "--cluster", "inline", *overrides)
    ledger = project.folder / "sweeps" / "runs" / "ledger.db"
    try:
        project.wait(ledger.exists)
        yield project
    finally:
        (project.folder / "gate").touch()
        assert process.wait(60) == 0
        assert process.stdout is not None
        process.stdout.close()
