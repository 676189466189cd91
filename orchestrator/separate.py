"""`isolate: process`, the worker's side: runs each trial in a process of its own, and outlives whatever it does.

The process is started fresh, not forked: a fork after torch has started its threads may hang. So a trial pays for the
imports of its task.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from time import time
from typing import Any, BinaryIO

from .deadlines import Stopwatch, TrialFailed
from .errors import StorageError
from .fused import FusedRunner
from .layout import log_path
from .messages import Assignment, Cause, Outcome, State, Verdict
from .processes import LAST_LINES, Group, Start, death, out_of_memory_kills
from .runner import RunContext, Runner
from .schema import MetricRow
from .spec import Resources, Sweep
from .storage import told
from .task import Task

POLL_SECONDS = 0.1
LEAVING_SECONDS = 5.0
_CHILD = "import sys; from {module} import main; main(int(sys.argv[1]))"
_TAIL = 8192


@dataclass(frozen=True, slots=True)
class Job:
    """All that a trial's process needs to know."""

    spec: str
    root: Path
    folder: Path
    quiet: bool
    search_path: tuple[str, ...]
    assignment: Assignment
    results: str | None = None
    share: Resources | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """What a trial's process sends when it could not load the task."""

    message: str


@dataclass(frozen=True, slots=True)
class Ears:
    """Whom the rows of a trial go to, and who is asked whether it goes on."""

    add: Callable[[MetricRow], None]
    verdict: Callable[[], Verdict]


def runner_of(
    sweep: Sweep, task: Task, folder: Path, results: str | None = None, share: Resources | None = None
) -> tuple[Runner | SeparateRunner, RunContext]:
    """What runs the trials of `sweep` that occupy `share`, in this process or each in its own, and their context."""
    context = RunContext.of(sweep, task, folder, results, share)
    # A command is a process of its own already.
    if sweep.isolate == "process" and sweep.command is None:
        return SeparateRunner(sweep, context, share), context
    return (Runner(context) if task.fusible is None else FusedRunner(context)), context


@dataclass(slots=True)
class SeparateRunner:
    """Runs the trials of one worker, one after another, each in a process of its own."""

    sweep: Sweep
    context: RunContext
    share: Resources | None = None

    def run(
        self,
        assignment: Assignment,
        add: Callable[[MetricRow], None],
        verdict: Callable[[], Verdict] = lambda: Verdict.CONTINUE,
    ) -> tuple[Outcome, list[threading.Thread]]:
        """The outcome of one trial; it leaves no threads."""
        started = time()
        step: int | None = None

        def keep(row: MetricRow) -> None:
            nonlocal step
            step = step if row.step is None else row.step
            add(row)

        try:
            outcome = self._run(assignment, Ears(keep, verdict))
        except TrialFailed as failed:
            outcome = Outcome(
                assignment.trial,
                assignment.attempt,
                State.FAIL,
                failed.cause,
                steps=step,
                started=started,
                ended=time(),
                error=str(failed),
            )
        return outcome, []

    def _run(self, assignment: Assignment, ears: Ears) -> Outcome:
        log = log_path(self.context.folder, assignment.trial)
        kills = out_of_memory_kills()
        with told(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("ab")
        try:
            with output:
                before = output.tell()
                ours, group = self._start(output)
                with ours, group:
                    _send(ours, self._job(assignment))
                    outcome = self._follow(ours, group, ears)
                    if outcome is not None:
                        # For what it does on its way out: exit handlers, threads that end.
                        group.wait(LEAVING_SECONDS)
                        return outcome
                    status = group.process.wait()
            raise death(status, kills, _last_lines(log, before))
        finally:
            if not log.stat().st_size:
                log.unlink()

    def _start(self, output: BinaryIO) -> tuple[Connection, Group]:
        ours, theirs = Pipe()
        with theirs:
            child = _CHILD.format(module=f"{__package__}.child")
            words = [sys.executable, "-P", "-X", "faulthandler", "-c", child, str(theirs.fileno())]
            shown = output if self.context.quiet else None
            return ours, Group(Start(words, pass_fds=[theirs.fileno()]), shown, shown)

    def _job(self, assignment: Assignment) -> Job:
        context = self.context
        return Job(
            spec=self.sweep.to_yaml(),
            root=self.sweep.root,
            folder=context.folder,
            quiet=context.quiet,
            search_path=tuple(sys.path),
            assignment=assignment,
            results=context.results,
            share=self.share,
        )

    def _follow(self, pipe: Connection, group: Group, ears: Ears) -> Outcome | None:
        """Take in what the process says until its trial has ended; None when it ended without saying how."""
        stopwatch = Stopwatch(self.context.deadlines)
        told = Verdict.CONTINUE
        while True:
            if pipe.poll(POLL_SECONDS):
                match _receive(pipe):
                    case MetricRow() as row:
                        ears.add(row)
                        if row.step is not None:
                            stopwatch.report()
                    case Outcome() as outcome:
                        return outcome
                    case Refused(message=message):
                        raise TrialFailed(Cause.USER_ERROR, message)
                    case StorageError() as error:
                        # The disk is full, which is no outcome of the trial.
                        raise error
                    case _:
                        return None
            elif group.process.poll() is not None and not pipe.poll():
                return None
            stopwatch.check()
            verdict = ears.verdict()
            if verdict is not told:
                _send(pipe, verdict)
                told = verdict


def _send(pipe: Connection, message: object) -> None:
    try:
        pipe.send(message)
    except OSError:
        # It has died, which is found out when it is listened to.
        pass


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def _last_lines(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(start, os.path.getsize(log) - _TAIL))
        return file.read().decode("utf-8", "backslashreplace").splitlines()[-LAST_LINES:]
