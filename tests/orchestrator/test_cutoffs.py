"""Cutoffs end a trial where Optuna's pruners would, whatever the curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swathe.orchestrator.cutoffs import Curve, Cutoffs, Follower, percentile
from swathe.orchestrator.messages import State, TrialKey
from swathe.orchestrator.schedule import Curves, Observation, Percentile

VALUES = st.floats(-10, 10).map(lambda x: round(x, 2))


@st.composite
def curves(draw: st.DrawFn, least: int = 1) -> Curve:
    steps = draw(st.lists(st.integers(0, 12), min_size=least, max_size=10, unique=True).map(sorted))
    return tuple((step, draw(VALUES)) for step in steps)


def ends_at(cutoffs: Cutoffs, curve: Curve) -> int | None:
    follower = Follower(cutoffs)
    return next((step for step, value in curve if follower.crossed(step, value)), None)


def ends_in_optuna(
    pruner: optuna.pruners.BasePruner, curve: Curve, minimize: bool, others: Sequence[Curve] = ()
) -> int | None:
    study = optuna.create_study(direction="minimize" if minimize else "maximize", pruner=pruner)
    study.add_trials(optuna.trial.create_trial(value=each[-1][1], intermediate_values=dict(each)) for each in others)
    trial = study.ask()
    for step, value in curve:
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


@given(st.lists(VALUES, min_size=1), st.floats(0, 100))
def test_a_percentile_is_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(np.percentile(values, share), abs=1e-12)


@given(st.lists(curves(), max_size=8), curves(), st.booleans(), st.integers(1, 4), st.integers(0, 5), st.data())
def test_median_and_percentile(
    others: list[Curve], curve: Curve, minimize: bool, interval: int, first: int, data: st.DataObject
) -> None:
    share, startup = data.draw(st.sampled_from([25.0, 50.0, 90.0])), data.draw(st.integers(1, 5))
    known = Curves()
    for number, each in enumerate(others):
        known.add(TrialKey("cell", number, 0), each)
    view = [Observation(State.COMPLETE, None, each[-1][1]) for each in others]
    table = known.table("cell", view, 1, Percentile(share, startup), minimize=minimize)
    cutoffs = Cutoffs(minimize=minimize, table=table, min_step=first, interval=interval)
    theirs = optuna.pruners.PercentilePruner(share, startup, first, interval)
    assert ends_at(cutoffs, curve) == ends_in_optuna(theirs, curve, minimize, others)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@given(curves(), st.booleans(), st.integers(0, 5), st.floats(0, 5))
def test_patient(curve: Curve, minimize: bool, patience: int, min_delta: float) -> None:
    theirs = optuna.pruners.PatientPruner(None, patience, min_delta)
    ours = Cutoffs(minimize=minimize, patience=patience, min_delta=min_delta)
    assert ends_at(ours, curve) == ends_in_optuna(theirs, curve, minimize)


@given(curves(), VALUES, st.floats(0.1, 10), st.integers(0, 5), st.integers(1, 4))
def test_threshold(curve: Curve, lower: float, width: float, first: int, interval: int) -> None:
    theirs = optuna.pruners.ThresholdPruner(lower, lower + width, first, interval)
    ours = Cutoffs(lower=lower, upper=lower + width, min_step=first, interval=interval)
    assert ends_at(ours, curve) == ends_in_optuna(theirs, curve, True)


@given(curves(least=2), st.data())
def test_a_resumed_trial_ends_where_it_would_have_ended(curve: Curve, data: st.DataObject) -> None:
    cutoffs = Cutoffs(table={step: 0.0 for step, _ in curve}, patience=data.draw(st.integers(0, 3)))
    cut = data.draw(st.integers(0, len(curve) - 1))
    whole = Follower(cutoffs)
    crossings = [whole.crossed(*each) for each in curve]
    resumed = Follower(cutoffs, curve[:cut])
    assert [resumed.crossed(*each) for each in curve[cut:]] == crossings[cut:]


def test_cutoffs_are_made_of_the_mean_over_replicates_of_what_the_view_shows_as_complete() -> None:
    known = Curves()
    for replicate, level in enumerate((1.0, 3.0)):
        known.add(TrialKey("cell", 0, replicate), ((1, level), (2, level / 2)))
        known.add(TrialKey("cell", 1, replicate), ((1, 100.0),))
        known.add(TrialKey("cell", 2, replicate), ((1, 4.0),))
        known.add(TrialKey("other", 0, replicate), ((1, -100.0),))
    states = (State.COMPLETE, State.PRUNED, State.COMPLETE)
    view = [Observation(state, None, 0.0) for state in states]
    assert known.table("cell", view, 2, Percentile(50.0, 2), minimize=True) == {1: 3.0, 2: 1.0}
    assert known.table("cell", view, 2, Percentile(50.0, 3), minimize=True) == {}
