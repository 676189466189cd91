"""What `swathe run` shows while it works: a picture of the cells, or lines where there is no screen to draw on."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..ledger import Reader
from ..ledger.tables import url_of
from ..spec import Sweep
from .printing import Terminal, console, duration, number, word
from .standing import CellStanding, Standing, least_finished, remainder, standing

POLL_SECONDS = 0.5
LINE_SECONDS = 10.0
WINDOW_SECONDS = 60.0
WINDOW_TRIALS = 20
FRAME_LINES = 10
MOST_WIDTH = 100
BAR_WIDTH = 40
STOPPING = "draining: running trials finish, nothing new starts; press again to stop at once"


class Pace:
    """How fast trials are decided: over the last minute, or over as long as the last twenty took."""

    def __init__(self, workers: int | None) -> None:
        self._workers = workers or 1
        self._seen: deque[tuple[float, int]] = deque()
        self._busy = 0.0

    def observe(self, now: float, decided: int, busy: float) -> None:
        """Take in that `decided` trials, which ran for `busy` seconds in all, have a final word at `now` (seconds)."""
        seen = self._seen
        if not seen:
            self._busy = busy
        elif len(seen) == 1 and decided > seen[0][1]:
            # Workers take a while to start; the time counts from when these trials must have begun.
            began = max(seen[0][0], now - (busy - self._busy) / self._workers)
            seen[0] = (began, seen[0][1])
        elif len(seen) == 1:
            return
        seen.append((now, decided))
        while len(seen) > 2 and now - seen[1][0] > WINDOW_SECONDS and decided - seen[1][1] >= WINDOW_TRIALS:
            seen.popleft()

    @property
    def rate(self) -> float | None:
        """Trials a second; None when none has ended."""
        if len(self._seen) < 2:
            return None
        (begin, count), (end, last) = self._seen[0], self._seen[-1]
        return (last - count) / max(end - begin, 1e-3)


@dataclass(frozen=True, slots=True)
class View:
    """One moment of a sweep. `workers` is None where their number is not known; `seconds` have passed."""

    name: str
    now: Standing
    rate: float | None
    workers: int | None
    seconds: float
    stopping: bool

    @property
    def pace(self) -> str:
        """Throughput, time left and workers for people."""
        parts: list[str] = []
        if self.rate is not None:
            slow = self.rate < 0.1
            parts.append(f"{number(self.rate * 60, digits=3)} trials/min" if slow else f"{self.rate:.1f} trials/s")
            if self.now.counts.open:
                parts.append(f"about {duration(self.now.counts.open / self.rate)} left")
        elif self.now.counts.open:
            parts.append("no trial has ended yet")
        if self.workers is not None:
            parts.append(f"{self.workers} worker{'s' * (self.workers != 1)}")
        return ", ".join(parts)


class Face(Protocol):
    """Where views are shown."""

    def show(self, view: View) -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line every ten seconds, for logs and pipes."""

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._clock = clock
        self._due = clock() + LINE_SECONDS
        self._last: View | None = None
        self._said = ""
        self._warned = False

    def show(self, view: View) -> None:
        """Print the line when it is due."""
        self._last = view
        if view.stopping and not self._warned:
            self._warned = True
            self._terminal.print(STOPPING)
        if self._clock() >= self._due:
            self._say(view)
            self._due = self._clock() + LINE_SECONDS

    def close(self) -> None:
        """Print where it ended."""
        if self._last is not None:
            self._say(self._last)

    def _say(self, view: View) -> None:
        counts, best = view.now.counts, view.now.best
        parts = [f"{counts.decided}/{counts.total} trials", counts.as_text(), view.pace]
        if best is not None:
            parts.append(f"best {number(best.best)}")
        text = "; ".join(part for part in parts if part)
        if text != self._said:
            self._said = text
            self._terminal.print(f"{duration(view.seconds):>12}  {text}")


class Picture:
    """A moving picture at the bottom of the terminal, which is gone when it closes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._live = Live(console=terminal, auto_refresh=False, transient=True)
        self._hook = sys.breakpointhook
        self._live.start()
        sys.breakpointhook = self._make_room

    def show(self, view: View) -> None:
        """Draw the next frame."""
        if self._live.is_started:
            self._live.update(frame(view, self._terminal.height, self._terminal.width), refresh=True)

    def close(self) -> None:
        """Wipe the picture and give the terminal back."""
        sys.breakpointhook = self._hook
        self._live.update("")
        self._live.stop()

    def _make_room(self, *arguments: Any, **named: Any) -> Any:
        """A debugger needs the terminal for itself."""
        self.close()
        return self._hook(*arguments, **named)


def frame(view: View, height: int, width: int) -> RenderableType:
    """The picture: the whole sweep, then as many cells as the terminal has lines for."""
    counts, width = view.now.counts, min(width, MOST_WIDTH)
    cells = least_finished(view.now.cells, max(1, height - FRAME_LINES))
    parts: list[RenderableType] = [
        _total(view),
        _line(f"{counts.as_text()}, {counts.open} waiting or running"),
        _line(view.pace, "cyan"),
    ]
    if len(view.now.cells) > 1:
        parts += [_line(""), _cells(view.now, cells, width)]
    if rest := remainder(view.now.cells, cells):
        parts.append(_line(rest, "dim"))
    if view.stopping:
        parts.append(_line(STOPPING, "bold yellow"))
    # The terminal shows ^C where the cursor is: on a full line that would push the picture down.
    return Constrain(Group(*parts, _line("")), width)


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


class Display:
    """Shows how a sweep goes on, from the ledger, in a thread of its own; a context manager."""

    def __init__(self, sweep: Sweep, workers: int | None) -> None:
        self._sweep = sweep
        self._workers = workers
        self._wake = threading.Event()
        self._closing = False
        self._stopping = False
        self._began = time.monotonic()
        self._thread: threading.Thread | None = None
        self._face: Face | None = None

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._face is not None:
            self._face.close()

    def started(self, folder: Path) -> None:
        """The sweep has its folder; begin to show it."""
        # Bound to the stream of now: a trial in this process turns standard output elsewhere while it runs.
        terminal = console()
        drawable = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        self._face = Picture(terminal) if drawable else Lines(terminal)
        reader = Reader(url_of(folder.resolve()), folder.name)
        self._thread = threading.Thread(target=self._watch, args=(reader, self._face), name="swathe-display")
        self._thread.start()

    def stopping(self) -> None:
        """The user has asked for an end. Called in a signal's handler, so the thread does the talking."""
        self._stopping = True
        self._wake.set()

    def _watch(self, reader: Reader, face: Face) -> None:
        pace = Pace(self._workers)
        try:
            while not self._closing:
                begun = time.monotonic()
                self._wake.clear()
                face.show(self._view(reader, pace))
                # A large ledger takes long to count; it is not to be counted all the time.
                self._wake.wait(max(POLL_SECONDS, 10 * (time.monotonic() - begun)))
            face.show(self._view(reader, pace))
        except BrokenPipeError:
            # Nobody looks any more; the sweep goes on all the same.
            self._face = None
        finally:
            reader.close()

    def _view(self, reader: Reader, pace: Pace) -> View:
        now = standing(self._sweep, reader.progress())
        moment = time.monotonic()
        pace.observe(moment, now.counts.decided, now.seconds)
        return View(self._sweep.name, now, pace.rate, self._workers, moment - self._began, self._stopping)
