"""A command as a training function: a process group a trial, metrics as JSON lines, everything else into the log."""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .deadlines import NO_DEADLINES, Deadlines, Stopwatch, TrialFailed
from .errors import TaskError
from .messages import Cause
from .processes import LAST_LINES, Group, Start, death, out_of_memory_kills
from .spec import Sweep
from .spec.commands import fill, words_of
from .task import Task, Trial
from .trial_folder import make_trial_folder, note_shared_writes, remove_links, watched_files

POLL_SECONDS = 0.1
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 20
# Words that `Trial.report` keeps for itself.
_RESERVED = ("self", "step", "state")
_STARVED = re.compile(r"\b(OutOfMemoryError|MemoryError)\b")


class CommandFailed(Exception):
    """A command ended with another exit status than 0; the message is for the user."""


def command_task(sweep: Sweep) -> Task:
    """The command of `sweep` as a task. Raises `TaskError` when there is no such program."""
    assert sweep.command is not None
    deadlines = Deadlines(sweep.limits.trial, sweep.limits.stall)
    command = Command(sweep.command, sweep.root, sweep.objectives, deadlines, own_folder=sweep.folder is None)
    first = words_of(sweep.command)[0]
    if all(piece.name is None for piece in first):
        _find_program("".join(piece.text for piece in first), sweep.root)
    return Task(name=sweep.command, summary="a command", train=command)


@dataclass(frozen=True, slots=True)
class Command:
    """Runs `text` for one trial after another: each in a folder of its own in which `root` is seen, or in `root`."""

    text: str
    root: Path
    objectives: tuple[str, ...]
    deadlines: Deadlines = NO_DEADLINES
    own_folder: bool = False

    def __call__(self, trial: Trial) -> dict[str, float] | None:
        """Train once. Raises `CommandFailed`, and `TrialFailed` for what the command did not decide."""
        words = fill(words_of(self.text), {"trial": trial.name, "device": trial.device, **trial.params}, trial.seed)
        with tempfile.TemporaryDirectory(prefix="swathe-report-") as scratch:
            notes = Path(scratch) / "report.jsonl"
            notes.touch()
            heard = _Heard(trial, self.objectives)
            kills = out_of_memory_kills()
            with self._folder(trial) as folder:
                start = Start(words, folder, _environment(trial, notes, folder))
                with Group(start, subprocess.PIPE, subprocess.PIPE) as group, notes.open("rb") as reported:
                    status = self._listen(group, reported, heard)
        if status < 0:
            raise death(status, kills, heard.last_lines)
        if status > 0:
            raise _failure(status, heard.last_lines)
        return heard.result()

    @contextmanager
    def _folder(self, trial: Trial) -> Iterator[Path]:
        """The folder in which the command runs, while it does."""
        if not self.own_folder:
            yield self.root
            return
        place = trial.folder
        sweep = place.parents[2]
        before = watched_files(self.root, sweep)
        own = make_trial_folder(place, self.root, sweep)
        try:
            yield own
        finally:
            remove_links(own)
            if written := note_shared_writes(before, self.root, sweep):
                print(f"Swathe: in the spec's folder, which all trials see, there changed: {', '.join(written)}")

    def _listen(self, group: Group, reported: BinaryIO, heard: _Heard) -> int:
        """Take everything in until the command ends; returns its exit status."""
        stopwatch = Stopwatch(self.deadlines)
        process = group.process
        notes = _Lines(reported, heard.line)
        pipes = [_Lines(process.stdout, heard.line), _Lines(process.stderr, heard.other)]
        with selectors.DefaultSelector() as selector:
            for each in pipes:
                os.set_blocking(each.stream.fileno(), False)
                selector.register(each.stream, selectors.EVENT_READ, each)
            while (status := process.poll()) is None:
                before = heard.reports
                for key, _ in selector.select(POLL_SECONDS):
                    key.data.take()
                    if key.data.ended:
                        selector.unregister(key.fileobj)
                notes.take()
                if heard.reports > before:
                    stopwatch.report()
                stopwatch.check()
                if not selector.get_map():
                    # It has closed its output and goes on.
                    group.wait(POLL_SECONDS)
        # Its own children may hold the pipes open; what it wrote itself is there by now.
        for each in (*pipes, notes):
            each.take()
            each.take_rest()
        return status


@dataclass(slots=True)
class _Heard:
    """What a command says: metrics to the trial, other lines to its log."""

    trial: Trial
    objectives: tuple[str, ...]
    reports: int = 0
    last_lines: deque[str] = field(default_factory=lambda: deque[str](maxlen=LAST_LINES))
    _last: dict[str, float] = field(default_factory=dict[str, float])
    _final: dict[str, float] = field(default_factory=dict[str, float])

    def line(self, text: str) -> None:
        """A line in which metrics may stand."""
        found = _metrics(text)
        if found is None:
            self.other(text)
            return
        step, metrics = found
        self._last.update((name, metrics[name]) for name in self.objectives if name in metrics)
        self.reports += 1
        if step is None:
            self._final.update(metrics)
        else:
            self.trial.report(step, **metrics)

    def other(self, text: str) -> None:
        """A line of output."""
        self.last_lines.append(text)
        print(text)

    def result(self) -> dict[str, float] | None:
        """The metrics of lines without a step, the last of each; an objective is the last one of all lines."""
        return {**self._final, **self._last} or None


@dataclass(slots=True)
class _Lines:
    """A stream of bytes, whose lines go to `hear`."""

    stream: Any
    hear: Callable[[str], None]
    ended: bool = False
    _rest: bytes = b""

    def take(self) -> None:
        """Pass on the lines that are complete by now."""
        while not self.ended and (chunk := self._read()):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self.hear(_decoded(line))
            if len(self._rest) > _LONGEST_LINE:
                self.take_rest()

    def take_rest(self) -> None:
        """Pass on what came after the last line break."""
        rest, self._rest = self._rest, b""
        if rest:
            self.hear(_decoded(rest))

    def _read(self) -> bytes:
        try:
            chunk = os.read(self.stream.fileno(), _CHUNK)
        except BlockingIOError:
            return b""
        # A pipe is at its end; a file may grow.
        self.ended = not chunk and not self.stream.seekable()
        return chunk


def _decoded(line: bytes) -> str:
    # Progress bars write over their line; its last state is what a terminal would show.
    return line.decode("utf-8", "backslashreplace").rstrip("\r").rpartition("\r")[2]


def _metrics(line: str) -> tuple[int | None, dict[str, float]] | None:
    """The step and the metrics of a line that is a JSON object with at least one number; None for any other line."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        found: Any = json.loads(line)
    except ValueError:
        return None
    step = found.get("step")
    numbers = {name: float(value) for name, value in found.items() if _is_number(value) and name not in _RESERVED}
    if not numbers or (step is not None and not _is_number(step)):
        return None
    return step, numbers


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _environment(trial: Trial, notes: Path, folder: Path) -> Mapping[str, str]:
    return {
        "PYTHONUNBUFFERED": "1",
        **os.environ,
        "PATH": _path(),
        "PWD": str(folder),
        "SWATHE_TRIAL": trial.name,
        "SWATHE_FOLDER": str(folder),
        "SWATHE_REPORT": str(notes),
    }


def _path() -> str:
    """PATH with this interpreter's folder in front, so that `python` is the one that runs Swathe."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _find_program(name: str, root: Path) -> None:
    place = str(root / name) if os.sep in name else name
    if shutil.which(place, path=_path()) is None:
        raise TaskError(
            f"command: there is no program {name!r}; give its path from the spec's folder, {root}, or put it on PATH"
        )


def _failure(status: int, last_lines: deque[str]) -> BaseException:
    said = "\n".join(last_lines)
    message = f"the command ended with exit status {status}; its last output was:\n{said}"
    if _STARVED.search(said):
        return TrialFailed(Cause.OUT_OF_MEMORY, message)
    return CommandFailed(message if said else f"the command ended with exit status {status} and wrote nothing")
