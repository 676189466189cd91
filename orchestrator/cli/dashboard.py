"""`swathe dashboard`: optuna-dashboard on a sweep, while it runs and after."""

from __future__ import annotations

from pathlib import Path

import click

from ...analysis.exports.following import Follower
from ...analysis.exports.serving import Dashboard
from .opening import opened
from .options import CLUSTER, directory_option, name_argument


@click.command("dashboard")
@name_argument
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Who else may see it; it asks for no password.")
@directory_option
@click.pass_context
def command(context: click.Context, name: str, port: int, host: str, directory: Path) -> None:
    """Show a sweep in the browser, by optuna-dashboard: one study a cell, one of its trials a configuration.

    It follows a running sweep within seconds, and changes nothing.
    """
    with opened(name, directory) as sweep, Dashboard(Follower(sweep.place, sweep.reader), host, port) as board:
        click.echo(f"{sweep.record.name}: {board.address} (Ctrl-C ends it)")
        if (cluster := context.meta.get(CLUSTER)) is not None:
            # Reading profiles takes a moment that others need not wait for.
            from .remote import existing

            click.echo(f"Ray's own dashboard: {existing(cluster).address}")
        try:
            board.serve()
        except KeyboardInterrupt:
            click.echo()
