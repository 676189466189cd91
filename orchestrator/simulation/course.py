"""What a trial does when it is left alone, and what one lease sees of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from ..messages import Cause, Scalar, State


@dataclass(frozen=True, slots=True)
class Course:
    """The whole course of one trial.

    `reports` are the steps at which it reports, ascending; `value(step)` is the objective reported there and
    `seconds(step)` the seconds of training before it. It ends after `total` seconds, having reported `last` last, with
    the objective `final`; or, where `cause` is given, without one, of its own accord.
    """

    reports: Sequence[int]
    value: Callable[[int], float]
    seconds: Callable[[int], float]
    total: float
    last: int | None
    final: float | None
    cause: Cause | None = None

    def report_from(self, step: int) -> int | None:
        """The first step at or after `step` at which it reports."""
        place = bisect_left(self.reports, step)
        return self.reports[place] if place < len(self.reports) else None

    def stretched(self, factor: float) -> Course:
        """The same course, `factor` times slower."""
        seconds = self.seconds
        return replace(self, seconds=lambda step: factor * seconds(step), total=factor * self.total)

    def lengthened(self, factor: float) -> Course:
        """The same course over `factor` times as many steps, in the same time."""
        if factor == 1.0:
            return self
        value, seconds = self.value, self.seconds
        old = {round(step * factor): step for step in self.reports}
        return replace(
            self,
            reports=sorted(old),
            value=lambda step: value(old[step]),
            seconds=lambda step: seconds(old[step]),
            last=None if self.last is None else round(self.last * factor),
        )


class Workload(Protocol):
    """Knows the course of every trial that may be proposed."""

    @property
    def optimum(self) -> float | None:
        """The best objective that any configuration can truly reach, where that is known."""
        ...

    def course(self, params: Mapping[str, Scalar], replicate: int) -> Course:
        """The course of the trial with all these parameters (grid, fixed and searched)."""
        ...

    def truth(self, params: Mapping[str, Scalar]) -> float | None:
        """What the configuration truly reaches when it is trained to the end; None when it fails or diverges."""
        ...


class Stretch(NamedTuple):
    """What one lease sees of a trial: how it stopped, after how many seconds and at which step."""

    state: State
    cause: Cause | None
    value: float | None
    steps: int | None
    seconds: float


def stretch(course: Course, resume_from: int | None, pause_at: int | None) -> Stretch:
    """Train from the checkpoint of step `resume_from` (None: the beginning) to the first report from `pause_at` on.

    Without such a report, or with `pause_at` None, to the end.
    """
    done = 0.0 if resume_from is None else course.seconds(resume_from)
    pause = None if pause_at is None else course.report_from(pause_at)
    if pause is not None:
        return Stretch(State.WAITING, None, course.value(pause), pause, max(0.0, course.seconds(pause) - done))
    state = State.FAIL if course.cause else State.COMPLETE
    value = None if course.cause else course.final
    return Stretch(state, course.cause, value, course.last, max(0.0, course.total - done))
