"""`swathe logs`: what a trial has printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from ..layout import log_path
from ..storage import Place, Remote, read_bytes
from .opening import Opened, opened, opened_home
from .options import directory_option, name_argument
from .printing import near, warn
from .retry import key_of

POLL_SECONDS = 0.3
CHUNK = 2**20


@click.command("logs")
@name_argument
@click.argument("trial")
@click.option("--follow", "-f", is_flag=True, help="Go on until the trial has ended or nobody runs the sweep.")
@directory_option
def command(name: str, trial: str, follow: bool, directory: Path) -> None:
    """Print the output of one trial, such as 3f2a9c0d11/4/0."""
    key = key_of(trial)
    with opened(name, directory) as sweep:
        path = log_path(sweep.folder, key)

        def ended() -> bool:
            return not follow or sweep.reader.state_of(key) is not None or not _running(sweep)

        if not path.is_file() and sweep.record.results is not None:
            path = log_path(sweep.place, key)
        if not (_copy(path, ended) if isinstance(path, Path) else _copy_object(path, ended)):
            warn(f"{_told(path)} does not exist: trial {key} has printed nothing, or it has not begun")


def _running(sweep: Opened) -> bool:
    with opened_home(sweep.home) as now:
        return now.condition == "running"


def _copy_object(place: Remote, ended: Callable[[], bool]) -> bool:
    """Print an object of a store once it is there, and what is added to it; False when it never existed."""
    shown = 0
    while True:
        last = ended()
        content = read_bytes(place)
        click.echo((content or b"")[shown:].decode(errors="replace"), nl=False)
        shown = len(content or b"")
        if last:
            return content is not None
        time.sleep(POLL_SECONDS)


def _copy(path: Path, ended: Callable[[], bool]) -> bool:
    """Print the file as it grows; False when it never existed."""
    place = 0
    while True:
        # Asked first, so that what was printed just before the end is not missed.
        last = ended()
        if path.is_file():
            with path.open("rb") as file:
                file.seek(place)
                while chunk := file.read(CHUNK):
                    place += len(chunk)
                    click.echo(chunk.decode(errors="replace"), nl=False)
            sys.stdout.flush()
        if last:
            return path.is_file()
        time.sleep(POLL_SECONDS)


def _told(path: Place) -> str:
    return near(path) if isinstance(path, Path) else str(path)
