"""Aggregates of scores over seeds and tasks, and their stratified bootstrap (Agarwal et al., 2021, arXiv 2108.13264).

Scores are a sequence of arrays, one a task, each (runs,), higher is better; a diverged run scores minus infinity. The
numbers are those of the package rliable, which wants as many runs of every task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Scores = Sequence[Array]
Statistic = Callable[[Sequence[Array]], Array]
"""From tasks of resampled runs, each (resamples, runs), to a value a resample (resamples, ...)."""

RESAMPLES = 2000
INTERQUARTILE = 0.25


def pooled(scores: Sequence[Array]) -> Array:
    """All runs of all tasks (resamples, runs in all)."""
    return np.concatenate(scores, axis=-1)


def iqm(scores: Sequence[Array]) -> Array:
    """The interquartile mean: a quarter of all runs is cut off either end. Robust to a quarter of divergences."""
    return np.asarray(stats.trim_mean(pooled(scores), INTERQUARTILE, axis=-1))


def mean(scores: Sequence[Array]) -> Array:
    """The mean over tasks of the mean over runs."""
    return np.mean([task.mean(axis=-1) for task in scores], axis=0)


def median(scores: Sequence[Array]) -> Array:
    """The median over tasks of the mean over runs."""
    return np.median([task.mean(axis=-1) for task in scores], axis=0)


def optimality_gap(scores: Sequence[Array], gamma: float = 1.0) -> Array:
    """How far the runs fall short of `gamma` on average, those beyond it counting as there."""
    return gamma - np.minimum(pooled(scores), gamma).mean(axis=-1)


def profile(scores: Sequence[Array], thresholds: Array) -> Array:
    """The share of runs that score more than each of `thresholds` (m,): (resamples, m)."""
    return (pooled(scores)[..., None] > thresholds).mean(axis=-2)


def improvement(ones: Sequence[Array], others: Sequence[Array]) -> Array:
    """P(X > Y) + P(X = Y) / 2 over runs, averaged over tasks: Mann and Whitney's U as a probability."""
    shares = [
        (one[..., :, None] > other[..., None, :]).mean(axis=(-1, -2))
        + 0.5 * (one[..., :, None] == other[..., None, :]).mean(axis=(-1, -2))
        for one, other in zip(ones, others, strict=True)
    ]
    return np.mean(shares, axis=0)


def resampled(scores: Scores, rng: np.random.Generator, resamples: int = RESAMPLES) -> list[Array]:
    """Runs drawn anew with replacement, task by task: each task becomes (resamples, runs)."""
    return [task[rng.integers(len(task), size=(resamples, len(task)))] for task in scores]


def percentiles(replicates: Array, confidence: float) -> tuple[Array, Array]:
    """The interval between the percentiles of bootstrap `replicates` (resamples, ...)."""
    tails = 100 * (1 - confidence) / 2, 100 * (1 + confidence) / 2
    # Interpolation between an infinite replicate and a finite one is no number; the nearest replicates outwards are.
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(replicates, tails, axis=0)
    if not np.isfinite(replicates).all():
        low = np.percentile(replicates, tails[0], axis=0, method="lower")
        high = np.percentile(replicates, tails[1], axis=0, method="higher")
    return low, high


def widened(replicates: Array, value: Array, runs: int, freedom: float, confidence: float) -> tuple[Array, Array]:
    """`percentiles`, moved away from `value` (...) for how few `runs` a task has.

    A bootstrap over n runs has a variance that is (n - 1) / n of what it should be, and its percentiles take a normal
    law where that of t with `freedom` degrees is due; both shrink an interval of three runs to 40% of its width.
    """
    low, high = percentiles(replicates, confidence)
    tail = (1 + confidence) / 2
    factor = np.sqrt(runs / (runs - 1)) * stats.t.ppf(tail, freedom) / stats.norm.ppf(tail)
    with np.errstate(invalid="ignore"):
        moved_low, moved_high = value - factor * (value - low), value + factor * (high - value)
    return np.where(np.isfinite(low), moved_low, low), np.where(np.isfinite(high), moved_high, high)
