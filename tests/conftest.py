"""Shared fixtures: tiny sweeps in a folder of their own, and one Ray for the whole session."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swathe.orchestrator import spec
from swathe.orchestrator.spec import Sweep

QUADRATIC = """
import math

def train(trial):
    x = math.log10(trial.params["lr"])
    best = -1.0 - 0.3 * trial.params.get("width", 1)
    for step in range(3):
        loss = (x - best) ** 2 + 1 / (step + 1) + trial.seed("init") / 2**31 / 100
        trial.report(step, loss=loss, accuracy=1 - loss, doubled=2 * loss)
    return {"loss": loss, "accuracy": 1 - loss}
"""

SPEC = """
name: tiny
task: ./train.py:train
metric: loss
direction: minimize
grid: {width: [1, 2]}
search:
  lr: {low: 1e-4, high: 1.0, log: true}
configurations: 12
seeds: 2
sampler: random
"""

MakeSweep = Callable[..., Sweep]


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """Writes a spec and its task into a folder and loads it; `overrides` are `path=value` texts."""

    def make(*overrides: str, task: str = QUADRATIC, text: str = SPEC) -> Sweep:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(textwrap.dedent(task), encoding="utf-8")
        path = folder / "sweep.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return spec.load(path, overrides)

    return make


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray for all tests that need one."""
    import ray

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()
