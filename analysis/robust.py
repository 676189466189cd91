"""The verdict of a robustness study: may the hyperparameter be off by a factor of two before it hurts?

For every cell the octaves of the hyperparameter in which the metric stays near its best (`sensitivity`), with their
jackknife interval. *Robust*: the 95% interval lies above `WIDE` octaves, a factor of two to either side; *sensitive*:
it lies below; else *undecided*, and always with fewer than three seeds.
"""

from __future__ import annotations

from math import isfinite
from typing import Literal

import pandas as pd

from ..orchestrator.spec import Sweep
from .curves import text
from .estimates import Estimate
from .records import Statement
from .sensitivity import Sensitivity, sensitivity
from .summary import best_configurations
from .words import plain, spoken

WIDE = 2.0  # octaves

Word = Literal["robust", "sensitive", "undecided"]


def decide_width(width: Estimate) -> Word:
    """What a width in octaves says; a basin that goes on beyond the range tried has no upper end."""
    if width.low is not None and width.low > WIDE:
        return "robust"
    return "sensitive" if width.high is not None and width.high < WIDE else "undecided"


def robustness_statements(trials: pd.DataFrame, sweep: Sweep) -> tuple[Statement, ...]:
    """A verdict for each cell of a sweep whose study is of robustness, in the order of the cells."""
    study = sweep.question
    if study is None or study.name != "robustness" or trials.empty:
        return ()
    assert study.hyperparameter is not None, "a settled study names its hyperparameter"
    direction = sweep.directions[sweep.objective]
    told: list[Statement] = []
    for row in best_configurations(trials, direction):
        mine = trials.loc[text(trials, "cell") == row.cell]
        found = sensitivity(mine, study.hyperparameter, direction=direction)
        told += [_statement(row.label, each, sweep.objective) for each in found]
    return tuple(told)


def _statement(label: str, found: Sensitivity, metric: str) -> Statement:
    word, name = decide_width(found.width), spoken(found.hyperparameter)
    headline = {
        "robust": f"{label}: {spoken(metric)} is robust to the {name}.",
        "sensitive": f"{label}: {spoken(metric)} is sensitive to the {name}.",
        "undecided": f"{label}: undecided whether {spoken(metric)} is robust to the {name}.",
    }[word]
    return Statement(
        word, headline[0].upper() + headline[1:], (_width(found), *found.reasons, *found.width.reasons[1:])
    )


def _width(found: Sensitivity) -> str:
    width, name = found.width, spoken(found.hyperparameter)
    at_least = "at least " if found.open_low or found.open_high else ""
    size = f"The {name} stays within {found.within} over {at_least}{plain(width.estimate or 0.0, 3)} octaves"
    if width.low is None or width.high is None:
        return f"{size}, without an interval."
    high = plain(width.high, 3) if isfinite(width.high) else "unbounded"
    return (
        f"{size} (95% interval {plain(width.low, 3)} to {high}, {found.n} seeds); robust means more than {WIDE:g},"
        " a factor of two to either side."
    )
