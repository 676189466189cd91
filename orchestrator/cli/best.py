"""`swathe best`: the best configuration of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.padding import Padding
from rich.text import Text

from ...analysis import load, pareto, summary
from ...analysis.edges import MARK, edges
from ..messages import Scalar, TrialKey
from ..spec import Cell, Sweep
from . import front
from .opening import Opened, opened
from .options import directory_option, json_option, name_argument
from .printing import as_json, fits, number, settings, show, table, word


@dataclass(frozen=True, slots=True)
class Best:
    """A cell's best configuration: the mean of the objective over `seeds` complete replicates, its standard error."""

    cell: Cell
    configuration: int
    params: Mapping[str, Scalar]
    mean: float
    error: float | None
    seeds: int


@click.command("best")
@name_argument
@directory_option
@json_option
def command(name: str, directory: Path, json: bool) -> None:
    """Say which configuration is the best of each cell.

    Configurations are compared by the mean over their complete replicates; those of which more than half failed are
    left out. With several metrics the Pareto front is shown.
    """
    with opened(name, directory) as sweep:
        trials = load.trials(sweep.home)
        if len(sweep.sweep.objectives) > 1:
            rows = pareto.fronts(trials, sweep.sweep.directions)
            described, tell = front.described(sweep.sweep, rows), partial(front.show_front, sweep.sweep, rows)
        else:
            rows = best_rows(sweep, trials)
            described, tell = _described(sweep.sweep, rows), partial(show_best, sweep.sweep, rows)
        if json:
            click.echo(as_json(described))
        elif rows:
            tell()
        else:
            click.echo(
                f"No configuration of {name} is complete yet; `swathe status {sweep.handle}` says how it stands."
            )


def best_rows(opened: Opened, trials: pd.DataFrame) -> list[Best]:
    """The best configuration of every cell that has one, from the ended `trials`, in the order of the grid."""
    sweep = opened.sweep
    direction = sweep.directions[sweep.objective]
    found = {row.cell: row for row in summary.best_configurations(trials, direction)}
    rows: list[Best] = []
    for cell in sweep.cells:
        if (row := found.get(cell.key)) is not None:
            params = opened.reader.suggestion(TrialKey(cell.key, row.configuration, 0)) or {}
            rows.append(Best(cell, row.configuration, params, row.value, row.error, row.seeds))
    return rows


def _described(sweep: Sweep, rows: Sequence[Best]) -> dict[str, Any]:
    return {
        "metric": sweep.metric,
        "direction": sweep.direction,
        "cells": [
            {
                "cell": row.cell.key,
                "values": row.cell.values,
                "configuration": row.configuration,
                "params": row.params,
                "at_edge": edges(row.params, sweep),
                "mean": row.mean,
                "standard_error": row.error,
                "seeds": row.seeds,
            }
            for row in rows
        ],
    }


def show_best(sweep: Sweep, rows: Sequence[Best]) -> None:
    """The best configurations as a table, or cell by cell where that is too wide."""
    numbers = (sweep.objective, "std. error", "seeds")
    shown = table(*sweep.grid, *numbers, "trials", "parameters", right=numbers)
    for row in rows:
        values = [word(value) for value in row.cell.values.values()]
        shown.add_row(*values, *_numbers(sweep, row), _trials(row), _settings(sweep, row))
    if fits(shown):
        show(shown)
        return
    for row in rows:
        mean, error, seeds = _numbers(sweep, row)
        where = f"{settings(row.cell.values)}: " if row.cell.values else ""
        show(Text(f"{where}{sweep.objective} {mean}, std. error {error}, {seeds} seeds, trials {_trials(row)}"))
        show(Padding(Text(_settings(sweep, row)), (0, 0, 0, 4)))


def _settings(sweep: Sweep, row: Best) -> str:
    """The parameters, and which of them lie at an edge of their range, where the best may lie beyond."""
    at = edges(row.params, sweep)
    return settings(row.params) + (f"  {' and '.join(at)} {MARK}" if at else "")


def _numbers(sweep: Sweep, row: Best) -> tuple[str, str, str]:
    return number(row.mean), number(row.error, digits=2), f"{row.seeds}/{sweep.seeds}"


def _trials(row: Best) -> str:
    """The names of a configuration's trials but for the replicate."""
    return f"{row.cell.key}/{row.configuration}/*"
