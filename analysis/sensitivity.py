"""How much a hyperparameter may be off before it hurts: sensitivity curves, the width of the basin, what they cost.

Read off the curves of `curves`: costs against log2 of the hyperparameter, a diverged point being infinite. A metric
that is minimised and positive is compared as a ratio ("within 5% of the best"), any other as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf, log1p

import numpy as np
import pandas as pd

from ..orchestrator.errors import SwatheError
from ..orchestrator.schema import PARAM
from .curves import Array, Curve, Curves, gather
from .estimates import CONFIDENCE, SEEDS, Estimate, from_jackknife
from .outcomes import Names, labels, natural
from .statistics import t_interval
from .width import Width, above, excess, width

TOLERANCE = 0.05
ALL = "every"  # the axis that `gather` asks for, with one level


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One method's curve over log2 of a hyperparameter and what it says.

    `x` (points,) in octaves; `estimate`, `low`, `high` (points,) in units of the metric with 95% t intervals (NaN
    where there is none, infinitely bad where a seed diverged), geometric means where `logarithmic`. `width`: octaves
    in which the cost is `within` of the best; `open_low`, `open_high`: whether it goes on beyond the range tried, so
    that the width is a lower bound. `excess`: the mean over the range tried of how far the cost lies above the best
    (Wortsman et al., 2023, arXiv 2309.14322), cut at `ceiling`. `penalty`: what the default costs on top of the best.
    The last two are in units of the metric, or of its logarithm where `logarithmic`.
    """

    method: str
    hyperparameter: str
    x: tuple[float, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    width: Estimate
    open_low: bool
    open_high: bool
    within: str
    excess: Estimate
    penalty: Estimate | None
    logarithmic: bool
    n: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


def sensitivity(
    trials: pd.DataFrame,
    hyperparameter: str,
    *,
    method: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    tolerance: float = TOLERANCE,
    default: float | None = None,
    ceiling: float | None = None,
) -> tuple[Sensitivity, ...]:
    """The sensitivity of each method (of all trials together without `method`) to `hyperparameter`.

    `tolerance` is a share of the best value where the metric is positive and minimised, else in its units. `default`
    is a value of the hyperparameter, `ceiling` the metric as which divergence counts in `excess`: the loss before
    training, say; the worst finite point by default. Raises `SwatheError` when the hyperparameter is no positive
    number or the tolerance is not positive.
    """
    if tolerance <= 0:
        raise SwatheError(f"a tolerance of {tolerance:g} leaves no basin; give a positive one")
    names = labels(trials, method)
    answers = []
    for name in sorted(set(names), key=natural):
        curves = _curves(trials.loc[names == name], hyperparameter, metric, direction)
        if curves.curves and len(curves.curves[0].x) >= 2 and np.isfinite(curves.curves[0].lowest):
            answers.append(_read(name, curves, hyperparameter, (tolerance, default, ceiling)))
    return tuple(answers)


def compare_widths(
    trials: pd.DataFrame,
    one: str,
    other: str,
    hyperparameter: str,
    *,
    method: Names,
    metric: str = "value",
    direction: str = "minimize",
    tolerance: float = TOLERANCE,
) -> Estimate:
    """By how many octaves the basin of `one` is wider than that of `other`, seeds being paired.

    None as the interval when either goes on beyond the range tried: then its width is not known.
    """
    names = labels(trials, method)
    both = []
    for name in (one, other):
        if not (names == name).any():
            raise SwatheError(f"there are no trials of {name!r}; there are {', '.join(map(str, sorted(set(names))))}")
        both.append(_curves(trials.loc[names == name], hyperparameter, metric, direction))
    depths = [_depth(curves, tolerance) for curves in both]
    wholes = [
        width(curves.curves[0].x, curves.curves[0].mean, depth) for curves, depth in zip(both, depths, strict=True)
    ]
    value = wholes[0].octaves - wholes[1].octaves
    note = f"Octaves of {hyperparameter} within {_within(both[0], tolerance)}, {one} minus {other}."
    if any(whole.open_low or whole.open_high for whole in wholes):
        return Estimate(value, None, None, both[0].seeds, (note, "A basin goes on beyond the range tried."))
    if both[0].seeds != both[1].seeds:
        return Estimate(value, None, None, min(each.seeds for each in both), (note, "The methods differ in seeds."))
    without = [_widths(curves, depth) for curves, depth in zip(both, depths, strict=True)]
    return from_jackknife(value, without[0] - without[1], sum(whole.variance for whole in wholes), reasons=(note,))


def _curves(trials: pd.DataFrame, hyperparameter: str, metric: str, direction: str) -> Curves:
    """One level that holds all trials, averaged over whatever else varies."""
    return gather(trials.assign(**{PARAM + ALL: 1.0}), ALL, hyperparameter, metric, direction)


def _depth(curves: Curves, tolerance: float) -> float:
    return log1p(tolerance) if curves.logarithmic else tolerance


def _within(curves: Curves, tolerance: float) -> str:
    return f"{100 * tolerance:g}% of the best" if curves.logarithmic else f"{tolerance:g} of the best"


def _read(
    name: str, curves: Curves, hyperparameter: str, asked: tuple[float, float | None, float | None]
) -> Sensitivity:
    tolerance, default, ceiling = asked
    curve, depth = curves.curves[0], _depth(curves, tolerance)
    whole = _width(curves, depth)
    reasons = [
        f"Width within {_within(curves, tolerance)}; range tried {2 ** curve.x[0]:.3g} to {2 ** curve.x[-1]:.3g}."
    ]
    others = [each for each in curves.varying if each != ALL]
    if others:
        reasons.append(f"Trials also differ in {', '.join(others)}; their costs are averaged at each value tried.")
    width = from_jackknife(whole.octaves, _widths(curves, depth), whole.variance, (0.0, inf), reasons[:1])
    if whole.open_low or whole.open_high:
        side = "below" if not whole.open_high else "above" if not whole.open_low else "beyond both ends of"
        width = replace(width, high=None if width.high is None else inf)
        width = width.because(f"The basin goes on {side} the range tried, so the width is a lower bound.")
    middle, low, high = _points(curves)
    cap = _cost(curves, ceiling) if ceiling is not None else float(np.max(curve.mean[np.isfinite(curve.mean)]))
    return Sensitivity(
        method=name,
        hyperparameter=hyperparameter,
        x=tuple(map(float, curve.x)),
        estimate=middle,
        low=low,
        high=high,
        width=width,
        open_low=whole.open_low,
        open_high=whole.open_high,
        within=_within(curves, tolerance),
        excess=_jackknifed(curves, lambda mean: excess(curve.x, mean, cap)),
        penalty=None if default is None else _jackknifed(curves, lambda mean: above(curve.x, mean, default)),
        logarithmic=curves.logarithmic,
        n=curves.seeds,
        reasons=tuple(reasons),
        excluded=curves.excluded,
    )


def _width(curves: Curves, depth: float) -> Width:
    return width(curves.curves[0].x, curves.curves[0].mean, depth)


def _widths(curves: Curves, depth: float) -> Array:
    """The width without each seed (seeds,)."""
    x = curves.curves[0].x
    return _without(curves.curves[0], lambda mean: width(x, mean, depth).octaves)


def _without(curve: Curve, read: Callable[[Array], float]) -> Array:
    """What `read` makes of the mean curve without each seed (seeds,); NaN for a single one."""
    seeds = len(curve.cost)
    if seeds < 2:
        return np.full(seeds, np.nan)
    return np.array([read(replace(curve, cost=np.delete(curve.cost, k, axis=0)).mean) for k in range(seeds)])


def _jackknifed(curves: Curves, read: Callable[[Array], float]) -> Estimate:
    curve = curves.curves[0]
    return from_jackknife(read(curve.mean), _without(curve, read))


def _cost(curves: Curves, metric: float) -> float:
    """A value of the metric as a cost."""
    return float(np.log(metric)) if curves.logarithmic else curves.sign * metric


def _points(curves: Curves) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """The mean and the ends of its interval at every point, in units of the metric."""
    rows = []
    for column, mean in zip(curves.curves[0].cost.T, curves.curves[0].mean, strict=True):
        known = column[~np.isnan(column)]
        ends = (np.nan, np.nan)
        if len(known) >= SEEDS and np.isfinite(known).all():
            ends = t_interval(known, CONFIDENCE)
        values = [curves.metric(float(cost)) for cost in (mean, *ends)]
        rows.append((values[0], min(values[1:]), max(values[1:])))
    middle, low, high = zip(*rows, strict=True)
    return middle, low, high
