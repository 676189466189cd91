"""What a pilot tells of a larger sweep."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import SwatheError
from swathe.orchestrator.messages import Cause, State
from swathe.orchestrator.simulation.cost import fit
from swathe.orchestrator.simulation.forecast import forecast
from swathe.orchestrator.simulation.pilot import Pilot, horizon
from swathe.orchestrator.simulation.recorded import Recorded, RecordedTrial, whole_trials

SLEEPING = """
import time

def train(trial):
    p = trial.params
    if p["lr"] > 0.5:
        time.sleep(0.002)
        trial.report(0, loss=float("nan"))
    for step in range(p["steps"]):
        time.sleep(p["width"] / 10_000)
        trial.report(step, loss=p["lr"] + 1 / (step + 1))
    return {"loss": p["lr"]}
"""

SPEC = """
name: full
task: ./train.py:train
metric: loss
grid: {width: [10, 40]}
search: {lr: {low: 1e-3, high: 1.0, log: true}}
fixed: {steps: 10}
configurations: 16
sampler: random
"""


def recorded(seconds: float, state: State = State.COMPLETE, last: int = 9, **params: float) -> RecordedTrial:
    cause = Cause.DIVERGED if state is State.FAIL else None
    steps = tuple(range(last + 1))
    pace = seconds / (last + 1)
    seconds_at = tuple(pace * (step + 1) for step in steps)
    values = tuple(1.0 / (step + 1) for step in steps)
    value = None if cause else values[-1]
    return RecordedTrial(params, 0, state, cause, value, "w", 0.0, seconds, last, steps, values, seconds_at, seconds)


def test_a_cost_follows_what_matters_and_ignores_the_rest() -> None:
    noise = [1.0, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97, 1.02, 0.98, 1.0, 1.01, 0.99]
    known = [(w, 10.0**-k) for w in (8, 16, 32) for k in range(4)]
    trials = [recorded(0.01 * w**2 * each, width=w, lr=lr) for each, (w, lr) in zip(noise, known, strict=True)]
    cost = fit(trials, ["width"])
    assert cost.effects() == {"width": pytest.approx(2.0, abs=0.02)}
    assert cost.seconds({"width": 16, "lr": 0.1}) == pytest.approx(2.56, rel=0.05)
    assert cost.seconds({"width": 64, "lr": 0.1}) == pytest.approx(41.0, rel=0.2)
    outlier = [*trials, recorded(100.0, width=8, lr=1.0)]
    assert fit(outlier, []).seconds({"width": 16}) == pytest.approx(2.56, rel=0.3)


def test_one_trial_of_each_cell_is_enough_for_the_cells() -> None:
    trials = [recorded(seconds, width=w) for w, seconds in ((1, 1.0), (2, 1.0), (4, 8.0))]
    cost = fit(trials, ["width"])
    for each in trials:
        assert cost.seconds(each.params) == pytest.approx(each.total, rel=0.25)


def test_the_horizon_is_recognised_by_its_value() -> None:
    found = horizon([recorded(1.0, steps=10, depth=3, lr=k / 10) for k in range(3)])
    assert found is not None and (found.name, found.value) == ("steps", 10.0)
    assert found.seconds({"steps": 100}) == pytest.approx(10.0)
    assert horizon([recorded(1.0, depth=3), recorded(1.0, depth=3)]) is None


def test_pruned_trials_tell_what_whole_ones_would_take() -> None:
    pruned = recorded(2.0, State.PRUNED, last=4, width=2)
    whole = whole_trials([recorded(1.0, width=1), pruned, recorded(0.1, State.FAIL, last=0, width=1)])
    assert [round(each.total, 6) for each in whole] == [1.0, 4.0]
    seen = Recorded([recorded(1.0, width=1), pruned], ["width"]).course({"width": 2}, 0)
    assert list(seen.reports) == list(range(10)) and seen.total == pytest.approx(4.0)
    assert seen.seconds(4) == 2.0 and 2.0 < seen.seconds(7) < seen.total
    assert seen.final == seen.value(9) == pytest.approx(0.2)


def test_a_pilot_predicts_the_sweep(make_sweep, tmp_path: Path) -> None:
    small = make_sweep("name=small", "configurations=5", "fixed.steps=4", task=SLEEPING, text=SPEC)
    pilot = Pilot.read(run(small, Launch(tmp_path / "sweeps", "inline")).folder)
    full = make_sweep("fixed.steps=20", task=SLEEPING, text=SPEC)
    told = forecast(full, pilot, 1)
    assert told.trials == 32 and told.share < 0.2 and told.notes == ()
    assert told.wall.low <= told.wall.middle <= told.wall.high
    measured = Pilot.read(run(full, Launch(tmp_path / "sweeps", "inline")).folder)
    assert told.work.middle == pytest.approx(measured.work, rel=0.5)
    assert 0.2 < told.effects["width"] < 1.5
    spread = forecast(full, pilot, 4)
    assert spread.wall.middle - spread.startup < told.wall.middle / 2


def test_what_the_pilot_cannot_know_is_said(make_sweep, tmp_path: Path) -> None:
    small = make_sweep("name=small", "configurations=2", "grid.width=[10]", task=SLEEPING, text=SPEC)
    pilot = Pilot.read(run(small, Launch(tmp_path / "sweeps", "inline")).folder)
    full = make_sweep("fixed.extra=1", "configurations=2", task=SLEEPING, text=SPEC)
    notes = forecast(full, pilot, 2).notes
    assert any("extra" in each for each in notes) and any("width is 10" in each for each in notes)


def test_a_pilot_without_a_complete_trial_is_refused(make_sweep, tmp_path: Path) -> None:
    task = "def train(trial):\n    trial.report(0, loss=float('inf'))\n"
    sweep = make_sweep(task=task, text=SPEC)
    pilot = Pilot.read(run(sweep, Launch(tmp_path / "sweeps", "inline")).folder)
    with pytest.raises(SwatheError, match="trained to its end"):
        forecast(sweep, pilot, 1)
    assert math.isfinite(pilot.work)
