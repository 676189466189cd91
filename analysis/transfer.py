"""Does the best value of a hyperparameter stay put along an axis? One verdict with an interval.

The optimum of each level (`optima`), its slope on log2 of the axis (`drift`, octaves per doubling), and an interval
from a delete-one-seed jackknife in which every optimum is read again from the curves without that seed. What no seed
can tell, how coarse the grid is, is a variance of its own. In simulations of 3 and 5 seeds, half-octave lattices and
basins beside a cliff (`tests/analysis/test_transfer_simulation.py`) the 95% interval covered in 93-100% of studies, a
wrong verdict came in under 1%; where each level has random points of its own, it covered in 93-100%. A percentile
bootstrap over so few seeds covers 72-91%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..orchestrator.schema import PARAM
from .advice import Question, beside, reasons
from .curves import Curves, gather
from .drift import Slope, drift, grid_variance
from .optima import Fit, fit_levels
from .polynomial import Check, checks
from .scaling import Rates, Transferred, rates, transferred
from .statistics import half_width, jackknife_variance, pool
from .width import excess

MARGIN = 0.15  # octaves per doubling: over a 64-fold range less than one octave
SEEDS = 3  # with fewer nothing is decided

Word = Literal["transfers", "drifts", "undecided"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a drift decides: `margin` in octaves per doubling, and the two-sided confidence of the intervals by which
    an optimum `drifts` and `transfers`. Several looks at one sweep need higher ones (`looks.corrected`)."""

    margin: float = MARGIN
    drifts: float = 0.95
    transfers: float = 0.90


RULE = Rule()


@dataclass(frozen=True, slots=True)
class LevelOptimum:
    """The best hyperparameter at one level. Positions are log2 of it.

    `optimum` with `error` (standard error, None from one seed) and its 95% interval `low`..`high`. Where `censored` is
    "low" ("high") `optimum` is None: it lies at or below (above) `bound`. `best` is the best seed-mean of the metric,
    with its 95% interval `best_interval`, found at the tried point `argmin`; `by_seed` are the optima of single seeds.
    `sensitivity` is the mean over the range tried of how far the metric lies from the best, cut at the worst point that
    trains at any level (Wortsman et al. 2023, arXiv 2309.14322, cut at the loss before training, which a table of
    results does not hold).
    """

    level: float
    optimum: float | None
    error: float | None
    low: float
    high: float
    censored: Literal["low", "high"] | None
    bound: float | None
    best: float
    argmin: float
    by_seed: tuple[float, ...]
    sensitivity: float
    best_interval: tuple[float, float] | tuple[None, None] = (None, None)


@dataclass(frozen=True, slots=True)
class TransferVerdict:
    """Whether the optimum of `hyperparameter` transfers along `axis`.

    `drift` is in octaves per doubling of the axis, `drift_low`..`drift_high` its 95% interval and
    `equivalence_low`..`equivalence_high` the 90% one, or those of the confidences in `rule`. Censored optima leave
    `drift` None and an end infinite. `checks` are the drift by other estimators, which decide nothing. `transferred` is
    what each level's optimum costs at the largest level, `rates` how fast that vanishes. `excluded` counts trials that
    say nothing, by reason.
    """

    verdict: Word
    axis: str
    hyperparameter: str
    metric: str
    rule: Rule
    drift: float | None
    drift_low: float
    drift_high: float
    equivalence_low: float
    equivalence_high: float
    levels: tuple[LevelOptimum, ...]
    checks: tuple[Check, ...]
    transferred: tuple[Transferred, ...]
    rates: Rates | None
    seeds: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]

    @property
    def margin(self) -> float:
        """Octaves per doubling within which a drift counts as none."""
        return self.rule.margin

    @property
    def regret(self) -> float | None:
        """What the optimum of the smallest level costs at the largest, in units of the metric: infinite when it
        diverges there, None when it is not known."""
        return self.transferred[0].regret if self.transferred else None


def judge(
    trials: pd.DataFrame,
    *,
    axis: str,
    hyperparameter: str,
    metric: str = "value",
    direction: str = "minimize",
    rule: Rule = RULE,
) -> TransferVerdict:
    """The verdict for one frame of trials, in which nothing but `axis`, `hyperparameter` and the seed should vary.

    Columns: replicate, state, cause, value or metric.*, param.*. Raises `SwatheError` for a missing column, for an
    axis or hyperparameter that is not a positive number, and for an unknown direction.
    """
    curves = gather(trials, axis, hyperparameter, metric, direction)
    fits = fit_levels(curves)
    slope = drift(fits, curves.seeds)
    wide, narrow = slope.interval(rule.drifts), slope.interval(rule.transfers)
    word = decide(wide, narrow, rule.margin, curves.seeds)
    others, costs, speeds = checks(curves.curves, fits), transferred(fits, curves), rates(fits, curves)
    question = Question(axis, hyperparameter, rule.margin, SEEDS, (rule.drifts, rule.transfers))
    return TransferVerdict(
        verdict=word,
        axis=axis,
        hyperparameter=hyperparameter,
        metric=metric,
        rule=rule,
        drift=None if slope.unbounded else slope.value,
        drift_low=wide[0],
        drift_high=wide[1],
        equivalence_low=narrow[0],
        equivalence_high=narrow[1],
        levels=tuple(_level(fit, curves, slope, grid_variance(fits)) for fit in fits),
        checks=others,
        transferred=costs,
        rates=speeds,
        seeds=curves.seeds,
        reasons=(*reasons(word, slope, fits, curves, question), *beside(slope, others, costs, speeds, question)),
        excluded=curves.excluded,
    )


def judge_by(trials: pd.DataFrame, by: Sequence[str], **options: Any) -> dict[tuple[Any, ...], TransferVerdict]:
    """`judge` for each combination of the parameters `by`, keyed by their values; the key is () without any."""
    if not by:
        return {(): judge(trials, **options)}
    columns = [PARAM + name for name in by]
    return {
        key if isinstance(key, tuple) else (key,): judge(rows, **options)
        for key, rows in trials.groupby(columns, sort=True, observed=True)
    }


def decide(wide: tuple[float, float], narrow: tuple[float, float], margin: float, seeds: int) -> Word:
    """`transfers` when the 90% interval `narrow` lies inside the margin, `drifts` when the 95% one lies outside.

    The first is a pair of one-sided tests of equivalence at 5% each (Schuirmann, 1987).
    """
    if seeds < SEEDS:
        return "undecided"
    if -margin < narrow[0] and narrow[1] < margin:
        return "transfers"
    return "drifts" if wide[0] > margin or wide[1] < -margin else "undecided"


def _level(fit: Fit, curves: Curves, slope: Slope, from_grid: float) -> LevelOptimum:
    low, high, error = -inf, inf, None
    if fit.censored is not None:
        low, high = (-inf, fit.full) if fit.censored == "low" else (fit.full, inf)
    elif curves.seeds > 1:
        variances = np.array([float(jackknife_variance(fit.leave_one_out)), from_grid])
        spread = pool(variances, np.array([curves.seeds - 1, slope.levels]))
        half = half_width(spread, 0.95)
        low, high, error = fit.full - half, fit.full + half, spread.error
    return LevelOptimum(
        level=fit.level,
        optimum=None if fit.censored else fit.full,
        error=error,
        low=low,
        high=high,
        censored=fit.censored,
        bound=fit.full if fit.censored else None,
        best=curves.best(fit.level, fit.argmin),
        argmin=fit.argmin,
        by_seed=tuple(float(x) for x in fit.by_seed if np.isfinite(x)),
        sensitivity=_sensitivity(fit, curves),
        best_interval=curves.best_interval(fit.level, fit.argmin),
    )


def _sensitivity(fit: Fit, curves: Curves) -> float:
    """How far the metric lies from its best on average over the range tried; NaN when nothing trains."""
    means = [curve.mean[np.isfinite(curve.mean)] for curve in curves.curves]
    curve = curves.at(fit.level)
    if not np.isfinite(curve.mean).any():
        return float("nan")
    worst = max(float(mean.max()) for mean in means if len(mean))
    known = ~np.isnan(curve.mean)
    sign = 1.0 if curves.logarithmic else curves.sign
    values = np.array([sign * curves.metric(min(cost, worst)) for cost in curve.mean[known]])
    return excess(curve.x[known], values, float(values.max()))
