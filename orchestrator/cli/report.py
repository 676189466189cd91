"""`swathe report`: the report of a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from .opening import opened
from .options import directory_option, name_argument


@click.command("report")
@name_argument
@directory_option
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
def command(name: str, directory: Path, show: bool) -> None:
    """Write the report of a sweep, one web page, and print its path.

    Of a sweep that has not ended it is provisional.
    """
    with opened(name, directory) as sweep:
        home = sweep.home
    from ...analysis import report

    path = report.write(home)
    click.echo(path)
    if show:
        click.launch(str(path))
