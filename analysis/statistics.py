"""Small pure statistics, each checked against a closed form or scipy in the tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


class Spread(NamedTuple):
    """A standard error and the degrees of freedom of the t distribution that belongs to it."""

    error: float
    freedom: float


def slope_weights(x: Array) -> Array:
    """Weights w (levels,) such that w @ y is the ordinary least squares slope of y on `x`; they sum to zero."""
    centred = x - x.mean()
    return centred / (centred @ centred)


def jackknife_variance(leave_one_out: Array) -> Array:
    """The delete-one jackknife variance of an estimate from its r leave-one-out values, along the first axis.

    (r - 1) / r times their sum of squared deviations (Efron and Stein, 1981). Equals s**2 / r for a mean.
    """
    r = len(leave_one_out)
    return (r - 1) / r * ((leave_one_out - leave_one_out.mean(axis=0)) ** 2).sum(axis=0)


def pool(variances: Array, freedoms: Array) -> Spread:
    """The spread of a sum of independent errors, with Satterthwaite's effective degrees of freedom (1946)."""
    total = float(variances.sum())
    if total <= 0.0:
        return Spread(0.0, float(freedoms.max()))
    return Spread(float(np.sqrt(total)), float(total**2 / (variances**2 / freedoms).sum()))


def half_width(spread: Spread, confidence: float) -> float:
    """Half the width of the two-sided t interval that covers with probability `confidence`."""
    if spread.error == 0.0:
        return 0.0
    return float(stats.t.ppf((1 + confidence) / 2, spread.freedom)) * spread.error


def typical_variance(freedom: int) -> float:
    """The median of a sample variance with `freedom` degrees of freedom from normal numbers of variance 1."""
    return float(stats.chi2.median(freedom)) / freedom


def mean_curve(cost: Array) -> Array:
    """The mean over seeds (points,) of `cost` (seeds, points) in which NaN marks what is missing.

    Seeds that are high everywhere must not bend the curve where others are missing: their mean deviation over the
    points that every seed has is taken out first. Without gaps this is the plain mean. A point that no seed has is
    NaN.
    """
    gaps = np.isnan(cost)
    if not gaps.any():
        return cost.mean(axis=0)
    complete = ~gaps.any(axis=0)
    if complete.any():
        shared = cost[:, complete]
        cost = cost - (shared - shared.mean(axis=0)).mean(axis=1, keepdims=True)
    counts = (~gaps).sum(axis=0)
    totals = np.where(gaps, 0.0, cost).sum(axis=0)
    return np.divide(totals, counts, out=np.full(cost.shape[1], np.nan), where=counts > 0)


def leave_one_out_curves(cost: Array) -> Array:
    """`mean_curve` (seeds, points) without each seed in turn."""
    return np.stack([mean_curve(np.delete(cost, k, axis=0)) for k in range(len(cost))])


def t_interval(values: Array, confidence: float) -> tuple[float, float]:
    """The t interval of the mean of `values` (n,), n >= 2."""
    spread = Spread(float(stats.sem(values)), len(values) - 1.0)
    half, mean = half_width(spread, confidence), float(values.mean())
    return mean - half, mean + half


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability of which `successes` of `trials` came true (Clopper and Pearson, 1934).

    It covers at least nominally for every probability. With no trials it is 0..1.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials is not possible; give a number from 0 to {trials}")
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def holm(p_values: Array) -> Array:
    """`p_values` (tests,) adjusted so that rejecting those below a level errs at all with at most that probability.

    Step-down Bonferroni (Holm, 1979): needs no independence, and is never less powerful than Bonferroni.
    """
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
