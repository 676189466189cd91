"""`swathe export`: one of a sweep's tables as one file."""

from __future__ import annotations

from pathlib import Path

import click

from .opening import opened
from .options import directory_option, name_argument
from .saving import TABLES, TARGETS, save


@click.command("export")
@name_argument
@click.option("--to", "target", type=click.Choice(TARGETS), required=True, help="The form of the file.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--table", type=click.Choice(TABLES), default="trials", show_default=True, help="Which table.")
@directory_option
def command(name: str, target: str, output: Path, table: str, directory: Path) -> None:
    """Write one table of a sweep as one file."""
    with opened(name, directory) as sweep:
        rows = save(sweep.home, table, target, output)
    click.echo(f"{rows} rows of {table} in {output}")
