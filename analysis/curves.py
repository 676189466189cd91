"""From a trials frame to one curve per level: cost against log2 of the hyperparameter, seed by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..orchestrator.errors import SwatheError
from ..orchestrator.schema import METRIC, PARAM
from .basin import natural_depth
from .estimates import CONFIDENCE, SEEDS
from .statistics import mean_curve, t_interval

Array = NDArray[np.float64]

BIN = 1 / 8  # octaves: scattered points nearer than this are read as one
LONELY = "of a seed that not every level has"  # trials with a result that are left out


@dataclass(frozen=True)
class Curve:
    """One level's trials. `x` (points,) ascends, in octaves; `cost` (seeds, points), lower is better, is NaN where a
    trial is missing and infinite where it diverged."""

    level: float
    x: Array
    cost: Array

    @cached_property
    def clean(self) -> NDArray[np.bool_]:
        """Where (points,) no trial diverged."""
        return np.isinf(self.cost).sum(axis=0) == 0

    @cached_property
    def mean(self) -> Array:
        """The seed-mean cost (points,), infinite where a trial diverged."""
        return np.where(self.clean, mean_curve(np.where(np.isinf(self.cost), np.nan, self.cost)), np.inf)

    @cached_property
    def natural_depth(self) -> float:
        """How deep the basin is where it is as wide as an optimum is read from."""
        return natural_depth(self.x, self.mean)

    @property
    def lowest(self) -> float:
        """The lowest mean cost; infinite when every point has diverged trials."""
        return float(self.mean.min())

    @property
    def edges(self) -> tuple[float, float]:
        """How far the first and the last point lie above the lowest; infinite where they diverged."""
        low, high = (float(self.mean[k] - self.lowest) if np.isfinite(self.mean[k]) else np.inf for k in (0, -1))
        return low, high


@dataclass(frozen=True, slots=True)
class Curves:
    """All levels, ascending. `logarithmic`: cost is the logarithm of the metric, else the metric or its negative.
    `scattered`: the levels do not share their points. `varying` are other parameters that differ between trials.
    `excluded` counts trials that say nothing, by reason. `replicates` name the seeds, in the order of the costs."""

    curves: tuple[Curve, ...]
    seeds: int
    logarithmic: bool
    sign: float
    scattered: bool
    varying: tuple[str, ...]
    excluded: Mapping[str, int]
    replicates: tuple[int, ...] = ()

    def metric(self, cost: float) -> float:
        """A cost in the units of the metric."""
        return float(np.exp(cost)) if self.logarithmic else self.sign * cost

    def at(self, level: float) -> Curve:
        """The curve of one level."""
        return next(curve for curve in self.curves if curve.level == level)

    def best(self, level: float, x: float) -> float:
        """The mean of the metric over seeds at the point `x` of a level; NaN when there is none."""
        curve = self.at(level)
        costs = curve.cost[:, curve.x == x]
        return float(np.mean([self.metric(cost) for cost in costs[~np.isnan(costs)]])) if costs.size else float("nan")

    def best_interval(self, level: float, x: float) -> tuple[float, float] | tuple[None, None]:
        """The 95% t interval of `best`; None from fewer than three seeds."""
        curve = self.at(level)
        costs = curve.cost[:, curve.x == x]
        known = np.array([self.metric(cost) for cost in costs[np.isfinite(costs)]])
        return t_interval(known, CONFIDENCE) if len(known) >= SEEDS else (None, None)


def numbers(trials: pd.DataFrame, column: str) -> Array:
    """A column as floats (rows,), null as NaN. Raises `SwatheError` when it is missing or no number."""
    if column not in trials.columns:
        known = ", ".join(name for name in trials.columns if name.startswith((PARAM, METRIC)) or name == "value")
        raise SwatheError(f"there is no column {column!r} among the trials; there are {known}")
    try:
        return trials[column].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise SwatheError(f"column {column!r} does not hold numbers, which a transfer study needs") from None


def objective(trials: pd.DataFrame, metric: str) -> tuple[str, Array, NDArray[np.bool_]]:
    """The column of `metric`, its values (rows,) and which rows diverged; a trial that counts as neither is NaN.

    Diverged: the cause says so, or the trial is complete and its metric is not finite.
    """
    column = metric if metric in trials.columns else METRIC + metric
    values = numbers(trials, column)
    state, cause = text(trials, "state"), text(trials, "cause")
    complete = state == "COMPLETE"
    diverged = (cause == "diverged") | (complete & ~np.isfinite(values))
    return column, np.where(complete & ~diverged, values, np.nan), diverged


def text(trials: pd.DataFrame, column: str) -> NDArray[np.object_]:
    """A column as words (rows,), null as the empty one; all empty where there is no such column."""
    if column not in trials.columns:
        return np.full(len(trials), "", dtype=object)
    return trials[column].astype(object).where(trials[column].notna(), "").to_numpy(dtype=object)


def exclusions(trials: pd.DataFrame, usable: NDArray[np.bool_]) -> dict[str, int]:
    """How many of the trials are not `usable` (rows,), by cause or state, in words."""
    state, cause = text(trials, "state")[~usable], text(trials, "cause")[~usable]
    words = (why.replace("_", " ") if why else str(how).lower() for how, why in zip(state, cause, strict=True))
    return dict(sorted(Counter(words).items()))


def gather(trials: pd.DataFrame, axis: str, hyperparameter: str, metric: str, direction: str) -> Curves:
    """The curves of a frame. Raises `SwatheError` when axis or hyperparameter are not positive numbers."""
    if direction not in ("minimize", "maximize"):
        raise SwatheError(f"direction {direction!r} is unknown; it is minimize or maximize")
    _, values, diverged = objective(trials, metric)
    level, knob = (_positive(trials, PARAM + name) for name in (axis, hyperparameter))
    usable = ~np.isnan(values) | diverged
    sign = 1.0 if direction == "minimize" else -1.0
    finite = values[~np.isnan(values)]
    logarithmic = direction == "minimize" and bool((finite > 0).all())
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(diverged, np.inf, np.log(values) if logarithmic else sign * values)
    table = pd.DataFrame(
        {"level": level, "x": np.log2(knob).round(9), "cost": cost, "replicate": numbers(trials, "replicate")}
    ).loc[usable]
    seeds = _common_seeds(table)
    scattered = _scattered(table)
    if scattered:
        table["x"] = table.groupby(["level", np.floor(table["x"] / BIN)])["x"].transform("mean")
    curves = tuple(_curve(value, table.loc[table["level"] == value], seeds) for value in sorted(set(table["level"])))
    varying, excluded = _varying(trials, (axis, hyperparameter)), exclusions(trials, usable)
    if lonely := int((~table["replicate"].isin(seeds)).sum()):
        excluded[LONELY] = lonely
    return Curves(
        curves, len(seeds), logarithmic, sign, scattered, varying, excluded, tuple(int(seed) for seed in seeds)
    )


def _positive(trials: pd.DataFrame, column: str) -> Array:
    values = numbers(trials, column)
    if len(values) and not (values > 0).all():
        wrong = values[~(values > 0)][0]
        raise SwatheError(f"column {column!r} holds {wrong}; a transfer study takes its logarithm, so it must be > 0")
    return values


def _varying(trials: pd.DataFrame, meant: Sequence[str]) -> tuple[str, ...]:
    """The parameters beside those `meant` that take several values."""
    names = [column.removeprefix(PARAM) for column in trials.columns if column.startswith(PARAM)]
    return tuple(name for name in names if name not in meant and len(set(trials[PARAM + name].dropna())) > 1)


def _common_seeds(table: pd.DataFrame) -> Sequence[float]:
    """The replicates that every level has tried."""
    present = [set(rows["replicate"]) for _, rows in table.groupby("level")]
    return sorted(set.intersection(*present)) if present else []


def _scattered(table: pd.DataFrame) -> bool:
    """Whether the levels were searched at points of their own rather than on one lattice."""
    points = [set(rows) for _, rows in table.groupby("level")["x"]]
    return len(points) > 1 and len(set.union(*points)) > 1.5 * max(map(len, points))


def _curve(level: float, rows: pd.DataFrame, seeds: Sequence[float]) -> Curve:
    """The costs of one level by seed and point, those of trials that share both being averaged."""
    mine = rows.loc[rows["replicate"].isin(seeds)]
    x, column = np.unique(mine["x"].to_numpy(dtype=np.float64), return_inverse=True)
    place = (np.searchsorted(np.asarray(seeds), mine["replicate"].to_numpy(dtype=np.float64)), column)
    total, count = np.zeros((len(seeds), len(x))), np.zeros((len(seeds), len(x)))
    np.add.at(total, place, mine["cost"].to_numpy(dtype=np.float64))
    np.add.at(count, place, 1.0)
    return Curve(level, x, np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
