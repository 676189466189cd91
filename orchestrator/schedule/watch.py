"""Which workers must be killed, because the trial that they run has broken a limit."""

from __future__ import annotations

from dataclasses import dataclass

from ..deadlines import Deadlines
from ..messages import Loss, Running


@dataclass(frozen=True, slots=True)
class Watch:
    """Judges workers from outside by what they said last: one that hangs in C code says nothing any more.

    A trial may be `slack` seconds late, so that gentler means come first.
    """

    deadlines: Deadlines
    slack: float

    def judge(self, worker: str, now: float, noted: Running | None, pushed: Running | None) -> Loss | None:
        """The loss of `worker` if it is to be killed; `noted` is what it began last, `pushed` its last push."""
        running = latest(noted, pushed)
        if running is None:
            return None
        elapsed = now - running.began
        limits = self.deadlines.times(running.lanes)
        cause = limits.broken(elapsed, now - running.spoke, self.slack)
        if cause is None:
            return None
        error = f"worker {worker} was killed while it ran this: {limits.told(cause)}"
        return Loss(worker, running.trial, cause, elapsed, error)


def latest(noted: Running | None, pushed: Running | None) -> Running | None:
    """What a worker runs: the note is exact about which trial, a push knows of later reports."""
    same = noted is not None and pushed is not None and (noted.trial, noted.began) == (pushed.trial, pushed.began)
    return pushed if same else noted
