"""`swathe watch`: a sweep as it goes on, from any terminal that can read its ledger."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from .. import driver
from ..home import Home
from ..ledger.opening import insist
from . import INTERRUPTED
from .live import POLL_SECONDS, Face, Lines, Picture
from .opening import Opened, home_of, opened_home
from .options import directory_option, name_argument
from .pace import Pace, View
from .printing import console
from .standing import Standing, standing
from .status import last_line

MOST_FAILURES = 3
# A scheduler on a cluster that dies is started again there; until then its sweep looks interrupted. So is a database.
PATIENCE_SECONDS = 90.0
REASONS = {"interrupted": "drained", "stopped": "drained"}


@click.command("watch")
@name_argument
@directory_option
@click.pass_context
def command(context: click.Context, name: str, directory: Path) -> None:
    """Show how a sweep goes on until it ends; Ctrl-C stops watching, and the sweep goes on.

    Exit codes are those of `swathe run`.
    """
    context.exit(watch(home_of(name, directory)))


def watch(home: Home) -> int:
    """Show the sweep at `home` until it ends; the exit code of `swathe run`."""
    with opened_home(home) as sweep:
        try:
            last = _follow(sweep)
        except KeyboardInterrupt:
            click.echo(f"{sweep.record.name} goes on; `swathe stop {sweep.record.name}` would drain it")
            return INTERRUPTED
        ended = _now(home)
        click.echo(
            f"{ended.record.name} {ended.condition}: {last.counts.decided}/{last.counts.total} trials, ", nl=False
        )
        click.echo(last.counts.as_text())
        for text in ended.crew.said if ended.crew is not None else ():
            click.echo(text)
        finished = driver.finish(sweep.sweep, home, REASONS.get(ended.condition, ended.condition))
        return finished.exit_code


def _follow(sweep: Opened) -> Standing:
    terminal = console()
    drawable = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    face: Face = Picture(terminal) if drawable else Lines(terminal)
    pace = Pace(None)
    alive = time.monotonic()
    try:
        while True:
            begun = time.monotonic()
            now = _now(sweep.home)
            view = insist(lambda: _view(sweep, now, pace), PATIENCE_SECONDS)  # noqa: B023
            face.show(view)
            waits = now.condition == "interrupted" and now.record.crew is not None
            alive = alive if waits else begun
            if now.condition != "running" and not (waits and begun - alive < PATIENCE_SECONDS):
                return view.now
            time.sleep(max(POLL_SECONDS, 10 * (time.monotonic() - begun)))
    finally:
        face.close()


def _now(home: Home) -> Opened:
    """The sweep as it is now; a database that is being started again is waited for."""

    def read() -> Opened:
        with opened_home(home) as sweep:
            return sweep

    return insist(read, PATIENCE_SECONDS)


def _view(sweep: Opened, now: Opened, pace: Pace) -> View:
    stands = standing(sweep.sweep, sweep.reader.progress())
    pace.observe(time.monotonic(), stands.counts.decided, stands.seconds)
    failures = sweep.reader.failures(MOST_FAILURES) if stands.counts.failed else ()
    told = tuple(f"{each.trial} {each.cause.value}: {last_line(each.error)}" for each in failures)
    seconds = time.time() - now.record.created
    # The line of the crew says how many workers there are.
    return View(sweep.record.name, stands, pace.rate, None, seconds, stopping=False, crew=now.crew, failures=told)
