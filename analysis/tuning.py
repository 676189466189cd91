"""How good a method gets with a budget for tuning: best-of-k curves, tunability, and who wins at each budget.

The draws are configurations, each scored by its mean over seeds. The bands are exact when configurations were drawn
independently from one distribution, as random search does; the reasons say so where they were not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from opda.nonparametric import EmpiricalDistribution
from scipy import special

from ..orchestrator.errors import SwatheError
from .bands import cdf_band
from .curves import text
from .estimates import CONFIDENCE, Estimate, from_jackknife
from .outcomes import Names, Outcomes, outcomes, unit_costs

Array = NDArray[np.float64]

INDEPENDENT = ("random", "")  # what `proposed_by` may say for configurations to be independent draws


@dataclass(frozen=True, slots=True)
class TuningCurve:
    """The median of the best of k configurations, for each k of `budgets`, in units of the metric.

    `low`..`high` hold for all budgets at once with 95%; infinite where the data set no bound. `n` configurations.
    """

    method: str
    budgets: tuple[int, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Contest:
    """The probability that the best of k configurations of `better` beats the best of k of `worse`, ties counted half.

    One value for each k of `budgets`; `low`..`high` hold for all at once with 95%. `n` configurations of each.
    """

    better: str
    worse: str
    budgets: tuple[int, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: tuple[int, int]
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


def tuning_curves(
    trials: pd.DataFrame,
    *,
    method: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    budgets: Sequence[int] = (),
    support: tuple[float, float] = (-inf, inf),
) -> tuple[TuningCurve, ...]:
    """A curve for each value of the parameters `method` (one for the whole frame without).

    `budgets` are all up to the number of configurations by default. `support` is the range of values the metric can
    take, such as (0, 1) for an accuracy, which bounds the band where data do not. Raises `SwatheError` when a column is
    missing or a value lies outside the support.
    """
    found = outcomes(trials, metric, direction, method, keep_pruned=True)
    curves = []
    for name, scores in scores_by_method(found).items():
        values = found.sign * scores
        finite = values[np.isfinite(values)]
        if len(finite) and not support[0] <= finite.min() <= finite.max() <= support[1]:
            raise SwatheError(f"there are values of {metric} outside {support}; widen the support or leave it out")
        # Divergence is worse than anything the metric can say.
        ends = (support[0], inf) if direction == "minimize" else (-inf, support[1])
        if np.isfinite(values).all():
            ends = support
        ks = np.array(budgets or range(1, len(scores) + 1))
        lines = [tuple(map(float, line)) for line in band_of_best(values, ks, ends, direction == "minimize")]
        reasons = (_statement(len(scores)), *_caveats(trials, found, name))
        curves.append(
            TuningCurve(name, tuple(map(int, ks)), lines[0], lines[1], lines[2], len(scores), reasons, found.excluded)
        )
    return tuple(curves)


def scores_by_method(found: Outcomes) -> dict[str, Array]:
    """The cost of each configuration (n,) by method, means over seeds, infinite where a seed diverged or was pruned."""
    table = unit_costs(found.table).reset_index()
    return {name: table.loc[table["method"] == name, "cost"].to_numpy(dtype=float) for name in found.methods}


def band_of_best(
    values: Array, budgets: Array, ends: tuple[float, float], minimize: bool = True
) -> tuple[Array, Array, Array]:
    """The median of the best of k of `values` (n,), and its simultaneous band, for each k of `budgets` (m,)."""
    ys = np.concatenate([[ends[0]], np.sort(values), [ends[1]]])
    below, above = cdf_band(len(values), CONFIDENCE)
    # What is stochastically small has a high distribution function, and so has the best of it.
    small, large = (EmpiricalDistribution(ys, ws=np.diff(bound, prepend=0.0, append=1.0)) for bound in (above, below))
    point = EmpiricalDistribution(values)
    middle, low, high = (
        np.asarray(each.quantile_tuning_curve(budgets, q=0.5, minimize=minimize)) for each in (point, small, large)
    )
    return middle, low, high


def contest(
    trials: pd.DataFrame,
    better: str,
    worse: str,
    *,
    method: Names,
    metric: str = "value",
    direction: str = "minimize",
    budgets: Sequence[int] = (),
) -> Contest:
    """Whether `better`, tuned with each budget, beats `worse`, tuned with the same; both are values of `method`.

    Raises `SwatheError` when one of them has no trials.
    """
    found = outcomes(trials, metric, direction, method, keep_pruned=True)
    scores = scores_by_method(found)
    for name in (better, worse):
        if name not in scores:
            raise SwatheError(f"there are no trials of {name!r}; there are {', '.join(scores) or 'none at all'}")
    one, other = scores[better], scores[worse]
    ks = list(budgets or range(1, min(len(one), len(other)) + 1))
    middle = [beats(one, best_weights(len(one), k), other, best_weights(len(other), k)) for k in ks]
    bounds = [_bounds(one, other, k) for k in ks]
    note = f"{better} has {len(one)} configurations, {worse} {len(other)}; the interval holds for all budgets at once."
    reasons = [note, *_caveats(trials, found, better), *_caveats(trials, found, worse)]
    return Contest(
        better=better,
        worse=worse,
        budgets=tuple(ks),
        estimate=tuple(middle),
        low=tuple(low for low, _ in bounds),
        high=tuple(high for _, high in bounds),
        n=(len(one), len(other)),
        reasons=tuple(dict.fromkeys(reasons)),
        excluded=found.excluded,
    )


def best_weights(n: int, k: int) -> Array:
    """The probability (n,) that the i-th lowest of n numbers is the lowest of k of them drawn without replacement.

    The U-statistic of the minimum: C(n - i, k - 1) / C(n, k), unbiased where drawing with replacement is not.
    """
    if not 1 <= k <= n:
        raise SwatheError(f"a budget of {k} cannot be read off {n} configurations; it is from 1 to {n}")
    ranks = np.arange(1, n + 1)
    return np.asarray(special.comb(n - ranks, k - 1) / special.comb(n, k))


def beats(one: Array, one_weights: Array, other: Array, other_weights: Array) -> float:
    """P(X < Y) + P(X = Y) / 2, X having `one_weights` on the sorted numbers `one`, and Y likewise."""
    x, y = np.sort(one), np.sort(other)
    mass = np.concatenate([[0.0], np.cumsum(other_weights)])
    up_to, below = mass[np.searchsorted(y, x, side="right")], mass[np.searchsorted(y, x, side="left")]
    return float(np.clip(one_weights @ (mass[-1] - (up_to + below) / 2), 0.0, 1.0))


def _bounds(one: Array, other: Array, k: int) -> tuple[float, float]:
    """The least and the largest probability of winning over all distributions within both bands."""
    confidence = sqrt(CONFIDENCE)  # of two bands, which are independent
    (xs, x_small, x_large), (ys, y_small, y_large) = (_best_within(each, k, confidence) for each in (one, other))
    return beats(xs, x_large, ys, y_small), beats(xs, x_small, ys, y_large)


def _best_within(scores: Array, k: int, confidence: float) -> tuple[Array, Array, Array]:
    """The support of the lowest of k, its ends open, with the masses at the small and at the large end of the band."""
    below, above = cdf_band(len(scores), confidence)
    support = np.concatenate([[-inf], np.sort(scores), [inf]])
    small, large = (np.diff(1 - (1 - np.concatenate([[0.0], bound, [1.0]])) ** k) for bound in (above, below))
    return support, small, large


def tunability(
    trials: pd.DataFrame,
    *,
    budget: int | None = None,
    method: Names = None,
    weights: str = "early",
    metric: str = "value",
    direction: str = "minimize",
    ceiling: float | None = None,
) -> dict[str, Estimate]:
    """The expected best after k trials, averaged over k = 1..`budget` (Sivaprasad et al., 2020, arXiv 1910.11758).

    `weights` "early" falls linearly in k (emphasis on small budgets), "uniform" does not. The default `budget` is half
    the configurations, beyond which the jackknife over them is not to be trusted. Diverged and pruned configurations
    count as `ceiling`, by default the worst value there is. In units of the metric; `n` counts configurations. For 20
    configurations with exponential costs the interval covers 88% at nominal 95% (the jackknife of a skewed mean).
    """
    if weights not in ("early", "uniform"):
        raise SwatheError(f"weights {weights!r} are unknown; they are early or uniform")
    found = outcomes(trials, metric, direction, method, keep_pruned=True)
    answers = {}
    for name, scores in scores_by_method(found).items():
        last = budget or max(1, len(scores) // 2)
        if last >= len(scores):
            raise SwatheError(f"{len(scores)} configurations cannot show a budget of {last}; ask for fewer")
        finite = scores[np.isfinite(scores)]
        cap = found.sign * ceiling if ceiling is not None else float(finite.max()) if len(finite) else inf
        clipped = np.minimum(scores, cap)
        without = np.array([_tunability(np.delete(clipped, i), last, weights) for i in range(len(scores))])
        value = _tunability(clipped, last, weights)
        notes = [f"Mean of the best after 1 to {last} trials, weights {weights}; n counts configurations."]
        if (scores > cap).any():
            notes.append(f"{int((scores > cap).sum())} of {len(scores)} count as {found.metric(cap):.4g}, the ceiling.")
        reasons = [*notes, *_caveats(trials, found, name)]
        answer = from_jackknife(found.sign * value, found.sign * without, reasons=reasons)
        answers[name] = Estimate(answer.estimate, answer.low, answer.high, answer.n, answer.reasons, found.excluded)
    return answers


def _tunability(scores: Array, budget: int, weights: str) -> float:
    ks = np.arange(1, budget + 1)
    share = budget + 1.0 - ks if weights == "early" else np.ones(budget)
    best = EmpiricalDistribution(scores).u_tuning_curve(ks, minimize=True)
    return float(np.asarray(best) @ share / share.sum())


def _statement(n: int) -> str:
    return f"Median of the best of k configurations out of {n}; the band holds for all k at once with 95%."


def _caveats(trials: pd.DataFrame, found: Outcomes, method: str) -> list[str]:
    """What keeps the band from being exact, and what counted as worst."""
    notes = []
    proposers = sorted(set(text(trials, "proposed_by")) - set(INDEPENDENT))
    if proposers:
        notes.append(f"Configurations were proposed by {', '.join(map(str, proposers))}, not drawn independently.")
    mine = found.table.loc[found.table["method"] == method]
    for why, rows in (("diverged", mine.loc[~mine["pruned"]]), ("were pruned", mine.loc[mine["pruned"]])):
        if bad := rows.loc[np.isinf(rows["cost"]), "unit"].nunique():
            notes.append(f"{bad} configurations {why} with a seed or more and count as worst.")
    return notes
