"""What a method gives, seed by seed, at the configuration that is best for it: the numbers that comparisons rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..orchestrator.errors import SwatheError
from ..orchestrator.schema import PARAM
from .curves import objective, text
from .estimates import Array, Estimate, from_values
from .outcomes import sign_of


@dataclass(frozen=True, slots=True)
class Tuned:
    """Values (seeds,), one a replicate in ascending order; infinitely bad where the trial diverged.

    Where there were several configurations, the value of a seed is that of the configuration which the other seeds
    choose, so that no seed judges what it has chosen; `stretch` widens an interval for their having seeds in common.
    """

    values: Array
    replicates: tuple[int, ...]
    stretch: float


def select(trials: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The trials with these parameters. Raises `SwatheError` when there is none."""
    for name, value in where.items():
        if PARAM + name not in trials.columns:
            known = ", ".join(column.removeprefix(PARAM) for column in trials.columns if column.startswith(PARAM))
            raise SwatheError(f"parameter {name!r} is none of this sweep's; there are {known}")
        kept = trials.loc[(trials[PARAM + name] == value).fillna(False).to_numpy(dtype=bool)]
        if kept.empty:
            there = sorted({str(each) for each in trials[PARAM + name].dropna()})
            raise SwatheError(f"no trial has {name} = {value!r}; there are {', '.join(there) or 'none'}")
        trials = kept
    return trials


def tuned(trials: pd.DataFrame, metric: str, direction: str, choose: str = "") -> Tuned:
    """The value of `metric` of each seed, at the configuration with the best mean of `choose` (or `metric`).

    `direction` says which values of `choose` are good. All trials must be of one cell. A configuration takes part when
    it has all the seeds that any has. Raises `SwatheError` for trials of several cells, or when none has ended.
    """
    if len(cells := set(text(trials, "cell"))) != 1:
        raise SwatheError(f"these are trials of {len(cells)} cells; name the values of all grid axes, to leave one")
    worst = sign_of(direction) * np.inf
    costs = sign_of(direction) * _table(trials, choose or metric, worst)
    values = _table(trials, metric, worst if metric == (choose or metric) else np.nan)
    whole = ~costs.isna().any(axis=1)
    if not whole.any():
        raise SwatheError("no configuration has ended on every seed; let the sweep finish")
    matrix, found = costs[whole].to_numpy(dtype=float), values.loc[costs.index[whole]].to_numpy(dtype=float)
    seeds = matrix.shape[1]
    replicates = tuple(int(each) for each in costs.columns)
    if len(matrix) == 1 or seeds == 1:
        return Tuned(found[int(np.argmin(matrix.mean(axis=1)))], replicates, 1.0)
    rows = [int(np.argmin(np.delete(matrix, k, axis=1).mean(axis=1))) for k in range(seeds)]
    return Tuned(found[rows, np.arange(seeds)], replicates, float(np.sqrt(1 + seeds / (seeds - 1))))


def contrast(one: Tuned, other: Tuned, ratio: bool = False) -> Estimate:
    """one - other, or one / other, paired by seed, with the t interval of the mean over seeds."""
    shared = sorted(set(one.replicates) & set(other.replicates))
    a, b = (np.array([each.values[each.replicates.index(k)] for k in shared]) for each in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = a / b if ratio else a - b
    return from_values(found, stretch=max(one.stretch, other.stretch))


def combined(terms: Sequence[tuple[float, Tuned]]) -> Estimate:
    """The sum of weight * value, paired by seed, with the t interval of its mean over seeds."""
    shared = sorted(set[int].intersection(*(set(each.replicates) for _, each in terms)))
    rows = [weight * each.values[[each.replicates.index(k) for k in shared]] for weight, each in terms]
    return from_values(np.sum(rows, axis=0), stretch=max(each.stretch for _, each in terms))


def _table(trials: pd.DataFrame, metric: str, diverged: float) -> pd.DataFrame:
    """A row a configuration, a column a replicate."""
    _, values, lost = objective(trials, metric)
    frame = pd.DataFrame(
        {
            "configuration": trials["configuration"].to_numpy(dtype=int),
            "replicate": trials["replicate"].to_numpy(dtype=int),
            "value": np.where(lost, diverged, values),
        }
    )
    return frame.pivot(index="configuration", columns="replicate", values="value")
