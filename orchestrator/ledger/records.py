"""What a ledger says of its sweeps, as records."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..messages import Cause, State, TrialKey
from .owner import HEARTBEAT_LIMIT, Owner, refuse_live
from .writing import PartRange


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """A sweep as its ledger knows it. Times are Unix seconds; `metrics` the declared final metrics.

    `heartbeat`, and `asked` when this was read, are by the database's clock. `results` is the URI of its results, None
    where they are in the sweep's folder; `crew` are its workers on a cluster.
    """

    name: str
    spec: str
    root: str
    metrics: tuple[str, ...]
    amendments: tuple[str, ...]
    status: str
    owner: Mapping[str, Any]
    heartbeat: float
    created: float
    epoch: int
    spent: float
    warm: tuple[Mapping[str, Any], ...] = ()
    shapes: Mapping[str, Any] | None = None
    results: str | None = None
    asked: float = 0.0
    crew: Mapping[str, Any] | None = None

    def live(self) -> bool:
        """Whether a driver was at work on it when this was read."""
        if self.status != "running" or not self.owner:
            return False
        return self.asked - self.heartbeat <= HEARTBEAT_LIMIT and not Owner(**self.owner).gone()

    @property
    def condition(self) -> str:
        """running, finished, drained, or interrupted: begun, and nobody is at work on it."""
        begins = self.status == "new" and time.time() - self.created <= HEARTBEAT_LIMIT
        if begins or self.live():
            return "running"
        return "interrupted" if self.status in ("new", "running") else self.status

    def refuse_live(self) -> None:
        """Raise `SweepLive` when a driver may be at work on it."""
        refuse_live(self.name, self.owner if self.status == "running" else {}, self.heartbeat, self.asked)


@dataclass(frozen=True, slots=True)
class CellProgress:
    """Decided trials of one cell: how many by state and cause, the best value, and the seconds they took."""

    cell: str
    counts: Mapping[tuple[State, Cause | None], int]
    lowest: float | None
    highest: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Decided trials of a sweep; `retried` are attempts that did not decide their trial."""

    cells: Mapping[str, CellProgress]
    retried: int
    status: str

    def count(self, *states: State) -> int:
        """Decided trials in the given states; in any state when none is given."""
        counts = (pair for cell in self.cells.values() for pair in cell.counts.items())
        return sum(number for (state, _), number in counts if not states or state in states)

    def causes(self) -> dict[Cause, int]:
        """Failed trials by cause."""
        found: dict[Cause, int] = {}
        for cell in self.cells.values():
            for (_, cause), number in cell.counts.items():
                if cause:
                    found[cause] = found.get(cause, 0) + number
        return found


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed trial: its cause, searched parameters and traceback."""

    trial: TrialKey
    cause: Cause
    attempt: int
    params: Mapping[str, Any]
    error: str
    worker: str


@dataclass(frozen=True, slots=True)
class Tail:
    """A consistent view of the results: finished parts, and what has been committed since.

    `trials` are rows of the ledger's trial table (columns as attributes) or what was kept of them, `blobs` payloads of
    metric rows. Trials in `retired` have been taken back; a part that holds the commit named with them must be read
    without their rows.
    """

    parts: tuple[PartRange, ...]
    trials: Sequence[Any]
    blobs: tuple[bytes, ...]
    retired: tuple[tuple[str, int], ...] = ()
