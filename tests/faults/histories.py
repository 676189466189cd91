"""Generated histories of the pure schedule: workers that die or drain, late words, restarts, in any order."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from swathe.orchestrator import events as e
from swathe.orchestrator.messages import Assignment, Cause, Lease, Outcome, State, Suggestion, TrialKey
from swathe.orchestrator.schedule import Observation, Plan, ScheduleState
from swathe.orchestrator.schedule.facts import Decision

View = tuple[Observation, ...]
CREW = 3


@dataclass
class Desk:
    """A worker as the schedule knows it; `left` are the trials of its lease that it has not reported."""

    name: str
    lease: int | None = None
    left: list[Assignment] = field(default_factory=list[Assignment])
    waits: bool = False


class History:
    """One sweep from its beginning to its end, troubled as `draws` will have it; after each event all laws are checked.

    `views` are those given to each generation, each time the same; `decisions` how the trials ended. In an
    undisturbed history nothing but work happens.
    """

    def __init__(self, plan: Plan, draws: random.Random, *, undisturbed: bool = False) -> None:
        self.plan = plan
        self.views: dict[tuple[str, int], View] = {}
        self.restarts = 0
        self._draws = draws
        self._undisturbed = undisturbed
        self._state = ScheduleState(plan)
        self._count = 0
        self._decided: set[TrialKey] = set()
        self._ghosts: list[tuple[str, int, Assignment]] = []
        self._start()

    @property
    def decisions(self) -> dict[TrialKey, Decision]:
        return dict(self._state.dump().decisions)

    def run(self) -> None:
        """Until every trial is decided."""
        while self._state.closed != "finished":
            if self._state.closed is not None:
                self._restart()
            for _ in range(self._draws.randint(1, 4)):
                self._happen()
            self._tell_views()
            idle = not self._asked and all(desk.waits for desk in self._desks)
            assert self._state.closed or not idle, "a sweep that is open has something to do"

    def _start(self) -> None:
        self._desks = [self._newcomer() for _ in range(1 if self._undisturbed else CREW)]
        self._orders: list[e.ProposeGeneration] = []
        self._asked: list[e.ProposeGeneration] = []

    def _newcomer(self) -> Desk:
        self._count += 1
        return Desk(f"w{self._count}")

    def _restart(self) -> None:
        """The scheduler dies: what workers hold and the search was asked is lost, nothing else."""
        self.restarts += 1
        self._ghosts += [(desk.name, desk.lease, each) for desk in self._desks if desk.lease for each in desk.left]
        before = self._state
        self._state = ScheduleState.restore(self.plan, before.dump())
        assert self._state == before and self._state.dump() == before.dump()
        self._state.validate()
        self._start()

    def _tell_views(self) -> None:
        """As in a tick: the search is told the view that there is after all events, whatever came after the order."""
        for order in self._orders if self.plan.sequential else ():
            view = tuple(self._state.view(order.cell, order.generation))
            assert self.views.setdefault((order.cell, order.generation), view) == view
        self._asked += self._orders
        self._orders = []

    # What may happen

    def _happen(self) -> None:
        if self._state.closed is not None:
            return None
        luck = 1.0 if self._undisturbed else self._draws.random()
        if luck < 0.02:
            return self._restart()
        if luck < 0.03:
            return self._handle(e.DrainRequested(0.0))
        if luck < 0.08:
            return self._lose(self._draws.choice(self._desks))
        if luck < 0.12 and self._ghosts:
            return self._speak_late()
        desk = self._draws.choice(self._desks)
        if self._asked and (desk.waits or self._draws.random() < 0.3):
            return self._propose()
        if desk.left:
            return self._report(desk)
        if not desk.waits:
            desk.waits, desk.lease = True, None
            return self._handle(e.LeaseWanted(0.0, desk.name))
        return None

    def _propose(self) -> None:
        order = self._asked.pop(0)
        numbers = self.plan.numbers(order.generation)
        suggestions = tuple(Suggestion(number, {"x": number / 10}, "model") for number in numbers)
        return self._handle(e.GenerationProposed(0.0, order.cell, order.generation, suggestions))

    def _report(self, desk: Desk) -> None:
        assert desk.lease is not None
        count = self._draws.randint(1, len(desk.left))
        if self._state.draining:
            # The trial that runs pauses where it can, the others of the lease come back.
            ended = [_preempted(desk.left[0]) if self._draws.random() < 0.5 else outcome_of(desk.left[0])]
            desk.left = []
        else:
            ended = [self._troubled(each) for each in desk.left[:count]]
            del desk.left[:count]
        return self._handle(e.TrialsEnded(0.0, desk.name, desk.lease, tuple(ended)))

    def _troubled(self, assignment: Assignment) -> Outcome:
        if self._undisturbed or self._draws.random() > 0.05:
            return outcome_of(assignment)
        cause = self._draws.choice([Cause.OUT_OF_MEMORY, Cause.TIMEOUT, Cause.STALLED])
        return Outcome(assignment.trial, assignment.attempt, State.FAIL, cause)

    def _lose(self, desk: Desk) -> None:
        self._desks[self._desks.index(desk)] = self._newcomer()
        self._ghosts += [(desk.name, desk.lease, each) for each in desk.left if desk.lease]
        known = desk.left[0].trial if desk.left and self._draws.random() < 0.7 else None
        return self._handle(e.WorkerLost(0.0, desk.name, known))

    def _speak_late(self) -> None:
        name, lease, assignment = self._ghosts.pop(self._draws.randrange(len(self._ghosts)))
        word = outcome_of(assignment)
        before = self._state.dump()
        self._handle(e.TrialsEnded(0.0, name, lease, (word,)))
        after = self._state.dump()
        assert (before.decisions, before.pauses) == (after.decisions, after.pauses), "a late word changes nothing"

    def _handle(self, event: e.Event) -> None:
        done = self._state.handle(event)
        self._state.validate()
        for each in done:
            match each:
                case e.GrantLease(lease=lease):
                    self._granted(lease)
                case e.RecordOutcome(outcome=outcome):
                    assert outcome.trial not in self._decided, "a trial is decided once"
                    self._decided.add(outcome.trial)
                case e.ProposeGeneration():
                    self._orders.append(each)
                case _:
                    pass

    def _granted(self, lease: Lease) -> None:
        assert not self._decided & {each.trial for each in lease.assignments}, "no decided trial is computed again"
        (desk,) = [each for each in self._desks if each.name == lease.worker]
        desk.lease, desk.left, desk.waits = lease.number, list(lease.assignments), False


def outcome_of(assignment: Assignment) -> Outcome:
    """How a trial ends, or at which rung it pauses, by its name alone: some diverge, raise, or end early."""
    trial, number = assignment.trial, assignment.trial.configuration
    draws = random.Random(str(trial))
    last = draws.choice([3, 100, 100, 100])
    fate = draws.random()
    if fate < 0.2:
        cause = Cause.DIVERGED if fate < 0.1 else Cause.USER_ERROR
        return Outcome(trial, assignment.attempt, State.FAIL, cause, steps=1)
    value = draws.choice([draws.random(), 0.5])
    if assignment.pause_at is None or assignment.pause_at > last:
        return Outcome(trial, assignment.attempt, State.COMPLETE, value=value, steps=last)
    paused = Outcome(trial, assignment.attempt, State.WAITING, steps=assignment.pause_at, kept=number % 2 == 0)
    return replace(paused, value=value + 1 / assignment.pause_at)


def _preempted(assignment: Assignment) -> Outcome:
    at = assignment.resume_from or 0
    word = Outcome(assignment.trial, assignment.attempt, State.WAITING, Cause.PREEMPTED, steps=at, kept=True)
    return replace(word, value=9.0)
