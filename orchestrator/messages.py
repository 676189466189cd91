"""The frozen records that cross boundaries. Times are Unix seconds (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .cutoffs import Curve, Cutoffs

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
    """One trial inside a lease, with all its parameters (grid, fixed and searched).

    It pauses at its first report with a step of `pause_at` or more, and starts from the checkpoint of step
    `resume_from`; None means never, and from the beginning. `resume_values` are the objectives last reported by then.
    `cutoffs` end it by its own curve; where the sweep has such, `curve` is what it reported until `resume_from`.
    """

    trial: TrialKey
    attempt: int
    params: Mapping[str, Scalar]
    pause_at: int | None = None
    resume_from: int | None = None
    resume_values: tuple[float | None, ...] = ()
    cutoffs: Cutoffs | None = None
    curve: Curve | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """An order to measure how many lanes pay: a shape's name, parameters of a trial that has it, how many have it."""

    shape: str
    params: Mapping[str, Scalar]
    trials: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many lanes the packs of a shape have, 0 where its trials run plainly; once recorded it holds for a sweep.

    `measured` are seconds and bytes by name on `device`, where it was measured; `note` says why.
    """

    shape: str
    lanes: int
    device: str = ""
    measured: Mapping[str, float] = field(default_factory=dict[str, float])
    note: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """A grant of trials to one worker, in the order in which they are to be run; `fused`, as lanes of one program.

    A lease without trials may order a measurement.
    """

    number: int
    worker: str
    assignments: tuple[Assignment, ...]
    fused: bool = False
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt of a trial ended, or, where `state` is WAITING, paused.

    `value` is the first objective (None after FAIL), `metrics` the other declared final metrics, `steps` the last step
    reported, `started` and `ended` Unix seconds, `error` a traceback or "". `kept` says that a paused trial's state
    was saved at `steps`; a cause of PREEMPTED, that it paused because it was asked to and not at a rung. `curve` is
    what a complete or paused trial has reported of the metric that it is pruned by, where cutoffs are made of that.
    `lanes` ran together with it, itself included; `split` says that they failed as one, so that nobody knows whose
    fault it was.
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
    kept: bool = False
    curve: Curve = ()
    lanes: int = 1
    split: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """A trial that has given its worker away. `lineage` are the leases whose rows count if it were to end here."""

    outcome: Outcome
    lease: int
    worker: str
    lineage: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowBlob:
    """Compressed metric rows, as `schema.encode_rows` makes them: of one running trial, or of several ended ones."""

    payload: bytes
    count: int
    running: TrialKey | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Who a worker is; the columns `worker`, `node` and `device` of its trials. It has what those of `share` occupy."""

    worker: str
    node: str
    device: str
    pid: int
    share: str = ""
    gpus: tuple[str, ...] = ()
    """Of the node, as `nvidia-smi` counts them or by UUID."""


@dataclass(frozen=True, slots=True)
class Running:
    """The trial that a worker runs, by the monotonic clock of its machine: since when, and its last report (or that).

    Processes of one machine share that clock. Of a pack it is the first trial, and `lanes` counts them all.
    """

    trial: TrialKey
    began: float
    spoke: float
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker has died or was killed, for `cause`; it had run `trial` (None: nobody knows) for some `seconds`."""

    worker: str
    trial: TrialKey | None = None
    cause: Cause = Cause.WORKER_LOST
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """All that a worker says in one call. `wants_lease` is true when it has nothing left to run.

    `capacity` is what it has measured by order of its lease. `number` counts the pushes of a worker that may outlive
    its scheduler, from 1.
    """

    worker: str
    lease: int | None
    outcomes: tuple[Outcome, ...] = ()
    rows: tuple[RowBlob, ...] = ()
    wants_lease: bool = False
    running: Running | None = None
    capacity: Capacity | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """The lease that a worker of an earlier scheduler still holds: trials without an acknowledged outcome."""

    lease: int
    trials: tuple[TrialKey, ...]
    fused: bool = False


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
