"""The shape of an answer about robustness: a number, its interval, what it rests on, and why it is not more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan

import numpy as np
from numpy.typing import NDArray

from ..orchestrator.claims import Estimate
from .statistics import half_width, jackknife_variance, pool, t_interval

Array = NDArray[np.float64]

SEEDS = 3  # with fewer there is no interval, and nothing is decided
CONFIDENCE = 0.95

__all__ = ["CONFIDENCE", "SEEDS", "Estimate", "from_jackknife", "from_values", "too_few"]


def too_few(n: int, unit: str = "seed") -> tuple[str, ...]:
    """The sentence that stands in for an interval, empty when `n` is enough for one."""
    return () if n >= SEEDS else (f"{n} {unit}(s): at least {SEEDS} are needed for an interval.",)


def from_values(
    values: Array, excluded: Mapping[str, int] | None = None, unit: str = "seed", stretch: float = 1.0
) -> Estimate:
    """The mean of `values` (n,) with its t interval, `stretch` times as wide where they are not independent.

    Infinite values, which are divergences, leave no finite bound."""
    known = values[~np.isnan(values)]
    n, none = len(known), dict(excluded or {})
    if n == 0:
        return Estimate(None, None, None, 0, too_few(0, unit), none)
    mean = float(known.mean())
    if not np.isfinite(known).all():
        bad = int((~np.isfinite(known)).sum())
        note = f"{bad} of {n} {unit}(s) diverged; they count as infinitely bad."
        low, high = (None, None) if n < SEEDS else (-inf, inf)
        return Estimate(None if isnan(mean) else mean, low, high, n, (note, *too_few(n, unit)), none)
    if n < SEEDS:
        return Estimate(mean, None, None, n, too_few(n, unit), none)
    half = stretch * (t_interval(known, CONFIDENCE)[1] - mean)
    return Estimate(mean, mean - half, mean + half, n, (), none)


def from_jackknife(
    value: float,
    without: Array,
    extra_variance: float = 0.0,
    within: tuple[float, float] = (-inf, inf),
    reasons: Sequence[str] = (),
) -> Estimate:
    """An estimate with the t interval of its delete-one-seed values `without` (seeds,), clipped to the range `within`.

    `extra_variance` is what no seed can tell, such as how coarse a grid is; it is taken as known.
    """
    n = len(without)
    if not np.isfinite(value):
        note = "It diverges." if np.isinf(value) else "There is no value."
        return Estimate(None if np.isnan(value) else value, None, None, n, (*reasons, note))
    if n < SEEDS:
        return Estimate(value, None, None, n, (*reasons, *too_few(n)))
    if not np.isfinite(without).all():
        note = "Without one of the seeds the answer is no number, so there is no interval."
        return Estimate(value, None, None, n, (*reasons, note))
    variance = float(jackknife_variance(without))
    half = half_width(pool(np.array([variance, extra_variance]), np.array([n - 1.0, inf])), CONFIDENCE)
    return Estimate(value, max(value - half, within[0]), min(value + half, within[1]), n, tuple(reasons))
