"""`swathe list`: the sweeps of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import SwatheError
from ..home import Home
from .opening import Opened, homes, opened_home
from .options import directory_option, json_option
from .printing import as_json, moment, number, show, table, timestamp
from .standing import standing


@click.command("list")
@directory_option
@json_option
def command(directory: Path, json: bool) -> None:
    """List the sweeps of a folder."""
    rows = [_row(home) for home in homes(directory)]
    if json:
        click.echo(as_json(rows))
    elif rows:
        _show(rows)
    else:
        click.echo(f"No sweep in {directory}; start one with `swathe run SPEC`.")


def _row(home: Home) -> dict[str, Any]:
    try:
        with opened_home(home) as sweep:
            return _described(sweep)
    except SwatheError as error:
        told = str(error)
    except Exception as error:
        # Whatever a damaged or foreign ledger holds: one broken sweep must not hide the others.
        told = f"{type(error).__name__}: {error}"
    return {"name": home.name, "folder": home.folder, "status": "unreadable", "error": " ".join(told.split())}


def _described(opened: Opened) -> dict[str, Any]:
    now = standing(opened.sweep, opened.reader.progress())
    return {
        "name": opened.record.name,
        "folder": opened.folder,
        "status": opened.condition,
        "trials": now.counts.as_mapping(),
        "metric": opened.sweep.metric,
        "best": now.best.best if now.best else None,
        "started": timestamp(opened.record.created),
    }


def _show(rows: list[dict[str, Any]]) -> None:
    shown = table("name", "status", "trials", "failed", "best", "metric", "started", right=("trials", "failed", "best"))
    for row in rows:
        if row["status"] == "unreadable":
            shown.add_row(row["name"], row["status"])
            continue
        trials = row["trials"]
        done = f"{trials['decided']}/{trials['total']}"
        best, failed = number(row["best"]), str(trials["failed"])
        shown.add_row(row["name"], row["status"], done, failed, best, row["metric"], moment(row["started"]))
    show(shown)
    for row in rows:
        if row["status"] == "unreadable":
            click.echo(f"{row['name']} is unreadable: {row['error']}")
