"""Ending a trial by its own curve: Optuna's median, percentile, patient and threshold rules, compiled to numbers.

The numbers come from a view and travel with the trial, so the step at which it ends never depends on timing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Curve = tuple[tuple[int, float], ...]  # (step, value) of every report, in order


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """When a trial has done badly enough.

    - `table`: at these steps the best report so far must not be worse than this (median, percentile);
    - `lower`, `upper`: no report may lie outside (threshold);
    - `patience`: the best of the last `patience` + 1 reports must not be worse than the best before them by more than
      `min_delta` (patient).

    Reports before `min_step` are not looked at, later ones once in `interval` steps. With `votes` the trial waits for
    the other replicates of its configuration, and most of them decide; otherwise it ends.
    """

    minimize: bool = True
    table: Mapping[int, float] = field(default_factory=dict[int, float])
    lower: float | None = None
    upper: float | None = None
    patience: int | None = None
    min_delta: float = 0.0
    min_step: int = 0
    interval: int = 1
    votes: bool = False


class Follower:
    """Follows one trial's reports, which began with `curve`."""

    def __init__(self, cutoffs: Cutoffs, curve: Curve = ()) -> None:
        self._cutoffs = cutoffs
        self._sign = 1.0 if cutoffs.minimize else -1.0
        self._costs: list[float] = []  # lower is better
        self._best = float("inf")
        self._furthest = -1
        for step, value in curve:
            self._add(step, value)

    def crossed(self, step: int, value: float) -> bool:
        """Whether the trial is to end at this report."""
        due = step >= self._cutoffs.min_step and self._furthest < self._check_before(step)
        self._add(step, value)
        return (due and (self._outside(value) or self._behind(step))) or self._stuck()

    def _add(self, step: int, value: float) -> None:
        self._costs.append(self._sign * value)
        self._best = min(self._best, self._costs[-1])
        self._furthest = max(self._furthest, step)

    def _check_before(self, step: int) -> int:
        """The last step at which a check was due; a report passes it for the first time, or does not."""
        first, interval = self._cutoffs.min_step, self._cutoffs.interval
        return (step - first) // interval * interval + first

    def _outside(self, value: float) -> bool:
        lower, upper = self._cutoffs.lower, self._cutoffs.upper
        return (lower is not None and value < lower) or (upper is not None and value > upper)

    def _behind(self, step: int) -> bool:
        cutoff = self._cutoffs.table.get(step)
        return cutoff is not None and self._best > self._sign * cutoff

    def _stuck(self) -> bool:
        patience = self._cutoffs.patience
        if patience is None or len(self._costs) <= patience + 1:
            return False
        return min(self._costs[: -patience - 1]) + self._cutoffs.min_delta < min(self._costs[-patience - 1 :])


def percentile(values: Sequence[float], share: float) -> float:
    """The `share`-th percentile, in [0, 100], of at least one value, interpolated linearly: numpy's default."""
    ordered = sorted(values)
    place = share / 100 * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 1)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    part = place - below
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
