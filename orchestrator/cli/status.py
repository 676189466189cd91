"""`swathe status`: how a sweep stands, from its ledger alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.padding import Padding
from rich.text import Text

from ..ledger import Failure
from ..looking import last
from .opening import Opened, opened
from .options import directory_option, json_option, name_argument
from .printing import as_json, goal, moment, near, number, settings, show, table, timestamp, word
from .standing import CellStanding, Standing, least_finished, remainder, standing

MOST_CELLS = 40
MOST_WORKERS = 20
MOST_FAILURES = 5


@click.command("status")
@name_argument
@directory_option
@json_option
def command(name: str, directory: Path, json: bool) -> None:
    """Say how a sweep stands, and what failed in it.

    NAME is a sweep of --dir, or the path of a sweep's folder.
    """
    with opened(name, directory) as sweep:
        now, failures = standing(sweep.sweep, sweep.reader.progress()), sweep.reader.failures()
        if json:
            click.echo(as_json(_described(sweep, now, failures)))
        else:
            _show(sweep, now)
            show_failures(sweep, now, failures[:MOST_FAILURES])
            _show_study(sweep, now)


def _show_study(opened: Opened, now: Standing) -> None:
    """The verdict that the spec asks for, with the uncertainty it has now."""
    sweep = opened.sweep
    if sweep.study is None or not now.counts.complete:
        return
    # Pandas takes a second to import, and only studies need it.
    from ...analysis import load
    from .verdict import show_verdict

    show_verdict(sweep, load.trials(opened.home))
    if sweep.stop is not None:
        click.echo(f"\n{sweep.seeds} of at most {sweep.most_seeds} seeds; {_looked(opened)}")
    elif now.counts.open:
        click.echo("\nThis is how it looks now; ending a sweep at a verdict that one likes breaks its error rates")


def _looked(opened: Opened) -> str:
    """How the last look came out."""
    seen = last(opened.record)
    if seen is None:
        return "not looked at yet"
    return f"after {seen.seeds} it was {'decided' if seen.decided else 'not decided yet'}"


def _described(opened: Opened, now: Standing, failures: tuple[Failure, ...]) -> dict[str, Any]:
    seen = last(opened.record)
    return {
        "name": opened.record.name,
        "folder": opened.folder,
        "status": opened.condition,
        "started": timestamp(opened.record.created),
        "metric": opened.sweep.metric,
        "direction": opened.sweep.direction,
        "trials": now.counts.as_mapping(),
        "best": now.best.best if now.best else None,
        "retried": now.retried,
        "study": opened.sweep.question and opened.sweep.question.model_dump(exclude_none=True),
        "look": seen and asdict(seen),
        "causes": now.causes,
        "crew": crew.as_json() if (crew := opened.crew) is not None else None,
        "cells": [
            {"cell": cell.key, "values": cell.values, "trials": cell.counts.as_mapping(), "best": cell.best}
            for cell in now.cells
        ],
        "failures": [_failure(opened, each) for each in failures],
    }


def _failure(opened: Opened, failure: Failure) -> dict[str, Any]:
    # Costs an import of Arrow, so only sweeps with failures pay for it.
    from ..layout import log_path

    log = log_path(opened.place, failure.trial)
    return {
        "trial": str(failure.trial),
        "cause": failure.cause.value,
        "attempt": failure.attempt,
        "params": failure.params,
        "message": last_line(failure.error),
        "log": str(log) if not isinstance(log, Path) else log if log.exists() else None,
        "rerun": f"swathe rerun {opened.handle} {failure.trial}",
    }


def last_line(error: str) -> str:
    """The line of a traceback that says what was wrong."""
    lines = [line for line in error.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _show(opened: Opened, now: Standing) -> None:
    counts, sweep = now.counts, opened.sweep
    click.echo(f"{opened.record.name}: {opened.condition}, {counts.decided} of {counts.total} trials decided")
    click.echo(f"{counts.as_text()}, {counts.open} waiting or running, {now.retried} attempts retried")
    click.echo(f"started {moment(timestamp(opened.record.created))}, {goal(sweep)}\n")
    show_cells(now, MOST_CELLS)
    crew = opened.crew
    if crew is not None and opened.condition == "running":
        click.echo(f"\n{crew.as_text()}")
        if (rows := crew.rows(MOST_WORKERS)) is not None:
            show(rows)
    for text in crew.said if crew is not None else ():
        click.echo(text)


def show_cells(now: Standing, room: int) -> None:
    """The cells as a table, at most `room` of them."""
    axes = list(now.cells[0].values)
    numbers = ("done", "failed", "best trial")
    shown = table("cell", *axes, *numbers, right=numbers, folding=axes)
    chosen = least_finished(now.cells, room)
    for cell in chosen:
        shown.add_row(cell.key, *map(word, cell.values.values()), *_cell(cell))
    show(shown)
    if rest := remainder(now.cells, chosen):
        click.echo(rest)


def _cell(cell: CellStanding) -> tuple[str, str, str]:
    return f"{cell.counts.decided}/{cell.counts.total}", str(cell.counts.failed), number(cell.best)


def show_failures(opened: Opened, now: Standing, failures: tuple[Failure, ...]) -> None:
    """Failures by cause, and the last ones with what it takes to look into them."""
    if not failures:
        return
    causes = ", ".join(f"{count} {cause}" for cause, count in now.causes.items())
    click.echo(f"\n{now.counts.failed} trials failed: {causes}. The last ones:")
    for each in (_failure(opened, failure) for failure in failures):
        click.echo()
        show(Text(f"{each['trial']}  {each['cause']}, attempt {each['attempt']}  {settings(each['params'])}"))
        show(Padding(Text(each["message"]), (0, 0, 0, 4)))
        # As they are, however long, so that they can be copied.
        if each["log"]:
            click.echo(f"    log:   {near(each['log']) if isinstance(each['log'], Path) else each['log']}")
        click.echo(f"    again: {each['rerun']}")
