"""How things are said: numbers, parameters and times as text, tables, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

from ..spec import Sweep

PIPE_WIDTH = 1000


class Terminal(Console):
    """A console that leaves a broken pipe to whoever called."""

    def on_broken_pipe(self) -> None:
        """Let the error through; rich would end the process with the exit code of a failed sweep."""
        raise


def console() -> Terminal:
    """Standard output as it is now. Text is printed as it stands; a pipe gets whole lines and no colour."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Terminal(file=sys.stdout, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def show(renderable: RenderableType) -> None:
    """Print a table or the like, without blanks at the ends of its lines."""
    terminal = console()
    with terminal.capture() as captured:
        terminal.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def fits(renderable: RenderableType) -> bool:
    """Whether standard output is wide enough for all of a table."""
    terminal = console()
    return Measurement.get(terminal, terminal.options.update(width=PIPE_WIDTH), renderable).maximum <= terminal.width


def warn(text: str) -> None:
    """A remark beside the output."""
    said = f"Warning: {text}"
    # A terminal would break lines inside words; a log keeps the line whole.
    folded = textwrap.wrap(said, shutil.get_terminal_size().columns) if sys.stderr.isatty() else [said]
    click.echo("\n".join(folded), err=True)


def goal(sweep: Sweep) -> str:
    """What is optimised: `minimize val_loss and cost`."""
    named = {way: [name for name, each in sweep.directions.items() if each == way] for way in sweep.directions.values()}
    return ", ".join(f"{way} {' and '.join(names)}" for way, names in named.items())


def table(*columns: str, right: Iterable[str] = (), folding: Iterable[str] = ()) -> Table:
    """An empty table with these headings; columns in `right` hold numbers.

    Where the terminal is too narrow those in `folding` take several lines, and others are cut only after them.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        side, folds = "right" if column in right else "left", column in folding
        made.add_column(column, justify=side, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    return made


def number(value: float | None, *, digits: int = 5) -> str:
    """A number for people, "-" for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def word(value: Any) -> str:
    """One value of a parameter for people."""
    return number(value) if isinstance(value, float) else str(value)


def settings(values: Mapping[str, Any]) -> str:
    """Parameters for people: `width=64 lr=0.01`."""
    return " ".join(f"{name}={word(value)}" for name, value in values.items())


def duration(seconds: float) -> str:
    """A length of time for people, to two units: `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in units:
        count, left = divmod(left, size)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def timestamp(unix: float) -> str:
    """A moment for machines: ISO 8601 in UTC."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")


def moment(stamp: str) -> str:
    """A `timestamp` for people: in local time, without its fractions."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def near(path: Path) -> str:
    """A path for people: from the working directory where it lies below that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else str(path)


def as_json(value: Any) -> str:
    """`value` as JSON; NaN and infinities, which JSON lacks, become null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value
