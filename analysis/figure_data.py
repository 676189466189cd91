"""The numbers behind the figures, as tables for people who draw their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .curves import Curves
from .panels import Verdicts
from .pareto import FrontRow, objective_means
from .sensitivity import Sensitivity
from .study import TransferStudy
from .summary import BestRow, configuration_means
from .transfer import TransferVerdict

Rows = list[dict[str, Any]]


def loss_data(curves: Curves, verdict: TransferVerdict) -> pd.DataFrame:
    """The curves of one group, a row a level and value tried, in units of the metric.

    `mean`, `lowest` and `highest` are over the seeds that did not diverge, `diverged` counts those that did; each seed
    has a column of its own, infinite where it diverged and empty where it was not run.
    """
    rows: Rows = []
    for curve in curves.curves:
        for x, costs in zip(curve.x, curve.cost.T, strict=True):
            values = [curves.metric(cost) if np.isfinite(cost) else np.nan for cost in costs]
            known = [value for value in values if np.isfinite(value)]
            row: dict[str, Any] = {
                verdict.axis: curve.level,
                verdict.hyperparameter: 2.0**x,
                f"log2_{verdict.hyperparameter}": x,
                "mean": np.mean(known) if known else np.nan,
                "lowest": min(known, default=np.nan),
                "highest": max(known, default=np.nan),
                "diverged": int(np.isinf(costs).sum()),
            }
            told = np.where(np.isinf(costs), np.inf, values)
            rows.append(row | {f"seed_{k}": value for k, value in zip(curves.replicates, told, strict=True)})
    return pd.DataFrame(rows)


def optima_data(verdicts: Verdicts, study: TransferStudy) -> pd.DataFrame:
    """The optima, a row a group and level, with the drift of the group.

    A censored optimum has no number: `censored` says on which side of `bound` it lies.
    """
    name, rows = study.hyperparameter, Rows()
    for key, verdict in verdicts.items():
        for level in verdict.levels:
            known = level.error is not None
            row: dict[str, Any] = {
                **dict(zip(study.by, key, strict=True)),
                study.axis: level.level,
                f"best_log2_{name}": level.optimum,
                "low": level.low if known else None,
                "high": level.high if known else None,
                "censored": {None: "", "low": "at or below bound", "high": "at or above bound"}[level.censored],
                "bound": level.bound,
                "best_metric": level.best,
                "drift": verdict.drift,
                "drift_low": verdict.drift_low,
                "drift_high": verdict.drift_high,
                "verdict": verdict.verdict,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def configurations_data(trials: pd.DataFrame, best: Sequence[BestRow]) -> pd.DataFrame:
    """The mean of every configuration with its standard error, and which one is the best of its cell."""
    labels = {row.cell: row.label for row in best}
    chosen = {(row.cell, row.configuration) for row in best}
    means = configuration_means(trials)
    pairs = zip(means["cell"], means["configuration"], strict=True)
    return pd.DataFrame(
        {
            "cell": means["cell"],
            "label": [labels.get(cell, "") for cell in means["cell"]],
            "configuration": means["configuration"],
            "mean": means["mean"],
            "standard_error": means["error"],
            "seeds": means["seeds"],
            "best": [pair in chosen for pair in pairs],
        }
    )


def front_data(trials: pd.DataFrame, objectives: Sequence[str], rows: Sequence[FrontRow]) -> pd.DataFrame:
    """The means of every configuration by objective, and which ones are on the front of their cell."""
    means = objective_means(trials, objectives)
    front = {(row.cell, row.configuration) for row in rows}
    pairs = zip(means["cell"], means["configuration"], strict=True)
    return means.assign(front=[pair in front for pair in pairs])


def sensitivity_data(found: Sequence[Sensitivity]) -> pd.DataFrame:
    """The curves, a row a method and value tried, with their intervals and the width of the basin."""
    rows: Rows = []
    for each in found:
        width: Mapping[str, Any] = {
            "width_octaves": each.width.estimate,
            "width_low": each.width.low,
            "width_high": each.width.high,
        }
        for x, value, low, high in zip(each.x, each.estimate, each.low, each.high, strict=True):
            here = {"method": each.method, each.hyperparameter: 2.0**x, f"log2_{each.hyperparameter}": x}
            rows.append({**here, "estimate": value, "low": low, "high": high, **width})
    return pd.DataFrame(rows)
