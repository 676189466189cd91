"""Simulated sweeps: time, failures, and decisions that depend on neither."""

from __future__ import annotations

import math

import pytest

from swathe.orchestrator.messages import Cause, State
from swathe.orchestrator.schedule import Rungs
from swathe.orchestrator.simulation import Cluster, Quality, judge, lower_bound

HALVING = Rungs(1, 3)
BREAKING = {"deaths": 60.0, "stragglers": 0.2, "recovery": 2.0}
KINDS = [("random", None), ("tpe", None), ("random", HALVING), ("tpe", HALVING)]


@pytest.mark.parametrize(("sampler", "rungs"), KINDS)
def test_trials_states_and_values_do_not_depend_on_workers_or_failures(sampler, rungs, case) -> None:
    made = case(sampler, rungs)
    alone = made.run(Cluster.ideal(1))
    assert len(alone.decisions) == made.plan.trials and alone.closed == "finished"
    for workers in (3, 64):
        history = made.run(Cluster(workers, **BREAKING), seed=workers)
        assert history.retried > 0 and history.lost > 0
        assert history.decisions == alone.decisions
        assert history.params == alone.params
        assert history.epochs == alone.epochs


def test_a_simulation_is_a_function_of_its_arguments(case) -> None:
    cluster = Cluster(5, **BREAKING)
    first, again, other = (case("random", HALVING).run(cluster, seed) for seed in (3, 3, 4))
    assert first == again and first.arrivals == again.arrivals
    assert first.makespan != other.makespan


@pytest.mark.parametrize(("sampler", "rungs"), KINDS)
def test_one_ideal_worker_takes_as_long_as_the_work(sampler, rungs, case) -> None:
    history = case(sampler, rungs).run(Cluster.ideal(1))
    assert math.isclose(history.makespan, history.work) and math.isclose(history.utilisation, 1.0)
    assert math.isclose(lower_bound(history), history.work)


@pytest.mark.parametrize(("sampler", "rungs"), KINDS)
@pytest.mark.parametrize("workers", [2, 7, 500])
def test_no_makespan_is_below_its_bound(sampler, rungs, workers: int, case) -> None:
    for cluster in (Cluster.ideal(workers), Cluster(workers, **BREAKING)):
        history = case(sampler, rungs).run(cluster)
        assert lower_bound(history) <= history.makespan * (1 + 1e-9)
        assert 0.0 < history.utilisation <= 1.0
    assert 0.0 < history.mailbox <= 1.0


@pytest.mark.parametrize(("sampler", "rungs"), KINDS)
def test_with_workers_to_spare_the_longest_chain_is_the_makespan(sampler, rungs, case) -> None:
    history = case(sampler, rungs).run(Cluster.ideal(500))
    assert math.isclose(history.makespan, lower_bound(history))


def test_without_checkpoints_survivors_start_again_and_decide_the_same(case) -> None:
    kept, lost = (case("random", HALVING).run(Cluster(4, checkpoints=each)) for each in (True, False))
    assert kept.decisions == lost.decisions
    assert lost.work > kept.work and lost.epochs > kept.epochs


def test_the_mailbox_bounds_how_fast_short_trials_go(case) -> None:
    made = case(configurations=400, knobs={"steps": 1, "step_seconds": 0.001})
    slow = made.run(Cluster(200, messages=20.0))
    fast = made.run(Cluster(200))
    assert slow.makespan > 5 * fast.makespan
    assert slow.mailbox > 0.9 and slow.makespan >= slow.messages / 20.0 * 0.9


def test_latency_and_overhead_are_paid_for(case) -> None:
    made = case(knobs={"tail": 0.0, "cliff": 1.0})
    ideal = made.run(Cluster.ideal(1))
    assert ideal.work == pytest.approx(made.plan.trials * 27.0)
    slow = made.run(Cluster(1, latency=1.0, overhead=2.0, startup=5.0))
    leases = made.plan.trials  # a trial of 27 seconds has a lease of its own
    assert slow.makespan == pytest.approx(5 + ideal.work + 2 * leases + 2 * (leases + 1), rel=0.01)


def test_a_trial_whose_attempts_are_spent_fails_with_its_worker(case) -> None:
    history = case(attempts=1).run(Cluster(8, deaths=60.0))
    assert history.causes[Cause.WORKER_LOST] > 0
    assert history.states[State.FAIL] == sum(history.causes.values())


def test_trials_beyond_the_cliff_diverge_early_and_pruned_ones_cost_less(case) -> None:
    whole, halved = (case("random", rungs).run(Cluster.ideal(4)) for rungs in (None, HALVING))
    diverged = whole.causes[Cause.DIVERGED]
    assert 0 < diverged == whole.states[State.FAIL] < whole.plan.trials / 4
    assert halved.epochs < whole.epochs / 2
    assert halved.states[State.COMPLETE] < whole.states[State.COMPLETE]


def test_without_noise_or_crossing_curves_the_best_survives(case) -> None:
    calm = {"noise": 0.0, "replicates": 0.0, "crossing": -1.0}
    made = case("random", HALVING, knobs=calm)
    quality = judge(made.run(Cluster.ideal(4)), made.workload)
    assert quality.regret == 0.0 and quality.mispruned == 0.0
    assert quality.gap is not None and 0.0 < quality.gap < 1.0
    crossed = case("random", HALVING, knobs={**calm, "crossing": 1.0, "steps": 243})
    worse = judge(crossed.run(Cluster.ideal(4)), crossed.workload)
    assert isinstance(worse, Quality) and worse.regret is not None and worse.regret >= 0.0
