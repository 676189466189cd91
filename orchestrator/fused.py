"""Runs one pack: trials of equal shape as lanes of one program, each with a handle, an outcome and a state of its own.

Every lane reports to its own recorder, so that it diverges, is pruned or pauses as the same trial would alone. What
the program raises concerns the pack: nobody knows which lane was at fault, so a pack of several says that it failed as
one and is split, until the lane at fault stands alone and fails with its own error. A mistake in the program itself
(`ProgramError`) would be found in every part of the pack again, so all of its trials fail with it at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import time
from typing import cast

from .deadlines import Stopwatch, TrialFailed
from .errors import SwatheError
from .messages import Assignment, Calibration, Capacity, Cause, Outcome, State, Verdict
from .outcomes import cause_of, describe
from .runner import Recorder, Returned, Runner
from .schema import MetricRow
from .task import Fusible


@dataclass(slots=True)
class FusedRunner(Runner):
    """A `Runner` for a task that is a program: it runs packs as well, and measures how many lanes pay."""

    def calibrate(self, order: Calibration) -> Capacity:
        """What was measured, and the number of lanes that follows from it."""
        found = self._program.calibrate(order.params, order.trials, self.context.device)
        return Capacity(order.shape, found.lanes, self.context.device, found.measured, found.note)

    def run_pack(
        self,
        assignments: Sequence[Assignment],
        add: Callable[[MetricRow], None],
        verdict: Callable[[], Verdict] = lambda: Verdict.CONTINUE,
    ) -> tuple[list[Outcome], list[threading.Thread]]:
        """The outcomes of the trials, in order, and the threads that they left running."""
        recorders = self._recorders(assignments, add, verdict)
        handles = [self._handle(*pair) for pair in zip(assignments, recorders, strict=True)]
        started = time()

        def train() -> list[Returned]:
            results = self._program.train_pack(handles)
            return [self._read(*pair) for pair in zip(results, recorders, strict=True)]

        returned, error, left = self._call(train, handles, assignments[0].trial)
        times = (started, time())
        if error is not None:
            return self._failed(assignments, error, times), left
        judged = [
            self._judge(assignment, recorder, each, None, times)
            for assignment, recorder, each in zip(assignments, recorders, returned, strict=True)
        ]
        return [replace(outcome, lanes=len(assignments)) for outcome in judged], left

    @property
    def _program(self) -> Fusible:
        return cast(Fusible, self.context.fusible)

    def _recorders(
        self, assignments: Sequence[Assignment], add: Callable[[MetricRow], None], verdict: Callable[[], Verdict]
    ) -> list[Recorder]:
        context, ears = self.context, _SameVerdict(verdict)
        watch = Stopwatch(context.deadlines.times(len(assignments)))
        return [
            Recorder(
                each,
                *context.told,
                context.states,
                add,
                lambda lane=lane: ears.of(lane),
                watch,
            )
            for lane, each in enumerate(assignments)
        ]

    def _failed(
        self, assignments: Sequence[Assignment], error: BaseException, times: tuple[float, float]
    ) -> list[Outcome]:
        cause = Cause.OUT_OF_MEMORY if self._program.out_of_memory(error) else cause_of(error)
        whole = isinstance(error, TrialFailed | SwatheError) and cause is not Cause.OUT_OF_MEMORY
        first = assignments[0]
        failed = Outcome(first.trial, 1, State.FAIL, cause, started=times[0], ended=times[1], error=describe(error))
        failed = replace(failed, lanes=len(assignments), split=len(assignments) > 1 and not whole)
        return [replace(failed, trial=each.trial, attempt=each.attempt) for each in assignments]


class _SameVerdict:
    """Asks once for all lanes of a step: lanes go in step, so all of them pause at the same one or none does."""

    def __init__(self, ask: Callable[[], Verdict]) -> None:
        self._ask = ask
        self._asked: set[int] = set()
        self._answer = Verdict.CONTINUE

    def of(self, lane: int) -> Verdict:
        """The verdict for a lane; the first that asks a second time has come to the next step."""
        if not self._asked or lane in self._asked:
            self._answer = self._ask()
            self._asked = set()
        self._asked.add(lane)
        return self._answer
