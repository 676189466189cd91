"""`swathe export`: a sweep in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from ...analysis.exports.files import FORMATS, save_tables
from ...analysis.exports.following import Follower
from ...analysis.exports.targets import FOLLOWING, follow, opened_target, place_of
from .opening import Opened, opened
from .options import directory_option, name_argument
from .printing import near

NEXT = {
    "mlflow": "mlflow ui --backend-store-uri {place}",
    "tensorboard": "tensorboard --logdir {place}",
    "optuna": "optuna-dashboard {place}",
}
WHAT = {"mlflow": "runs", "tensorboard": "trials", "optuna": "Optuna trials"}


@click.command("export")
@name_argument
@click.option("--to", "kind", type=click.Choice([*FOLLOWING, *FORMATS]), required=True, help="The tool, or the format.")
@click.option(
    "--output",
    metavar="PLACE",
    help="A folder; for optuna a file or database URL, for mlflow a tracking URI. By default exports/ in the sweep's "
    "folder, and for mlflow what MLFLOW_TRACKING_URI says.",
)
@click.option("--follow", "following", is_flag=True, help="Go on while the sweep runs, until it ends.")
@directory_option
def command(name: str, kind: str, output: str | None, following: bool, directory: Path) -> None:
    """Write a sweep for another tool. Doing it again adds what is new, and nothing twice.

    csv and parquet get the tables trials and metrics. The ledger is only read: a running sweep is not disturbed.
    """
    if following and kind in FORMATS:
        raise click.UsageError(f"--follow goes with {', '.join(FOLLOWING)}; the files of {kind} are written whole")
    with opened(name, directory) as sweep:
        place = place_of(kind, output, sweep.folder)
        if kind in FORMATS:
            for path, rows in save_tables(sweep.home, kind, Path(place or ".")).items():
                click.echo(f"{rows} rows in {near(path)}")
        else:
            _project(sweep, kind, place, following)


def _project(sweep: Opened, kind: str, place: str | None, following: bool) -> None:
    follower = Follower(sweep.place, sweep.reader)
    with opened_target(kind, place, follower) as target:
        shown = place or str(getattr(target, "uri", place))
        click.echo(f"{target.refresh()} {WHAT[kind]} written to {shown}")
        click.echo(f"next: {NEXT[kind].format(place=_address(kind, shown))}")
        if following:
            follow(target, follower, lambda changed: click.echo(f"{changed} {WHAT[kind]} written"))


def _address(kind: str, place: str) -> str:
    return f"sqlite:///{place}" if kind == "optuna" and "://" not in place else place
