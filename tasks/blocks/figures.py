"""Figures of the gallery. Matplotlib and `analysis` are imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

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
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def paths_and_optima(
    paths: Frames, lines: tuple[str, str], optima: Mapping[str, tuple[str, Frames]], hyperparameter: str, *, by: str
) -> Figure:
    """Above a metric along training, a panel a value of `by`: `lines` are its name and the axis of which each line is a
    level, the mean over seeds. Below the best `hyperparameter` in several sweeps: {title: (axis, its tables)}."""
    import numpy as np
    from matplotlib.figure import Figure

    from ...analysis.panels import optimum_panel, tidy
    from ...analysis.study import TransferStudy
    from ...analysis.transfer import judge_by
    from ...analysis.words import spoken

    above = sorted(set(paths.trials[f"param.{by}"]))
    figure = Figure(figsize=(4.2 * len(optima), 7.0), layout="constrained")
    top, bottom = cast(Any, figure.subfigures(2, 1, height_ratios=(0.9, 1)))
    panels = top.subplots(1, len(above), sharey=True, squeeze=False)[0]
    for axes, value in zip(panels, above, strict=True):
        _paths(axes, paths, lines, {by: value})
        axes.set_title(f"{spoken(by)} {value}", fontsize=10, loc="left")
        tidy(axes)
    panels[0].set_ylabel(spoken(lines[0]))
    panels[0].legend(frameon=False, fontsize=8, title=spoken(lines[1]), title_fontsize=8)
    for axes, (title, (axis, frames)) in zip(np.ravel(bottom.subplots(1, len(optima))), optima.items(), strict=True):
        verdicts = judge_by(frames.trials, (by,), axis=axis, hyperparameter=hyperparameter)
        optimum_panel(axes, verdicts, TransferStudy(axis, hyperparameter, (by,)))
        axes.set_xlabel(f"{spoken(axis)}: {title}")
    return figure


def _paths(axes: Any, frames: Frames, lines: tuple[str, str], where: Mapping[str, Any]) -> None:
    from ...analysis.panels import level_colours
    from ...analysis.tuned import select

    metric, axis = lines
    trials = select(frames.trials, **where)
    levels = dict(zip(trials["trial"], trials[f"param.{axis}"], strict=True))
    here = (frames.metrics["metric"] == metric) & frames.metrics["trial"].isin([*levels])
    found = frames.metrics.loc[here.to_numpy(dtype=bool)]
    found = found.assign(level=[levels[name] for name in found["trial"]])
    table = found.pivot_table(index="step", columns="level", values="value")
    for (level, line), colour in zip(table.items(), level_colours(table.shape[1]), strict=True):
        axes.plot(table.index, line, color=colour, marker=".", label=f"{level:g}")
    axes.set_xlabel("step")
