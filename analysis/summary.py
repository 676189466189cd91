"""Plain rows for the terminal and the report: verdicts, best configurations, trials that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..orchestrator.schema import PARAM
from .curves import numbers, objective, text
from .estimates import CONFIDENCE, SEEDS
from .statistics import Spread, half_width
from .transfer import TransferVerdict
from .words import group_label, interval, plain, signed


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One verdict in words. `drift` and `interval` are octaves per doubling, `regret` is in units of the metric."""

    group: str
    verdict: str
    drift: str
    interval: str
    regret: str
    seeds: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BestRow:
    """The best configuration of one cell: its searched parameters, the mean of the objective over the `seeds` complete
    ones of its `ended` replicates with its standard error (None from one), and how many configurations were tried."""

    cell: str
    label: str
    configuration: int
    params: Mapping[str, Any]
    value: float
    error: float | None
    seeds: int
    ended: int
    tried: int

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """The 95% t interval of `value`; None from fewer than three seeds."""
        if self.error is None or self.seeds < SEEDS:
            return None, None
        half = half_width(Spread(self.error, self.seeds - 1.0), CONFIDENCE)
        return self.value - half, self.value + half


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Trials that ended alike without a result: how many, one of them, and the last line of its error."""

    cause: str
    count: int
    example: str
    error: str


def verdict_table(verdicts: Mapping[tuple[Any, ...], TransferVerdict], by: Sequence[str]) -> tuple[VerdictRow, ...]:
    """A row for each group of `judge_by`."""
    return tuple(
        VerdictRow(
            group=group_label(by, key),
            verdict=verdict.verdict,
            drift="censored" if verdict.drift is None else signed(verdict.drift),
            interval=interval(verdict.drift_low, verdict.drift_high),
            regret=_regret(verdict.regret),
            seeds=verdict.seeds,
            reasons=verdict.reasons,
        )
        for key, verdict in verdicts.items()
    )


def _regret(regret: float | None) -> str:
    if regret is None:
        return "unknown"
    return "diverges" if np.isinf(regret) else plain(regret, 2)


def configuration_means(trials: pd.DataFrame, metric: str = "value") -> pd.DataFrame:
    """The objective of every configuration with a result: a row for each, with the columns cell, configuration, mean
    and error (standard) over its complete replicates, seeds (how many), and ended.

    Only configurations of which at least half the ended replicates have a finite value; the rest say little.
    """
    _, values, _ = objective(trials, metric)
    frame = pd.DataFrame(
        {"cell": text(trials, "cell"), "configuration": numbers(trials, "configuration").astype(int), "value": values}
    )
    groups = frame.groupby(["cell", "configuration"])["value"]
    table = groups.agg(mean="mean", error="sem", seeds="count", ended="size").reset_index()
    return table.loc[(table["seeds"] > 0) & (2 * table["seeds"] >= table["ended"])]


def best_configurations(trials: pd.DataFrame, direction: str, metric: str = "value") -> tuple[BestRow, ...]:
    """The best configuration of each cell that has one, in the order of the cells' grid values.

    One of which a replicate failed or diverged is chosen only where every other one did too.
    """
    if trials.empty:
        return ()
    means = configuration_means(trials, metric)
    sign = 1.0 if direction == "minimize" else -1.0
    grid, searched = split_parameters(trials)
    first = trials.groupby(["cell", "configuration"], observed=True)[[PARAM + name for name in (*grid, *searched)]]
    params = {(row["cell"], row["configuration"]): row for row in first.first().reset_index().to_dict("records")}
    rows: list[tuple[tuple[Any, ...], BestRow]] = []
    for cell, table in means.groupby("cell"):
        best = min(table.to_dict("records"), key=lambda row: (row["seeds"] < row["ended"], sign * row["mean"]))
        known = params[cell, best["configuration"]]
        values = tuple(known[PARAM + name] for name in grid)
        row = BestRow(
            cell=str(cell),
            label=group_label(grid, values),
            configuration=best["configuration"],
            params={name: known[PARAM + name] for name in searched},
            value=best["mean"],
            error=best["error"] if best["seeds"] > 1 else None,
            seeds=best["seeds"],
            ended=best["ended"],
            tried=len(table),
        )
        rows.append((tuple((isinstance(value, str), value) for value in values), row))
    return tuple(row for _, row in sorted(rows, key=lambda pair: pair[0]))


def split_parameters(trials: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The parameters that differ between cells only, and those that differ within one; constants are in neither."""
    between: list[str] = []
    within: list[str] = []
    for column in (name for name in trials.columns if name.startswith(PARAM)):
        values = set(trials[column].dropna())
        if len(values) > 1:
            alone = all(len(set(rows.dropna())) <= 1 for _, rows in trials.groupby("cell", observed=True)[column])
            (between if alone else within).append(column.removeprefix(PARAM))
    return between, within


def failures(trials: pd.DataFrame) -> tuple[FailureRow, ...]:
    """Every way of ending without a complete result, most frequent first."""
    state, cause, error = text(trials, "state"), text(trials, "cause"), text(trials, "error")
    ways: dict[str, list[tuple[str, str]]] = {}
    for how, why, name, trace in zip(state, cause, text(trials, "trial"), error, strict=True):
        if how != "COMPLETE":
            ways.setdefault(str(why or how).lower().replace("_", " "), []).append((str(name), str(trace)))
    rows = [FailureRow(way, len(ended), ended[0][0], _last_line(ended)) for way, ended in ways.items()]
    return tuple(sorted(rows, key=lambda row: -row.count))


def _last_line(ended: Sequence[tuple[str, str]]) -> str:
    lines = [line for _, trace in ended for line in trace.strip().splitlines()[-1:]]
    return lines[0] if lines else ""
