"""When so many trials fail that going on would waste the rest."""

from __future__ import annotations

from ..messages import Cause

LEAST = 10
LEAST_SHARE = 0.05


class FailureWatch:
    """Counts how trials are decided from now on; what failed before this run of the sweep does not end it again."""

    def __init__(self, trials: int, limit: float | None) -> None:
        self._enough = max(LEAST, LEAST_SHARE * trials)
        self._limit = limit
        self._decided = 0
        self._failed = 0

    def decided(self, cause: Cause | None) -> None:
        """A trial has its final word. Divergence is a result, and cancelled trials failed by nobody's fault."""
        self._decided += cause is not Cause.CANCELLED
        self._failed += cause not in (None, Cause.DIVERGED, Cause.CANCELLED)

    @property
    def exceeded(self) -> bool:
        """Whether the sweep should end: more than the limit failed of enough trials."""
        if self._limit is None or self._decided < self._enough:
            return False
        return self._failed > self._limit * self._decided
