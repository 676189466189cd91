"""What a worker gets next, and what becomes of the trials that a worker had when it went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..events import GrantLease, WorkerLost
from ..messages import Assignment, Cause, Outcome, State, TrialKey
from .backlog import Backlogs
from .plan import Plan
from .results import CellResults
from .workforce import Workforce


def grants(
    workforce: Workforce,
    backlogs: Backlogs,
    assignment: Callable[[TrialKey], Assignment],
    seconds: Callable[[TrialKey], float | None],
) -> Iterator[GrantLease]:
    """A lease for each idle worker while there is work: measurements first, for packs wait for them; then packs."""
    for share, backlog in backlogs.items():
        while (worker := workforce.idle(share)) is not None:
            if (order := backlog.packs.calibration(worker)) is not None:
                yield GrantLease(workforce.grant(worker, (), calibration=order))
            elif (pack := backlog.packs.take()) is not None:
                yield GrantLease(workforce.grant(worker, tuple(map(assignment, pack)), fused=True))
            elif trials := backlog.queue.take(workforce.count(share), seconds):
                yield GrantLease(workforce.grant(worker, tuple(map(assignment, trials))))
            else:
                break


def running(trials: Mapping[TrialKey, int], backlogs: Backlogs, known: TrialKey | None) -> list[TrialKey]:
    """Those of a lost lease's `trials` that had been running: all of a pack, else the `known` or the only one."""
    if together := backlogs.together(trials):
        return together
    if known in trials and known is not None:
        return [known]
    return list(trials) if len(trials) == 1 else []


def lost(event: WorkerLost, ran: Sequence[TrialKey], trials: Mapping[TrialKey, int]) -> list[Outcome]:
    """The outcomes of trials that `ran` when their worker was lost; `trials` has their attempts."""
    began = event.at if event.began is None else event.began
    error = event.error or f"worker {event.worker} died while it ran this"
    common = Outcome(ran[0], 1, State.FAIL, event.cause, started=began, ended=event.at, error=error, lanes=len(ran))
    return [replace(common, trial=trial, attempt=trials[trial]) for trial in ran]


def cancelled(at: float, ran: Iterable[TrialKey], trials: Mapping[TrialKey, int]) -> list[Outcome]:
    """The outcomes of trials that were running when the sweep was cancelled."""
    return [Outcome(t, trials[t], State.FAIL, Cause.CANCELLED, started=at, ended=at) for t in ran]


def assignment(plan: Plan, cell: CellResults, trial: TrialKey, attempt: int) -> Assignment:
    """What a worker is told of an open trial: where it starts, and where it may end."""
    params = {**cell.cell.params, **cell.open[trial.configuration].params}
    pause_at = resume_from = None
    resume_values: tuple[float | None, ...] = ()
    if plan.rungs is not None:
        rung = cell.standing(trial.configuration // plan.generation).rung
        pause_at = None if rung is None else plan.rungs.step(rung)
    curve = None if plan.cutoffs is None else ()
    if (pause := cell.last_pause(trial)) is not None and pause.outcome.kept:
        resume_from, curve = pause.outcome.steps, curve if curve is None else pause.outcome.curve
        resume_values = (pause.outcome.value, *map(pause.outcome.metrics.get, plan.others))
    # Who has been voted on goes on to the end.
    voted = cell.rungs_passed(trial.configuration, trial.replicate)
    cutoffs = None if voted else plan.cutoffs
    return Assignment(trial, attempt, params, pause_at, resume_from, resume_values, cutoffs, curve)
