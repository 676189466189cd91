"""The optimum of every level with what is known about it: an estimate with its spread, or a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .basin import centres, grid_error
from .curves import Array, Curve, Curves
from .statistics import leave_one_out_curves, mean_curve, typical_variance

NOISE = 16.0  # the basin is at least this many standard errors of the curve deep
OPEN = 3.0  # an edge that is not this many standard errors above the minimum leaves the basin open
SHALLOW = 0.25  # so does an edge lower than this share of the basin's natural depth
WALL = 10.0  # diverged and exploded trials count as this many depths above the minimum

Side = Literal["low", "high"]


@dataclass(frozen=True, slots=True)
class Fit:
    """One level's optimum. All positions are in octaves (log2 of the hyperparameter).

    `full` and `leave_one_out` (seeds,) are the estimates from all seeds and without each. Where `censored` is "low"
    ("high") the optimum lies at or below (above) `full`, which is then a bound, and `leave_one_out` repeats it.
    `grid_error` is one standard deviation. `by_seed` (seeds,) are optima of single seeds, NaN where there is none,
    `argmin` is the tried point of the lowest mean cost, NaN when every point has diverged.
    """

    level: float
    full: float
    leave_one_out: Array
    grid_error: float
    by_seed: Array
    argmin: float
    censored: Side | None


def fit_levels(curves: Curves) -> tuple[Fit, ...]:
    """The optima of all levels that have three points or more.

    All basins are read at one common depth, so that a bias which depends on it cancels in differences of levels.
    """
    usable = [curve for curve in curves.curves if len(curve.x) >= 3]
    noise = _noise(usable)
    sides: list[Side | None] = [_open_side(curve, noise) for curve in usable]
    depth = _depth([curve for curve, side in zip(usable, sides, strict=True) if side is None], noise)
    return tuple(
        _measured(curve, depth, curves.scattered) if side is None else _bounded(curve, side, noise)
        for curve, side in zip(usable, sides, strict=True)
    )


def _noise(curves: Sequence[Curve]) -> float:
    """The standard error of a typical point of a seed-mean curve, over the basins of all levels.

    A seed may lift its whole curve, which moves no optimum and is taken out. Beside a cliff the spread is large and
    says little about the rest, so medians are taken; that of the variances is made unbiased for normal noise.
    """
    variances: list[float] = []
    seeds = 0
    for curve in curves:
        near = curve.clean & (curve.mean <= curve.lowest + curve.natural_depth) & ~np.isnan(curve.cost).any(axis=0)
        if len(curve.cost) > 1 and near.sum() > 1:
            left = curve.cost[:, near] - curve.cost[:, near].mean(axis=0)
            left -= np.median(left, axis=1, keepdims=True)
            variances.extend(left.var(axis=0, ddof=1))
            seeds = len(curve.cost)
    if not variances:
        return 0.0
    return float(np.sqrt(np.median(variances) / typical_variance(seeds - 1) / seeds))


def _open_side(curve: Curve, noise: float) -> Side | None:
    """On which side, if on one, the minimum may lie outside the tried points. Divergence closes a side."""
    if not curve.clean.any():
        return "low"
    least = max(OPEN * np.sqrt(2.0) * noise, SHALLOW * curve.natural_depth)
    low, high = curve.edges
    if min(low, high) >= least:
        return None
    return "low" if low <= high else "high"


def _bounded(curve: Curve, side: Side, noise: float) -> Fit:
    """A level whose minimum may lie outside: bounded one step further in than any point that may be the best."""
    last, seeds = len(curve.x) - 1, len(curve.cost)
    if curve.clean.any():
        candidates = np.flatnonzero(curve.mean - curve.lowest <= OPEN * np.sqrt(2.0) * noise)
        argmin = float(curve.x[curve.mean.argmin()])
    else:
        candidates = np.flatnonzero(~np.isinf(curve.cost).all(axis=0))
        argmin = float("nan")
    step = candidates.max(initial=-1) + 1 if side == "low" else candidates.min() - 1
    bound = float(curve.x[np.clip(step, 0, last)])
    return Fit(curve.level, bound, np.full(seeds, bound), 0.0, np.full(seeds, np.nan), argmin, side)


def _depth(curves: Sequence[Curve], noise: float) -> float:
    """The common depth: every basin wide enough and well above the noise, yet below every open edge."""
    if not curves:
        return 1.0
    wanted = max(NOISE * noise, *(curve.natural_depth for curve in curves))
    return max(min(wanted, min(min(curve.edges) for curve in curves)), 1e-9)


def _measured(curve: Curve, depth: float, scattered: bool) -> Fit:
    x, cost = curve.x, np.minimum(curve.cost, curve.lowest + WALL * depth)
    means = np.concatenate([mean_curve(cost)[None], leave_one_out_curves(cost) if len(cost) > 1 else cost])
    known = ~np.isnan(means).any(axis=0)
    optima = centres(x[known], means[:, known], depth)
    return Fit(
        level=curve.level,
        full=float(optima[0]),
        leave_one_out=optima[1:],
        grid_error=grid_error(x[known], means[0, known], depth, scattered),
        by_seed=np.array([_alone(x, one, depth) for one in cost]),
        argmin=float(x[curve.mean.argmin()]),
        censored=None,
    )


def _alone(x: Array, cost: Array, depth: float) -> float:
    """The optimum of one seed's curve (points,); NaN when fewer than three of its trials are known."""
    known = ~np.isnan(cost)
    return float(centres(x[known], cost[None, known], depth)[0]) if known.sum() >= 3 else float("nan")
