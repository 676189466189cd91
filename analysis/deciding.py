"""The verdict that a spec asks for: its study, its rule, its groups; and whether a sweep that may stop early ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..orchestrator.home import Home
from ..orchestrator.looking import Look
from ..orchestrator.spec import Sweep
from . import load
from .looks import corrected
from .study import TransferStudy
from .transfer import RULE, Rule, TransferVerdict, judge_by
from .words import group_label

Verdicts = Mapping[tuple[Any, ...], TransferVerdict]


def rule_of(sweep: Sweep) -> Rule:
    """The rule of a sweep's verdict: stricter at every look when it is looked at several times."""
    return RULE if sweep.stop is None else corrected(RULE, sweep.most_seeds)


def verdicts(trials: pd.DataFrame, sweep: Sweep, study: TransferStudy) -> Verdicts:
    """The verdict of each group of a transfer study. Raises `SwatheError` as `judge` does."""
    return judge_by(
        trials,
        study.by,
        axis=study.axis,
        hyperparameter=study.hyperparameter,
        direction=sweep.directions[sweep.objective],
        rule=rule_of(sweep),
    )


def decide(home: Home, sweep: Sweep) -> Look:
    """Look at a sweep whose waves so far are complete: it is decided when no group is undecided.

    Every group's verdict keeps its error rates over all looks (`looks.corrected`).
    """
    study = TransferStudy.of(sweep)
    assert study is not None, "a sweep that may stop early has a transfer study"
    found = verdicts(load.trials(home), sweep, study)
    words = {group_label(study.by, key): each.verdict for key, each in found.items()}
    return Look(sweep.seeds, bool(words) and "undecided" not in words.values(), words)
