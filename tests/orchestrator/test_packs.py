"""Packs in the pure schedule: who shares one, in any order of completion, through losses, splits and restarts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.orchestrator.cutoffs import Cutoffs
from swathe.orchestrator.events import (
    CloseSweep,
    GenerationProposed,
    GrantLease,
    LeaseWanted,
    ProposeGeneration,
    RecordAttempt,
    RecordCapacity,
    RecordOutcome,
    ShapeMeasured,
    TrialsEnded,
    WorkerLost,
)
from swathe.orchestrator.messages import Assignment, Capacity, Cause, Lease, Outcome, State, Suggestion, TrialKey
from swathe.orchestrator.packing import Fusing, packs
from swathe.orchestrator.schedule import CellPlan, Plan, Rungs, ScheduleState

LANES = {"1": 4, "2": 0, "3": 7}


def plan(**changes: object) -> Plan:
    """Cells of two methods at three widths; the deciding shapes are the width and a searched depth."""
    cells = tuple(
        CellPlan(f"{method}{width}", {"method": method, "width": width}) for width in (1, 2, 3) for method in "ab"
    )
    sizes = {
        "configurations": 6,
        "replicates": 2,
        "generation": 3,
        "attempts": 10**6,
        "fusing": Fusing({"width": None}),
    }
    return Plan(**{"cells": cells, **sizes, **changes})  # type: ignore[arg-type]


def proposal(order: ProposeGeneration, size: Plan) -> GenerationProposed:
    numbers = size.numbers(order.generation)
    suggestions = tuple(Suggestion(number, {"lr": number / 10, "depth": number % 2}, "model") for number in numbers)
    return GenerationProposed(0.0, order.cell, order.generation, suggestions)


def value_of(trial: TrialKey) -> float:
    return sum(map(ord, trial.cell)) + trial.configuration * 7 % 5 + trial.replicate / 10


def ended(assignment: Assignment) -> Outcome:
    """What a worker that obeys `pause_at` says: some trials diverge, some end before the second rung."""
    trial, number = assignment.trial, assignment.trial.configuration
    last = 4 if number % 4 == 3 else 100
    if number % 5 == 4:
        return Outcome(trial, assignment.attempt, State.FAIL, Cause.DIVERGED)
    if assignment.cutoffs is not None and number % 3 != 2 and (number + trial.replicate) % 2:
        step = 3 + trial.replicate  # behind its cutoff: it waits for the votes of the other replicates
        return Outcome(trial, assignment.attempt, State.WAITING, value=value_of(trial), steps=step, kept=True)
    if assignment.pause_at is None or assignment.pause_at > last:
        return Outcome(trial, assignment.attempt, State.COMPLETE, value=value_of(trial), steps=last)
    value = value_of(trial) + 1 / assignment.pause_at
    return Outcome(trial, assignment.attempt, State.WAITING, value=value, steps=assignment.pause_at, kept=True)


@dataclass
class Crew:
    """Workers that answer in an order drawn from `order`; some are lost, some packs do not fit."""

    order: random.Random
    lost: float = 0.1
    fitting: int = 1000
    guilty: frozenset[TrialKey] = frozenset()
    leases: list[Lease] = field(default_factory=list)
    recorded: list[Capacity] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    workers: int = 3

    def drive(self, state: ScheduleState, until: int | None = None) -> Crew:
        events: list = [LeaseWanted(0.0, f"w{k}") for k in range(self.workers)]
        decided = 0
        while events:
            event = events[self.order.randrange(len(events))]
            if isinstance(event, GenerationProposed):
                event = next(each for each in events if isinstance(each, GenerationProposed))
            events.remove(event)
            for each in state.handle(event):
                match each:
                    case ProposeGeneration():
                        events.append(proposal(each, state.plan))
                    case GrantLease(lease=lease):
                        events += self._answers(lease)
                    case RecordCapacity(capacity=capacity):
                        self.recorded.append(capacity)
                    case RecordOutcome():
                        decided += 1
                    case CloseSweep(reason=reason):
                        self.closed.append(reason)
                    case _:
                        pass
            if isinstance(event, TrialsEnded | ShapeMeasured):
                worker = event.worker if isinstance(event, TrialsEnded) else event.capacity.note
                events.append(LeaseWanted(0.0, worker))
            state.validate()
            if until is not None and decided >= until:
                break
        return self

    def _answers(self, lease: Lease) -> list:
        if self.order.random() < self.lost:
            self.workers += 1
            return [WorkerLost(0.0, lease.worker), LeaseWanted(0.0, f"w{self.workers}")]
        if lease.calibration is not None:
            width = lease.calibration.params["width"]
            return [ShapeMeasured(0.0, Capacity(lease.calibration.shape, LANES[str(width)], note=lease.worker))]
        self.leases.append(lease)
        return [TrialsEnded(0.0, lease.worker, lease.number, tuple(self._outcomes(lease)))]

    def _outcomes(self, lease: Lease) -> list[Outcome]:
        outcomes = [ended(each) for each in lease.assignments]
        failed = [Outcome(each.trial, each.attempt, State.FAIL, Cause.USER_ERROR) for each in lease.assignments]
        if lease.fused and len(outcomes) > self.fitting:
            return [replace(each, cause=Cause.OUT_OF_MEMORY, split=True) for each in failed]
        if lease.fused and any(each.trial in self.guilty for each in outcomes) and len(outcomes) > 1:
            return [replace(each, split=True) for each in failed]
        return [wrong if right.trial in self.guilty else right for right, wrong in zip(outcomes, failed, strict=True)]

    def packs(self) -> set[tuple[TrialKey, ...]]:
        return {tuple(each.trial for each in lease.assignments) for lease in self.leases if lease.fused}


def decisions(state: ScheduleState) -> Mapping[TrialKey, object]:
    return state.dump().decisions


SHAPES = {
    "indexed": {"sequential": False},
    "model": {"sequential": True, "lag": 1},
    "halving": {"sequential": False, "rungs": Rungs(2, 2)},
    "model and halving": {"sequential": True, "lag": 0, "rungs": Rungs(2, 2)},
    "searched shape": {"sequential": True, "fusing": Fusing({"width": None, "depth": None})},
    "one family": {"sequential": False, "fusing": Fusing({"steps": 10}, lanes=5)},
    "votes": {"sequential": True, "cutoffs": Cutoffs(votes=True)},
    "votes, one family": {
        "sequential": False,
        "cutoffs": Cutoffs(votes=True),
        "fusing": Fusing({"steps": 10}, lanes=5),
    },
    "searched, halving": {"rungs": Rungs(2, 3), "fusing": Fusing({"width": None, "depth": None}, lanes=3)},
}


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 10**6),
    configurations=st.integers(1, 9),
    replicates=st.integers(1, 3),
    generation=st.integers(1, 5),
    until=st.integers(1, 60),
)
def test_packs_do_not_depend_on_order_or_losses_and_decide_as_single_trials_do(
    kind: str, seed: int, configurations: int, replicates: int, generation: int, until: int
) -> None:
    size = plan(configurations=configurations, replicates=replicates, generation=generation, **SHAPES[kind])
    alone = ScheduleState(replace(size, fusing=None))
    Crew(random.Random(0), lost=0.0).drive(alone)
    straight, shuffled, broken = (ScheduleState(size) for _ in range(3))
    first = Crew(random.Random(1), lost=0.0).drive(straight)
    second = Crew(random.Random(seed)).drive(shuffled)
    assert first.closed == second.closed == ["finished"]
    assert decisions(straight) == decisions(shuffled) == decisions(alone)
    assert first.packs() == second.packs()
    third = Crew(random.Random(seed + 1)).drive(broken, until)
    restored = ScheduleState.restore(size, broken.dump())
    restored.validate()
    assert restored == broken
    fourth = Crew(random.Random(seed + 2)).drive(restored)
    assert decisions(restored) == decisions(alone)
    assert third.packs() | fourth.packs() == first.packs()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 10**6),
    fitting=st.integers(1, 5),
    guilty=st.frozensets(st.integers(0, 5), max_size=2),
)
def test_packs_split_until_they_fit_and_until_the_one_at_fault_is_alone(
    kind: str, seed: int, fitting: int, guilty: frozenset[int]
) -> None:
    size = plan(attempts=1, **SHAPES[kind])
    wrong = frozenset(TrialKey(cell.key, number, 0) for cell in size.cells for number in guilty)
    alone, fused = ScheduleState(replace(size, fusing=None)), ScheduleState(size)
    Crew(random.Random(0), 0.0, guilty=wrong).drive(alone)
    crew = Crew(random.Random(seed), 0.0, fitting, wrong).drive(fused)
    assert crew.closed == ["finished"]
    assert decisions(fused) == decisions(alone)
    for shape, lanes in fused.dump().capacities.items():
        assert lanes == [each.lanes for each in crew.recorded if each.shape == shape][-1]


def test_trials_of_equal_shape_share_a_pack_across_cells() -> None:
    state = ScheduleState(plan(sequential=False, replicates=1))
    crew = Crew(random.Random(0), lost=0.0).drive(state)
    for lease in crew.leases:
        widths = {each.params["width"] for each in lease.assignments}
        assert lease.fused == (widths != {2}) or len(lease.assignments) == 1
        assert not lease.fused or (len(widths) == 1 and len(lease.assignments) <= LANES[str(*widths)])
    assert any(len({each.params["method"] for each in lease.assignments}) == 2 for lease in crew.leases if lease.fused)
    assert [(each.shape, each.lanes) for each in sorted(crew.recorded, key=lambda each: each.shape)] == [
        (f'{{"width": {width}}}', lanes) for width, lanes in LANES.items()
    ]


def test_every_trial_of_a_lost_pack_is_charged_and_the_pack_stays_one() -> None:
    state = ScheduleState(plan(sequential=False, attempts=2, fusing=Fusing({"width": None}, lanes=6)))
    first, done = lease_of(state, "w"), state.handle(WorkerLost(3.0, "w", cause=Cause.TIMEOUT))
    charged = [each for each in done if isinstance(each, RecordAttempt)]
    assert [each.trial for each in charged] == [each.trial for each in first.assignments]
    assert {each.cause for each in charged} == {Cause.TIMEOUT}
    again = lease_of(state, "v")
    assert [each.trial for each in again.assignments] == [each.trial for each in first.assignments]
    assert {each.attempt for each in again.assignments} == {2}
    done = state.handle(WorkerLost(4.0, "v"))
    assert sum(isinstance(each, RecordOutcome) for each in done) == len(first.assignments)
    state.validate()


def lease_of(state: ScheduleState, worker: str) -> Lease:
    pending = state.handle(LeaseWanted(0.0, worker))
    while True:
        if grants := [each.lease for each in pending if isinstance(each, GrantLease)]:
            return grants[0]
        orders = [each for each in pending if isinstance(each, ProposeGeneration)]
        pending = [each for order in orders for each in state.handle(proposal(order, state.plan))]


def test_a_shape_that_kills_every_worker_that_measures_it_runs_plainly() -> None:
    state = ScheduleState(plan(cells=(CellPlan("a", {"width": 1}),), sequential=False, attempts=3))
    for k in range(3):
        assert lease_of(state, f"w{k}").calibration is not None
        state.handle(WorkerLost(0.0, f"w{k}"))
        state.validate()
    assert not lease_of(state, "v").fused
    assert state.dump().capacities == {'{"width": 1}': 0}


def test_what_was_decided_on_a_shape_outlasts_a_change_of_fuse() -> None:
    size = plan(sequential=False, fusing=Fusing({"width": None}, lanes=0))
    state = ScheduleState(size)
    Crew(random.Random(0), lost=0.0).drive(state, until=5)
    changed = replace(size, fusing=Fusing({"width": None}, lanes=6))
    crew = Crew(random.Random(0), lost=0.0).drive(ScheduleState.restore(changed, state.dump()))
    plain = {shape for shape, lanes in state.dump().capacities.items() if lanes == 0}
    assert plain
    for lease in crew.leases:
        assert not lease.fused or all(
            changed.fusing and changed.fusing.shape(each.params) not in plain for each in lease.assignments
        )


@settings(max_examples=300, deadline=None)
@given(count=st.integers(0, 200), lanes=st.integers(1, 50), data=st.data())
def test_packs_are_even_and_stay_the_same_when_some_are_done(count: int, lanes: int, data: st.DataObject) -> None:
    found = packs(range(count), lanes)
    sizes = [len(each) for each in found]
    assert [each for pack in found for each in pack] == list(range(count))
    assert len(found) == -(-count // lanes)
    assert not sizes or (max(sizes) <= lanes and max(sizes) - min(sizes) <= 1)
    left = [pack for pack in found if data.draw(st.booleans())]
    assert packs([each for pack in left for each in pack], lanes) == left


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_restored_state_is_the_one_that_was_dumped(kind: str) -> None:
    size = plan(**SHAPES[kind])
    for until in range(1, 40, 6):
        state = ScheduleState(size)
        Crew(random.Random(until)).drive(state, until)
        assert ScheduleState.restore(size, state.dump()) == state
