"""Polynomial fits of the basin, as a check on its centre: a weighted parabola and a local cubic.

They are what most papers use, and what a cliff beside the optimum bends (see `basin`): in `make calibrate` their
coverage is shown beside that of the centre. So they decide nothing; where they contradict the verdict it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curves import Array, Curve
from .optima import Fit
from .statistics import half_width, jackknife_variance, mean_curve, pool, slope_weights

WINDOWS = (1.0, 1.5, 2.0, 2.5)  # octaves to either side of the lowest point
CORE = 1.0  # octaves: windows are compared by how well they predict the points this near
DEGREES = {"weighted parabola": 2, "local cubic": 3}


@dataclass(frozen=True, slots=True)
class Check:
    """The drift by another estimator, with its 95% jackknife interval; None where some level has no such optimum."""

    name: str
    drift: float | None
    low: float | None
    high: float | None
    optima: tuple[float | None, ...]


def checks(curves: Sequence[Curve], fits: Sequence[Fit]) -> tuple[Check, ...]:
    """The drift by each polynomial, over the levels whose optimum is not censored."""
    by_level = {curve.level: curve for curve in curves}
    chosen = [by_level[fit.level] for fit in fits if fit.censored is None]
    return tuple(_check(name, degree, chosen) for name, degree in DEGREES.items())


def _check(name: str, degree: int, curves: Sequence[Curve]) -> Check:
    whole = [optimum(curve.x, curve.cost, degree) for curve in curves]
    told = tuple(None if np.isnan(each) else float(each) for each in whole)
    if len(curves) < 2 or np.isnan(whole).any():
        return Check(name, None, None, None, told)
    weights = slope_weights(np.log2([curve.level for curve in curves]))
    value, seeds = float(weights @ np.array(whole)), len(curves[0].cost)
    without = np.array(
        [[optimum(curve.x, np.delete(curve.cost, k, axis=0), degree) for curve in curves] for k in range(seeds)]
        if seeds > 1
        else [[np.nan]]
    )
    if np.isnan(without).any():
        return Check(name, value, None, None, told)
    spread = pool(np.array([float(jackknife_variance(without @ weights))]), np.array([seeds - 1.0]))
    half = half_width(spread, 0.95)
    return Check(name, value, value - half, value + half, told)


def optimum(x: Array, cost: Array, degree: int) -> float:
    """The minimum of the polynomial fitted to `cost` (seeds, points) over `x` (points,) octaves.

    Points are weighted by the inverse variance of their mean, and taken from the window around the lowest one that
    predicts the points near it best, each left out in turn. NaN when the fit has no minimum inside the window.
    """
    clean = np.isfinite(cost).all(axis=0)
    if clean.sum() <= degree:
        return float("nan")
    x, cost = x[clean], cost[:, clean]
    mean, weights = mean_curve(cost), _weights(cost)
    centre = float(x[mean.argmin()])
    best = min(
        ((_error(x, mean, weights, centre, width, degree), width) for width in WINDOWS), key=lambda pair: pair[0]
    )
    if not np.isfinite(best[0]):
        return float("nan")
    inside = np.abs(x - centre) <= best[1] + 1e-9
    u = x[inside] - centre
    return centre + _minimum(np.polyfit(u, mean[inside], degree, w=np.sqrt(weights[inside])), u[0], u[-1])


def _weights(cost: Array) -> Array:
    """The inverse variance (points,) of the seed-mean, shrunk towards the median since few seeds tell little."""
    if len(cost) < 2:
        return np.ones(cost.shape[1])
    left = cost - cost.mean(axis=0)
    variances = (left - np.median(left, axis=1, keepdims=True)).var(axis=0, ddof=1)
    shrunk = (variances + np.median(variances)) / 2
    return 1.0 / np.maximum(shrunk, 1e-12 + 1e-6 * shrunk.max())


def _error(x: Array, mean: Array, weights: Array, centre: float, width: float, degree: int) -> float:
    """The weighted mean squared error at the points near the lowest, each predicted by the others in the window."""
    inside = np.abs(x - centre) <= width + 1e-9
    u, y, w = x[inside] - centre, mean[inside], weights[inside]
    if len(u) <= degree + 1:
        return np.inf
    # Leaving one out of a linear fit divides its residual by 1 - leverage.
    root = np.sqrt(w)[:, None]
    design = np.vander(u, degree + 1) * root
    hat = design @ np.linalg.pinv(design)
    left = (root[:, 0] * y - hat @ (root[:, 0] * y)) / np.maximum(1 - np.diag(hat), 1e-9)
    near = np.abs(u) <= CORE + 1e-9
    return float((left[near] ** 2).sum() / w[near].sum())


def _minimum(coefficients: Array, low: float, high: float) -> float:
    """Where in low..high a polynomial has its lowest local minimum; NaN when there is none."""
    slope, bend = np.polyder(coefficients), np.polyder(coefficients, 2)
    roots = np.roots(slope)
    real = roots[np.abs(roots.imag) < 1e-12].real
    good = [float(u) for u in real if low <= u <= high and np.polyval(bend, u) > 0]
    return min(good, key=lambda u: float(np.polyval(coefficients, u))) if good else float("nan")
