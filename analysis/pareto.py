"""Several objectives: the configurations that no other one beats, being as good in all and better in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..orchestrator.schema import PARAM
from .summary import configuration_means, split_parameters
from .words import group_label


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One configuration of a cell's Pareto front: means and standard errors (None from one seed) by objective."""

    cell: str
    label: str
    configuration: int
    params: Mapping[str, Any]
    values: Mapping[str, float]
    errors: Mapping[str, float | None]
    seeds: int
    ended: int


def objective_means(trials: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The means of every configuration that has all of them: the columns of `configuration_means`, and for each
    objective a column with its name and one "error NAME"; the first objective is the column `value` of `trials`."""
    whole: pd.DataFrame | None = None
    for place, name in enumerate(objectives):
        means = configuration_means(trials, name if place else "value")
        means = means.rename(columns={"mean": name, "error": f"error {name}"})
        kept = means if whole is None else means.drop(columns=["seeds", "ended"])
        whole = kept if whole is None else whole.merge(kept, on=["cell", "configuration"])
    assert whole is not None, "a sweep has an objective"
    return whole


def on_front(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points (n, objectives), lower being better, no other one dominates. Equal points all stay."""
    # A row at a time: all pairs at once would not fit for ten thousand configurations.
    return np.array(
        [not ((costs <= each).all(axis=1) & (costs < each).any(axis=1)).any() for each in costs], dtype=bool
    )


def fronts(trials: pd.DataFrame, directions: Mapping[str, str]) -> tuple[FrontRow, ...]:
    """The Pareto front of each cell, cells in the order of their grid values, rows by the first objective.

    `directions` says of each objective, the first one first, whether to minimize or maximize it. Means are over the
    complete replicates of a configuration; one that failed more often than not is left out.
    """
    if trials.empty:
        return ()
    names = list(directions)
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions.values()])
    grid, searched = split_parameters(trials)
    first = trials.groupby(["cell", "configuration"], observed=True)[[PARAM + name for name in (*grid, *searched)]]
    known = {(row["cell"], row["configuration"]): row for row in first.first().reset_index().to_dict("records")}
    rows: list[tuple[tuple[Any, ...], FrontRow]] = []
    for cell, table in objective_means(trials, names).groupby("cell"):
        chosen = table.loc[on_front(table[names].to_numpy(dtype=float) * signs)]
        for each in chosen.sort_values(names[0], ascending=signs[0] > 0).to_dict("records"):
            params = known[cell, each["configuration"]]
            values = tuple(params[PARAM + name] for name in grid)
            row = FrontRow(
                cell=str(cell),
                label=group_label(grid, values),
                configuration=each["configuration"],
                params={name: params[PARAM + name] for name in searched},
                values={name: each[name] for name in names},
                errors={name: each[f"error {name}"] if each["seeds"] > 1 else None for name in names},
                seeds=each["seeds"],
                ended=each["ended"],
            )
            rows.append((tuple((isinstance(value, str), value) for value in values), row))
    return tuple(row for _, row in sorted(rows, key=lambda pair: pair[0]))
