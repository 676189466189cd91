"""What a worker keeps for good when results lie in a store: the artifacts and logs of its trials, as they end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from . import storage
from .beside import Beside
from .layout import artifacts_path, log_path
from .messages import Assignment, Calibration, Capacity, Outcome, TrialKey, Verdict
from .schema import MetricRow
from .storage import Remote
from .worker import PackRunner, TrialRunner

Add = Callable[[MetricRow], None]
Ask = Callable[[], Verdict]


@contextmanager
def shipped(runner: TrialRunner, folder: Path, results: str | None) -> Iterator[TrialRunner]:
    """The runner, whose trials' files go to `results` beside its work; at the end all of them are there.

    Raises `StorageError` when the store has failed for long at the end.
    """
    place = storage.place_of(results) if results else folder
    if not isinstance(place, Remote):
        yield runner
        return
    beside = Beside(str(place))
    try:
        yield _Shipping(runner, folder, place, beside)
        beside.finish()
    finally:
        beside.close()


class _Shipping:
    """A runner around a runner: fetches the log that a trial goes on with, and sends what it has left."""

    def __init__(self, runner: TrialRunner, folder: Path, place: Remote, beside: Beside) -> None:
        self._runner = runner
        self._folder = folder
        self._place = place
        self._beside = beside

    def run(
        self, assignment: Assignment, add: Add, verdict: Ask = lambda: Verdict.CONTINUE
    ) -> tuple[Outcome, Sequence[threading.Thread]]:
        """The outcome of one trial, and the threads that it left running."""
        self._fetch(assignment)
        ended = self._runner.run(assignment, add, verdict)
        self._send(assignment.trial)
        return ended

    def run_pack(
        self, assignments: Sequence[Assignment], add: Add, verdict: Ask = lambda: Verdict.CONTINUE
    ) -> tuple[Sequence[Outcome], Sequence[threading.Thread]]:
        """The outcomes of the trials, in order, and the threads that they left running."""
        self._fetch(assignments[0])
        ended = cast(PackRunner, self._runner).run_pack(assignments, add, verdict)
        for each in assignments:
            self._send(each.trial)
        return ended

    def calibrate(self, order: Calibration) -> Capacity:
        """What was measured."""
        return cast(PackRunner, self._runner).calibrate(order)

    def _fetch(self, assignment: Assignment) -> None:
        log = log_path(self._folder, assignment.trial)
        if log.exists() or (assignment.attempt == 1 and assignment.resume_from is None):
            return
        try:
            earlier = storage.read_bytes(_there(self._folder, log, self._place))
        except storage.StorageError:
            # A log is not worth the trial.
            return
        if earlier:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(earlier)

    def _send(self, trial: TrialKey) -> None:
        for path in (log_path(self._folder, trial), artifacts_path(self._folder, trial)):
            if path.exists():
                place = _there(self._folder, path, self._place)
                self._beside.do(lambda path=path, place=place: storage.upload(path, place))


def _there(folder: Path, path: Path, place: Remote) -> Remote:
    return place / path.relative_to(folder).as_posix()
