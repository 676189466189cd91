"""Sweeps whose trials run in lanes: the same results as single trials, for any cluster, through kills and splits."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from swathe.analysis import digest, load
from swathe.orchestrator import Launch, Sweep, run, spec
from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.fusion import Lanes, Program, training
from swathe.orchestrator.ledger import Reader
from swathe.orchestrator.ledger.tables import url_of
from swathe.orchestrator.worker import Worker

TASK = """
import os, time
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from swathe.orchestrator.fusion import Data, Program, sgd

X = torch.randn(96, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, :1] * X[:, 1:2]).tanh()

def model(p, seeds):
    time.sleep(float(os.environ.get("SLOW", 0)))
    if p.get("broken") and p["lr"] > 0.3:
        raise ValueError("no such model")
    return nn.Sequential(nn.Linear(5, p["width"]), nn.Tanh(), nn.Dropout(0.1), nn.Linear(p["width"], 1))

def loss(model, batch, p):
    x, y = batch
    return mse_loss(model(x), y) + p["decay"] * model.tensors["0.weight"].square().sum()

def metrics(model, data, p):
    x, y = data
    return {"val_loss": mse_loss(model(x), y)}

def data(p):
    return Data((X[:64], Y[:64]), (X[64:], Y[64:]), batch=16)

ALL = dict(shapes=("width",), dtype=torch.float64, defaults={"steps": 24, "report_every": 6, "decay": 1e-4})
PROGRAM = Program(model, loss, sgd("lr", 0.9), data, metrics, **ALL)

def plain(trial):
    return {"val_loss": 1.0}
"""

SPEC = """
name: lanes
task: ./train.py:PROGRAM
metric: val_loss
grid: {decay: [1.0e-4, 1.0e-3], width: [4, 9]}
search: {lr: {log2: [-8, 27], num: 8}}
sampler: grid
seeds: 3
fuse: 7
"""


RUN = """
import sys
from pathlib import Path
from swathe.orchestrator import Launch, load, run
run(load(Path(sys.argv[1])), Launch(Path(sys.argv[2]), cluster="inline"))
"""


@pytest.fixture
def sweep(tmp_path: Path):
    """A sweep of 96 trials in two shapes; `overrides` are `path=value` texts."""

    def make(*overrides: str) -> Sweep:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(TASK, encoding="utf-8")
        (folder / "sweep.yaml").write_text(SPEC, encoding="utf-8")
        return spec.load(folder / "sweep.yaml", overrides)

    return make


def trials(folder: Path) -> pd.DataFrame:
    return load.trials(folder).sort_values("trial").reset_index(drop=True)


def hash_of(folder: Path) -> str:
    reader = Reader(url_of(folder), folder.name)
    try:
        return str(digest.digest(*load.tables(folder), reader.sweep().amendments))
    finally:
        reader.close()


def agree(fused: pd.DataFrame, alone: pd.DataFrame) -> None:
    """Where training is stable; elsewhere the last bits of a step grow."""
    stable = alone["value"].astype(float) < 1.0
    assert stable.sum() > 10
    pd.testing.assert_series_equal(*(frame["value"].astype(float)[stable] for frame in (fused, alone)), rtol=1e-9)


def inline(made: Sweep, where: Path) -> Path:
    finished = run(made, Launch(where, cluster="inline"))
    assert finished.reason == "finished"
    return finished.folder


def test_lanes_give_the_trials_that_single_trials_give(sweep, tmp_path: Path) -> None:
    fused, alone = (trials(inline(sweep(f"fuse={mode}"), tmp_path / str(mode))) for mode in (7, "off"))
    assert set(fused["lanes"]) <= {6, 7} and set(alone["lanes"]) == {1}
    for column in ("trial", "state", "cause", "steps", "attempt", "proposed_by"):
        assert fused[column].equals(alone[column]), column
    assert set(fused["cause"].dropna()) == {"diverged"}
    agree(fused, alone)
    best = [
        frame.sort_values("value").groupby(["param.decay", "param.width"])["param.lr"].first()
        for frame in (fused, alone)
    ]
    assert best[0].equals(best[1])
    metrics = [load.metrics(tmp_path / str(mode) / "lanes") for mode in (7, "off")]
    keys = [sorted(zip(m["trial"], m["step"].fillna(-1), m["metric"], strict=True)) for m in metrics]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_auto_and_off_find_the_same_winner(sampler: str, sweep, tmp_path: Path) -> None:
    more = (
        []
        if sampler == "grid"
        else ["sampler=random", "configurations=8", "search.lr={low: 0.01, high: 1.0, log: true}"]
    )
    found = {}
    for mode in ("auto", "off"):
        frame = trials(inline(sweep(f"fuse={mode}", *more), tmp_path / mode))
        means = frame.groupby(["param.decay", "param.width", "param.lr"])["value"].mean()
        found[mode] = means.groupby(level=[0, 1]).idxmin().tolist()
    assert found["auto"] == found["off"]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_pruning_inside_packs_decides_as_outside(sampler: str, sweep, tmp_path: Path) -> None:
    more = [
        "configurations=16",
        "pruner={name: halving, min_step: 6, reduction: 2}",
        "search.lr={low: 0.01, high: 30.0, log: true}",
    ]
    lag = ", lag: 0" if sampler == "tpe" else ""
    frames = {}
    for mode in (5, "off"):
        made = sweep(f"fuse={mode}", f"sampler={{name: {sampler}, generation: 4{lag}}}", *more)
        frames[mode] = trials(inline(made, tmp_path / str(mode)))
    fused, alone = frames[5], frames["off"]
    for column in ("trial", "state", "cause", "steps"):
        assert fused[column].equals(alone[column]), column
    assert (fused["state"] == "PRUNED").sum() >= 40
    agree(fused, alone)


class Crowded(Lanes):
    """A device on which six lanes fit."""

    def __init__(self, program: Program, params: Sequence[Any], *args: Any, **options: Any) -> None:
        if len(params) > 6:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        super().__init__(program, params, *args, **options)


def test_memory_halves_the_lanes_and_charges_nobody(sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "Lanes", Crowded)
    folder = inline(sweep("fuse=12"), tmp_path)
    frame = trials(folder)
    assert set(frame["attempt"]) == {1} and frame["lanes"].max() <= 6
    reader = Reader(url_of(folder), "lanes")
    assert {each.lanes for each in reader.capacities().values()} == {6}
    reader.close()


def test_what_one_trial_raises_is_its_own(sweep, tmp_path: Path) -> None:
    folders = {
        mode: inline(sweep(f"fuse={mode}", "fixed.broken=1", "limits.failures=1.0"), tmp_path / str(mode))
        for mode in (9, "off")
    }
    fused, alone = (trials(folder) for folder in folders.values())
    assert fused["state"].equals(alone["state"]) and fused["cause"].equals(alone["cause"])
    failed = fused[fused["cause"] == "user_error"]
    assert len(failed) and failed["error"].str.contains("no such model").all() and set(failed["lanes"]) == {1}


def test_a_function_cannot_be_fused_by_force(sweep, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot run as lanes; write `fuse: auto`"):
        run(sweep("task=./train.py:plain"), Launch(tmp_path, cluster="inline"))
    with pytest.raises(SpecError, match="remove one"):
        run(sweep("isolate=process"), Launch(tmp_path, cluster="inline"))


def test_a_sweep_killed_in_mid_pack_goes_on_to_the_same_hash(sweep, tmp_path: Path) -> None:
    whole = hash_of(inline(sweep(), tmp_path / "whole"))
    made = sweep()
    kills = 0
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(made.root / "sweep.yaml"), str(tmp_path / "broken")],
            env={**os.environ, "SLOW": "0.05"},
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline and _decided(tmp_path / "broken") <= 20 * attempt:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 3
    assert _decided(tmp_path / "broken") < 96
    assert hash_of(inline(sweep(), tmp_path / "broken")) == whole
    assert set(trials(tmp_path / "broken" / "lanes")["attempt"]) == {1}


class Terminated(Lanes):
    """The process is asked to end when lanes have made 300 updates."""

    def evaluate(self, *, final: bool = False) -> Any:
        if self.done == 300:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().evaluate(final=final)


def test_a_sweep_drained_in_mid_pack_goes_on_to_the_same_hash(
    sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lanes of a pack leave at one step, with their states, and go on from there."""
    stable = "search.lr={log2: [-8, -1], num: 8}"
    more = ("seeds=1", "fuse=8", "grid.width=[4]", stable, "fixed.steps=1200", "fixed.report_every=30")
    whole = hash_of(inline(sweep(*more), tmp_path / "whole"))
    monkeypatch.setitem(Worker.__init__.__kwdefaults__, "push_seconds", 0.02)
    with monkeypatch.context() as patched:
        patched.setattr(training, "Lanes", Terminated)
        drained = run(sweep(*more), Launch(tmp_path / "broken", cluster="inline"))
    assert drained.reason != "finished"
    connection = sqlite3.connect(drained.folder / "ledger.db")
    pauses = [json.loads(outcome) for (outcome,) in connection.execute("SELECT outcome FROM pause")]
    connection.close()
    assert len(pauses) == 8 and all(each["kept"] and each["cause"] == "preempted" for each in pauses)
    (step,) = {each["steps"] for each in pauses}
    assert 300 <= step < 1200 and step % 30 == 0
    assert hash_of(inline(sweep(*more), tmp_path / "broken")) == whole
    assert set(trials(drained.folder)["attempt"]) == {1}


def _decided(directory: Path) -> int:
    try:
        reader = Reader(url_of(directory / "lanes"), "lanes")
    except Exception:
        return -1
    try:
        return reader.progress().count()
    except Exception:
        return -1
    finally:
        reader.close()


@pytest.mark.ray
def test_the_hash_is_the_same_on_three_workers(sweep, tmp_path: Path, ray_session: None) -> None:
    finished = run(sweep(), Launch(tmp_path / "three", workers=3))
    assert finished.reason == "finished"
    assert hash_of(finished.folder) == hash_of(inline(sweep(), tmp_path / "inline"))
