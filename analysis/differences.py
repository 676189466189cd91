"""Differences between two sweeps with their intervals, paired by seed where the seeds are the same.

The best value of a sweep is taken on seeds that did not choose it (see `selection`): the plain best of the sweep that
tried more would look better by its luck. Differences are the second minus the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .curves import gather, numbers
from .drift import Slope, drift
from .estimates import CONFIDENCE, SEEDS, Estimate, too_few
from .optima import Fit, fit_levels
from .outcomes import outcomes
from .selection import held_out
from .statistics import Spread, half_width, jackknife_variance, pool, slope_weights
from .study import TransferStudy

Array = NDArray[np.float64]


def worths(trials: pd.DataFrame, direction: str) -> tuple[Mapping[int, float], int]:
    """The value, seed by seed, of the configuration that the other seeds choose, and among how many they do.

    Infinite where it diverged; empty when no configuration has all the seeds that any has.
    """
    found = outcomes(trials, "value", direction)
    wide = found.table.pivot_table(index="unit", columns="replicate", values="cost", aggfunc="mean", dropna=False)
    whole = wide.dropna()
    if whole.empty:
        return {}, 0
    costs = whole.to_numpy(dtype=float)
    values = held_out(costs)[0] if costs.shape[1] > 1 else costs.min(axis=0)
    return {int(seed): found.metric(float(value)) for seed, value in zip(whole.columns, values, strict=True)}, len(
        whole
    )


def difference_of_best(
    first: pd.DataFrame, second: pd.DataFrame, direction: str, *, shared: bool, confidence: float = CONFIDENCE
) -> Estimate:
    """By how much the best value of `second` differs from that of `first`.

    `shared` says that replicates of both have the same seeds: then they are paired. Values of one sweep share the seeds
    that chose, so variances are corrected by 1 + n / (n - 1) (Nadeau and Bengio, 2003). Where they are not paired the
    degrees of freedom are Satterthwaite's.
    """
    (one, tried), (other, also) = worths(first, direction), worths(second, direction)
    chosen = tried > 1 or also > 1
    common = sorted(one.keys() & other.keys())
    if shared and len(common) >= SEEDS:
        return _paired(np.array([other[seed] - one[seed] for seed in common]), chosen, confidence)
    return _unpaired(np.array([*one.values()]), np.array([*other.values()]), (tried > 1, also > 1), confidence)


def _paired(values: Array, chosen: bool, confidence: float) -> Estimate:
    n = len(values)
    if not np.isfinite(values).all():
        return Estimate(None, None, None, n, ("A seed diverged, so there is no difference.",))
    spread = Spread(sqrt(_variance(values, chosen)), n - 1.0)
    half, mean = half_width(spread, confidence), float(values.mean())
    return Estimate(mean, mean - half, mean + half, n, (f"{n} paired seeds.",))


def _unpaired(one: Array, other: Array, chosen: tuple[bool, bool], confidence: float) -> Estimate:
    n = min(len(one), len(other))
    if n == 0:
        return Estimate(None, None, None, 0, ("One of them has no result.",))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return Estimate(None, None, None, n, ("A seed diverged, so there is no difference.",))
    mean = float(other.mean() - one.mean())
    if n < SEEDS:
        return Estimate(mean, None, None, n, too_few(n))
    variances = np.array([_variance(values, each) for values, each in zip((one, other), chosen, strict=True)])
    half = half_width(pool(variances, np.array([len(one) - 1.0, len(other) - 1.0])), confidence)
    return Estimate(mean, mean - half, mean + half, n, (f"{len(one)} and {len(other)} seeds, not paired.",))


def _variance(values: Array, chosen: bool) -> float:
    """The variance of the mean of `values` (n,), corrected where each was chosen by the others."""
    n = len(values)
    return float(values.var(ddof=1)) / n * (1 + n / (n - 1) if chosen else 1.0)


def difference_of_drifts(
    first: pd.DataFrame,
    second: pd.DataFrame,
    study: TransferStudy,
    direction: str,
    *,
    shared: bool,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """By how much the drift of `second` differs from that of `first`, in octaves per doubling.

    With the same seeds the jackknife leaves out a seed of both at once; otherwise the variances add. A censored optimum
    opens the interval on the side where it may lie further out. `n` counts seeds.
    """
    seeds = [set(map(int, numbers(trials, "replicate"))) for trials in (first, second)]
    common = sorted(set.intersection(*seeds))
    paired = shared and len(common) >= SEEDS
    if paired:
        first, second = (trials.loc[np.isin(numbers(trials, "replicate"), common)] for trials in (first, second))
    (one, without), (other, without_too) = (_slope(trials, study, direction) for trials in (first, second))
    n, value = min(one.seeds, other.seeds), other.value - one.value
    open_low = "low" in other.unbounded or "high" in one.unbounded
    open_high = "high" in other.unbounded or "low" in one.unbounded
    known = None if open_low or open_high else value
    if n < SEEDS:
        return Estimate(known, None, None, n, too_few(n))
    paired = paired and one.seeds == other.seeds
    half = half_width(_spread(one, other, without_too - without if paired else None), confidence)
    note = f"{n} paired seeds." if paired else f"{one.seeds} and {other.seeds} seeds, not paired."
    return Estimate(known, -inf if open_low else value - half, inf if open_high else value + half, n, (note,))


def _slope(trials: pd.DataFrame, study: TransferStudy, direction: str) -> tuple[Slope, Array]:
    """The drift, and what it is without each seed (seeds,)."""
    curves = gather(trials, study.axis, study.hyperparameter, "value", direction)
    fits = fit_levels(curves)
    return drift(fits, curves.seeds), _without(fits, curves.seeds)


def _without(fits: tuple[Fit, ...], seeds: int) -> Array:
    if len(fits) < 2:
        return np.zeros(seeds)
    weights = slope_weights(np.log2([fit.level for fit in fits]))
    return np.stack([fit.leave_one_out for fit in fits], axis=1) @ weights


def _spread(one: Slope, other: Slope, paired: Array | None) -> Spread:
    """The standard error of the difference of two drifts, from the seeds and from both grids."""
    grids = [(each.from_grid, float(max(each.levels, 1))) for each in (one, other)]
    seeds = [(each.from_seeds, max(each.seeds, 2) - 1.0) for each in (one, other)]
    if paired is not None:
        seeds = [(float(jackknife_variance(paired)), len(paired) - 1.0)]
    variances, freedoms = zip(*seeds, *grids, strict=True)
    return pool(np.array(variances), np.array(freedoms))
