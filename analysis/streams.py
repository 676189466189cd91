"""How much of the noise comes from which source: initialisation, order of the data, augmentation, split, dropout.

Two designs (Bouthillier et al., 2021, arXiv 2103.03098). Crossed: every combination of the streams' seeds is run
equally often; a variance component for each stream, the rest being interactions and what is not seeded. One at a
time: while one stream varies the others stand still; plain variances, in which interactions stay hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ..orchestrator.errors import SwatheError
from .curves import objective
from .estimates import CONFIDENCE, SEEDS, too_few
from .outcomes import labels, natural, outcomes

Array = NDArray[np.float64]

REST = "everything else"


@dataclass(frozen=True, slots=True)
class Component:
    """The variance that one stream causes, in squared units of the metric, with a 95% interval (None with too few
    levels), and its share of the total. `n` counts the seeds of the stream, for the rest its degrees of freedom."""

    stream: str
    estimate: float | None
    low: float | None
    high: float | None
    share: float | None
    n: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


def decompose(
    trials: pd.DataFrame, streams: Sequence[str], *, metric: str = "value", direction: str = "minimize"
) -> tuple[Component, ...]:
    """The variance components of a crossed design, one for each of `streams` and one for everything else.

    `streams` name the parameters that hold the seeds, or "replicate". Nothing else may differ between the trials.
    Estimates are those of the analysis of variance, zero where negative; intervals are the modified large-sample ones
    of Ting et al. (1990), for the rest that of chi square. Raises `SwatheError` when combinations are not run equally
    often, or when a stream has a single seed.
    """
    found = outcomes(trials, metric, direction)
    if np.isinf(found.table["cost"]).any():
        return _diverged(found.table, [*streams, REST], found.excluded)
    values = found.table["cost"].to_numpy(dtype=float)
    usable = trials.loc[_usable(trials, metric)]
    columns = [_levels(usable, stream) for stream in streams]
    _check_balance(columns, streams)
    tables = [_mean_square(values, column) for column in columns]
    total = float(((values - values.mean()) ** 2).sum())
    freedom = len(values) - 1 - sum(int(df) for _, df, _ in tables)
    if freedom < 1:
        raise SwatheError("every combination was run once and there is nothing left to compare; add seeds")
    rest = max(total - sum(square * df for square, df, _ in tables), 0.0) / freedom
    parts = [
        _component(stream, square, int(df), runs, (rest, freedom), found.excluded)
        for stream, (square, df, runs) in zip(streams, tables, strict=True)
    ]
    low, high = variance_interval(rest, freedom)
    parts.append(Component(REST, rest, low, high, None, freedom, (), found.excluded))
    return _with_shares(parts)


def one_at_a_time(
    trials: pd.DataFrame, varied: str, *, metric: str = "value", direction: str = "minimize"
) -> tuple[Component, ...]:
    """The variance of the metric among trials of each value of the parameter `varied`, which says what was varied.

    Intervals are those of chi square. Shares are of the sum. `n` counts trials.
    """
    found = outcomes(trials, metric, direction, method=varied)
    if np.isinf(found.table["cost"]).any():
        return _diverged(found.table, found.methods, found.excluded)
    parts = []
    for name in found.methods:
        values = found.table.loc[found.table["method"] == name, "cost"].to_numpy(dtype=float)
        if len(values) < SEEDS:
            parts.append(Component(name, None, None, None, None, len(values), too_few(len(values)), found.excluded))
            continue
        variance = float(values.var(ddof=1))
        low, high = variance_interval(variance, len(values) - 1)
        parts.append(Component(name, variance, low, high, None, len(values), (), found.excluded))
    return _with_shares(parts)


def variance_interval(variance: float, freedom: int) -> tuple[float, float]:
    """The chi-square interval of a variance of normal numbers known with `freedom` degrees."""
    tail = (1 - CONFIDENCE) / 2
    low, high = stats.chi2.ppf((1 - tail, tail), freedom)
    return freedom * variance / float(low), freedom * variance / float(high)


def difference_interval(square: float, freedom: int, rest: float, rest_freedom: int, runs: int) -> tuple[float, float]:
    """The modified large-sample interval of (square - rest) / runs for two independent mean squares, not below zero.

    Ting, Burdick, Graybill, Jeyaratnam and Lu (1990); exact when either degree of freedom grows without bound.
    """
    tail = (1 - CONFIDENCE) / 2

    def f(probability: float, above: float, below: float) -> float:
        if np.isinf(below):
            return float(stats.chi2.ppf(probability, above)) / above
        return float(stats.f.ppf(probability, above, below))

    g1, g2 = (1 - 1 / f(1 - tail, df, np.inf) for df in (freedom, rest_freedom))
    h1, h2 = (1 / f(tail, df, np.inf) - 1 for df in (freedom, rest_freedom))
    upper, lower = f(1 - tail, freedom, rest_freedom), f(tail, freedom, rest_freedom)
    g12 = ((upper - 1) ** 2 - g1**2 * upper**2 - h2**2) / upper
    h12 = ((1 - lower) ** 2 - h1**2 * lower**2 - g2**2) / lower
    down = (g1 * square) ** 2 + (h2 * rest) ** 2 + g12 * square * rest
    up = (h1 * square) ** 2 + (g2 * rest) ** 2 + h12 * square * rest
    middle = square - rest
    return (
        max(0.0, middle - float(np.sqrt(max(down, 0.0)))) / runs,
        max(0.0, middle + float(np.sqrt(max(up, 0.0)))) / runs,
    )


def _usable(trials: pd.DataFrame, metric: str) -> NDArray[np.bool_]:
    _, values, diverged = objective(trials, metric)
    return ~np.isnan(values) | diverged


def _levels(trials: pd.DataFrame, stream: str) -> NDArray[np.object_]:
    if stream == "replicate":
        return trials["replicate"].astype(object).to_numpy()
    return labels(trials, stream)


def _check_balance(columns: Sequence[NDArray[np.object_]], streams: Sequence[str]) -> None:
    """Every combination of seeds equally often, two seeds or more a stream."""
    for stream, column in zip(streams, columns, strict=True):
        if len(set(column)) < 2:
            raise SwatheError(f"stream {stream!r} has {len(set(column))} seed(s); its variance needs two or more")
    counts = pd.Series(list(zip(*columns, strict=True))).value_counts()
    wanted = int(np.prod([len(set(column)) for column in columns]))
    if len(counts) < wanted or counts.nunique() > 1:
        raise SwatheError(
            f"{len(counts)} of {wanted} combinations of {', '.join(streams)} were run, {counts.min()} to"
            f" {counts.max()} times each; run all of them equally often, or vary one stream at a time"
        )


def _mean_square(values: Array, column: NDArray[np.object_]) -> tuple[float, float, int]:
    """The mean square between the levels of `column` (runs,), its degrees of freedom, and the runs of a level."""
    means = np.array([values[column == level].mean() for level in dict.fromkeys(column)])
    runs = len(values) // len(means)
    return float(runs * ((means - values.mean()) ** 2).sum() / (len(means) - 1)), len(means) - 1.0, runs


def _component(
    stream: str, square: float, freedom: int, runs: int, others: tuple[float, int], excluded: Mapping[str, int]
) -> Component:
    rest, rest_freedom = others
    value, levels = max(0.0, square - rest) / runs, freedom + 1
    if levels < SEEDS:
        return Component(stream, value, None, None, None, levels, too_few(levels), excluded)
    low, high = difference_interval(square, freedom, rest, rest_freedom, runs)
    reasons = () if value > 0 else ("Differences between its seeds are no larger than the rest explains.",)
    return Component(stream, value, low, high, None, levels, reasons, excluded)


def _with_shares(parts: Sequence[Component]) -> tuple[Component, ...]:
    total = sum(part.estimate or 0.0 for part in parts)
    return tuple(
        replace(part, share=None if part.estimate is None or total == 0.0 else part.estimate / total) for part in parts
    )


def _diverged(table: pd.DataFrame, streams: Sequence[str], excluded: Mapping[str, int]) -> tuple[Component, ...]:
    bad = int(np.isinf(table["cost"]).sum())
    note = (f"{bad} of {len(table)} trials diverged, so there is no variance.",)
    return tuple(
        Component(stream, None, None, None, None, len(table), note, excluded) for stream in sorted(streams, key=natural)
    )
