"""What comes to a scheduler as events: pushes of workers, and workers that come and go."""

from __future__ import annotations

from collections.abc import Iterable

from .events import Event, LeaseKept, LeaseWanted, ShapeMeasured, TrialsEnded, WorkerLeaves
from .messages import Held, Push, WorkerInfo


def events_of(push: Push, now: float, info: WorkerInfo | None) -> Iterable[Event]:
    """The events of one push of the worker that `info` tells of, taken in at `now` (Unix seconds)."""
    if push.lease is not None and push.outcomes:
        yield TrialsEnded(now, push.worker, push.lease, push.outcomes)
    if push.capacity is not None:
        yield ShapeMeasured(now, push.capacity)
    if push.wants_lease:
        yield LeaseWanted(now, push.worker, "" if info is None else info.share)


def says(push: Push) -> bool:
    """Whether a push would do harm if it were taken in twice."""
    return bool(push.outcomes or push.rows or push.capacity)


class Movements:
    """Workers that come with a lease of an earlier scheduler, and workers that are to go, until the next tick."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, Held]] = []
        self._leaving: dict[str, bool] = {}

    def keep(self, worker: str, held: Held) -> None:
        """The worker goes on with this lease."""
        self._kept.append((worker, held))

    def leave(self, worker: str) -> None:
        """The worker is to hand back its trials and go."""
        self._leaving.setdefault(worker, False)

    def leaves(self, worker: str) -> bool:
        """Whether the worker is to go."""
        return worker in self._leaving

    def events(self, now: float) -> Iterable[Event]:
        """What has not been told yet."""
        kept, self._kept = self._kept, []
        yield from (LeaseKept(now, worker, held) for worker, held in kept)
        for worker in [worker for worker, told in self._leaving.items() if not told]:
            self._leaving[worker] = True
            yield WorkerLeaves(now, worker)
