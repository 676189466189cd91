"""Views, verdicts and results of the pure schedule are the same in every history, thousands of which are generated."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.orchestrator.schedule import CellPlan, Plan, Rungs
from tests.faults.conftest import whole
from tests.faults.histories import History

QUICK, ALL = 300, 5000

plans = st.builds(
    Plan,
    cells=st.sampled_from([(CellPlan("a", {}),), (CellPlan("a", {"width": 1}), CellPlan("b", {"width": 2}))]),
    configurations=st.integers(1, 14),
    replicates=st.integers(1, 3),
    generation=st.integers(1, 5),
    lag=st.integers(0, 2),
    sequential=st.sampled_from([True, True, False]),
    attempts=st.just(10**6),
    minimize=st.booleans(),
    rungs=st.sampled_from([None, Rungs(1, 2), Rungs(2, 3), Rungs(1, keep=1, limit=1)]),
)


@pytest.mark.timeout(900)
def test_no_history_changes_a_view_or_a_result(pytestconfig: pytest.Config, tally: dict[str, int]) -> None:
    @settings(max_examples=ALL if whole(pytestconfig) else QUICK, deadline=None)
    @given(plan=plans, seed=st.integers(0, 2**32))
    def check(plan: Plan, seed: int) -> None:
        straight = History(plan, random.Random(0), undisturbed=True)
        straight.run()
        troubled = History(plan, random.Random(seed))
        troubled.run()
        assert troubled.views == straight.views
        assert troubled.decisions == straight.decisions
        tally["histories of the schedule"] = tally.get("histories of the schedule", 0) + 1
        tally["restarts in them"] = tally.get("restarts in them", 0) + troubled.restarts

    check()
