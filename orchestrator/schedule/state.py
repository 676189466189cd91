"""`ScheduleState`: the one mutable thing that decides what runs where, and never when or how.

Its only mutator is `handle`. It reads no clock: durations come with the events, and they influence the size of leases
only, never which trials exist or how they end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..events import (
    CancelRequested,
    CloseSweep,
    DiscardOutcome,
    DismissWorker,
    DrainRequested,
    Event,
    GenerationProposed,
    Instruction,
    LeaseKept,
    LeaseWanted,
    RecordAttempt,
    RecordOutcome,
    RecordPause,
    ShapeMeasured,
    TrialsEnded,
    WorkerLeaves,
    WorkerLost,
)
from ..messages import Assignment, Cause, Outcome, Pause, State, TrialKey
from . import invariants, leasing
from .backlog import Backlogs
from .facts import Decision, Observation, Snapshot
from .failures import FailureWatch
from .plan import Plan
from .results import CellResults
from .workforce import Workforce


class ScheduleState:
    """Trials, generations, leases and workers of one sweep."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.draining: str | None = None
        self.closed: str | None = None
        self._cells = {cell.key: CellResults(cell, plan) for cell in plan.cells}
        self._paused: set[TrialKey] = set()
        self._charges: dict[TrialKey, int] = {}
        self._workforce = Workforce()
        self._backlogs = Backlogs(plan, self._cells, {})
        self._failures = FailureWatch(plan.trials, plan.failures)
        self._reopened = False

    @classmethod
    def restore(cls, plan: Plan, snapshot: Snapshot) -> ScheduleState:
        """The state that `snapshot` describes; leases of lost workers are void, their trials wait."""
        state = cls(plan)
        for key, generation, suggestions in snapshot.proposals:
            state._cells[key].propose(generation, suggestions)
        for pause in snapshot.pauses:
            state._cells[pause.outcome.trial.cell].pause(pause)
        for trial, decision in snapshot.decisions.items():
            state._cells[trial.cell].decide(trial.configuration, trial.replicate, decision)
        state._charges = dict(snapshot.charges)
        state._workforce = Workforce(snapshot.leases)
        state._backlogs = Backlogs(plan, state._cells, snapshot.capacities)
        open_trials = [trial for cell in state._cells.values() for trial in cell.undecided()]
        state._paused = {trial for trial in open_trials if state._cells[trial.cell].at_rung(trial)}
        waiting = sorted(set(open_trials) - state._paused, key=lambda trial: (trial.configuration, trial))
        state._backlogs.restore(waiting, snapshot.decisions)
        # Added replicates and retried trials open generations again whose successors were proposed long ago.
        state._reopened = any(cell.proposed > cell.frontier + plan.lag + 1 for cell in state._cells.values())
        return state

    def dump(self) -> Snapshot:
        """What `restore` needs to continue from here."""
        proposals = tuple(each for cell in self._cells.values() for each in cell.proposals())
        decisions = {trial: decision for cell in self._cells.values() for trial, decision in cell.decisions()}
        pauses = tuple(each for cell in self._cells.values() for trial in cell.pauses.values() for each in trial)
        lanes = dict(self._backlogs.capacities)
        return Snapshot(proposals, decisions, pauses, dict(self._charges), self._workforce.leases, lanes)

    def __eq__(self, other: object) -> bool:
        """Equal in all that is durable; leases, workers and durations are not."""
        return self._facts() == other._facts() if isinstance(other, ScheduleState) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _facts(self) -> tuple[object, ...]:
        lanes, leases = self._backlogs.capacities, self._workforce.leases
        return (self.plan, self._cells, self._charges, self._paused, leases, self.undecided, lanes)

    def handle(self, event: Event) -> list[Instruction]:
        """Take in one fact; say what is to be done about it."""
        match event:
            case GenerationProposed():
                done = self._generation_proposed(event)
            case LeaseWanted(worker=worker, share=share):
                self._backlogs.idle(worker, share)
                self._backlogs.back(self._workforce.wait(worker, share))
                done = []
            case LeaseKept() | WorkerLeaves():
                done = self._moved(event)
            case TrialsEnded():
                done = [each for outcome in event.outcomes for each in self._trial_ended(event, outcome)]
            case ShapeMeasured(capacity=capacity):
                for backlog in self._backlogs.values():
                    backlog.packs.measured(capacity)
                done = []
            case WorkerLost():
                done = self._worker_lost(event)
            case DrainRequested(reason=reason):
                self.draining = self.draining or reason
                done = []
            case CancelRequested(at=at):
                self.draining = "cancelled"
                done = [each for held in self._workforce.stop() for each in self._cancel(at, *held)]
        return [*done, *self._backlogs.settle(), *self._advance()]

    def view(self, cell: str, generation: int) -> list[Observation]:
        """What generation `generation` may know: one observation for each lower-numbered configuration.

        Values are shown up to generation `generation - 1 - lag` only, whatever has finished since.
        """
        plan, results = self.plan, self._cells[cell]
        first = min(generation * plan.generation, plan.configurations)
        shown = min(max(0, generation - plan.lag) * plan.generation, first)
        hidden = Observation(State.RUNNING, None, None)
        return [results.observe(number, plan.seen(generation)) for number in range(shown)] + [hidden] * (first - shown)

    def holds(self, worker: str, lease: int | None) -> bool:
        """Whether `lease` is the one that `worker` holds now."""
        return self._workforce.holds(worker, lease)

    @property
    def undecided(self) -> int:
        """Trials without a final word."""
        return self._backlogs.undecided

    @property
    def demand(self) -> dict[str, int]:
        """How many workers of each share could be at work; while it has undecided trials, one at least."""
        busy = Counter(self._workforce.share(worker) for worker in self._workforce.holders)
        return (
            {each: busy[each] for each in self._backlogs}
            if self.draining
            else self._backlogs.demand(busy, self._expected)
        )

    # Events

    def _generation_proposed(self, event: GenerationProposed) -> list[Instruction]:
        cell = self._cells[event.cell]
        assert cell.proposed == event.generation < cell.asked, "a cell's generations are proposed in order, and once"
        cell.propose(event.generation, event.suggestions)
        numbers = [suggestion.configuration for suggestion in event.suggestions]
        trials = (TrialKey(event.cell, number, each) for number in numbers for each in range(self.plan.replicates))
        backlog = self._backlogs.of(event.cell)
        backlog.add(trials)
        backlog.proposed(event.cell)
        return []

    def _trial_ended(self, event: TrialsEnded, outcome: Outcome) -> list[Instruction]:
        if not self._workforce.take(event.worker, event.lease, outcome.trial):
            return [DiscardOutcome(outcome, event.lease, event.worker)]
        self._cells[outcome.trial.cell].learn_duration(outcome)
        if outcome.split:
            self._backlogs.of(outcome.trial.cell).packs.split(
                outcome.trial, memory=outcome.cause is Cause.OUT_OF_MEMORY
            )
            return []
        if outcome.state is State.WAITING:
            return self._pause(outcome, event.lease, event.worker)
        if outcome.cause is None or outcome.cause.deterministic or outcome.cause is Cause.CANCELLED:
            return self._decide(outcome, event.lease, event.worker)
        return self._fail_attempt(outcome, event.lease, event.worker)

    def _worker_lost(self, event: WorkerLost) -> list[Instruction]:
        self._backlogs.idle(event.worker, self._workforce.share(event.worker), lost=True)
        lease, trials = self._workforce.lose(event.worker)
        ran = leasing.running(trials, self._backlogs, event.trial)
        if event.cause is Cause.PREEMPTED:
            self._backlogs.back(trials)
            return [RecordAttempt(each, trials[each], event.cause, lease, event.worker) for each in ran]
        if not ran:
            # Which of them was running is not known, so none is charged; leased alone, the next loss tells.
            self._backlogs.suspect(trials)
            return []
        self._backlogs.back(trial for trial in trials if trial not in ran)
        outcomes = leasing.lost(event, ran, trials)
        return [each for outcome in outcomes for each in self._fail_attempt(outcome, lease, event.worker)]

    def _cancel(self, at: float, worker: str, lease: int, trials: Mapping[TrialKey, int]) -> list[Instruction]:
        ran = leasing.running(trials, self._backlogs, next(iter(trials), None))
        self._backlogs.back(trial for trial in trials if trial not in ran)
        outcomes = leasing.cancelled(at, ran, trials)
        return [each for outcome in outcomes for each in self._decide(outcome, lease, worker)]

    def _moved(self, event: LeaseKept | WorkerLeaves) -> list[Instruction]:
        if isinstance(event, WorkerLeaves):
            self._workforce.leave(event.worker)
        elif not self._workforce.holds(event.worker, event.held.lease):
            trials = event.held.trials
            found = self._backlogs.of(trials[0].cell).withdraw(event.held) if trials else ()
            # What waits no more is decided, or somebody else's by now.
            attempts = {trial: self._charges.get(trial, 0) + 1 for trial in trials if trial in found}
            share = self._backlogs.share(trials[0].cell) if trials else ""
            self._workforce.keep(event.worker, share, event.held.lease, attempts)
        return []

    # Consequences

    def _pause(self, outcome: Outcome, lease: int, worker: str) -> list[Instruction]:
        trial = outcome.trial
        pause = Pause(outcome, lease, worker, (*self._cells[trial.cell].lineage(trial), lease))
        self._cells[trial.cell].pause(pause)
        if outcome.cause is Cause.PREEMPTED:
            self._backlogs.back([trial])
            return [RecordPause(pause)]
        self._backlogs.of(trial.cell).packs.left(trial)
        self._paused.add(trial)
        return [RecordPause(pause), *self._race(trial)]

    def _race(self, arrived: TrialKey) -> list[Instruction]:
        """A trial has paused for others or ended: promote and prune what that decides."""
        numbers = self.plan.numbers(arrived.configuration // self.plan.generation)
        paused = sorted(each for each in self._paused if each.cell == arrived.cell and each.configuration in numbers)
        going_on, leaving = self._cells[arrived.cell].parted(paused)
        self._paused.difference_update(going_on, leaving)
        self._backlogs.of(arrived.cell).promote(going_on)
        return [each for trial in leaving for each in self._prune(trial)]

    def _prune(self, trial: TrialKey) -> list[Instruction]:
        pause = self._cells[trial.cell].last_pause(trial)
        assert pause is not None, "only a paused trial is pruned"
        outcome = replace(pause.outcome, state=State.PRUNED, kept=False)
        return self._decide(outcome, pause.lease, pause.worker, pause.lineage)

    def _fail_attempt(self, outcome: Outcome, lease: int, worker: str) -> list[Instruction]:
        assert outcome.cause is not None
        attempts = self._charges.get(outcome.trial, 0) + 1
        if attempts >= self.plan.attempts:
            return self._decide(outcome, lease, worker)
        self._charges[outcome.trial] = attempts
        self._backlogs.of(outcome.trial.cell).suspect([outcome.trial])
        return [RecordAttempt(outcome.trial, outcome.attempt, outcome.cause, lease, worker)]

    def _decide(self, outcome: Outcome, lease: int, worker: str, lineage: tuple[int, ...] = ()) -> list[Instruction]:
        trial = outcome.trial
        cell = self._cells[trial.cell]
        suggestion = cell.open[trial.configuration]
        lineage = lineage or (*self._cells[trial.cell].lineage(trial), lease)
        first = cell.pauses.get((trial.configuration, trial.replicate))
        if first:
            outcome = replace(outcome, started=first[0].outcome.started)
        others = tuple(outcome.metrics.get(name) for name in self.plan.others)
        decision = Decision(outcome.state, outcome.cause, outcome.value, outcome.steps, others)
        cell.decide(trial.configuration, trial.replicate, decision)
        self._charges.pop(trial, None)
        self._backlogs.of(trial.cell).decided(trial)
        self._failures.decided(outcome.cause)
        generation = trial.configuration // self.plan.generation
        record = RecordOutcome(outcome, generation, suggestion, lease, worker, lineage)
        return [record, *([] if outcome.state is State.PRUNED else self._race(trial))]

    def _advance(self) -> list[Instruction]:
        done: list[Instruction] = []
        if self._failures.exceeded and not self.draining:
            self.draining = "failures"
        if not self.closed and not self.draining:
            done = [*self._backlogs.ask(self._workforce.count), *self._grant()]
        if not self.closed and (not self.undecided or (self.draining and not self._workforce.busy)):
            self.closed = (self.draining or "drained") if self.undecided else "finished"
            done.append(CloseSweep(self.closed))
        over = bool(self.closed or self.draining)
        return [*done, *map(DismissWorker, self._workforce.dismiss(() if over else self._backlogs.open))]

    # Leases

    def _grant(self) -> Iterable[Instruction]:
        return leasing.grants(self._workforce, self._backlogs, self._assignment, self._expected)

    def _expected(self, trial: TrialKey) -> float | None:
        return self._cells[trial.cell].seconds

    def _assignment(self, trial: TrialKey) -> Assignment:
        return leasing.assignment(self.plan, self._cells[trial.cell], trial, self._charges.get(trial, 0) + 1)

    def validate(self) -> None:
        """Check every invariant; a broken one is a defect of Swathe."""
        self._workforce.validate()
        waiting = [trial for backlog in self._backlogs.values() for trial in backlog]
        placed = [*self._workforce.held(), *waiting, *self._paused]
        invariants.check_places(self._cells, placed, self._paused)
        invariants.check_counts(self.plan, self._cells, self.undecided, self._charges)
        early = self._reopened or not self.plan.sequential
        assert early or all(cell.proposed <= cell.frontier + self.plan.lag + 1 for cell in self._cells.values())
