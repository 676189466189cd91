"""The pure schedule: events in, instructions out, and laws over generated histories."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.orchestrator.events import (
    CloseSweep,
    DiscardOutcome,
    DismissWorker,
    DrainRequested,
    GenerationProposed,
    GrantLease,
    Instruction,
    LeaseWanted,
    ProposeGeneration,
    RecordAttempt,
    RecordOutcome,
    TrialsEnded,
    WorkerLost,
)
from swathe.orchestrator.messages import Cause, Outcome, State, Suggestion, TrialKey
from swathe.orchestrator.schedule import CellPlan, Plan, Rungs, ScheduleState


def plan(**changes: object) -> Plan:
    cells = (CellPlan("a", {"width": 1}), CellPlan("b", {"width": 2}))
    return Plan(**{"cells": cells, "configurations": 6, "replicates": 2, "generation": 2, **changes})  # type: ignore[arg-type]


@pytest.fixture
def state() -> Iterator[ScheduleState]:
    made = ScheduleState(plan())
    yield made
    made.validate()


def of(kind: type, instructions: list[Instruction]) -> list:  # type: ignore[type-arg]
    return [each for each in instructions if isinstance(each, kind)]


def proposal(order: ProposeGeneration, size: Plan) -> GenerationProposed:
    numbers = size.numbers(order.generation)
    suggestions = tuple(Suggestion(number, {"lr": number / 10}, "model") for number in numbers)
    return GenerationProposed(0.0, order.cell, order.generation, suggestions)


def complete(trial: TrialKey, attempt: int = 1, value: float = 1.0, **changes: object) -> Outcome:
    return Outcome(trial, attempt, State.COMPLETE, value=value, ended=0.1, **changes)  # type: ignore[arg-type]


def test_a_sequential_search_asks_for_lag_plus_one_generations_first(state: ScheduleState) -> None:
    asked = of(ProposeGeneration, state.handle(LeaseWanted(0.0, "w")))
    assert asked == [ProposeGeneration("a", 0), ProposeGeneration("b", 0)]
    more = of(ProposeGeneration, state.handle(proposal(asked[0], state.plan)))
    assert more == [ProposeGeneration("a", 1)]
    assert of(ProposeGeneration, state.handle(proposal(more[0], state.plan))) == []


def test_a_lease_carries_grid_and_searched_parameters(state: ScheduleState) -> None:
    asked = of(ProposeGeneration, state.handle(LeaseWanted(0.0, "w")))
    (grant,) = of(GrantLease, state.handle(proposal(asked[1], state.plan)))
    (assignment,) = grant.lease.assignments
    assert assignment.trial == TrialKey("b", 0, 0)
    assert assignment.params == {"width": 2, "lr": 0.0}


def test_a_report_from_a_lost_lease_changes_nothing(state: ScheduleState) -> None:
    lease = first_lease(state, "w")
    trial = lease.assignments[0].trial
    state.handle(WorkerLost(1.0, "w"))
    done = state.handle(TrialsEnded(2.0, "w", lease.number, (complete(trial),)))
    assert of(DiscardOutcome, done) and not of(RecordOutcome, done)


def test_only_a_trial_lost_alone_is_charged() -> None:
    state = ScheduleState(plan(cells=(CellPlan("a", {}),), configurations=64, generation=64, sequential=False))
    lease = first_lease(state, "w")
    ended = TrialsEnded(1.0, "w", lease.number, (complete(lease.assignments[0].trial),))
    state.handle(ended)
    (grant,) = of(GrantLease, state.handle(LeaseWanted(1.0, "w")))
    assert len(grant.lease.assignments) > 1
    assert of(RecordAttempt, state.handle(WorkerLost(2.0, "w"))) == []
    (grant,) = of(GrantLease, state.handle(LeaseWanted(3.0, "v")))
    (alone,) = grant.lease.assignments
    (charged,) = of(RecordAttempt, state.handle(WorkerLost(4.0, "v")))
    assert (charged.trial, charged.cause, charged.attempt) == (alone.trial, Cause.WORKER_LOST, 1)
    state.validate()


def test_the_last_attempt_decides(state: ScheduleState) -> None:
    assert state.plan.attempts == 3
    lease = first_lease(state, "w")
    trial = lease.assignments[0].trial
    for attempt in (1, 2, 3):
        failed = Outcome(trial, attempt, State.FAIL, Cause.OUT_OF_MEMORY)
        done = state.handle(TrialsEnded(1.0, "w", lease.number, (failed,)))
        if attempt < 3:
            assert of(RecordAttempt, done) and not of(RecordOutcome, done)
            (grant,) = of(GrantLease, state.handle(LeaseWanted(1.0, "w")))
            lease = grant.lease
            assert [each.trial for each in lease.assignments] == [trial]
        else:
            (record,) = of(RecordOutcome, done)
            assert record.outcome.cause is Cause.OUT_OF_MEMORY


def test_draining_grants_nothing_and_closes_when_all_have_come_back(state: ScheduleState) -> None:
    lease = first_lease(state, "w")
    assert of(CloseSweep, state.handle(DrainRequested(1.0))) == []
    done = state.handle(TrialsEnded(2.0, "w", lease.number, (complete(lease.assignments[0].trial),)))
    assert of(GrantLease, done) == []
    done = state.handle(LeaseWanted(3.0, "w"))
    assert of(CloseSweep, done) == [CloseSweep("drained")] and of(DismissWorker, done) == [DismissWorker("w")]


def test_a_view_hides_values_of_the_last_lag_generations() -> None:
    state = ScheduleState(plan(cells=(CellPlan("a", {}),), replicates=1))
    run_out(state, order=random.Random(0), until=4)
    view = state.view("a", 2)
    assert [each.state for each in view] == [State.COMPLETE, State.COMPLETE, State.RUNNING, State.RUNNING]


def test_a_configuration_is_its_mean_over_successful_replicates() -> None:
    state = ScheduleState(plan(cells=(CellPlan("a", {}),), replicates=4, configurations=2, generation=2, lag=0))
    values = {0: 1.0, 1: 2.0}

    def outcome(trial: TrialKey, attempt: int) -> Outcome:
        failed = trial.replicate >= (2 if trial.configuration == 0 else 1)
        if failed:
            return Outcome(trial, attempt, State.FAIL, Cause.DIVERGED)
        return complete(trial, attempt, values[trial.replicate])

    run_out(state, order=random.Random(1), outcome=outcome)
    first, second = state.view("a", 1)
    assert (first.state, first.value) == (State.COMPLETE, 1.5)
    assert (second.state, second.cause, second.value) == (State.FAIL, Cause.DIVERGED, None)


def first_lease(state: ScheduleState, worker: str):
    pending = state.handle(LeaseWanted(0.0, worker))
    while True:
        if grants := of(GrantLease, pending):
            return grants[0].lease
        orders = of(ProposeGeneration, pending)
        pending = [each for order in orders for each in state.handle(proposal(order, state.plan))]


def value_of(trial: TrialKey) -> float:
    return sum(map(ord, trial.cell)) + trial.configuration * 7 % 5 + trial.replicate / 10


def run_out(state: ScheduleState, *, order: random.Random, outcome=None, ends=None, until: int | None = None):
    """Drive `state` with three workers in an order drawn from `order`; the views of all generations, by cell."""
    outcome = outcome or (lambda trial, attempt: complete(trial, attempt, value_of(trial)))
    ends = ends or (lambda assignment: outcome(assignment.trial, assignment.attempt))
    events: list = [LeaseWanted(0.0, f"w{k}") for k in range(3)]
    views, decided, lost = {}, 0, 0
    while events:
        event = events[order.randrange(len(events))]
        if isinstance(event, GenerationProposed):
            # A search answers in the order in which it was asked.
            event = next(each for each in events if isinstance(each, GenerationProposed))
        events.remove(event)
        for each in state.handle(event):
            match each:
                case ProposeGeneration():
                    if state.plan.sequential:
                        views[each.cell, each.generation] = tuple(state.view(each.cell, each.generation))
                    events.append(proposal(each, state.plan))
                case GrantLease(lease=lease):
                    if order.random() < 0.1:
                        lost += 1
                        events.append(WorkerLost(0.0, lease.worker))
                        events.append(LeaseWanted(0.0, f"w{3 + lost}"))
                    else:
                        ended = tuple(ends(assignment) for assignment in lease.assignments)
                        events.append(TrialsEnded(0.0, lease.worker, lease.number, ended))
                case RecordOutcome():
                    decided += 1
                case _:
                    pass
        if isinstance(event, TrialsEnded):
            events.append(LeaseWanted(0.0, event.worker))
        state.validate()
        if until is not None and decided >= until:
            return views
    return views


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    configurations=st.integers(1, 9),
    replicates=st.integers(1, 3),
    generation=st.integers(1, 4),
    lag=st.integers(0, 2),
)
def test_views_do_not_depend_on_the_order_of_completion(
    seed: int, configurations: int, replicates: int, generation: int, lag: int
) -> None:
    size = plan(configurations=configurations, replicates=replicates, generation=generation, lag=lag, attempts=10**6)
    straight, shuffled = ScheduleState(size), ScheduleState(size)
    assert run_out(straight, order=random.Random(0)) == run_out(shuffled, order=random.Random(seed))
    assert straight.closed == shuffled.closed == "finished"
    assert straight.dump().decisions == shuffled.dump().decisions


def race_outcome(assignment, pause: bool = True) -> Outcome:
    """What a worker that obeys `pause_at` says: some trials diverge, some end early, some keep a state."""
    trial, number = assignment.trial, assignment.trial.configuration
    last = 4 if number % 4 == 3 else 100
    if number % 5 == 4:
        return Outcome(trial, assignment.attempt, State.FAIL, Cause.DIVERGED)
    if assignment.pause_at is None or assignment.pause_at > last:
        return complete(trial, assignment.attempt, value_of(trial) / 2, steps=last)
    value = value_of(trial) + 1 / assignment.pause_at
    return Outcome(
        trial, assignment.attempt, State.WAITING, value=value, steps=assignment.pause_at, kept=number % 2 == 0
    )


def test_halving_compares_means_at_rungs_and_promotes_from_the_checkpoint() -> None:
    size = plan(cells=(CellPlan("a", {}),), replicates=1, generation=6, sequential=False, rungs=Rungs(2, 2))
    state = ScheduleState(size)
    grants, pruned = [], {}
    events: list = [LeaseWanted(0.0, "w")]
    while events:
        for each in state.handle(events.pop(0)):
            match each:
                case ProposeGeneration():
                    events.append(proposal(each, size))
                case GrantLease(lease=lease):
                    grants += lease.assignments
                    ends = tuple(race_outcome(assignment) for assignment in lease.assignments)
                    events += [TrialsEnded(0.0, "w", lease.number, ends), LeaseWanted(0.0, "w")]
                case RecordOutcome(outcome=outcome) if outcome.state is State.PRUNED:
                    pruned[outcome.trial.configuration] = outcome.steps
                case _:
                    pass
        state.validate()
    # Values are 97 + {0: 0, 1: 2, 2: 4, 3: 1, 5: 0}, and 4 diverges: three of six go on, then one of three.
    assert pruned == {1: 2, 2: 2, 3: 4, 5: 4}
    assert [(a.trial.configuration, a.pause_at, a.resume_from) for a in grants[6:]] == [
        (0, 4, 2),
        (3, 4, None),
        (5, 4, None),
        (0, None, 4),
    ]
    assert state.closed == "finished"


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    configurations=st.integers(1, 12),
    replicates=st.integers(1, 3),
    generation=st.integers(2, 6),
    reduction=st.integers(2, 3),
    until=st.integers(1, 40),
)
def test_rungs_decide_the_same_in_any_order_and_through_a_restart(
    seed: int, configurations: int, replicates: int, generation: int, reduction: int, until: int
) -> None:
    size = plan(
        configurations=configurations,
        replicates=replicates,
        generation=generation,
        attempts=10**6,
        rungs=Rungs(2, reduction),
    )
    straight, shuffled = ScheduleState(size), ScheduleState(size)
    run_out(straight, order=random.Random(0), ends=race_outcome)
    run_out(shuffled, order=random.Random(seed), ends=race_outcome, until=until)
    restored = ScheduleState.restore(size, shuffled.dump())
    restored.validate()
    assert restored == shuffled
    run_out(restored, order=random.Random(seed + 1), ends=race_outcome)
    assert restored.closed == "finished"
    assert restored.dump().decisions == straight.dump().decisions


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), until=st.integers(0, 24), sequential=st.booleans())
def test_a_restored_state_equals_the_one_that_was_dumped(seed: int, until: int, sequential: bool) -> None:
    size = plan(sequential=sequential, attempts=4)
    state = ScheduleState(size)
    run_out(state, order=random.Random(seed), until=until)
    restored = ScheduleState.restore(size, state.dump())
    restored.validate()
    assert restored == state
    run_out(restored, order=random.Random(seed + 1))
    assert restored.closed == "finished"
    assert restored.undecided == 0


def test_the_trial_that_is_known_to_have_run_is_charged_and_the_others_go_back() -> None:
    state = ScheduleState(plan(cells=(CellPlan("a", {}),), configurations=64, generation=64, sequential=False))
    lease = first_lease(state, "w")
    state.handle(TrialsEnded(1.0, "w", lease.number, (complete(lease.assignments[0].trial),)))
    (grant,) = of(GrantLease, state.handle(LeaseWanted(1.0, "w")))
    held = [each.trial for each in grant.lease.assignments]
    assert len(held) > 3
    done = state.handle(WorkerLost(5.0, "w", held[2], Cause.TIMEOUT, began=2.0))
    (charged,) = of(RecordAttempt, done)
    assert (charged.trial, charged.cause, charged.attempt) == (held[2], Cause.TIMEOUT, 1)
    state.validate()
    (alone,) = of(GrantLease, state.handle(LeaseWanted(6.0, "v")))
    assert [(each.trial, each.attempt) for each in alone.lease.assignments] == [(held[2], 2)]
    state.handle(TrialsEnded(7.0, "v", alone.lease.number, (complete(held[2], 2),)))
    (next_one,) = of(GrantLease, state.handle(LeaseWanted(7.0, "v")))
    assert [each.trial for each in next_one.lease.assignments][:2] == held[:2]
    assert all(each.attempt == 1 for each in next_one.lease.assignments)


def test_a_deadline_decides_when_no_attempt_is_left() -> None:
    state = ScheduleState(plan(attempts=1))
    (assignment,) = first_lease(state, "w").assignments
    (record,) = of(RecordOutcome, state.handle(WorkerLost(9.0, "w", assignment.trial, Cause.STALLED, 4.0, "silent")))
    outcome = record.outcome
    assert (outcome.cause, outcome.started, outcome.ended, outcome.error) == (Cause.STALLED, 4.0, 9.0, "silent")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [(Cause.USER_ERROR, "failures"), (Cause.TIMEOUT, "failures"), (Cause.DIVERGED, "finished")],
)
def test_too_many_failures_close_the_sweep_and_it_can_go_on(cause: Cause, reason: str) -> None:
    size = plan(configurations=50, sequential=False, attempts=1, failures=0.25)

    def outcome(trial: TrialKey, attempt: int) -> Outcome:
        return Outcome(trial, attempt, State.FAIL, cause) if trial.configuration % 2 else complete(trial, attempt)

    state = ScheduleState(size)
    run_out(state, order=random.Random(3), outcome=outcome)
    assert state.closed == reason
    if reason == "failures":
        decided = size.trials - state.undecided
        assert 10 <= decided < size.trials
        restored = ScheduleState.restore(size, state.dump())
        run_out(restored, order=random.Random(3))
        assert restored.closed == "finished" and restored.undecided == 0


def test_a_few_failures_at_the_beginning_close_nothing() -> None:
    state = ScheduleState(plan(failures=0.4, attempts=1, configurations=20, generation=20, sequential=False))

    def outcome(trial: TrialKey, attempt: int) -> Outcome:
        return Outcome(trial, attempt, State.FAIL, Cause.USER_ERROR) if trial.configuration < 2 else complete(trial)

    run_out(state, order=random.Random(0), outcome=outcome)
    assert state.closed == "finished"
