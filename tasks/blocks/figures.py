"""Figures of the gallery. Matplotlib and `analysis` are imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...orchestrator.claims import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def transfer_figure(frames: Frames, *, axis: str, hyperparameter: str, by: str, label: str) -> Figure:
    """The metric, named `label`, against `hyperparameter` at each level of `axis`, a panel a value of `by`; the optima
    in a last panel."""
    from ...analysis import plots
    from ...analysis.study import TransferStudy
    from ...analysis.transfer import judge_by

    study = TransferStudy(axis=axis, hyperparameter=hyperparameter, by=(by,))
    groups = plots.group_curves(frames.trials, study, "value", "minimize")
    verdicts = judge_by(frames.trials, study.by, axis=axis, hyperparameter=hyperparameter)
    return plots.transfer_figure(groups, verdicts, study, label)


def curves_figure(frames: Frames, *, by: str, over: str, metrics: Sequence[str]) -> Figure:
    """Each of `metrics` against the searched number `over`, a line a value of `by`: means over seeds, and all seeds."""
    from matplotlib.figure import Figure

    from ...analysis.panels import level_colours, tidy
    from ...analysis.words import spoken

    figure = Figure(figsize=(3.3 * len(metrics), 2.8), layout="constrained")
    groups = list(frames.trials.groupby(f"param.{by}", observed=True))
    for place, metric in enumerate(metrics):
        axes = figure.add_subplot(1, len(metrics), place + 1)
        for (name, rows), colour in zip(groups, level_colours(len(groups)), strict=True):
            table = rows.pivot(index=f"param.{over}", columns="replicate", values=f"metric.{metric}").astype(float)
            axes.plot(table.index, table, linestyle="", marker=".", markersize=2.5, color=colour, alpha=0.5)
            axes.plot(table.index, table.mean(axis=1), color=colour, label=str(name))
        axes.set_xscale("log", base=2)
        values = frames.trials[f"metric.{metric}"].dropna().to_numpy(dtype=float)
        if 0 < 10 * values.min() < values.max():
            axes.set_yscale("log")
        axes.set_xlabel(spoken(over))
        axes.set_title(spoken(metric), fontsize=10, loc="left")
        tidy(axes)
    figure.axes[0].legend(frameon=False, fontsize=8, title=spoken(by), title_fontsize=8)
    return figure


def cells_figure(frames: Frames, *, by: str, metrics: Sequence[str]) -> Figure:
    """Each of `metrics` for each value of `by`, in rows: all seeds, and their mean."""
    from matplotlib.figure import Figure

    from ...analysis.panels import level_colours, tidy
    from ...analysis.words import spoken

    groups = list(frames.trials.groupby(f"param.{by}", observed=True, sort=False))[::-1]
    figure = Figure(figsize=(3.3 * len(metrics), 0.9 + 0.22 * len(groups)), layout="constrained")
    first = None
    for place, metric in enumerate(metrics):
        axes = first = figure.add_subplot(1, len(metrics), place + 1, sharey=first)
        for row, ((_, trials), colour) in enumerate(zip(groups, level_colours(len(groups)), strict=True)):
            values = trials[f"metric.{metric}"].astype(float)
            axes.plot(values, [row] * len(values), linestyle="", marker=".", markersize=2.5, color=colour, alpha=0.5)
            axes.plot(values.mean(), row, marker="d", markersize=5, color=colour)
        axes.set_title(spoken(metric), fontsize=10, loc="left")
        axes.tick_params(labelleft=place == 0)
        tidy(axes)
    figure.axes[0].set_yticks(range(len(groups)), [str(name) for name, _ in groups])
    return figure
