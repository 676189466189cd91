"""What `swathe run` shows while it works: a picture of the cells, or lines where there is no screen to draw on."""

from __future__ import annotations

import os
import pdb
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from rich.live import Live

from ..errors import LedgerError
from ..home import Home
from ..ledger import Reader
from ..spec import Sweep
from .pace import Pace, View
from .picture import STOPPING, frame
from .printing import Terminal, console, duration, number
from .standing import standing

POLL_SECONDS = 0.5
LINE_SECONDS = 10.0


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
        parts += [view.crew.as_text(), *view.crew.said] if view.crew is not None else []
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
        self._wipe()

    def _wipe(self) -> None:
        self._live.update("")
        self._live.stop()

    def _make_room(self, *arguments: Any, **named: Any) -> Any:
        """`breakpoint()` in a trial: the debugger needs the terminal for itself, and opens in the trial's own code."""
        self._wipe()
        if os.environ.get("PYTHONBREAKPOINT"):
            return self._hook(*arguments, **named)
        frame = sys._getframe()
        while frame.f_back and frame.f_globals["__name__"].startswith("swathe.orchestrator."):
            frame = frame.f_back
        return pdb.Pdb().set_trace(frame)


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

    def started(self, home: Home) -> None:
        """The sweep has its folder; begin to show it."""
        # Bound to the stream of now: a trial in this process turns standard output elsewhere while it runs.
        terminal = console()
        drawable = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        self._face = Picture(terminal) if drawable else Lines(terminal)
        reader = Reader(home.ledger, home.name)
        self._thread = threading.Thread(target=self._watch, args=(reader, self._face), name="swathe-display")
        self._thread.start()

    def stopping(self) -> None:
        """The user has asked for an end. Called in a signal's handler, so the thread does the talking."""
        self._stopping = True
        self._wake.set()

    def _watch(self, reader: Reader, face: Face) -> None:
        pace = Pace(self._workers)
        try:
            closing = False
            while not closing:
                # Cleared before the flags are read, so that none is set unseen.
                self._wake.clear()
                closing, begun = self._closing, time.monotonic()
                face.show(self._view(reader, pace))
                # A large ledger takes long to count; it is not to be counted all the time.
                if not closing:
                    self._wake.wait(max(POLL_SECONDS, 10 * (time.monotonic() - begun)))
        except BrokenPipeError:
            # Nobody looks any more; the sweep goes on all the same.
            self._face = None
        except LedgerError:
            # It is gone or cannot be read: the driver comes upon that, too, and says it.
            pass
        finally:
            reader.close()

    def _view(self, reader: Reader, pace: Pace) -> View:
        now = standing(self._sweep, reader.progress())
        moment = time.monotonic()
        pace.observe(moment, now.counts.decided, now.seconds)
        return View(self._sweep.name, now, pace.rate, self._workers, moment - self._began, self._stopping)
