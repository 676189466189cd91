"""What `swathe run` says when a sweep has ended."""

from __future__ import annotations

import click

from ...analysis import load, report
from ..driver import Finished
from .best import best_rows, show_best
from .opening import Opened
from .printing import near
from .standing import Standing, standing
from .status import MOST_FAILURES, show_failures
from .verdict import show_verdict

MOST_CELLS = 20


def tell_ending(opened: Opened, finished: Finished) -> None:
    """How it ended, what failed, the best of each cell, the verdict, the report, and what to type next."""
    now = standing(opened.sweep, opened.reader.progress())
    counts = now.counts
    click.echo(f"{opened.record.name} {finished.reason}: {counts.decided}/{counts.total} trials, {counts.as_text()}")
    if finished.reason == "drained":
        click.echo(f"{counts.open} trials are left; the same command goes on with them")
    show_failures(opened, now, opened.reader.failures(MOST_FAILURES))
    _tell_tolerance(opened, now, finished)
    if counts.complete and finished.reason != "drained":
        _tell_results(opened)
    _tell_next(opened)


def _tell_tolerance(opened: Opened, now: Standing, finished: Finished) -> None:
    if finished.exit_code == 1:
        limit = opened.sweep.limits.failures
        share = f"{now.counts.failed} of {now.counts.decided} trials failed ({finished.failed_share:.1%})"
        click.echo(f"\n{share}, and limits.failures allows {limit:.1%}")


def _tell_results(opened: Opened) -> None:
    trials = load.trials(opened.folder)
    if rows := best_rows(opened, trials):
        click.echo(f"\nThe best mean {opened.sweep.metric} of each cell:\n")
        show_best(opened.sweep, rows[:MOST_CELLS])
        if len(rows) > MOST_CELLS:
            click.echo(f"and {len(rows) - MOST_CELLS} more: `swathe best {opened.handle}`")
    show_verdict(opened.sweep, trials)
    click.echo(f"\nreport: {near(report.write(opened.folder))}")


def _tell_next(opened: Opened) -> None:
    click.echo("\nnext:")
    verbs = {"status": "counts and failures", "results": "all trials", "best": "the best configurations"}
    verbs["report"] = "write the report again; --open shows it"
    commands = {f"swathe {verb} {opened.handle}": what for verb, what in verbs.items()}
    for typed, what in commands.items():
        click.echo(f"  {typed:<{max(map(len, commands))}}  {what}")
