"""What it costs to reuse a small level's optimum at a larger one, and whether that cost vanishes fast.

Level n's optimum, used at the largest level N, costs the regret R(n); level n's best loss lies gap(n) above that of N.
Transfer is *fast* when R falls faster than the gap along the axis, so that tuning small and training large beats
tuning large (Ghosh, Wu, Bietti 2025, arXiv 2512.22768). The largest level stands in for the limit, for both alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from .basin import dense
from .curves import Array, Curve, Curves
from .estimates import SEEDS, from_jackknife
from .optima import Fit
from .statistics import half_width, jackknife_variance, pool, slope_weights

POINTS = 3  # levels below the largest that a rate is read from


@dataclass(frozen=True, slots=True)
class Transferred:
    """The optimum of `level`, used at the largest level.

    `regret`: what it costs there, in units of the metric; infinite where it diverges, None where that is not known.
    `low`..`high`: its 95% interval, of the smallest level only; None where there is none.
    `gap`: by how much the best of this level is worse than the best of the largest (negative where it is better).
    """

    level: float
    regret: float | None
    gap: float | None
    low: float | None = None
    high: float | None = None

    @property
    def relative(self) -> float | None:
        """The regret as a share of what scaling from here gains; None where scaling gains nothing."""
        if self.regret is None or self.gap is None or self.gap <= 0:
            return None
        return self.regret / self.gap


@dataclass(frozen=True, slots=True)
class Rates:
    """Powers of the level with which regret and gap fall, and the 95% interval of their difference.

    `fast` is True when the interval lies above 0, False when below, None when it says neither.
    """

    regret: float
    gap: float
    low: float
    high: float

    @property
    def fast(self) -> bool | None:
        """Whether the regret vanishes faster than what scaling gains."""
        return True if self.low > 0 else False if self.high < 0 else None


def transferred(fits: Sequence[Fit], curves: Curves) -> tuple[Transferred, ...]:
    """What every level's optimum but the largest one's costs at the largest level, ascending."""
    if len(fits) < 2:
        return ()
    smallest, *others = (_transferred(fit, fit.full, fits[-1], curves) for fit in fits[:-1])
    return (_with_interval(smallest, fits, curves), *others)


def _with_interval(found: Transferred, fits: Sequence[Fit], curves: Curves) -> Transferred:
    """With the interval of its regret, from leaving out one seed at a time."""
    if found.regret is None or curves.seeds < SEEDS:
        return found
    told = [
        _transferred(fits[0], float(fits[0].leave_one_out[k]), fits[-1], _without(curves, k)).regret
        for k in range(curves.seeds)
    ]
    without = np.array([np.nan if regret is None else regret for regret in told])
    interval = from_jackknife(found.regret, without, within=(0.0, inf))
    return replace(found, low=interval.low, high=interval.high)


def rates(fits: Sequence[Fit], curves: Curves) -> Rates | None:
    """How fast regret and gap fall along the axis; None where fewer than `POINTS` levels have both, positive."""
    if curves.seeds < SEEDS:
        return None
    whole = _exponents(fits, curves, None)
    without = [_exponents(fits, curves, k) for k in range(curves.seeds)]
    if whole is None or any(each is None for each in without):
        return None
    differences = np.array([each[0] - each[1] for each in without if each is not None])
    spread = pool(np.array([float(jackknife_variance(differences))]), np.array([curves.seeds - 1.0]))
    half, middle = half_width(spread, 0.95), whole[0] - whole[1]
    return Rates(*whole, middle - half, middle + half)


def _exponents(fits: Sequence[Fit], curves: Curves, without: int | None) -> tuple[float, float] | None:
    """The powers of regret and gap, from all seeds or `without` one."""
    if len(fits) <= POINTS:
        return None
    chosen = curves if without is None else _without(curves, without)
    told = [
        _transferred(fit, fit.full if without is None else float(fit.leave_one_out[without]), fits[-1], chosen)
        for fit in fits[:-1]
    ]
    pairs = [(each.level, each.regret or 0.0, each.gap or 0.0) for each in told]
    usable = np.array([pair for pair in pairs if 0 < pair[1] < inf and pair[2] > 0])
    if len(usable) < max(POINTS, len(pairs)):
        return None
    logs = np.log2(usable)
    weights = slope_weights(logs[:, 0])
    return -float(weights @ logs[:, 1]), -float(weights @ logs[:, 2])


def _without(curves: Curves, seed: int) -> Curves:
    kept = tuple(replace(curve, cost=np.delete(curve.cost, seed, axis=0)) for curve in curves.curves)
    return replace(curves, curves=kept, seeds=curves.seeds - 1)


def _transferred(fit: Fit, optimum: float, largest: Fit, curves: Curves) -> Transferred:
    here, there = (_clean(curves.at(each.level)) for each in (fit, largest))
    gap = None
    if here is not None and there is not None and fit.censored is None and largest.censored is None:
        lowest = [curves.metric(float(mean.min())) for _, mean in (here, there)]
        gap = curves.sign * (lowest[0] - lowest[1])
    if fit.censored or largest.censored or there is None:
        return Transferred(fit.level, None, gap)
    return Transferred(fit.level, _regret(optimum, curves.at(largest.level), there, curves), gap)


def _clean(curve: Curve) -> tuple[Array, Array] | None:
    """The dense mean curve where it trains."""
    clean = np.isfinite(curve.mean)
    if clean.sum() < 2:
        return None
    grid, values = dense(curve.x[clean], curve.mean[None, clean])
    return grid, values[0]


def _regret(wanted: float, curve: Curve, there: tuple[Array, Array], curves: Curves) -> float | None:
    grid, values = there
    if not grid[0] <= wanted <= grid[-1]:
        # Between the last point that trains and the first that diverges nobody knows.
        beyond = ~np.isfinite(curve.mean) & (curve.x > grid[-1])
        return inf if (curve.x[beyond] <= wanted).any() else None
    at = float(np.interp(wanted, grid, values))
    return abs(curves.metric(at) - curves.metric(float(values.min())))
