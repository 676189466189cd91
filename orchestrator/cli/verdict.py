"""The verdict of a transfer study, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import pandas as pd
from rich.text import Text

from ...analysis import summary
from ...analysis.deciding import rule_of, verdicts
from ...analysis.robust import robustness_statements
from ...analysis.study import TransferStudy, infer_study
from ...analysis.transfer import LevelOptimum, TransferVerdict
from ...analysis.words import plain, signed
from ..errors import SwatheError
from ..spec import Sweep
from .printing import show, table, warn, word

MOST_ROWS = 30
STYLES = {"transfers": "green", "drifts": "red", "robust": "green", "sensitive": "red"}


def show_verdict(sweep: Sweep, trials: pd.DataFrame) -> None:
    """Whether the best value transfers, by group, and the optimum at each level, or how far it may be off.

    Nothing when neither is a question.
    """
    for told in robustness_statements(trials, sweep):
        show(Text(f"\n{told.headline}", style=STYLES.get(told.word, "yellow")))
        for reason in told.reasons:
            show(Text(f"  {reason}"))
    study = infer_study(sweep)
    if study is None:
        return
    try:
        found = verdicts(trials, sweep, study)
    except SwatheError as error:
        warn(f"no verdict: {error}")
        return
    click.echo(f"\nDoes the best {study.hyperparameter} transfer along {study.axis}? Drift in octaves per doubling:\n")
    _show_groups(study, found, f"{100 * rule_of(sweep).drifts:.3g}% interval")
    _show_levels(study, found)


def _show_groups(study: TransferStudy, verdicts: Mapping[tuple[Any, ...], TransferVerdict], heading: str) -> None:
    numbers = ("drift", heading, "regret", "seeds")
    shown = table(*study.by, "verdict", *numbers, right=numbers, folding=study.by)
    rows = summary.verdict_table(verdicts, study.by)
    for key, row in zip(verdicts, rows, strict=True):
        cells = (row.drift, row.interval, row.regret, str(row.seeds))
        shown.add_row(*map(word, key), row.verdict, *cells, style=STYLES.get(row.verdict, "yellow"))
    show(shown)
    for row in rows:
        for reason in row.reasons:
            show(Text(f"{row.group + ': ' if study.by else ''}{reason}"))


def _show_levels(study: TransferStudy, verdicts: Mapping[tuple[Any, ...], TransferVerdict]) -> None:
    optimum, value = f"best log2 {study.hyperparameter}", f"best {study.hyperparameter}"
    numbers = (study.axis, optimum, "95% interval", value)
    shown = table(*study.by, *numbers, right=numbers, folding=study.by)
    rows = [(key, level) for key, verdict in verdicts.items() for level in verdict.levels]
    for key, level in rows[:MOST_ROWS]:
        shown.add_row(*map(word, key), f"{level.level:g}", *_level(level))
    click.echo()
    show(shown)
    if len(rows) > MOST_ROWS:
        click.echo(f"and {len(rows) - MOST_ROWS} more in the report")


def _level(level: LevelOptimum) -> tuple[str, str, str]:
    if level.optimum is None:
        side = "at or below" if level.censored == "low" else "at or above"
        return "censored", f"{side} {signed(level.bound or 0.0)}", "censored"
    spread = "one seed" if level.error is None else f"{signed(level.low)} to {signed(level.high)}"
    return signed(level.optimum), spread, plain(2.0**level.optimum, 3)
