"""Figures, built as objects: no pyplot, no state of the process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..orchestrator.schema import PARAM
from .curves import Curves, gather
from .drawing import drawn
from .panels import GREY, Groups, Verdicts, loss_limits, loss_panel, optimum_panel, tidy, title
from .study import TransferStudy
from .summary import BestRow, configuration_means
from .transfer import TransferVerdict
from .words import shortened, spoken

CELLS = 40
NOTE = "line: mean over seeds; band: lowest to highest seed; diamond: optimum with 95% interval; cross: diverged"


def group_curves(trials: pd.DataFrame, study: TransferStudy, metric: str, direction: str) -> Groups:
    """The curves of each group of a study, keyed like its verdicts."""
    if not study.by:
        return {(): gather(trials, study.axis, study.hyperparameter, metric, direction)}
    columns = [PARAM + name for name in study.by]
    return {
        key if isinstance(key, tuple) else (key,): gather(rows, study.axis, study.hyperparameter, metric, direction)
        for key, rows in trials.groupby(columns, sort=True, observed=True)
    }


def transfer_figure(groups: Groups, verdicts: Verdicts, study: TransferStudy, label: str) -> Figure:
    """Loss against log2 of the hyperparameter, a panel a group with one line a level, and the optima in a last panel.

    `label` names the metric. All loss panels share their axes.
    """
    count = len(groups)
    figure = Figure(figsize=(4.4 * (count + 1), 4.3), layout="constrained")
    grid = figure.add_gridspec(2, count + 1, height_ratios=(0.17, 1), hspace=0.0)
    limits = loss_limits(groups, verdicts)
    for place, (key, curves) in enumerate(groups.items()):
        strip, axes = figure.add_subplot(grid[0, place]), figure.add_subplot(grid[1, place])
        loss_panel(strip, axes, curves, verdicts[key], limits)
        strip.set_title(title(key, verdicts[key], study), fontsize=10, loc="left")
        if place == 0:
            axes.set_ylabel(f"final {spoken(label)}")
    optimum_panel(figure.add_subplot(grid[:, count]), verdicts, study)
    figure.supxlabel(NOTE, fontsize=7.5, color=GREY)
    return figure


def loss_figure(curves: Curves, verdict: TransferVerdict, limits: tuple[float, float], label: str) -> Figure:
    """One group's panel of `transfer_figure`, as a figure for a narrow column."""
    figure = Figure(figsize=(4.6, 3.9), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=(0.19, 1), hspace=0.0)
    strip, axes = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    loss_panel(strip, axes, curves, verdict, limits)
    axes.set_ylabel(f"final {spoken(label)}")
    return figure


def optima_figure(verdicts: Verdicts, study: TransferStudy) -> Figure:
    """The last panel of `transfer_figure`: the optimum of each level with its interval, per group."""
    figure = Figure(figsize=(4.6, 3.9), layout="constrained")
    optimum_panel(figure.add_subplot(), verdicts, study)
    return figure


def configurations_figure(trials: pd.DataFrame, best: Sequence[BestRow], label: str) -> Figure:
    """The mean objective of every configuration, a row a cell, and the best one of each with its 95% interval.

    At most `CELLS` cells; trials without a value are not shown.
    """
    shown = best[:CELLS]
    figure = Figure(figsize=(4.6, 1.2 + 0.36 * max(len(shown), 1)), layout="constrained")
    axes = figure.add_subplot()
    means = configuration_means(trials)
    for rank, row in enumerate(shown):
        values = means.loc[means["cell"] == row.cell, "mean"].to_numpy(dtype=float)
        axes.plot(
            values, np.full(len(values), rank), linestyle="", marker="o", markersize=4, color="#0072B2", alpha=0.4
        )
        axes.plot(row.value, rank, marker="D", markersize=6.5, color="#D55E00", markeredgecolor="white", zorder=5)
        low, high = row.interval
        if low is not None and high is not None:
            axes.hlines(rank, low, high, color="#D55E00", linewidth=1.4, zorder=4)
    values = means["mean"].to_numpy(dtype=float)
    if len(values) and 0 < 10 * values.min() < values.max():
        axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [shortened(row.label) for row in shown])
    axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    axes.set_xlabel(f"final {spoken(label)}")
    tidy(axes)
    return figure


def to_svg(figure: Figure, salt: str = "swathe") -> str:
    """The figure as an `<svg>` element; the same figure gives the same text. `salt` keeps ids of figures apart."""
    text = drawn(figure, "svg", {"Date": None, "Creator": None}, {"svg.hashsalt": salt}).decode()
    return text[text.index("<svg") :]


def to_png(figure: Figure, path: Any, dpi: int = 160) -> None:
    """Write the figure to `path`, which may be an open file, as PNG."""
    png = drawn(figure, "png", {}, {"savefig.dpi": dpi})
    path.write(png) if hasattr(path, "write") else Path(path).write_bytes(png)
