"""Median, percentile, patient and threshold through whole sweeps, against a second calculation from the tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_pruning import frames, hash_of

from swathe.orchestrator.driver import Launch, run

# Curves that cross, whose end is not told by their beginning; `seed` moves them, so replicates disagree.
CROSSING = """
def train(trial):
    x, width = trial.params["x"], trial.params.get("width", 1)
    noise = trial.seed("noise") / 2**31
    start = 0
    if (state := trial.restore()) is not None:
        start = state["step"] + 1
    for step in range(start, 10):
        loss = (x - 0.3 * width) ** 2 * (step + 1) / 10 + x / (step + 1) + 0.3 * noise * (step % 3)
        trial.report(step, state=lambda: {"step": step}, loss=loss, other=-loss)
    return {"loss": loss}
"""

SPEC = """
name: curves
task: ./train.py:train
metric: loss
grid: {width: [1, 2]}
search: {x: {low: 0.0, high: 1.0}}
configurations: 24
sampler: {name: random, generation: 4}
pruner: {name: median, min_step: 2}
"""


def sweep_of(make_sweep, *overrides: str):
    return make_sweep(*overrides, task=CROSSING, text=SPEC)


def expected(trials: pd.DataFrame, metrics: pd.DataFrame, share: float, seeds: int) -> dict[str, int | None]:
    """The step at which each trial should have been pruned, from the complete curves of the generations it may see."""
    found: dict[str, int | None] = {}
    losses = metrics[(metrics["metric"] == "loss") & ~metrics["final"]].pivot(index="trial", columns="step")["value"]
    for (cell, generation), group in trials.groupby(["cell", "generation"], observed=True):
        seen = trials[(trials["cell"] == cell) & (trials["generation"] < generation - 1)]
        complete = seen.groupby("configuration").filter(lambda each: (each["state"] == "COMPLETE").all())
        means = complete.assign(**{str(s): complete["trial"].map(losses[s]) for s in losses}).groupby("configuration")
        table = np.percentile(means[[str(s) for s in losses]].mean(), share, axis=0) if len(means) >= 5 else None
        for _, replicates in group.groupby("configuration"):
            steps = [crossing(losses.loc[each], table) for each in replicates["trial"]]
            outvoted = 2 * sum(step is not None for step in steps) > seeds
            found |= dict(zip(replicates["trial"], steps if outvoted else [None] * seeds, strict=True))
    return found


def crossing(losses: pd.Series, table: np.ndarray | None) -> int | None:
    best = np.minimum.accumulate(losses.to_numpy())
    behind = [s for s in range(2, 10) if table is not None and best[s] > table[s]]
    return behind[0] if behind else None


@pytest.mark.parametrize(("pruner", "share"), [("median", 50.0), ("percentile, percentile: 25.0", 25.0)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_trial_ends_where_the_rule_says(pruner: str, share: float, seeds: int, make_sweep, tmp_path: Path) -> None:
    sweep = sweep_of(make_sweep, f"pruner={{name: {pruner}, min_step: 2}}", f"seeds={seeds}")
    finished = run(sweep, Launch(tmp_path, "inline"))
    trials, metrics = frames(finished.folder)
    pruned = trials[trials["state"] == "PRUNED"]
    assert finished.exit_code == 0 and len(trials) == 48 * seeds and 5 < len(pruned) < len(trials) - 10
    told = expected(trials, metrics, share, seeds)
    actual = {row.trial: int(row.steps) if row.state == "PRUNED" else None for row in trials.itertuples()}
    assert actual == told
    assert (trials.loc[trials["state"] == "COMPLETE", "steps"] == 9).all()


def test_a_driver_that_is_killed_cuts_at_the_same_steps(make_sweep, tmp_path: Path) -> None:
    from test_driver import Killed, run_with_deaths

    sweep = sweep_of(make_sweep, "seeds=2", "sampler={name: tpe, generation: 4}")
    undisturbed = hash_of(run(sweep, Launch(tmp_path / "straight", "inline")).folder)
    for deaths in range(300):
        try:
            finished = run_with_deaths(sweep, tmp_path / "broken", [], after=1 + deaths % 4)
        except Killed:
            continue
        assert deaths > 5 and hash_of(finished.folder) == undisturbed
        return
    raise AssertionError("it never finished")


@pytest.mark.parametrize("pruner", ["{name: patient, patience: 2}", "{name: threshold, upper: 0.7, min_step: 1}"])
def test_a_trial_may_be_ended_by_itself_alone(pruner: str, make_sweep, tmp_path: Path) -> None:
    sweep = sweep_of(make_sweep, f"pruner={pruner}", "grid={}", "configurations=16")
    trials, metrics = frames(run(sweep, Launch(tmp_path, "inline")).folder)
    losses = metrics[metrics["metric"] == "loss"].pivot_table(index="trial", columns="step", values="value")
    for row in trials.itertuples():
        known = losses.loc[row.trial].dropna().to_numpy()
        if "patient" in pruner:
            stuck = [s for s in range(3, len(known)) if known[: s - 2].min() < known[s - 2 : s + 1].min()]
        else:
            stuck = [s for s in range(1, len(known)) if known[s] > 0.7]
        assert (row.state == "PRUNED") == bool(stuck) and (not stuck or stuck[0] == row.steps)
    assert {"PRUNED", "COMPLETE"} == set(trials["state"])


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_the_same_cuts_on_three_workers(make_sweep, tmp_path: Path, ray_session: None) -> None:
    sweep = sweep_of(make_sweep, "seeds=3")
    inline = run(sweep, Launch(tmp_path / "inline", "inline")).folder
    embedded = run(sweep, Launch(tmp_path / "embedded", "embedded", 3)).folder
    assert hash_of(inline) == hash_of(embedded)
