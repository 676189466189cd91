"""`swathe report`: the report of a sweep, or of two beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from ..home import Home
from .opening import opened
from .options import directory_option


@click.command("report")
@click.argument("names", metavar="NAME [OTHER]", nargs=-1, required=True)
@directory_option
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
def command(names: tuple[str, ...], directory: Path, show: bool) -> None:
    """Write the report of a sweep, one web page, and print its path.

    Its figures are beside it as PDF and SVG, the numbers behind them as CSV. With a second sweep of the same metric the
    two are compared. Of a sweep that has not ended the report is provisional.
    """
    if len(names) > 2 or len({*names}) < len(names):
        raise click.UsageError(f"a report is of one sweep or compares two different ones, not {' '.join(names)}")
    homes = [_home(name, directory) for name in names]
    from ...analysis import report

    if len(homes) == 1:
        path = report.write(homes[0], figures=True)
    else:
        path = report.write_comparison(homes[0], homes[1], _labels(names, homes))
    click.echo(path)
    if show:
        click.launch(str(path))


def _home(name: str, directory: Path) -> Home:
    with opened(name, directory) as sweep:
        return sweep.home


def _labels(names: tuple[str, ...], homes: list[Home]) -> tuple[str, str]:
    """What to call two sweeps: by their names, or as they were typed where the names are the same."""
    first, second = (home.name for home in homes)
    return (first, second) if first != second else (names[0], names[1])
