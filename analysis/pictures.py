"""The figures of a report with their captions and the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ..orchestrator.spec import Sweep
from . import plots
from .curves import text
from .figure_data import configurations_data, front_data, loss_data, optima_data, sensitivity_data
from .front import front_picture
from .panels import GROUPS, Verdicts
from .pareto import fronts
from .portraits import sensitivity_figure
from .records import Picture
from .sensitivity import sensitivity
from .study import TransferStudy
from .summary import BestRow, best_configurations
from .words import group_label, spoken

LINES = len(GROUPS) - 1  # of one sensitivity figure: more cannot be told apart


def transfer_pictures(
    trials: pd.DataFrame, sweep: Sweep, study: TransferStudy, verdicts: Verdicts
) -> tuple[Picture, ...]:
    """The curves of each group, and the optima of all."""
    groups = plots.group_curves(trials, study, "value", sweep.directions[sweep.objective])
    limits = plots.loss_limits(groups, verdicts)
    told = [
        Picture(
            group_label(study.by, key) if study.by else f"{spoken(sweep.objective).capitalize()} curves",
            plots.loss_figure(curves, verdicts[key], limits, sweep.objective),
            f"Line: mean over {curves.seeds} seeds. Band: lowest to highest seed. Diamond: optimum with its 95%"
            " interval; an arrow: censored. Cross: diverged, the smaller the fewer seeds.",
            loss_data(curves, verdicts[key]),
        )
        for key, curves in groups.items()
    ]
    return (*told, optima_picture(verdicts, study))


def optima_picture(verdicts: Verdicts, study: TransferStudy) -> Picture:
    """The optimum of each level of every group."""
    return Picture(
        f"Optimum against {spoken(study.axis)}",
        plots.optima_figure(verdicts, study),
        "Bars: 95% intervals. Dotted: the fitted drift. Arrows: censored, the optimum lies further out.",
        optima_data(verdicts, study),
    )


def configurations_picture(trials: pd.DataFrame, best: Sequence[BestRow], sweep: Sweep) -> Picture:
    """All configurations of every cell, and its best."""
    caption = "Dot: a configuration's mean over its seeds. Diamond: the best of its cell, with its 95% interval."
    if len(best) > plots.CELLS:
        caption += f" The first {plots.CELLS} of {len(best)} cells; the data hold all."
    figure = plots.configurations_figure(trials, best, sweep.objective)
    return Picture("Configurations", figure, caption, configurations_data(trials, best))


def pareto_picture(trials: pd.DataFrame, sweep: Sweep) -> Picture:
    """The configurations by the first two metrics, and the front of each cell."""
    two = {name: sweep.directions[name] for name in sweep.objectives[:2]}
    return Picture(*front_picture(trials, sweep), front_data(trials, list(two), fronts(trials, two)))


def sensitivity_pictures(trials: pd.DataFrame, sweep: Sweep) -> tuple[Picture, ...]:
    """Of a robustness study: the metric against the hyperparameter, a line a cell, a few to a figure."""
    study = sweep.question
    if study is None or study.name != "robustness" or study.hyperparameter is None:
        return ()
    direction, found = sweep.directions[sweep.objective], []
    for row in best_configurations(trials, direction):
        mine = trials.loc[text(trials, "cell") == row.cell]
        found += [
            replace(each, method=row.label) for each in sensitivity(mine, study.hyperparameter, direction=direction)
        ]
    parts = [found[start : start + LINES] for start in range(0, len(found), LINES)]
    caption = (
        "Line: mean over seeds. Band: its 95% interval at each value by itself. Cross: a seed or more diverged there."
    )
    name = f"Sensitivity to the {spoken(study.hyperparameter)}"
    return tuple(
        Picture(
            name if len(parts) == 1 else f"{name}, part {place + 1}",
            sensitivity_figure(part, sweep.objective),
            caption,
            sensitivity_data(part),
        )
        for place, part in enumerate(parts)
    )
