"""Figures of the gallery. Matplotlib and `analysis` are imported when one is drawn."""

from __future__ import annotations

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


def panels(count: int, width: float = 3.4, height: float = 2.9) -> tuple[Figure, list]:
    """A figure of `count` panels beside each other, and their axes, in the style of the reports."""
    from matplotlib.figure import Figure

    from ...analysis.panels import tidy

    figure = Figure(figsize=(width * count, height), layout="constrained")
    axes = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    for each in axes:
        tidy(each)
    return figure, axes
