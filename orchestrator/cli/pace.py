"""One moment of a sweep, and how fast it goes on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .crew import Crew
from .printing import duration, number
from .standing import Standing

WINDOW_SECONDS = 60.0
WINDOW_TRIALS = 20


class Pace:
    """How fast trials are decided: over the last minute, or over as long as the last twenty took."""

    def __init__(self, workers: int | None) -> None:
        self._workers = workers or 1
        self._seen: deque[tuple[float, int]] = deque()
        self._busy = 0.0

    def observe(self, now: float, decided: int, busy: float) -> None:
        """Take in that `decided` trials, which ran for `busy` seconds in all, have a final word at `now` (seconds)."""
        seen = self._seen
        if not seen:
            self._busy = busy
        elif len(seen) == 1 and decided > seen[0][1]:
            # Workers take a while to start; the time counts from when these trials must have begun.
            began = max(seen[0][0], now - (busy - self._busy) / self._workers)
            seen[0] = (began, seen[0][1])
        elif len(seen) == 1:
            return
        seen.append((now, decided))
        while len(seen) > 2 and now - seen[1][0] > WINDOW_SECONDS and decided - seen[1][1] >= WINDOW_TRIALS:
            seen.popleft()

    @property
    def rate(self) -> float | None:
        """Trials a second; None when none has ended."""
        if len(self._seen) < 2:
            return None
        (begin, count), (end, last) = self._seen[0], self._seen[-1]
        return (last - count) / max(end - begin, 1e-3)


@dataclass(frozen=True, slots=True)
class View:
    """One moment of a sweep. `workers` is None where their number is not known; `seconds` have passed.

    `crew` are the workers of one on a cluster, `failures` the last ones, a line each.
    """

    name: str
    now: Standing
    rate: float | None
    workers: int | None
    seconds: float
    stopping: bool
    crew: Crew | None = None
    failures: tuple[str, ...] = ()

    @property
    def pace(self) -> str:
        """Throughput, time left and workers for people."""
        parts: list[str] = []
        if self.rate is not None:
            slow = self.rate < 0.1
            parts.append(f"{number(self.rate * 60, digits=3)} trials/min" if slow else f"{self.rate:.1f} trials/s")
            if self.now.counts.open:
                parts.append(f"about {duration(self.now.counts.open / self.rate)} left")
        elif self.now.counts.open:
            parts.append("no trial has ended yet")
        if self.workers is not None:
            parts.append(f"{self.workers} worker{'s' * (self.workers != 1)}")
        return ", ".join(parts)
