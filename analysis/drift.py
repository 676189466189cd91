"""The slope of the optima along the axis, with an interval and with what censored optima leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

from .optima import Fit
from .statistics import Spread, half_width, jackknife_variance, pool, slope_weights

Side = Literal["low", "high"]


@dataclass(frozen=True, slots=True)
class Slope:
    """Octaves of the hyperparameter per doubling of the axis.

    `unbounded` says in which directions censored optima let it run off; `value` is then where it starts from.
    `from_seeds` and `from_grid` are the two variances, `seeds` and `levels` how many of each stand behind them.
    """

    value: float
    from_seeds: float
    from_grid: float
    seeds: int
    levels: int
    unbounded: frozenset[Side]

    def spread(self, seeds: int | None = None) -> Spread:
        """The standard error, with `seeds` seeds instead of those there are when that is given."""
        wanted = max(self.seeds if seeds is None else seeds, 2)
        variances = np.array([self.from_seeds * self.seeds / wanted, self.from_grid])
        return pool(variances, np.array([wanted - 1.0, max(self.levels, 1)]))

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided interval of the slope."""
        half = half_width(self.spread(), confidence)
        low = -inf if "low" in self.unbounded else self.value - half
        return low, inf if "high" in self.unbounded else self.value + half


def drift(fits: Sequence[Fit], seeds: int) -> Slope:
    """The least squares slope of the optima on log2 of their level.

    A censored optimum enters at its bound and opens the interval on the side where it may lie further out: a slope is
    a weighted sum of optima, so a bound on one of them bounds it exactly.
    """
    if len(fits) < 2:
        return Slope(0.0, 0.0, 0.0, seeds, len(fits), frozenset(("low", "high")))
    weights = slope_weights(np.log2([fit.level for fit in fits]))
    measured = np.array([fit.censored is None for fit in fits])
    unbounded: set[Side] = set()
    for fit, weight in zip(fits, weights, strict=True):
        if fit.censored is not None and abs(weight) > 1e-12:
            unbounded.add("low" if (fit.censored == "low") == (weight > 0) else "high")
    return Slope(
        value=float(weights @ np.array([fit.full for fit in fits])),
        from_seeds=float(jackknife_variance(np.stack([fit.leave_one_out for fit in fits], axis=1) @ weights)),
        from_grid=grid_variance(fits) * float((weights[measured] ** 2).sum()),
        seeds=seeds,
        levels=int(measured.sum()),
        unbounded=frozenset(unbounded),
    )


def grid_variance(fits: Sequence[Fit]) -> float:
    """The variance of one optimum because of the grid, in octaves squared, pooled over the levels."""
    errors = [fit.grid_error**2 for fit in fits if fit.censored is None]
    return float(np.mean(errors)) if errors else 0.0
