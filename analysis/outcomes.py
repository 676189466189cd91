"""From a trials frame to what robustness is read from: one cost per method, task, configuration and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..orchestrator.errors import SwatheError
from ..orchestrator.schema import PARAM
from .curves import exclusions, numbers, objective, text

Array = NDArray[np.float64]
Names = str | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Costs, lower is better. `table` has a row a trial with the columns method, task (words, empty when not asked
    for), unit (cell and configuration), replicate, cost (infinite where it diverged) and pruned (bool; its cost is
    then infinite too). `sign` times the cost is the metric. `excluded` counts trials that say nothing, by reason."""

    table: pd.DataFrame
    sign: float
    excluded: Mapping[str, int]

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of their names."""
        return sorted(set(self.table["method"]), key=natural)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of their names."""
        return sorted(set(self.table["task"]), key=natural)

    def metric(self, cost: float) -> float:
        """A cost in the units of the metric."""
        return self.sign * cost


def natural(name: str) -> tuple[float, str]:
    """A key that sorts numbers as numbers, before words."""
    try:
        return float(name), name
    except ValueError:
        return np.inf, name


def sign_of(direction: str) -> float:
    """1 when low values are good, -1 when high ones are. Raises `SwatheError` for another direction."""
    if direction not in ("minimize", "maximize"):
        raise SwatheError(f"direction {direction!r} is unknown; it is minimize or maximize")
    return 1.0 if direction == "minimize" else -1.0


def outcomes(
    trials: pd.DataFrame,
    metric: str = "value",
    direction: str = "minimize",
    method: Names = None,
    task: Names = None,
    keep_pruned: bool = False,
) -> Outcomes:
    """The costs of a frame. `method` and `task` name parameters (grid axes, say) whose values tell methods and tasks.

    Diverged trials cost infinitely much. Pruned ones are excluded, or with `keep_pruned` cost infinitely much: they
    were stopped for being bad. Everything else without a value is excluded and counted. Raises `SwatheError` for a
    missing column or an unknown direction.
    """
    sign = sign_of(direction)
    _, values, diverged = objective(trials, metric)
    pruned = (text(trials, "state") == "PRUNED") & ~diverged
    worst = diverged | pruned if keep_pruned else diverged
    usable = ~np.isnan(values) | worst
    table = pd.DataFrame(
        {
            "method": labels(trials, method),
            "task": labels(trials, task),
            "unit": np.array(units(trials), dtype=object),
            "replicate": numbers(trials, "replicate"),
            "cost": np.where(worst, np.inf, sign * values),
            "pruned": pruned,
        }
    )
    return Outcomes(table.loc[usable].reset_index(drop=True), sign, exclusions(trials, usable))


def units(trials: pd.DataFrame) -> list[str]:
    """The cell and configuration of each row, as one word."""
    pairs = zip(text(trials, "cell"), numbers(trials, "configuration"), strict=True)
    return [f"{cell}/{int(configuration)}" for cell, configuration in pairs]


def labels(trials: pd.DataFrame, names: Names) -> NDArray[np.object_]:
    """The values (rows,) of the parameters `names` as words, joined by a comma; empty without names."""
    wanted = [names] if isinstance(names, str) else list(names or ())
    for name in wanted:
        if PARAM + name not in trials.columns:
            known = ", ".join(each.removeprefix(PARAM) for each in trials.columns if each.startswith(PARAM))
            raise SwatheError(f"there is no parameter {name!r} among the trials; there are {known}")
    columns = [[_word(value) for value in text(trials, PARAM + name)] for name in wanted]
    joined = np.full(len(trials), "", dtype=object)
    if columns:
        joined[:] = [", ".join(row) for row in zip(*columns, strict=True)]
    return joined


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def unit_costs(table: pd.DataFrame) -> pd.Series:
    """The mean cost over seeds of each method, task and unit; infinite where a seed diverged."""
    return pd.Series(table.groupby(["method", "task", "unit"])["cost"].mean())


@dataclass(frozen=True)
class Cube:
    """Costs (units, seeds, labels) of one method's configurations under several metrics, NaN where one is missing."""

    units: tuple[str, ...]
    replicates: tuple[float, ...]
    labels: tuple[str, ...]
    cost: Array

    def of(self, unit: str) -> Array:
        """The costs (seeds, labels) of one configuration, without seeds that lack a label."""
        rows = self.cost[self.units.index(unit)]
        return rows[~np.isnan(rows).any(axis=1)]


def cubes(trials: pd.DataFrame, over: Mapping[str, str], method: Names, direction: str) -> dict[str, Cube]:
    """A cube for each method, whose labels are the keys of `over` (label -> metric). A diverged trial is infinite
    under every metric. Raises `SwatheError` for a metric that is not there."""
    parts = [outcomes(trials, metric, direction, method).table.assign(label=label) for label, metric in over.items()]
    table = pd.concat(parts, ignore_index=True)
    found = {}
    for name, rows in table.groupby("method", sort=False):
        axes = [sorted(set(rows["unit"])), sorted(set(rows["replicate"])), list(over)]
        cost = np.full([len(axis) for axis in axes], np.nan)
        places = [
            pd.Index(axis).get_indexer(pd.Index(rows[column]))
            for column, axis in zip(("unit", "replicate", "label"), axes, strict=True)
        ]
        cost[tuple(places)] = rows["cost"].to_numpy()
        found[str(name)] = Cube(tuple(axes[0]), tuple(axes[1]), tuple(axes[2]), cost)
    return {name: found[name] for name in sorted(found, key=natural)}
