"""Small sweeps for simulations: a space, plans over it, and synthetic trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from swathe.orchestrator.schedule import CellPlan, Plan, Rungs
from swathe.orchestrator.search import Search
from swathe.orchestrator.simulation import Cluster, History, Knobs, Synthetic, simulate
from swathe.orchestrator.task import Float

SPACE = {"lr": Float(1e-4, 1.0, log=True), "decay": Float(0.0, 1.0), "momentum": Float(0.0, 1.0)}


class Case(NamedTuple):
    """What is simulated."""

    plan: Plan
    search: Search
    workload: Synthetic

    def run(self, cluster: Cluster, seed: int = 0) -> History:
        """Simulate it."""
        return simulate(self.plan, self.search, self.workload, cluster, seed)


def make_case(sampler: str = "random", rungs: Rungs | None = None, **changes: object) -> Case:
    """Two cells of 18 configurations with two replicates and heavy-tailed costs; generations of 9."""
    knobs = Knobs(**{"steps": 27, "tail": 1.0, "cliff": 0.9, **changes.pop("knobs", {})})  # type: ignore[arg-type, dict-item]
    cells = (CellPlan("a", {"width": 1}), CellPlan("b", {"width": 2}))
    sizes = {"configurations": 18, "replicates": 2, "generation": 9, "attempts": 1000, **changes}
    plan = Plan(cells, sequential=sampler == "tpe", rungs=rungs, **sizes)  # type: ignore[arg-type]
    return Case(plan, Search(sampler, SPACE, 0), Synthetic("pow3", SPACE, 0, knobs))


@pytest.fixture
def case() -> Callable[..., Case]:
    """Makes a case; see `make_case`."""
    return make_case
