"""The figures of a comparison: the difference in each cell, and the optima of both sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .compared import Compared, Side
from .panels import GREY, GROUPS, tidy
from .pictures import optima_picture
from .records import Picture
from .words import shortened, spoken


def difference_picture(rows: Sequence[Compared], first: Side, second: Side) -> list[Picture]:
    """The difference in each cell with its interval, beside zero; none where no cell has an interval."""
    known = [row for row in rows if row.difference.low is not None]
    if not known:
        return []
    title = f"Difference in each cell, {second.label} minus {first.label}"
    caption = "Bars: 95% intervals that hold for all cells at once. Where one crosses the line nothing is decided."
    figure = differences_figure(known, f"{second.label} minus {first.label}: {spoken(first.sweep.objective)}")
    return [Picture(title, figure, caption, differences_data(known))]


def differences_figure(rows: Sequence[Compared], label: str) -> Figure:
    """A row a cell."""
    figure = Figure(figsize=(4.6, 1.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0.0, color=GREY, linewidth=1.0, linestyle="--")
    ranks, numbers = (
        np.arange(len(rows)),
        differences_data(rows).astype({"difference": float, "low": float, "high": float}),
    )
    axes.hlines(ranks, numbers["low"].to_numpy(), numbers["high"].to_numpy(), color=GROUPS[0], linewidth=1.6)
    style = {"marker": "D", "markersize": 5.5, "color": GROUPS[0], "markeredgecolor": "white"}
    axes.plot(numbers["difference"].to_numpy(), ranks, linestyle="", **style)
    axes.set_yticks(range(len(rows)), [shortened(row.label) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(label)
    tidy(axes)
    return figure


def differences_data(rows: Sequence[Compared]) -> pd.DataFrame:
    """The same as numbers."""
    return pd.DataFrame(
        {
            "cell": [row.cell for row in rows],
            "label": [row.label for row in rows],
            "difference": [row.difference.estimate for row in rows],
            "low": [row.difference.low for row in rows],
            "high": [row.difference.high for row in rows],
            "seeds": [row.difference.n for row in rows],
        }
    )


def optima_pictures(first: Side, second: Side) -> list[Picture]:
    """The optima of both in one figure, where they ask the same question."""
    study = first.study
    if study is None or study != second.study or not (first.judged and second.judged):
        return []
    both = {(side.label, *key): verdict for side in (first, second) for key, verdict in side.judged.items()}
    return [optima_picture(both, replace(study, by=("sweep", *study.by)))]
