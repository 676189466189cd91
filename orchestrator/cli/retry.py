"""`swathe retry`: failed trials wait again."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import SwatheError
from ..messages import Cause, TrialKey
from ..retrying import retry
from .opening import opened
from .options import directory_option, name_argument


class NoSuchTrial(SwatheError):
    """The text does not name a trial."""


@click.command("retry")
@name_argument
@click.argument("trials", nargs=-1, metavar="[TRIAL]...")
@click.option(
    "--cause",
    "causes",
    multiple=True,
    type=click.Choice([cause.value for cause in Cause]),
    help="Only failures of this cause; may be repeated. By default those that are not the trial's own doing.",
)
@directory_option
def command(name: str, trials: tuple[str, ...], causes: tuple[str, ...], directory: Path) -> None:
    """Let failed trials of a stopped sweep wait again, all or the given ones; the next `swathe run` runs them."""
    with opened(name, directory) as sweep:
        chosen = retry(sweep.home, [key_of(each) for each in trials], [Cause(each) for each in causes])
        some = f"{len(chosen)} trials wait" if len(chosen) > 1 else f"trial {chosen[0]} waits"
        click.echo(f"{sweep.record.name}: {some} again; `swathe run` with the sweep's spec goes on with it")


def key_of(text: str) -> TrialKey:
    """The trial that a text names. Raises `NoSuchTrial`."""
    try:
        return TrialKey.parse(text)
    except ValueError:
        rule = "write CELL/CONFIGURATION/REPLICATE, as `swathe results` does"
        raise NoSuchTrial(f"{text!r} names no trial; {rule}") from None
