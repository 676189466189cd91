"""The questions of robustness, one entry each, and the tables about it that an ordinary sweep's report shows.

Every entry takes the frame of `load.trials` and returns frozen records with an estimate, its 95% interval `low`..`high`
(None where there is none), `n`, what it rests on, `reasons` in words and the trials `excluded`. Diverged trials count
as worst. With fewer than three seeds nothing has an interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp, isfinite

import numpy as np
import pandas as pd

from ..orchestrator.schema import PARAM
from ..orchestrator.spec import Sweep
from .curves import numbers, text
from .estimates import SEEDS, Estimate
from .importance import importances
from .ranking import compare_methods, rank_stability
from .records import Head, Table
from .reliability import aggregate, improvement, performance_profiles
from .selection import Winner, winners
from .sensitivity import Sensitivity, compare_widths, sensitivity
from .shift import mean_corruption_error, strength_curves, worst_domain
from .streams import decompose, one_at_a_time
from .summary import BestRow, best_configurations, split_parameters
from .targets import speeds, time_to_target
from .tuning import contest, tunability, tuning_curves
from .words import assignments, plain, spoken

__all__ = [
    "aggregate",
    "compare_methods",
    "compare_widths",
    "contest",
    "decompose",
    "importances",
    "improvement",
    "mean_corruption_error",
    "one_at_a_time",
    "performance_profiles",
    "rank_stability",
    "robustness_tables",
    "sensitivity",
    "speeds",
    "strength_curves",
    "time_to_target",
    "tunability",
    "tuning_curves",
    "winners",
    "worst_domain",
]

WINNER = "The winner, without the luck of being chosen"
RELIABILITY = "Reliability over seeds"
SENSITIVITY = "Sensitivity to the hyperparameter"
IMPORTANCE = "Importance of hyperparameters"

CELLS = 40  # tables show at most so many
FEWEST_CONFIGURATIONS = 20  # below which importances have no interval and are not shown
FEWEST_VALUES = 4  # of a hyperparameter, for the width of a basin


def robustness_tables(trials: pd.DataFrame, sweep: Sweep) -> list[Table]:
    """What can be said about the robustness of a sweep's best configurations, as tables for its report.

    Empty for fewer than three seeds. A table is left out where it does not apply: widths of basins when one positive
    number was searched alone, importances from two parameters and 20 configurations on.
    """
    if sweep.seeds < SEEDS or trials.empty:
        return []
    direction, metric = sweep.directions[sweep.objective], spoken(sweep.objective)
    whole = best_configurations(trials, direction)
    best = whole[:CELLS]
    cells = {row.cell: trials.loc[text(trials, "cell") == row.cell] for row in best}
    tables = [
        _winner_table(best, cells, direction, metric),
        _seed_table(best, cells, direction, metric),
        _width_table(best, cells, direction),
        _importance_table(best, cells, direction),
    ]
    cut = f" The first {CELLS} of {len(whole)} cells." if len(whole) > CELLS else ""
    return [replace(table, lead=table.lead + cut) for table in tables if table.rows]


def _winner_table(best: Sequence[BestRow], cells: dict[str, pd.DataFrame], direction: str, metric: str) -> Table:
    heads = (
        Head("cell"),
        Head(f"{metric} on seeds that did not choose it (95% interval)"),
        Head("on those that did", number=True),
        Head("with"),
        Head("chosen", number=True),
        Head("seeds", number=True),
    )
    rows = []
    for row in best:
        for winner in winners(cells[row.cell], direction=direction):
            rows.append((row.label, _interval(winner), plain(winner.selected), *_choice(winner, cells[row.cell])))
    lead = (
        "Each seed in turn is set aside, the best configuration is chosen by the others, and its value on that seed"
        " counts. Where the same one is not chosen every time, its own value needs fresh seeds."
    )
    return Table(WINNER, heads, rows, lead)


def _choice(winner: Winner, rows: pd.DataFrame) -> tuple[str, str, str]:
    """The winner's searched parameters, how often it is chosen, and the seeds."""
    _, searched = split_parameters(rows)
    mine = rows.loc[numbers(rows, "configuration") == winner.configuration].iloc[0]
    times = winner.chosen.get(winner.configuration, 0)
    named = assignments({name: mine[PARAM + name] for name in searched})
    return named or "no search", f"{times} of {sum(winner.chosen.values())}", str(winner.n)


def _seed_table(best: Sequence[BestRow], cells: dict[str, pd.DataFrame], direction: str, metric: str) -> Table:
    heads = (
        Head("cell"),
        Head(f"interquartile mean of {metric} (95% interval)"),
        Head("lowest", number=True),
        Head("highest", number=True),
        Head("diverged", number=True),
        Head("seeds", number=True),
    )
    rows = []
    for row in best:
        mine = cells[row.cell].loc[numbers(cells[row.cell], "configuration") == row.configuration]
        values = numbers(mine, "value")
        known = values[np.isfinite(values)]
        if len(known):
            found = next(iter(aggregate(mine, direction=direction).values()))
            bad = int((text(mine, "cause") == "diverged").sum())
            rows.append((row.label, _interval(found), plain(known.min()), plain(known.max()), str(bad), str(found.n)))
    lead = "How much the seed alone moves the result of each cell's best configuration, chosen on the same seeds."
    return Table(RELIABILITY, heads, rows, lead)


def _width_table(best: Sequence[BestRow], cells: dict[str, pd.DataFrame], direction: str) -> Table:
    heads = (
        Head("cell"),
        Head("hyperparameter"),
        Head("width of the basin in octaves (95% interval)"),
        Head("within"),
        Head("mean over the range tried (95% interval)"),
        Head("seeds", number=True),
    )
    rows = []
    for row in best:
        for name, found in _sensitivities(cells[row.cell], direction):
            octaves = _interval(found.width)
            if found.open_low or found.open_high:
                octaves = f"at least {plain(found.width.estimate or 0.0, 3)}; it goes on beyond the range tried"
            rows.append((row.label, spoken(name), octaves, found.within, _excess(found), str(found.n)))
    lead = "How far a hyperparameter may be off: a factor of two is one octave. Diverged values count as walls."
    return Table(SENSITIVITY, heads, rows, lead)


def _excess(found: Sensitivity) -> str:
    """How far the metric is from the best on average over the range: as a ratio, or as a difference."""
    if not found.logarithmic:
        return f"{_interval(found.excess)} from the best"
    ends = (None if end is None else exp(end) for end in (found.excess.estimate, found.excess.low, found.excess.high))
    value, low, high = ends
    return f"{_interval(replace(found.excess, estimate=value, low=low, high=high))} times the best"


def _sensitivities(rows: pd.DataFrame, direction: str) -> Iterator[tuple[str, Sensitivity]]:
    """The one searched number of a cell, when there is one; means over other parameters would say little."""
    _, searched = split_parameters(rows)
    if len(searched) != 1:
        return
    values = rows[PARAM + searched[0]].dropna()
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
    if numeric and min(values, default=0) > 0 and len(set(values)) >= FEWEST_VALUES:
        for found in sensitivity(rows, searched[0], direction=direction):
            yield searched[0], found


def _importance_table(best: Sequence[BestRow], cells: dict[str, pd.DataFrame], direction: str) -> Table:
    heads = (
        Head("cell"),
        Head("hyperparameter"),
        Head("importance (95% interval)"),
        Head("configurations", number=True),
    )
    rows = []
    for row in best:
        mine = cells[row.cell]
        if len(set(mine["configuration"])) >= FEWEST_CONFIGURATIONS and len(split_parameters(mine)[1]) > 1:
            found = importances(mine, direction=direction)
            rows += [(row.label, spoken(name), _interval(each), str(each.n)) for name, each in found.items()]
    lead = (
        "What tells the best tenth of configurations from the better half: the share of each parameter, by PED-ANOVA."
        " It measures importance near the optimum, not where training diverges."
    )
    return Table(IMPORTANCE, heads, rows, lead)


def _interval(found: Estimate | Winner) -> str:
    """A number with its interval in words."""
    if found.estimate is None or not isfinite(found.estimate):
        return "diverges" if found.estimate is not None else "unknown"
    if found.low is None or found.high is None:
        return f"{plain(found.estimate)} (no interval)"
    ends = (plain(found.low) if isfinite(found.low) else "", plain(found.high) if isfinite(found.high) else "")
    if all(ends):
        return f"{plain(found.estimate)} ({ends[0]} to {ends[1]})"
    bound = f"at least {ends[0]}" if ends[0] else f"at most {ends[1]}" if ends[1] else "unbounded"
    return f"{plain(found.estimate)} ({bound})"
