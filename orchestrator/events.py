"""What goes into the pure schedule and what comes out: events are facts in the past tense, instructions are orders."""

from __future__ import annotations

from dataclasses import dataclass

from .messages import Capacity, Cause, Held, Lease, Outcome, Pause, Suggestion, TrialKey

# Events of the schedule.


@dataclass(frozen=True, slots=True)
class GenerationProposed:
    """The suggestions of one generation of one cell have been made."""

    at: float
    cell: str
    generation: int
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True, slots=True)
class LeaseWanted:
    """A worker has nothing to run; it has what trials of this `share` occupy."""

    at: float
    worker: str
    share: str = ""


@dataclass(frozen=True, slots=True)
class LeaseKept:
    """A worker that an earlier scheduler had given this lease to still runs it."""

    at: float
    worker: str
    held: Held


@dataclass(frozen=True, slots=True)
class WorkerLeaves:
    """A worker is to be given nothing any more: its node goes, or there are too many workers."""

    at: float
    worker: str


@dataclass(frozen=True, slots=True)
class TrialsEnded:
    """A worker reports how trials of its lease ended."""

    at: float
    worker: str
    lease: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class ShapeMeasured:
    """A worker has found out how many lanes the packs of a shape are to have."""

    at: float
    capacity: Capacity


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone, for `cause`, and with it whatever it was running: `trial` since `began`, or nobody knows."""

    at: float
    worker: str
    trial: TrialKey | None = None
    cause: Cause = Cause.WORKER_LOST
    began: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """No trial is to be started any more; those that run may end. `reason` is what the sweep then closes with."""

    at: float
    reason: str = "drained"


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The sweep is to end at once; running trials are killed."""

    at: float


Event = (
    GenerationProposed
    | LeaseWanted
    | LeaseKept
    | WorkerLeaves
    | TrialsEnded
    | ShapeMeasured
    | WorkerLost
    | DrainRequested
    | CancelRequested
)


# Instructions of the schedule.


@dataclass(frozen=True, slots=True)
class ProposeGeneration:
    """Ask the search for one generation of one cell; its view is complete."""

    cell: str
    generation: int


@dataclass(frozen=True, slots=True)
class GrantLease:
    """Give this lease to its worker."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """Write this outcome as the trial's own; of its rows those of the leases in `lineage` count."""

    outcome: Outcome
    generation: int
    suggestion: Suggestion
    lease: int
    worker: str
    lineage: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordPause:
    """Write that this trial has paused."""

    pause: Pause


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """Write that this attempt ended without deciding its trial, which waits again."""

    trial: TrialKey
    attempt: int
    cause: Cause
    lease: int
    worker: str


@dataclass(frozen=True, slots=True)
class DiscardOutcome:
    """This outcome came from a lease that no longer holds the trial; write it down as late, change nothing."""

    outcome: Outcome
    lease: int
    worker: str


@dataclass(frozen=True, slots=True)
class RecordCapacity:
    """Write how many lanes the packs of a shape have from now on."""

    capacity: Capacity


@dataclass(frozen=True, slots=True)
class DismissWorker:
    """Nothing will ever be left for this worker."""

    worker: str


@dataclass(frozen=True, slots=True)
class CloseSweep:
    """Every trial is decided, or the sweep is left: `reason` is finished, drained, cancelled, budget or failures."""

    reason: str


Instruction = (
    ProposeGeneration
    | GrantLease
    | RecordOutcome
    | RecordPause
    | RecordAttempt
    | DiscardOutcome
    | RecordCapacity
    | DismissWorker
    | CloseSweep
)
