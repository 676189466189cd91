"""Figures of the gallery. Matplotlib and `analysis` are imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

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

    figure = Figure(figsize=(3.3 * len(metrics) + 1, 2.8), layout="constrained")
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
    named = figure.axes[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside right upper", frameon=False, fontsize=8, title=spoken(by), title_fontsize=8)
    return figure


def progress_figure(frames: Sequence[Frames], *, by: str, panels: Sequence[str], metric: str, label: str) -> Figure:
    """A reported metric against the steps, which count `label`: a line a value of `by`, means over seeds, and all seeds
    thinly; a panel for each combination of `panels` in each of `frames`."""
    from matplotlib.figure import Figure

    from ...analysis.panels import GROUPS, tidy
    from ...analysis.words import group_label, spoken

    drawn: list[tuple[str, Any]] = []
    for each in frames:
        names = [name for name in panels if f"param.{name}" in each.trials]
        steps: Any = each.metrics[(each.metrics["metric"] == metric) & ~each.metrics["final"]]
        known: Any = each.trials[["trial", "replicate", *(f"param.{name}" for name in (by, *names))]]
        table = steps[["trial", "step", "value"]].merge(known, on="trial")
        groups = table.groupby([f"param.{name}" for name in names], observed=True)
        drawn += [(group_label(names, cast(Sequence[Any], key)), rows) for key, rows in groups]
    figure = Figure(figsize=(2.7 * len(drawn), 2.8), layout="constrained")
    colours = {name: GROUPS[i] for i, name in enumerate(dict.fromkeys(n for _, r in drawn for n in r[f"param.{by}"]))}
    for place, (title, rows) in enumerate(drawn):
        axes = figure.add_subplot(1, len(drawn), place + 1)
        for name, own in rows.groupby(f"param.{by}", observed=True):
            table = own.pivot(index="step", columns="replicate", values="value").astype(float)
            axes.plot(table.index, table, color=colours[name], linewidth=0.5, alpha=0.3)
            axes.plot(table.index, table.mean(axis=1), color=colours[name], label=str(name))
        axes.set_yscale("log")
        for write in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            write("{x:g}")  # powers of ten would crowd axes of less than a decade
        axes.tick_params(which="minor", labelsize=8)
        axes.set_xlabel(label)
        axes.set_title(title, fontsize=10, loc="left")
        tidy(axes)
    figure.axes[0].set_ylabel(spoken(metric))
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


class Panel(NamedTuple):
    """A metric of a sweep over one of its axes, a line a combination of values of `by`; for `powers` both axes are
    logarithmic."""

    title: str
    frames: Frames
    metric: str
    over: str
    by: tuple[str, ...] = ()
    powers: bool = False


def panels_figure(panels: Sequence[Panel]) -> Figure:
    """The panels beside each other: means over seeds, and all seeds."""
    from matplotlib.figure import Figure

    from ...analysis.panels import GROUPS, tidy
    from ...analysis.words import group_label, spoken

    figure = Figure(figsize=(3.0 * len(panels), 2.8), layout="constrained")
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        table = panel.frames.trials.assign(all="")
        columns = [f"param.{name}" for name in panel.by] or ["all"]
        for (key, rows), colour in zip(table.groupby(columns, observed=True), GROUPS, strict=False):
            found = rows.pivot(index=f"param.{panel.over}", columns="replicate", values=f"metric.{panel.metric}")
            found = found.astype(float)
            axes.plot(found.index, found, linestyle="", marker=".", markersize=3, color=colour, alpha=0.5)
            label = group_label(panel.by, cast(Sequence[Any], key)) if panel.by else None
            axes.plot(found.index, found.mean(axis=1), color=colour, label=label)
        axes.set_xlabel(spoken(panel.over))
        axes.set_title(panel.title, fontsize=10, loc="left")
        if panel.powers:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
        else:
            axes.set_ylim(bottom=0)
        if panel.by:
            axes.legend(frameon=False, fontsize=8)
        tidy(axes)
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
