"""`ScheduleState`: the one mutable thing that decides what runs where, and never when or how.

Its only mutator is `handle`. It reads no clock: durations come with the events, and they influence the size of leases
only, never which trials exist or how they end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..messages import (
    Assignment,
    Cause,
    CloseSweep,
    DiscardOutcome,
    DismissWorker,
    DrainRequested,
    Event,
    GenerationProposed,
    GrantLease,
    Instruction,
    Lease,
    LeaseWanted,
    Outcome,
    ProposeGeneration,
    RecordAttempt,
    RecordOutcome,
    State,
    Suggestion,
    TrialKey,
    TrialsEnded,
    WorkerLost,
)
from .plan import Plan
from .queue import LEASE_TRIALS, TrialQueue
from .results import CellResults, Decision, Observation, Snapshot

_UNCHARGED = (Cause.PREEMPTED,)
_FINAL = (Cause.CANCELLED,)


@dataclass(slots=True)
class _Held:
    number: int
    trials: dict[TrialKey, int]


class ScheduleState:
    """Trials, generations, leases and workers of one sweep."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.draining = False
        self.closed: str | None = None
        self._cells = {cell.key: CellResults(cell, plan) for cell in plan.cells}
        self._askable = {cell.key: None for cell in plan.cells if plan.configurations}
        self._in_flight = 0
        self._queue = TrialQueue()
        self._charges: dict[TrialKey, int] = {}
        self._held: dict[str, _Held] = {}
        self._idle: dict[str, None] = {}
        self._workers: set[str] = set()
        self._leases = 0
        self._undecided = plan.trials

    @classmethod
    def restore(cls, plan: Plan, snapshot: Snapshot) -> ScheduleState:
        """The state that `snapshot` describes; leases of lost workers are void, their trials wait."""
        state = cls(plan)
        for key, generation, suggestions in snapshot.proposals:
            state._cells[key].propose(generation, suggestions)
        for trial, decision in snapshot.decisions.items():
            state._cells[trial.cell].decide(trial.configuration, trial.replicate, decision)
        state._charges = dict(snapshot.charges)
        state._leases = snapshot.leases
        state._undecided = plan.trials - len(snapshot.decisions)
        open_trials = (trial for cell in state._cells.values() for trial in cell.undecided())
        state._queue = TrialQueue(sorted(open_trials, key=lambda trial: trial.configuration))
        state._askable = {key: None for key, cell in state._cells.items() if state._may_ask(cell)}
        return state

    def dump(self) -> Snapshot:
        """What `restore` needs to continue from here."""
        decisions: dict[TrialKey, Decision] = {}
        proposals: list[tuple[str, int, tuple[Suggestion, ...]]] = []
        for key, cell in self._cells.items():
            for generation in range(cell.proposed):
                numbers = self.plan.numbers(generation)
                proposals.append((key, generation, tuple(cell.open.get(n, Suggestion(n, {}, "")) for n in numbers)))
                for number in numbers:
                    for replicate in range(self.plan.replicates):
                        if (decision := cell.decision(number, replicate)) is not None:
                            decisions[TrialKey(key, number, replicate)] = decision
        return Snapshot(tuple(proposals), decisions, dict(self._charges), self._leases)

    def __eq__(self, other: object) -> bool:
        """Equal in all that is durable; leases, workers and durations are not."""
        if not isinstance(other, ScheduleState):
            return NotImplemented
        return (self.plan, self._cells, self._charges, self._leases, self._undecided) == (
            other.plan,
            other._cells,
            other._charges,
            other._leases,
            other._undecided,
        )

    __hash__ = None  # type: ignore[assignment]

    def handle(self, event: Event) -> list[Instruction]:
        """Take in one fact; say what is to be done about it."""
        match event:
            case GenerationProposed():
                done = self._generation_proposed(event)
            case LeaseWanted(worker=worker):
                done = self._lease_wanted(worker)
            case TrialsEnded():
                done = [self._trial_ended(event, outcome) for outcome in event.outcomes]
            case WorkerLost(worker=worker):
                done = self._worker_lost(worker)
            case DrainRequested():
                self.draining = True
                done = []
        return done + self._advance()

    def view(self, cell: str, generation: int) -> list[Observation]:
        """What generation `generation` may know: one observation for each lower-numbered configuration.

        Values are shown up to generation `generation - 1 - lag` only, whatever has finished since.
        """
        plan, results = self.plan, self._cells[cell]
        first = min(generation * plan.generation, plan.configurations)
        shown = min(max(0, generation - plan.lag) * plan.generation, first)
        hidden = Observation(State.RUNNING, None, None)
        return [results.observe(number) for number in range(shown)] + [hidden] * (first - shown)

    def holds(self, worker: str, lease: int | None) -> bool:
        """Whether `lease` is the one that `worker` holds now."""
        held = self._held.get(worker)
        return held is not None and held.number == lease

    @property
    def undecided(self) -> int:
        """Trials without a final word."""
        return self._undecided

    # Events

    def _generation_proposed(self, event: GenerationProposed) -> list[Instruction]:
        cell = self._cells[event.cell]
        assert cell.proposed == event.generation < cell.asked, "a cell's generations are proposed in order, and once"
        self._in_flight -= 1
        cell.propose(event.generation, event.suggestions)
        self._queue.add(
            TrialKey(event.cell, suggestion.configuration, replicate)
            for suggestion in event.suggestions
            for replicate in range(self.plan.replicates)
        )
        self._offer(cell)
        return []

    def _lease_wanted(self, worker: str) -> list[Instruction]:
        self._workers.add(worker)
        self._take_back(worker)
        self._idle[worker] = None
        return []

    def _trial_ended(self, event: TrialsEnded, outcome: Outcome) -> Instruction:
        held = self._held.get(event.worker)
        if held is None or held.number != event.lease or held.trials.pop(outcome.trial, None) is None:
            return DiscardOutcome(outcome, event.lease, event.worker)
        if outcome.cause is None or outcome.cause.deterministic or outcome.cause in _FINAL:
            return self._decide(outcome, event.lease, event.worker)
        return self._fail_attempt(outcome, event.lease, event.worker)

    def _worker_lost(self, worker: str) -> list[Instruction]:
        self._workers.discard(worker)
        self._idle.pop(worker, None)
        held = self._held.pop(worker, None)
        if held is None or not held.trials:
            return []
        if len(held.trials) > 1:
            # Which of them was running is not known, so none is charged; leased alone, the next loss tells.
            self._queue.suspect(held.trials)
            return []
        ((trial, attempt),) = held.trials.items()
        lost = Outcome(trial, attempt, State.FAIL, Cause.WORKER_LOST, error=f"worker {worker} died while it ran this")
        return [self._fail_attempt(lost, held.number, worker)]

    # Consequences

    def _fail_attempt(self, outcome: Outcome, lease: int, worker: str) -> Instruction:
        assert outcome.cause is not None
        charged = outcome.cause not in _UNCHARGED
        attempts = self._charges.get(outcome.trial, 0) + charged
        if attempts >= self.plan.attempts:
            return self._decide(outcome, lease, worker)
        if charged:
            self._charges[outcome.trial] = attempts
        self._queue.suspect([outcome.trial])
        return RecordAttempt(outcome.trial, outcome.attempt, outcome.cause, lease, worker)

    def _decide(self, outcome: Outcome, lease: int, worker: str) -> RecordOutcome:
        trial = outcome.trial
        cell = self._cells[trial.cell]
        suggestion = cell.open[trial.configuration]
        cell.decide(trial.configuration, trial.replicate, Decision(outcome.state, outcome.cause, outcome.value))
        self._charges.pop(trial, None)
        self._undecided -= 1
        seconds = max(0.0, outcome.ended - outcome.started)
        cell.seconds = seconds if cell.seconds is None else 0.8 * cell.seconds + 0.2 * seconds
        self._offer(cell)
        generation = trial.configuration // self.plan.generation
        return RecordOutcome(outcome, generation, suggestion, lease, worker)

    def _take_back(self, worker: str) -> None:
        held = self._held.pop(worker, None)
        if held is not None:
            self._queue.put_back(held.trials)

    def _advance(self) -> list[Instruction]:
        if self.closed:
            return self._dismiss_idle()
        done: list[Instruction] = [] if self.draining else [*self._ask(), *self._grant()]
        if not self._undecided or (self.draining and not self._held):
            self.closed = "drained" if self._undecided else "finished"
            done.append(CloseSweep(self.closed))
        if self.closed or self.draining:
            done.extend(self._dismiss_idle())
        return done

    def _dismiss_idle(self) -> list[Instruction]:
        done: list[Instruction] = [DismissWorker(worker) for worker in self._idle]
        self._workers.difference_update(self._idle)
        self._idle.clear()
        return done

    # Proposals

    def _may_ask(self, cell: CellResults) -> bool:
        if cell.asked >= self.plan.generations:
            return False
        if not self.plan.sequential:
            return True
        return cell.asked == cell.proposed and cell.frontier >= cell.proposed - self.plan.lag

    def _offer(self, cell: CellResults) -> None:
        if self._may_ask(cell):
            self._askable[cell.cell.key] = None

    def _ask(self) -> Iterable[Instruction]:
        wanted = max(64, 2 * len(self._workers) * LEASE_TRIALS)
        batch = self.plan.generation * self.plan.replicates
        while self._askable and len(self._queue) + batch * self._in_flight < wanted:
            key = next(iter(self._askable))
            del self._askable[key]
            cell = self._cells[key]
            yield ProposeGeneration(key, cell.asked)
            cell.asked += 1
            self._in_flight += 1
            self._offer(cell)

    # Leases

    def _grant(self) -> Iterable[Instruction]:
        for worker in list(self._idle):
            trials = self._queue.take(len(self._workers), lambda trial: self._cells[trial.cell].seconds)
            if not trials:
                return
            del self._idle[worker]
            self._leases += 1
            assignments = tuple(self._assignment(trial) for trial in trials)
            self._held[worker] = _Held(self._leases, {each.trial: each.attempt for each in assignments})
            yield GrantLease(Lease(self._leases, worker, assignments))

    def _assignment(self, trial: TrialKey) -> Assignment:
        cell = self._cells[trial.cell]
        params = {**cell.cell.params, **cell.open[trial.configuration].params}
        return Assignment(trial, self._charges.get(trial, 0) + 1, params)

    def validate(self) -> None:
        """Check every invariant; a broken one is a defect of Swathe."""
        held = [trial for each in self._held.values() for trial in each.trials]
        queued = list(self._queue)
        undecided = [trial for cell in self._cells.values() for trial in cell.undecided()]
        assert sorted(held + queued) == sorted(undecided), "an open trial is in one lease or one queue, and once"
        unproposed = sum(
            len(self.plan.numbers(generation)) * self.plan.replicates
            for cell in self._cells.values()
            for generation in range(cell.proposed, self.plan.generations)
        )
        assert self._undecided == len(undecided) + unproposed
        assert not set(self._idle) & set(self._held), "a worker is idle or holds a lease"
        assert set(self._charges) <= set(undecided), "only open trials have charges"
        assert all(count < self.plan.attempts for count in self._charges.values())
        for cell in self._cells.values():
            assert not self.plan.sequential or cell.proposed <= cell.frontier + self.plan.lag + 1
