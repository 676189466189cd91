"""The learning curves of complete trials, and the cutoffs that follow from those that a view shows."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from ..cutoffs import Curve, percentile
from ..messages import State, TrialKey
from .facts import Observation


class Percentile(NamedTuple):
    """Optuna's rule: once `startup` configurations are complete, the best `share` percent of them are good enough."""

    share: float
    startup: int


class Curves:
    """Curves by trial; a report costs sixteen bytes."""

    def __init__(self) -> None:
        self._curves: dict[TrialKey, tuple[array[int], array[float]]] = {}

    def add(self, trial: TrialKey, curve: Curve) -> None:
        """The curve of a trial that is complete."""
        self._curves[trial] = array("q", (step for step, _ in curve)), array("d", (value for _, value in curve))

    def table(
        self, cell: str, view: Sequence[Observation], replicates: int, rule: Percentile, *, minimize: bool
    ) -> dict[int, float]:
        """For each step the value that is just good enough, by the mean curves of the complete configurations."""
        complete = [number for number, each in enumerate(view) if each.state is State.COMPLETE]
        if len(complete) < rule.startup:
            return {}
        at: dict[int, list[float]] = {}
        for number in complete:
            for step, value in self._mean(cell, number, replicates).items():
                at.setdefault(step, []).append(value)
        share = rule.share if minimize else 100 - rule.share
        return {step: percentile(values, share) for step, values in sorted(at.items())}

    def _mean(self, cell: str, number: int, replicates: int) -> dict[int, float]:
        """Over those replicates that have reported at a step."""
        at: dict[int, list[float]] = {}
        for replicate in range(replicates):
            steps, values = self._curves.get(TrialKey(cell, number, replicate), ((), ()))
            for step, value in zip(steps, values, strict=True):
                at.setdefault(step, []).append(value)
        return {step: math.fsum(values) / len(values) for step, values in at.items()}
