"""Sweeps that optimise several metrics: what the model is told, and how they are pruned and recorded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from test_pruning import frames, hash_of

from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.messages import Cause, State
from swathe.orchestrator.schedule import Observation
from swathe.orchestrator.search import Request, Search, model
from swathe.orchestrator.task import Float

TASK = """
import math

def train(trial):
    x, y = trial.params["x"], trial.params["y"]
    for step in range(1, 5):
        trial.report(step, near=(x - 0.2) ** 2 + y / step, far=-((x - 0.8) ** 2 + y))
    return {"near": (x - 0.2) ** 2 + y, "far": math.nan if y > 0.95 else -((x - 0.8) ** 2 + y), "third": 3.0}
"""

SPEC = """
name: two
task: ./train.py:train
metric: [near, far]
direction: [minimize, maximize]
search:
  x: {low: 0.0, high: 1.0}
  y: {low: 0.0, high: 1.0}
configurations: 24
seeds: 2
sampler: tpe
"""


def sweep_of(make_sweep, *overrides: str):
    return make_sweep(*overrides, task=TASK, text=SPEC)


def test_all_objectives_are_recorded_and_one_that_is_not_finite_diverges(make_sweep, tmp_path: Path) -> None:
    finished = run(sweep_of(make_sweep, "sampler=random"), Launch(tmp_path, "inline"))
    trials, _ = frames(finished.folder)
    x, y = trials["param.x"], trials["param.y"]
    good = trials["state"] == "COMPLETE"
    assert finished.exit_code == 0 and set(trials.loc[~good, "cause"]) <= {"diverged"}
    assert (good == (y <= 0.95)).all()
    np.testing.assert_allclose(trials["value"][good], ((x - 0.2) ** 2 + y)[good])
    np.testing.assert_allclose(trials["metric.near"][good], trials["value"][good])
    np.testing.assert_allclose(trials["metric.far"][good], -((x - 0.8) ** 2 + y)[good])


def test_the_model_draws_towards_the_front(make_sweep, tmp_path: Path) -> None:
    trials, _ = frames(run(sweep_of(make_sweep, "configurations=48", "seeds=1"), Launch(tmp_path, "inline")).folder)
    asked = trials[trials["proposed_by"] == "model"]
    drawn = trials[trials["proposed_by"] == "random"]
    assert len(asked) >= 24 and asked["param.y"].mean() < drawn["param.y"].mean() - 0.1


@pytest.mark.parametrize("metric", ["near", "far"])
def test_the_pruner_looks_at_one_of_them(metric: str, make_sweep, tmp_path: Path) -> None:
    pruner = f"pruner={{name: halving, min_step: 1, reduction: 3, metric: {metric}}}"
    sweep = sweep_of(make_sweep, "sampler={name: random, generation: 9}", "configurations=9", pruner, "seeds=1")
    trials, metrics = frames(run(sweep, Launch(tmp_path, "inline")).folder)
    at_rung = metrics[(metrics["metric"] == metric) & (metrics["step"] == 1) & ~metrics["final"]]
    ranked = at_rung.sort_values("value", ascending=metric == "near")["trial"].tolist()
    pruned = trials[(trials["state"] == "PRUNED") & (trials["steps"] == 1)]["trial"]
    assert set(pruned) == set(ranked[3:])


def test_a_driver_that_is_killed_goes_on_the_same(make_sweep, tmp_path: Path) -> None:
    from test_driver import Killed, run_with_deaths

    sweep = sweep_of(
        make_sweep,
        "pruner={name: halving, min_step: 1, metric: far}",
        "configurations=36",
        "sampler={name: tpe, generation: 6}",
    )
    straight = hash_of(run(sweep, Launch(tmp_path / "straight", "inline")).folder)
    for deaths in range(300):
        try:
            finished = run_with_deaths(sweep, tmp_path / "broken", [], after=1 + deaths % 5)
        except Killed:
            continue
        assert deaths > 2 and hash_of(finished.folder) == straight
        return
    raise AssertionError("it never finished")


def test_what_has_no_full_vector_counts_as_the_worst() -> None:
    seen = [
        Observation(State.COMPLETE, None, 1.0, None, (-5.0,)),
        Observation(State.COMPLETE, None, 2.0, None, (7.0,)),
        Observation(State.PRUNED, None, 0.1, 3, (None,)),
        Observation(State.FAIL, Cause.DIVERGED, None),
        Observation(State.FAIL, None, None),
        Observation(State.RUNNING, None, None),
    ]
    told = model._told(seen, (True, False))
    worst = model.Told(State.COMPLETE, (2.0, -5.0))
    assert told[2:] == [worst, worst, model.Told(State.FAIL), model.Told(State.RUNNING)]
    assert told[0].values == (1.0, -5.0)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_long_history_is_cut_to_the_best_and_the_latest(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model.HISTORY, sampler, 10)
    search = Search(sampler, {"x": Float(0.0, 1.0)}, 0)
    told = [model.Told(State.COMPLETE, (float(value),)) for value in [*range(20), 0.5, math.pi]]
    places, kept = model.recalled(search, told)
    assert places == [0, 1, 2, 3, 16, 17, 18, 19, 20, 21] and [told[place] for place in places] == kept
    history = [{"x": each.values[0] / 20} for each in told]
    view = [Observation(each.state, None, each.values[0]) for each in told]
    assert len(search.propose(Request("cell", 5, range(22, 24), history, view))) == 2
