"""The README's fused task: a task file of about 25 lines, and its sweep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from swathe.analysis import load
from swathe.orchestrator import Launch, run, spec
from swathe.orchestrator.fusion import Lanes, Program
from swathe.orchestrator.task import derive_seed

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
EXAMPLE, SWEEP = re.search(r"```python\n(# digits.py\n.*?)```\n+```yaml\n(.*?)```", README, re.DOTALL).groups()  # type: ignore[union-attr]


def test_the_example_runs_as_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text(EXAMPLE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    sweep = spec.load(tmp_path / "sweep.yaml", ["fuse=32"])
    finished = run(sweep, Launch(tmp_path, cluster="inline"))
    assert finished.exit_code == 0
    trials = load.trials(finished.folder)
    assert len(trials) == 132 and set(trials["state"]) == {"COMPLETE"} and trials["lanes"].min() >= 16
    best = trials.groupby(["param.width", "param.lr"])["value"].mean().groupby(level=0).idxmin()
    assert all(2**-5 <= lr <= 1 for _, lr in best)


def test_the_example_trains_a_study_in_one_pack() -> None:
    assert sum(bool(line) for line in EXAMPLE.splitlines()) <= 25
    namespace: dict[str, Any] = {}
    exec(EXAMPLE, namespace)
    program: Program = namespace["PROGRAM"]
    rates = [2.0**e for e in range(-9, 2)]
    params = [{"width": 32, "steps": 60, "lr": lr, "l2": 1e-5} for lr in rates for _ in range(2)]
    seeds = [lambda stream, r=r: derive_seed(0, r, stream) for _ in rates for r in range(2)]
    lanes = Lanes(program, params, seeds)
    lanes.run(60, every=30)
    found = lanes.flush()
    assert found.metrics == ["loss", "val_loss", "val_accuracy"] * 2 and found.steps == [0, 30, 30, 30, 60, 60]
    accuracy = found.values[-1].view(len(rates), 2).mean(1)
    assert accuracy.max() > 0.85 and accuracy[0] < 0.7
    assert accuracy.argmax() in range(3, 10)
    losses = found.values[0].view(len(rates), 2)
    assert (losses == losses[0]).all() and losses[0, 0] != losses[0, 1]  # replicates are paired
    assert torch.equal(found.diverged, torch.full((22,), -1))
