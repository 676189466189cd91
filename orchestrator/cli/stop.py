"""`swathe stop`: let a live sweep finish what it runs, from another terminal."""

from __future__ import annotations

from pathlib import Path

import click

from ..ledger import DRAIN, ask_driver
from .opening import opened, refuse_idle
from .options import directory_option, name_argument


@click.command("stop")
@name_argument
@directory_option
def command(name: str, directory: Path) -> None:
    """Ask the driver of a sweep to drain: running trials finish, nothing new starts."""
    with opened(name, directory) as sweep:
        refuse_idle(sweep)
        ask_driver(sweep.home.ledger, sweep.record.name, DRAIN)
        click.echo(
            f"{sweep.record.name}: draining: running trials finish, nothing new starts; "
            f"`swathe status {sweep.handle}` says when it has, `swathe cancel {sweep.handle}` ends it at once"
        )
