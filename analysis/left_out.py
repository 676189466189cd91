"""What a report leaves out, and why: trials without a result, and results that some answer cannot use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .curves import LONELY, numbers, objective, text
from .records import Head, Table
from .summary import configuration_means, failures
from .transfer import TransferVerdict

TITLE = "What was left out, and why"
HEADS = (
    Head("what"),
    Head("how many", number=True),
    Head("how it counts"),
    Head("for example"),
    Head("error"),
)
DIVERGED = "a result: infinitely bad, a wall beside the basin"
PRUNED = "no final value, so in no mean; among the worst where only ranks count"
FAILED = "left out: nothing is known of its value"

Row = tuple[str, str, str, str, str]


def left_out(trials: pd.DataFrame, total: int, verdicts: Mapping[Any, TransferVerdict]) -> Table:
    """Everything of the `total` trials of a sweep that does not count as a plain result, with what becomes of it.

    A table without rows says in its lead that there is nothing.
    """
    rows = [*_ended(trials), *_open(trials, total), *_configurations(trials), *_lonely(verdicts.values())]
    nothing = f"Nothing: all {len(trials)} trials have a result, and every one counts." if not rows else ""
    return Table(TITLE, HEADS, rows, nothing)


def _ended(trials: pd.DataFrame) -> Iterable[Row]:
    """Trials by how they ended, but for the complete ones."""
    ways = {"diverged": DIVERGED, "pruned": PRUNED}
    for row in failures(trials):
        yield (row.cause, str(row.count), ways.get(row.cause, FAILED), row.example, row.error)
    _, _, diverged = objective(trials, "value") if len(trials) else (None, None, [])
    silent = trials.loc[diverged & (text(trials, "state") == "COMPLETE")] if len(trials) else trials
    if len(silent):
        yield ("complete, but not finite", str(len(silent)), DIVERGED, str(text(silent, "trial")[0]), "")


def _open(trials: pd.DataFrame, total: int) -> Iterable[Row]:
    if len(trials) < total:
        yield ("not ended", str(total - len(trials)), "left out until they have", "", "")


def _configurations(trials: pd.DataFrame) -> Iterable[Row]:
    """Configurations with a result that are no candidates for the best of their cell."""
    if trials.empty:
        return
    _, values, _ = objective(trials, "value")
    keys = pd.DataFrame({"cell": text(trials, "cell"), "configuration": numbers(trials, "configuration")})
    some = set(keys.loc[pd.notna(values)].itertuples(index=False, name=None))
    means = configuration_means(trials)
    kept = set(zip(means["cell"], means["configuration"].astype(float), strict=True))
    if lost := sorted(some - kept):
        cell, number = lost[0]
        reason = "no candidates for the best of their cell: most of their seeds have no result"
        yield ("configurations", str(len(lost)), reason, f"{cell}/{int(number)}/*", "")


def _lonely(verdicts: Iterable[TransferVerdict]) -> Iterable[Row]:
    """Results that a transfer verdict cannot compare."""
    if count := sum(verdict.excluded.get(LONELY, 0) for verdict in verdicts):
        reason = "left out of the verdict, whose levels must share their seeds"
        yield (f"results {LONELY}", str(count), reason, "", "")
