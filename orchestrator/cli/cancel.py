"""`swathe cancel`: end a live sweep at once, from another terminal."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ..errors import SwatheError
from ..ledger import CANCEL, ask_driver
from ..ledger.tables import url_of
from ..messages import Cause
from .opening import Opened, opened, refuse_idle
from .options import directory_option, name_argument

PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.1


class NotCancelled(SwatheError):
    """The driver does not answer."""


@click.command("cancel")
@name_argument
@directory_option
def command(name: str, directory: Path) -> None:
    """End a sweep at once: its running trials are killed and fail as cancelled, which `swathe retry` reverses."""
    with opened(name, directory) as sweep:
        refuse_idle(sweep)
        ask_driver(url_of(sweep.folder), sweep.record.name, CANCEL)
        _wait(sweep)
        killed = len(sweep.reader.failed([Cause.CANCELLED]))
        remedy = f"`swathe retry {sweep.handle}` lets them wait again" if killed else "none was running"
        click.echo(f"{sweep.record.name}: cancelled; {killed} trials are cancelled, {remedy}")


def _wait(sweep: Opened) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sweep.reader.sweep().live():
        if time.monotonic() > deadline:
            owner = sweep.record.owner
            raise NotCancelled(
                f"the driver of {sweep.record.name} has not answered for {PATIENCE_SECONDS:.0f} s; "
                f"end its process yourself: `kill -9 {owner['pid']}` on {owner['host']}"
            )
        time.sleep(POLL_SECONDS)
