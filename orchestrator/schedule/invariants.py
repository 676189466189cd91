"""What must hold of a schedule after every event; a broken one is a defect of Swathe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..messages import TrialKey
from .plan import Plan
from .results import CellResults


def check_places(cells: Mapping[str, CellResults], placed: Iterable[TrialKey], paused: Iterable[TrialKey]) -> None:
    """Every open trial is in one place; those at a rung are the paused ones."""
    undecided = [trial for cell in cells.values() for trial in cell.undecided()]
    assert sorted(placed) == sorted(undecided), "an open trial is in one lease, in one queue or paused, and once"
    assert set(paused) == {trial for trial in undecided if cells[trial.cell].at_rung(trial)}


def check_counts(plan: Plan, cells: Mapping[str, CellResults], undecided: int, charges: Mapping[TrialKey, int]) -> None:
    """Nothing is lost or charged too often."""
    open_trials = [trial for cell in cells.values() for trial in cell.undecided()]
    unproposed = sum(
        len(plan.numbers(generation)) * plan.replicates
        for cell in cells.values()
        for generation in range(cell.proposed, plan.generations)
    )
    assert undecided == len(open_trials) + unproposed
    assert set(charges) <= set(open_trials), "only open trials have charges"
    assert all(count < plan.attempts for count in charges.values())
