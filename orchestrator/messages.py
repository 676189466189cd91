"""The frozen records that cross boundaries: between scheduler and worker, and into and out of the pure schedule.

Events are facts in the past tense, instructions are orders in the imperative. Times are Unix seconds (UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

Scalar = bool | int | float | str


class State(StrEnum):
    """Where a trial stands; Optuna's words."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


class Cause(StrEnum):
    """Why a trial ended as FAIL. The first two follow from the trial alone, the others from its surroundings."""

    DIVERGED = "diverged"
    USER_ERROR = "user_error"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    WORKER_LOST = "worker_lost"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"

    @property
    def deterministic(self) -> bool:
        """Whether running the trial again would end the same way."""
        return self in (Cause.DIVERGED, Cause.USER_ERROR)


class Verdict(StrEnum):
    """What a running trial is told in reply to its reports."""

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    STOP = "STOP"


class TrialKey(NamedTuple):
    """A trial's name in its sweep: cell key, configuration number, replicate."""

    cell: str
    configuration: int
    replicate: int

    def __str__(self) -> str:
        return f"{self.cell}/{self.configuration}/{self.replicate}"

    @classmethod
    def parse(cls, text: str) -> TrialKey:
        """The inverse of `str`. Raises `ValueError` when `text` is not `cell/configuration/replicate`."""
        cell, configuration, replicate = text.split("/")
        return cls(cell, int(configuration), int(replicate))


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The searched parameters of one configuration. `proposed_by` is "random", "grid", "qmc" or "model"."""

    configuration: int
    params: Mapping[str, Scalar]
    proposed_by: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """One trial inside a lease, with all its parameters (grid, fixed and searched)."""

    trial: TrialKey
    attempt: int
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Lease:
    """A grant of trials to one worker, in the order in which they are to be run."""

    number: int
    worker: str
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt of a trial ended.

    `value` is the objective (None unless COMPLETE or PRUNED), `metrics` the other declared final metrics, `steps` the
    last step reported, `started` and `ended` Unix seconds, `error` a traceback or "".
    """

    trial: TrialKey
    attempt: int
    state: State
    cause: Cause | None = None
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    steps: int | None = None
    started: float = 0.0
    ended: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class RowBlob:
    """Compressed metric rows, as `schema.encode_rows` makes them: of one running trial, or of several ended ones."""

    payload: bytes
    count: int
    running: TrialKey | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Who a worker is; the columns `worker`, `node` and `device` of its trials."""

    worker: str
    node: str
    device: str
    pid: int


@dataclass(frozen=True, slots=True)
class Push:
    """All that a worker says in one call. `wants_lease` is true when it has nothing left to run."""

    worker: str
    lease: int | None
    outcomes: tuple[Outcome, ...] = ()
    rows: tuple[RowBlob, ...] = ()
    wants_lease: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a `Push`, sent when everything in it has been committed.

    `lease` answers `wants_lease`; `dismissed` tells the worker to end; `returned` are trials of its present lease
    that it must not start any more.
    """

    lease: Lease | None = None
    dismissed: bool = False
    returned: bool = False
    verdicts: Mapping[TrialKey, Verdict] = field(default_factory=dict[TrialKey, Verdict])


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
    """A worker has nothing to run."""

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
class WorkerLost:
    """A worker is gone, and with it whatever it was running."""

    at: float
    worker: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """No trial is to be started any more; those that run may end."""

    at: float


Event = GenerationProposed | LeaseWanted | TrialsEnded | WorkerLost | DrainRequested


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
    """Write this outcome as the trial's own. `charged` attempts count against `limits.attempts`."""

    outcome: Outcome
    generation: int
    suggestion: Suggestion
    lease: int
    worker: str


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
class DismissWorker:
    """Nothing will ever be left for this worker."""

    worker: str


@dataclass(frozen=True, slots=True)
class CloseSweep:
    """Every trial is decided, or a limit has closed the sweep; `reason` is "finished", "drained" or "failures"."""

    reason: str


Instruction = (
    ProposeGeneration | GrantLease | RecordOutcome | RecordAttempt | DiscardOutcome | DismissWorker | CloseSweep
)
