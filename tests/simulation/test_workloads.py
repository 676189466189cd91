"""Synthetic and recorded trials."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.messages import Cause, State
from swathe.orchestrator.search.points import place, uniform
from swathe.orchestrator.simulation import Course, Knobs, Synthetic
from swathe.orchestrator.simulation.course import stretch
from swathe.orchestrator.simulation.growth import KINDS, TYPICAL_SPEED, left
from swathe.orchestrator.simulation.neighbours import Neighbours
from swathe.orchestrator.simulation.pilot import Pilot
from swathe.orchestrator.simulation.recorded import Recorded
from swathe.orchestrator.simulation.surfaces import BRANIN, HARTMANN3, HARTMANN6
from swathe.orchestrator.simulation.synthetic import coordinate
from swathe.orchestrator.task import Choice, Float, Int, Lattice

SPACE = {"lr": Float(1e-4, 1.0, log=True), "width": Int(16, 256), "act": Choice(("relu", "tanh"))}


def points(count: int) -> list[dict]:
    return [place(SPACE, lambda name, k=k: uniform("points", k, name)) for k in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_curves_fall_from_one_to_zero(kind: str) -> None:
    for speed in (0.2, 1.0, 5.0):
        shape = [left(kind, step / 100, speed * TYPICAL_SPEED[kind]) for step in range(101)]
        assert (shape[0], shape[-1]) == (1.0, 0.0)
        assert all(a >= b for a, b in pairwise(shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("minimize", [True, False])
def test_without_noise_every_trial_improves_to_its_truth(kind: str, minimize: bool) -> None:
    knobs = Knobs(noise=0.0, replicates=0.0, plateau=0.1, drop=0.3, crossing=0.5)
    workload = Synthetic(kind, SPACE, 0, knobs, minimize=minimize)
    sign = 1 if minimize else -1
    for params in points(20):
        course = workload.course(params, 0)
        values = [sign * course.value(step) for step in course.reports]
        assert all(a >= b - 1e-12 for a, b in pairwise(values))
        truth = workload.truth(params)
        assert course.final == pytest.approx(truth) and truth is not None
        assert workload.optimum is not None and sign * truth >= workload.optimum


@pytest.mark.parametrize("surface", [BRANIN, HARTMANN3, HARTMANN6])
def test_surfaces_are_zero_at_their_optimum_and_positive_elsewhere(surface) -> None:
    assert surface.value(surface.optimum) == pytest.approx(0.0, abs=1e-4)
    assert surface.value(()) == surface.value(surface.optimum)
    values = [surface.value([uniform(k, axis) for axis in range(6)]) for k in range(300)]
    assert min(values) >= 0.0 and max(values) <= 1.0 and max(values) > 0.5


def test_trials_are_functions_of_their_parameters_and_crossing_turns_early_ranks() -> None:
    def ranks_agree(crossing: float) -> float:
        workload = Synthetic("pow3", SPACE, 0, Knobs(crossing=crossing, noise=0.0))
        courses = [(workload.course(each, 0), workload.truth(each)) for each in points(60)]
        pairs = [(a, b) for a in courses for b in courses if a[1] < b[1]]
        return sum(a[0].value(1) < b[0].value(1) for a, b in pairs) / len(pairs)

    assert ranks_agree(-0.9) > ranks_agree(0.0) > ranks_agree(0.9)
    first, again = (Synthetic("pow3", SPACE, 0).course(points(1)[0], 1) for _ in range(2))
    assert [first.value(step) for step in (1, 5)] == [again.value(step) for step in (1, 5)]
    assert first.total == again.total


def test_beyond_the_cliff_the_further_the_sooner() -> None:
    workload = Synthetic("pow3", {"lr": SPACE["lr"]}, 0, Knobs(cliff=0.5))
    below, near, far = (workload.course({"lr": lr}, 0) for lr in (1e-3, 0.02, 0.9))
    assert below.cause is None and workload.truth({"lr": 1e-3}) is not None
    assert near.cause is far.cause is Cause.DIVERGED and workload.truth({"lr": 0.9}) is None
    assert near.last is not None and far.last is not None and near.last > far.last


def test_coordinates() -> None:
    assert coordinate(Float(1e-4, 1.0, log=True), 1e-2) == pytest.approx(0.5)
    assert coordinate(Int(0, 10), 5) == 0.5 == coordinate(Int(0, 10), None)
    assert coordinate(Lattice(-4, 0, 5), 0.25) == 0.5
    assert coordinate(Choice(("a", "b")), "b") == 0.75


def course(reports: range) -> Course:
    return Course(reports, lambda step: -float(step), lambda step: 2.0 * step, 2.0 * 10, 10, -10.0)


@settings(max_examples=50, deadline=None)
@given(first=st.integers(1, 5), gap=st.integers(1, 4), pauses=st.lists(st.integers(0, 12), max_size=4))
def test_stretches_add_up_to_the_whole(first: int, gap: int, pauses: list[int]) -> None:
    whole = course(range(first, 11, gap))
    at, spent = None, 0.0
    for pause in sorted(pauses):
        seen = stretch(whole, at, pause)
        if seen.state is State.COMPLETE:
            break
        assert seen.steps is not None and seen.steps >= pause and seen.value == -seen.steps
        at, spent = seen.steps, spent + seen.seconds
    last = stretch(whole, at, None)
    assert (last.state, last.value, last.steps) == (State.COMPLETE, -10.0, 10)
    assert math.isclose(spent + last.seconds, 20.0)


def test_neighbours_go_by_cell_first_and_by_logarithm_where_it_is_wide() -> None:
    known = [{"width": w, "lr": lr, "opt": o} for w in (64, 128) for lr in (1e-4, 1e-2, 1.0) for o in ("sgd", "adam")]
    neighbours = Neighbours(known, frozenset({"width"}))
    assert neighbours.nearest(known[7]) == (7, True)
    index, exact = neighbours.nearest({"width": 120, "lr": 2e-3, "opt": "adam"})
    assert known[index] == {"width": 128, "lr": 1e-2, "opt": "adam"} and not exact


def test_recorded_trials_are_as_they_were(make_sweep, tmp_path: Path) -> None:
    sweep = make_sweep("configurations=3")
    folder = run(sweep, Launch(tmp_path / "sweeps", "inline")).folder
    pilot = Pilot.read(folder)
    assert pilot.workers == 1 and pilot.inline and pilot.overhead >= 0.0
    workload = Recorded(pilot.trials, list(sweep.grid))
    for each in pilot.trials:
        seen = workload.course(each.params, each.replicate)
        assert list(seen.reports) == [0, 1, 2] and seen.final == each.value == seen.value(2)
        assert 0.0 <= seen.seconds(0) <= seen.seconds(2) <= seen.total == pytest.approx(each.ended - each.started)
        assert seen.report_from(1) == 1 and seen.report_from(3) is None
    assert (workload.exact, workload.near) == (12, 0)
    truths = [each.value for each in pilot.trials if each.params == pilot.trials[0].params]
    assert workload.truth(pilot.trials[0].params) == pytest.approx(sum(truths) / 2)
