"""The Pareto front in a report: a table, and a picture of the first two objectives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..orchestrator.spec import Sweep
from .drawing import legend_label
from .panels import tidy
from .pareto import FrontRow, fronts, objective_means
from .records import Head, Table
from .words import assignments, plain, spoken

CELLS = 6
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito


def front_table(rows: Sequence[FrontRow], sweep: Sweep) -> list[Table]:
    """A row for each configuration of the front."""
    heads = (
        Head("cell"),
        *(Head(f"final {spoken(name)}", number=True) for name in sweep.objectives),
        Head("with"),
        Head("configuration", number=True),
        Head("seeds", number=True),
    )
    lead = (
        "Means over seeds, with standard errors. No other configuration is as good in every metric and better in one."
    )
    return [Table("Pareto front", heads, [_row(row) for row in rows], lead)] if rows else []


def _row(row: FrontRow) -> tuple[str, ...]:
    means = (_mean(value, row.errors[name]) for name, value in row.values.items())
    return (row.label, *means, assignments(row.params), str(row.configuration), f"{row.seeds} of {row.ended}")


def front_sentence(rows: Sequence[FrontRow], sweep: Sweep) -> str:
    """How many configurations there are to choose from."""
    words = {"minimize": "low", "maximize": "high"}
    goals = [f"{words[direction]} {spoken(name)}" for name, direction in sweep.directions.items()]
    return f"{len(rows)} configurations are on the Pareto front of {' and '.join(goals)}."


def _mean(value: float, error: float | None) -> str:
    return plain(value) if error is None else f"{plain(value)} ± {plain(error, 2)}"


def front_picture(trials: pd.DataFrame, sweep: Sweep) -> tuple[str, Figure, str]:
    """Title, figure and caption: every configuration by the first two metrics, the front of each cell joined."""
    across, up = sweep.objectives[:2]
    rows = fronts(trials, {name: sweep.directions[name] for name in (across, up)})
    means = objective_means(trials, (across, up))
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    labels = dict.fromkeys((row.cell, row.label) for row in rows)
    for (cell, label), colour in zip(list(labels)[:CELLS], COLOURS, strict=False):
        mine = means.loc[means["cell"] == cell]
        axes.plot(mine[across], mine[up], linestyle="", marker="o", markersize=4, color=colour, alpha=0.35)
        front = np.array([[row.values[across], row.values[up]] for row in rows if row.cell == cell])
        axes.plot(
            *front.T,
            marker="D",
            markersize=6,
            linewidth=1.2,
            color=colour,
            markeredgecolor="white",
            label=legend_label(label),
        )
    axes.set_xlabel(f"final {spoken(across)}")
    axes.set_ylabel(f"final {spoken(up)}")
    if len(labels) > 1:
        axes.legend(frameon=False, fontsize=8)
    tidy(axes)
    caption = "Dot: a configuration's means over its seeds. Diamonds: the front."
    caption += " No other configuration is as good in both metrics and better in one."
    return "Pareto front", figure, caption
