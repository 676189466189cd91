"""What `swathe run` says when a sweep has ended."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pandas as pd

from ...analysis import load, pareto, report
from ..driver import Finished
from ..messages import Cause
from ..trial_folder import shared_writes
from .best import best_rows, show_best
from .front import show_front
from .opening import Opened
from .printing import near
from .standing import Standing, standing
from .status import MOST_FAILURES, show_failures
from .verdict import show_verdict

MOST_CELLS = 20
MOST_FILES = 5


def tell_ending(opened: Opened, finished: Finished) -> None:
    """How it ended, what failed, the best of each cell, the verdict, the report, and what to type next."""
    now = standing(opened.sweep, opened.reader.progress())
    counts = now.counts
    ended = "stopped by failures" if finished.reason == "failures" else finished.reason
    click.echo(f"{opened.record.name} {ended}: {counts.decided}/{counts.total} trials, {counts.as_text()}")
    if finished.reason == "budget":
        click.echo(f"limits.sweep is used up, {counts.open} trials are left; raise it and run the spec again")
    elif finished.reason in ("drained", "cancelled"):
        click.echo(f"{counts.open} trials are left; the same command goes on with them")
    show_failures(opened, now, opened.reader.failures(MOST_FAILURES))
    _tell_tolerance(opened, now, finished)
    if counts.complete and finished.reason not in ("drained", "cancelled", "failures"):
        _tell_results(opened)
    _tell_shared_writes(opened)
    _tell_next(opened)


def _tell_shared_writes(opened: Opened) -> None:
    """Files of the spec's folder that trials of a command may have read from each other."""
    written = [] if opened.sweep.command is None else shared_writes(opened.folder)
    # What this very process prints may go to a file there.
    written = [name for name in written if not _is_output(opened.sweep.root / name)]
    if not written:
        return
    named = ", ".join(written[:MOST_FILES]) + (f" and {len(written) - MOST_FILES} more" * (len(written) > MOST_FILES))
    click.echo(
        f"\nin {near(opened.sweep.root)} there changed while trials ran: {named}. If the command writes them, trials "
        "meet each other's: move them away, and each trial makes its own, or name them by {trial}"
    )


def _is_output(path: Path) -> bool:
    try:
        return any(os.path.samestat(os.fstat(stream), path.stat()) for stream in (1, 2))
    except OSError:
        return False


def _tell_tolerance(opened: Opened, now: Standing, finished: Finished) -> None:
    if finished.exit_code == 1:
        limit = opened.sweep.limits.failures
        share = f"{now.counts.failed} of {now.counts.decided} trials failed ({finished.failed_share:.1%})"
        click.echo(f"\n{share}, and limits.failures allows {limit:.1%}")
    if finished.reason == "failures":
        causes = opened.reader.progress().causes()
        causes.pop(Cause.DIVERGED, None)
        most = max(causes, key=lambda cause: causes[cause])
        click.echo(
            f"so the sweep was ended there. Most failed by {most} ({causes[most]}); mend that, and the same command "
            f"goes on with the {now.counts.open} trials that are left"
        )


def _tell_results(opened: Opened) -> None:
    trials = load.trials(opened.home)
    if len(opened.sweep.objectives) > 1:
        _tell_front(opened, trials)
    elif rows := best_rows(opened, trials):
        click.echo(f"\nThe best mean {opened.sweep.objective} of each cell:\n")
        show_best(opened.sweep, rows[:MOST_CELLS])
        if len(rows) > MOST_CELLS:
            click.echo(f"and {len(rows) - MOST_CELLS} more: `swathe best {opened.handle}`")
    show_verdict(opened.sweep, trials)
    click.echo(f"\nreport: {near(report.write(opened.home))}")


def _tell_front(opened: Opened, trials: pd.DataFrame) -> None:
    rows = pareto.fronts(trials, opened.sweep.directions)
    click.echo(
        "\nThe Pareto front, means over seeds: no other configuration is as good in every metric and better in one:\n"
    )
    show_front(opened.sweep, rows[:MOST_CELLS])
    if len(rows) > MOST_CELLS:
        click.echo(f"and {len(rows) - MOST_CELLS} more: `swathe best {opened.handle}`")


def _tell_next(opened: Opened) -> None:
    click.echo("\nnext:")
    verbs = {"status": "counts and failures", "results": "all trials", "best": "the best configurations"}
    verbs["report"] = "write the report again, and its figures as PDF, SVG and CSV"
    commands = {f"swathe {verb} {opened.handle}": what for verb, what in verbs.items()}
    for typed, what in commands.items():
        click.echo(f"  {typed:<{max(map(len, commands))}}  {what}")
