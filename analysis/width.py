"""How wide a basin is and how high its sides are, from one curve of costs over octaves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from ..orchestrator.errors import SwatheError
from .basin import dense

Array = NDArray[np.float64]


class Width(NamedTuple):
    """`octaves` in which the cost is near the best; `variance` of what lies between a good and a diverged point; and
    whether the basin goes on beyond the lowest or the highest point."""

    octaves: float
    variance: float
    open_low: bool
    open_high: bool


def width(x: Array, mean: Array, depth: float) -> Width:
    """The width of {cost <= best + `depth`} for costs `mean` (points,) at ascending `x` (points,), in octaves.

    Between points a monotone cubic. An infinite cost is a divergence: the edge of a basin that ends at one may be
    anywhere between the two points, so half the gap counts, with the variance of a uniform number.
    """
    x, mean = _known(x, mean)
    finite = np.isfinite(mean)
    if not finite.any():
        return Width(np.nan, 0.0, False, False)
    # Relative costs, so that a depth is not lost in a large level.
    relative = mean - mean[finite].min()
    good = relative <= depth
    gaps = np.diff(x)
    cliffs = gaps[(good[:-1] & ~finite[1:]) | (~finite[:-1] & good[1:])]
    octaves = cliffs.sum() / 2
    if finite.sum() > 1:
        grid, values = dense(x[finite], relative[None, finite])
        inside = _share_below(values[0] - depth)
        # A stretch beside a divergence is counted above.
        place = np.clip(np.searchsorted(x, (grid[:-1] + grid[1:]) / 2), 1, len(x) - 1)
        octaves += float((inside * np.diff(grid))[finite[place] & finite[place - 1]].sum())
    return Width(float(octaves), float((cliffs**2).sum() / 12), bool(good[0]), bool(good[-1]))


def _known(x: Array, mean: Array) -> tuple[Array, Array]:
    """Without the points that no seed has reached yet; a sweep that runs has such, and a jackknife makes more."""
    known = ~np.isnan(mean)
    return x[known], mean[known]


def _share_below(values: Array) -> Array:
    """The share (n - 1,) of each stretch between neighbouring `values` (n,) in which their line is at most zero."""
    one, other = values[:-1], values[1:]
    low, high = np.minimum(one, other), np.maximum(one, other)
    span = np.where(high > low, high - low, 1.0)
    return np.where(high <= 0, 1.0, np.where(low > 0, 0.0, -low / span))


def excess(x: Array, mean: Array, ceiling: float) -> float:
    """How far the costs `mean` lie above the best, cut at `ceiling`, averaged over the range of `x` in octaves."""
    x, mean = _known(x, mean)
    if len(x) < 2:
        return np.nan
    clipped = np.minimum(mean, ceiling)
    grid, values = dense(x, clipped[None])
    return float(np.trapezoid(values[0] - clipped.min(), grid) / (grid[-1] - grid[0]))


def above(x: Array, mean: Array, default: float) -> float:
    """How far the cost at a value `default` of the hyperparameter lies above the best; infinite beside a divergence.

    Raises `SwatheError` when the default lies outside the range that was tried.
    """
    x, mean = _known(x, mean)
    place = float(np.log2(default)) if default > 0 else -np.inf
    if not x[0] - 1e-9 <= place <= x[-1] + 1e-9:
        raise SwatheError(f"the default {default:g} lies outside the values tried, {2 ** x[0]:g} to {2 ** x[-1]:g}")
    exact = np.isclose(x, place, atol=1e-9)
    finite = np.isfinite(mean)
    best = mean[finite].min()
    if exact.any():
        return float(mean[exact][0] - best)
    right = int(np.clip(np.searchsorted(x, place), 1, len(x) - 1))
    if not (finite[right] and finite[right - 1]):
        return np.inf
    return float(PchipInterpolator(x[finite], mean[finite])(place) - best)
