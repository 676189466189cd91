"""The moving picture of a sweep: the whole, then as many cells as the terminal has lines for."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .pace import View
from .printing import number, word
from .standing import CellStanding, Standing, least_finished, remainder

FRAME_LINES = 10
MOST_WIDTH = 100
BAR_WIDTH = 40
STOPPING = "draining: running trials finish, nothing new starts; press again to stop at once"


def frame(view: View, height: int, width: int) -> RenderableType:
    """The picture: the whole sweep, then as many cells as the terminal has lines for."""
    counts, width = view.now.counts, min(width, MOST_WIDTH)
    below = _below(view, height)
    lines = sum(_lines_of(each, width) for each in below)
    cells = least_finished(view.now.cells, max(1, height - FRAME_LINES - lines))
    parts: list[RenderableType] = [
        _total(view),
        _line(f"{counts.as_text()}, {counts.open} waiting or running"),
        _line(view.pace, "cyan"),
    ]
    if len(view.now.cells) > 1:
        parts += [_line(""), _cells(view.now, cells, width)]
    if rest := remainder(view.now.cells, cells):
        parts.append(_line(rest, "dim"))
    parts += below
    if view.stopping:
        parts.append(_line(STOPPING, "bold yellow"))
    # The terminal shows ^C where the cursor is: on a full line that would push the picture down.
    return Constrain(Group(*parts, _line("")), width)


def _below(view: View, height: int) -> list[RenderableType]:
    """What is known of workers and of failures, in a part of the `height`."""
    parts: list[RenderableType] = []
    if view.crew is not None:
        parts += [_line(""), Text(view.crew.as_text(), "cyan", overflow="fold")]
        # Whole, however narrow the terminal is: its end says who holds what is waited for.
        parts += [Text(text, "yellow", overflow="fold") for text in view.crew.said]
        if (rows := view.crew.rows(max(3, (height - FRAME_LINES) // 3))) is not None:
            parts.append(rows)
    if view.failures:
        causes = ", ".join(f"{count} {cause}" for cause, count in view.now.causes.items())
        parts += [_line(""), _line(f"{view.now.counts.failed} failed: {causes}; the last ones:", "red")]
        parts += [_line(text) for text in view.failures]
    return parts


def _lines_of(part: RenderableType, width: int) -> int:
    if isinstance(part, Table):
        return part.row_count + 1
    return -(-len(part) // width) if isinstance(part, Text) and part.overflow == "fold" else 1


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _total(view: View) -> Table:
    counts, best = view.now.counts, view.now.best
    total = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for ratio in (None, 1, None, None):
        total.add_column(ratio=ratio, no_wrap=True, overflow="ellipsis")
    total.add_row(
        Text(view.name, "bold"),
        _bar(counts.decided, counts.total),
        f"{counts.decided}/{counts.total}",
        f"best {number(best.best if best else None)}",
    )
    return total


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(1, total), completed=done)


def _cells(now: Standing, cells: list[CellStanding], width: int) -> Table:
    axes = list(now.cells[0].values)
    failing = any(cell.counts.failed for cell in now.cells)
    shown = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for most in _axis_widths(now, width - BAR_WIDTH):
        shown.add_column(no_wrap=True, overflow="ellipsis", max_width=most)
    shown.add_column(ratio=1)
    for _ in range(2 + failing):
        shown.add_column(no_wrap=True, justify="right")
    heading = [*axes, "", "done", *(["failed"] if failing else []), "best trial"]
    shown.add_row(*heading, style="bold")
    for cell in cells:
        counts = cell.counts
        failed = [Text(str(counts.failed), "red" if counts.failed else "dim")] if failing else []
        best = Text(number(cell.best), "bold green" if cell == now.best else "")
        done = f"{counts.decided}/{counts.total}"
        shown.add_row(*map(word, cell.values.values()), _bar(counts.decided, counts.total), done, *failed, best)
    return shown


def _axis_widths(now: Standing, room: int) -> list[int]:
    """The widths of the columns of grid values: what they need, or equal shares of `room` when that is too much."""
    axes = list(now.cells[0].values)
    needed = [max(len(axis), *(len(word(cell.values[axis])) for cell in now.cells)) for axis in axes]
    share = max(6, room // max(1, len(axes)) - 2)
    return needed if sum(needed) + 2 * len(needed) <= room else [min(each, share) for each in needed]
