"""Halving through whole sweeps: the same decisions anywhere, from the checkpoint where there is one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Launch, run

# Leaves a line for each step that it computes, so that work done twice can be counted.
RACING = """
import math
from pathlib import Path

RAN = Path(__file__).with_name("ran.txt")

def train(trial):
    x = math.log10(trial.params["lr"])
    start = 0
    if KEEPS and (state := trial.restore()) is not None:
        start = state["step"] + 1
    if trial.params["lr"] > 0.5:
        return {"loss": math.nan}
    for step in range(start, 28):
        with RAN.open("a") as file:
            file.write(f"{trial.name}:{step}\\n")
        loss = (x + 2) ** 2 + trial.seed("init") / 2**31 + 3 / (step + 1)
        trial.report(step, state=(lambda: {"step": step}) if KEEPS else None, loss=loss)
    return {"loss": loss}
"""

SPEC = """
name: race
task: ./train.py:train
metric: loss
grid: {width: [1, 2]}
search:
  lr: {low: 1e-4, high: 1.0, log: true}
configurations: 18
seeds: 2
sampler: random
pruner: {name: halving, min_step: 3, reduction: 3}
"""


def sweep_of(make_sweep, *overrides: str, keeps: bool = True):
    return make_sweep(*overrides, task=f"KEEPS = {keeps}\n{RACING}", text=SPEC)


def frames(folder: Path):
    tables = compaction.read_tables(folder)
    return tables.trials.to_pandas(), tables.metrics.to_pandas()


def hash_of(folder: Path) -> str:
    return str(digest(*compaction.read_tables(folder)))


def test_halving_ends_the_worse_ones_at_their_rung(make_sweep, tmp_path: Path) -> None:
    sweep = sweep_of(make_sweep)
    finished = run(sweep, Launch(tmp_path, "inline"))
    trials, metrics = frames(finished.folder)
    assert finished.exit_code == 0 and len(trials) == 72
    # Generations of 9: three go on from step 3, and one of them from step 9; nobody who diverged does.
    by_generation = trials[trials["state"] != "FAIL"].groupby(["cell", "generation"], observed=True)
    for _, group in by_generation:
        counted = Counter(zip(group["state"], group["steps"], strict=True))
        assert counted["COMPLETE", 27] == 2 and counted["PRUNED", 9] == 4
        best = group[group["state"] == "COMPLETE"].iloc[0]
        at_first = metrics[(metrics["metric"] == "loss") & (metrics["step"] == 3)].set_index("trial")["value"]
        means = group.assign(first=group["trial"].map(at_first)).groupby("configuration")["first"].mean()
        assert means.loc[best["configuration"]] <= means.sort_values().iloc[2]


@pytest.mark.parametrize("keeps", [True, False])
def test_promoted_trials_go_on_from_their_checkpoint_and_their_rows_are_whole(
    keeps: bool, make_sweep, tmp_path: Path
) -> None:
    sweep = sweep_of(make_sweep, keeps=keeps)
    folder = run(sweep, Launch(tmp_path, "inline")).folder
    trials, metrics = frames(folder)
    steps = metrics.groupby("trial")["step"].apply(list)
    for trial, last in zip(trials["trial"], trials["steps"], strict=True):
        if trial in steps.index:
            assert sorted(steps[trial]) == list(range(int(last) + 1)), trial
    ran = Counter((sweep.root / "ran.txt").read_text().split())
    assert (max(ran.values()) == 1) is keeps
    assert not (folder / "checkpoints").exists()


def test_checkpoints_do_not_change_what_is_decided(make_sweep, tmp_path: Path) -> None:
    hashes = {hash_of(run(sweep_of(make_sweep, keeps=k), Launch(tmp_path / str(k), "inline")).folder) for k in (0, 1)}
    assert len(hashes) == 1


def test_top_k_has_one_rung(make_sweep, tmp_path: Path) -> None:
    sweep = sweep_of(make_sweep, "pruner={name: top, min_step: 1, keep: 2}", "sampler={name: random, generation: 9}")
    trials, _ = frames(run(sweep, Launch(tmp_path, "inline")).folder)
    finished = trials[trials["state"] == "COMPLETE"].groupby(["cell", "generation"], observed=True).size()
    assert set(finished) == {4} and set(trials.loc[trials["state"] == "PRUNED", "steps"]) == {1}


def test_a_maximised_metric_keeps_the_highest(make_sweep, tmp_path: Path) -> None:
    sweep = sweep_of(make_sweep, "direction=maximize")
    trials, _ = frames(run(sweep, Launch(tmp_path, "inline")).folder)
    kept = trials[trials["state"] == "COMPLETE"]
    pruned = trials[(trials["state"] == "PRUNED") & (trials["steps"] == 3)]
    assert kept["value"].mean() > pruned["value"].mean()


def test_a_driver_killed_between_rungs_decides_the_same(make_sweep, tmp_path: Path) -> None:
    from test_driver import Killed, run_with_deaths

    sweep = sweep_of(make_sweep, "sampler={name: tpe, generation: 6}", "configurations=36")
    undisturbed = hash_of(run(sweep, Launch(tmp_path / "straight", "inline")).folder)
    (sweep.root / "ran.txt").unlink()
    deaths = 0
    while True:
        try:
            finished = run_with_deaths(sweep, tmp_path / "broken", [], after=2 + deaths % 4)
        except Killed:
            deaths += 1
            assert deaths < 300
            continue
        break
    assert deaths > 5 and hash_of(finished.folder) == undisturbed


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_the_same_hash_on_three_workers(make_sweep, tmp_path: Path, ray_session: None) -> None:
    sweep = sweep_of(make_sweep, "sampler={name: tpe, generation: 6}", "configurations=30")
    inline = run(sweep, Launch(tmp_path / "inline", "inline")).folder
    embedded = run(sweep, Launch(tmp_path / "embedded", "embedded", 3)).folder
    assert hash_of(inline) == hash_of(embedded)
    assert frames(embedded)[0]["worker"].nunique() > 1
