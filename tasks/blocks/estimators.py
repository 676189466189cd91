"""What decides claims: functions of a sweep's tables, made from the names of axes and metrics.

`analysis` and pandas are imported when an estimator is called: workers, which only train, never load them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ...orchestrator.claims import Claim, Estimate, Frames
from ...orchestrator.task import Scalar

if TYPE_CHECKING:
    from ...analysis.estimates import Array

MARGIN = 0.15  # `analysis.transfer.MARGIN`, octaves per doubling

Estimator = Callable[[Frames], Estimate]
Where = Mapping[str, Scalar]
Pair = tuple[Scalar, Scalar]
Term = tuple[float, Where]  # a weight, and the cell whose metric has it


def mean(metric: str, direction: str = "minimize", choose: str = "", **where: Scalar) -> Estimator:
    """The mean over seeds of `metric` in the cell `where`, with its t interval.

    Where the cell has several configurations, each seed is measured at the one that the other seeds find best by
    `choose` (or `metric`) in the sense of `direction`.
    """

    def estimate(frames: Frames) -> Estimate:
        from ...analysis import tuned
        from ...analysis.estimates import from_values

        found = tuned.tuned(tuned.select(frames.trials, **where), metric, direction, choose)
        return from_values(found.values, stretch=found.stretch)

    return estimate


def difference(metric: str, direction: str = "minimize", choose: str = "", **where: Scalar | Pair) -> Estimator:
    """`metric` in one cell minus that in another, paired by seed, each as in `mean`.

    Pairs of `where` name them: optimizer=("adamp", "adam"), or that and steps=(400, 800).
    """
    return _compared(metric, direction, choose, where, ratio=False)


def ratio(metric: str, direction: str = "minimize", choose: str = "", **where: Scalar | Pair) -> Estimator:
    """`metric` in one cell over that in another, paired by seed, as `difference` takes them."""
    return _compared(metric, direction, choose, where, ratio=True)


def over(one: str, other: str, **where: Scalar) -> Estimator:
    """The mean over seeds of the metric `one` over the metric `other` of the same trial, in the cell `where`, which has
    one configuration."""

    def estimate(frames: Frames) -> Estimate:
        from ...analysis import tuned

        rows = tuned.select(frames.trials, **where)
        return tuned.contrast(*(tuned.tuned(rows, metric, "minimize") for metric in (one, other)), ratio=True)

    return estimate


def _compared(
    metric: str, direction: str, choose: str, where: Mapping[str, Scalar | Pair], *, ratio: bool
) -> Estimator:
    pairs = [name for name, value in where.items() if isinstance(value, tuple)]
    if not pairs:
        raise ValueError(f"0 of {sorted(where)} are pairs; one or more name what is compared")

    def estimate(frames: Frames) -> Estimate:
        from ...analysis import tuned

        cells = [{**where, **{name: cast(Pair, where[name])[side] for name in pairs}} for side in (0, 1)]
        one, other = (tuned.tuned(tuned.select(frames.trials, **cell), metric, direction, choose) for cell in cells)
        return tuned.contrast(one, other, ratio)

    return estimate


def combination(metric: str, terms: Sequence[Term], direction: str = "minimize") -> Estimator:
    """The weighted sum of `metric` over cells, seed by seed, each as in `mean`."""

    def estimate(frames: Frames) -> Estimate:
        from ...analysis import tuned

        return tuned.combined(
            [(weight, tuned.tuned(tuned.select(frames.trials, **cell), metric, direction)) for weight, cell in terms]
        )

    return estimate


def slope(metric: str, axis: str, **where: Scalar) -> Estimator:
    """The power of `axis` with which `metric` grows: its slope on doubly logarithmic scales, a line a seed.

    The mean over seeds, of the trials `where`, with its t interval. Seeds that lack a level, or diverged there, are
    excluded.
    """

    def estimate(frames: Frames) -> Estimate:
        from ...analysis import tuned
        from ...analysis.curves import numbers
        from ...analysis.estimates import from_values
        from ...analysis.statistics import slope_weights

        rows = tuned.select(frames.trials, **where)
        levels = np.unique(level := numbers(rows, f"param.{axis}"))
        replicates = np.unique(replicate := numbers(rows, "replicate"))
        table = np.full((len(replicates), len(levels)), np.nan)
        table[np.searchsorted(replicates, replicate), np.searchsorted(levels, level)] = numbers(
            rows, f"metric.{metric}"
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.log(table) @ slope_weights(np.log(levels))
        lost = int((~np.isfinite(found)).sum())
        return from_values(found[np.isfinite(found)], {"seed without a slope": lost} if lost else {})

    return estimate


def across(metric: str, axis: str, of: Callable[[Array], float], **where: Scalar) -> Estimator:
    """`of` the means over seeds of `metric` at each level of `axis`, ascending; with a jackknife interval over seeds.

    Of the trials `where`, one configuration a level.
    """

    def estimate(frames: Frames) -> Estimate:
        from ...analysis import tuned
        from ...analysis.estimates import from_jackknife

        rows = tuned.select(frames.trials, **where)
        columns = {"index": "replicate", "columns": f"param.{axis}", "values": f"metric.{metric}"}
        table = rows.pivot(**columns).sort_index(axis=1).to_numpy(dtype=float, na_value=np.nan)
        without = [of(np.delete(table, k, axis=0).mean(axis=0)) for k in range(len(table))]
        return from_jackknife(of(table.mean(axis=0)), np.array(without))

    return estimate


def grown(metric: str, estimator: Estimator) -> Estimator:
    """`estimator` of trials that have a metric `growth`: `metric` at the end over what it was when first reported."""

    def estimate(frames: Frames) -> Estimate:
        rows = frames.metrics.loc[(frames.metrics["metric"] == metric).to_numpy(dtype=bool)]
        table = rows.pivot(index="trial", columns="step", values="value").sort_index(axis=1).astype(float)
        growth = dict(zip(table.index, table.iloc[:, -1] / table.iloc[:, 0], strict=True))
        column = [growth.get(name, np.nan) for name in frames.trials["trial"]]
        trials = frames.trials.assign(**{"metric.growth": column})
        return estimator(frames._replace(trials=trials))

    return estimate


def drift(axis: str, hyperparameter: str, **where: Scalar) -> Estimator:
    """Octaves by which the best value of `hyperparameter` moves per doubling of `axis`, with the 95% interval.

    Of the trials `where`; the metric is the sweep's, and low values are good.
    """
    return _moving(axis, hyperparameter, where, size=False)


def movement(axis: str, hyperparameter: str, **where: Scalar) -> Estimator:
    """|drift|, to be claimed below a margin: its upper bound is that of the 90% interval, its lower of the 95% one.

    So the claim is reproduced where `analysis.transfer` says *transfers* with that margin (two one-sided tests at 5%
    each), and not reproduced where it says *drifts*.
    """
    return _moving(axis, hyperparameter, where, size=True)


def moving(whose: str, sweep: Mapping[str, Any], axis: str, parameterization: str, *, stays: bool) -> Claim:
    """The claim that the best learning rate stays along `axis`, or falls, by the margin of the verdict."""
    octaves = f"octaves that the best lr moves per doubling of the {axis}"
    if not stays:
        fall = drift(axis, "lr", parameterization=parameterization)
        return Claim(f"{whose}: {octaves}", sweep, fall, "below", -MARGIN)
    equal = movement(axis, "lr", parameterization=parameterization)
    return Claim(f"{whose}: |{octaves}|, bounds as for equivalence", sweep, equal, "below", MARGIN)


def _moving(axis: str, hyperparameter: str, where: Where, *, size: bool) -> Estimator:
    def estimate(frames: Frames) -> Estimate:
        from ...analysis import transfer, tuned

        found = transfer.judge(tuned.select(frames.trials, **where), axis=axis, hyperparameter=hyperparameter)
        value, low, high = found.drift, found.drift_low, found.drift_high
        if size:
            value = None if value is None else abs(value)
            low, high = max(low, -high, 0.0), max(found.equivalence_high, -found.equivalence_low)
        enough = found.seeds >= transfer.SEEDS and (low, high) != (-inf, inf)
        bounds = (low, high) if enough else (None, None)
        return Estimate(value, *bounds, found.seeds, found.reasons, found.excluded)

    return estimate
