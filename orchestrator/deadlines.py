"""How long a trial may take: the limits of one execution, a stopwatch for it, and the end that both lead to."""

from __future__ import annotations

from dataclasses import dataclass, field

# Its own reference, as in every module that works while a trial runs: training code may patch the clock.
from time import monotonic

from .messages import Cause


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that one execution of a trial may take (`trial`), and may go on without a report (`stall`)."""

    trial: float | None = None
    stall: float | None = None

    def __bool__(self) -> bool:
        return self.trial is not None or self.stall is not None

    def broken(self, elapsed: float, silent: float, slack: float = 0.0) -> Cause | None:
        """What an execution that has taken `elapsed` seconds, and has been `silent` for some, is guilty of."""
        if self.trial is not None and elapsed > self.trial + slack:
            return Cause.TIMEOUT
        if self.stall is not None and silent > self.stall + slack:
            return Cause.STALLED
        return None

    def times(self, lanes: int) -> Deadlines:
        """The limits of so many trials that run together: each of them takes its time, though not one by one."""
        return Deadlines(*(None if limit is None else lanes * limit for limit in (self.trial, self.stall)))

    def told(self, cause: Cause) -> str:
        """The limit behind `cause`, for the user."""
        if cause is Cause.TIMEOUT:
            return f"it ran for more than limits.trial, {self.trial:g} s"
        return f"it made no report for more than limits.stall, {self.stall:g} s"


NO_DEADLINES = Deadlines()


class TrialFailed(BaseException):
    """A trial was ended, or died, for a cause that its code does not decide; the message is for the user.

    A `BaseException`, so that an `except Exception` in a training function cannot swallow it.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(slots=True)
class Stopwatch:
    """Runs beside one execution of a trial, from its creation on."""

    deadlines: Deadlines
    began: float = field(default_factory=monotonic)
    spoke: float = field(default_factory=monotonic)

    def check(self) -> None:
        """Raise `TrialFailed` when a limit is broken."""
        now = monotonic()
        cause = self.deadlines.broken(now - self.began, now - self.spoke)
        if cause is not None:
            raise TrialFailed(cause, f"the trial was ended: {self.deadlines.told(cause)}")

    def report(self) -> None:
        """A report is made. Raises `TrialFailed` when it came too late."""
        if self.deadlines:
            self.check()
            self.spoke = monotonic()
