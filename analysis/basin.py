"""Where a loss curve has its minimum: the centre of its basin, extrapolated to depth zero.

Why not a parabola. Near the best learning rate the loss falls slowly from the left and blows up one or two grid steps
to the right. A quadratic fit is bent by that cliff, by an amount that depends on where the optimum lies between two
grid points; more seeds do not shrink that bias and no interval from seeds shows it. In simulation (the landscapes of
`tests/analysis/conftest.py`, 5 seeds) nominal 95% intervals of a quadratic fit within 1.5 octaves covered as little as
65% of the true drifts. The centre of the set of points below a depth reads nearly the same from any grid, ignores how
high the walls are, and is smooth in the losses, which the jackknife needs.

The centre at a depth d leans away from the steeper wall by an amount proportional to d (exactly so for a cubic and
for a kink), so two depths extrapolate it away: 2 c(d/2) - c(d), Richardson's rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float64]

RESOLUTION = 1 / 32  # octaves between the points on which an interpolated curve is integrated
SPAN = 2.5  # octaves: how wide the basin is that a level's optimum is read from


def dense(x: Array, curves: Array) -> tuple[Array, Array]:
    """`curves` (n, points) over ascending `x` (points,), interpolated: a grid (m,) in octaves and values (n, m).

    Monotone cubics (Fritsch and Carlson, 1980): they do not overshoot beside a cliff.
    """
    grid = np.linspace(x[0], x[-1], max(2, round((x[-1] - x[0]) / RESOLUTION) + 1))
    return grid, np.asarray(PchipInterpolator(x, curves, axis=1)(grid))


def centres(x: Array, curves: Array, depth: float) -> Array:
    """The optimum (n,) in octaves of each of `curves` (n, points), from the basin of `depth` above its minimum."""
    grid, values = dense(x, curves)
    excess = values - values.min(axis=1, keepdims=True)
    inside = excess < depth
    lowest = grid[inside.argmax(axis=1)]
    highest = grid[len(grid) - 1 - inside[:, ::-1].argmax(axis=1)]
    return np.clip(2 * _centre(grid, excess, depth / 2) - _centre(grid, excess, depth), lowest, highest)


def _centre(grid: Array, excess: Array, depth: float) -> Array:
    weights = np.maximum(0.0, 1 - excess / depth) ** 2
    return weights @ grid / weights.sum(axis=1)


def grid_error(x: Array, curve: Array, depth: float, scattered: bool) -> float:
    """How far off the optimum of `curve` (points,) may be because the hyperparameter was tried only at `x`.

    One standard deviation in octaves. On a lattice a quarter of the difference between the two curves that hold every
    second point: the error of interpolation falls at least fourfold when the spacing halves. For scattered points the
    shift when each in turn is left out, half the sum of squares; the plain jackknife, without the half, covers 95-100%
    in simulation instead of 93-100% and its intervals are 1.3 times as wide.
    """
    if len(x) < 4:
        return float(np.diff(x).max()) / np.sqrt(12.0)
    if not scattered:
        even, odd = (centres(x[k::2], curve[None, k::2], depth)[0] for k in (0, 1))
        return float(abs(even - odd)) / 4
    whole = centres(x, curve[None], depth)[0]
    without = [centres(np.delete(x, k), np.delete(curve, k)[None], depth)[0] for k in range(len(x))]
    return float(np.sqrt(((np.array(without) - whole) ** 2).sum() / 2))


def natural_depth(x: Array, curve: Array) -> float:
    """The depth at which the basin of `curve` (points,) is `SPAN` octaves wide, counting only stretches without
    divergence (a diverged point is infinite); its whole height when it is narrower than that."""
    finite = np.isfinite(curve)
    if finite.sum() < 2:
        return 0.0
    grid, values = dense(x[finite], curve[None, finite])
    right = np.clip(np.searchsorted(x, grid), 1, len(x) - 1)
    excess = np.sort((values[0] - values.min())[finite[right] & finite[right - 1]])
    if len(excess) == 0:
        return float(values.max() - values.min())
    return float(excess[min(len(excess) - 1, round(SPAN / RESOLUTION))])
