"""Runs one trial: calls the task, and turns whatever it does into a typed outcome."""

from __future__ import annotations

import math
import threading
import time
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum, auto
from pathlib import Path
from typing import Any, cast

from . import checkpoint, storage
from .commands import CommandFailed
from .deadlines import NO_DEADLINES, Deadlines, Stopwatch, TrialFailed
from .errors import Interrupted, StorageError
from .isolation import isolated, watched_threads
from .layout import artifacts_path, checkpoints_path, log_path
from .messages import Assignment, Cause, Outcome, State, Verdict
from .schema import MetricRow
from .spec import Sweep
from .task import StopTrial, Task, Trial, as_number

ERROR_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all trials of a sweep share. `metrics` are the declared final metrics, `metric` among them.

    `quiet` trials print into their log file, others where the process does.
    """

    train: Callable[[Trial], Any]
    metric: str
    metrics: tuple[str, ...]
    seed: int
    folder: Path
    device: str = "cpu"
    quiet: bool = True
    deadlines: Deadlines = NO_DEADLINES

    @classmethod
    def of(cls, sweep: Sweep, task: Task, folder: Path) -> RunContext:
        """The context of `sweep`, whose results go to `folder`."""
        device = "cuda:0" if sweep.resources.gpus else "cpu"
        deadlines = Deadlines(sweep.limits.trial, sweep.limits.stall)
        metrics = declared_metrics(sweep, task)
        return cls(task.train, sweep.metric, metrics, sweep.seed, folder.resolve(), device, deadlines=deadlines)


def declared_metrics(sweep: Sweep, task: Task) -> tuple[str, ...]:
    """The final metrics that are columns of `trials`: the objective first, then the others the task promises."""
    return (sweep.metric, *(name for name in task.metrics if name != sweep.metric))


class UnusableResult(Exception):
    """What the training function returned cannot be recorded; the message is for the user."""


class Ending(Enum):
    """Why a trial was stopped at a report."""

    DIVERGED = auto()
    STOPPED = auto()
    RUNG = auto()
    PREEMPTED = auto()


@dataclass(slots=True)
class Recorder:
    """Takes a trial's reports. `add` gets each row; `verdict` is asked after each report.

    States go below `folder`, the sweep's, into one folder for each step. Once the trial has been stopped
    nothing more is recorded, even if it swallows the `StopTrial`.
    """

    assignment: Assignment
    metric: str
    folder: Path
    add: Callable[[MetricRow], None]
    verdict: Callable[[], Verdict]
    stopwatch: Stopwatch
    ending: Ending | None = None
    kept: bool = False
    last: float | None = None
    steps: int | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = str(self.assignment.trial)

    def accept(self, step: int, metrics: Mapping[str, float], state: object) -> None:
        """Record `metrics`; raises `StopTrial` when the trial is to end here."""
        if self.ending is not None:
            raise StopTrial
        self.record(step, metrics, final=False)
        self.steps = step
        self.last = metrics.get(self.metric, self.last)
        self.stopwatch.report()
        ending = self._due(step, state)
        if ending is None:
            return
        if ending in (Ending.RUNG, Ending.PREEMPTED) and state is not None:
            checkpoints = checkpoints_path(self.folder, self.assignment.trial)
            checkpoint.save(cast(checkpoint.State, state), checkpoints / str(step))
            self.kept = True
        self.ending = ending
        raise StopTrial

    def record(self, step: int | None, metrics: Mapping[str, float], *, final: bool) -> None:
        """One row a metric."""
        now, attempt = time.time_ns() // 1000, self.assignment.attempt
        for metric, value in metrics.items():
            self.add(MetricRow(self.name, attempt, step, now, metric, value, final))

    def _due(self, step: int, state: object) -> Ending | None:
        if self.last is not None and not math.isfinite(self.last):
            return Ending.DIVERGED
        pause_at = self.assignment.pause_at
        if pause_at is not None and step >= pause_at and self.last is not None:
            return Ending.RUNG
        match self.verdict():
            case Verdict.STOP:
                return Ending.STOPPED
            case Verdict.PAUSE if state is not None:
                # Without a state the trial would start again at step 0; it is left to end instead.
                return Ending.PREEMPTED
            case _:
                return None


@dataclass(slots=True)
class Runner:
    """Runs the trials of one worker, one after another. `shared` is what they keep between them."""

    context: RunContext
    shared: dict[str, Any] = field(default_factory=dict[str, Any])
    resident: set[threading.Thread] = field(default_factory=set[threading.Thread])

    def run(
        self,
        assignment: Assignment,
        add: Callable[[MetricRow], None],
        verdict: Callable[[], Verdict] = lambda: Verdict.CONTINUE,
    ) -> tuple[Outcome, list[threading.Thread]]:
        """The outcome of one trial, and the threads that it left running."""
        trial_key, context = assignment.trial, self.context
        recorder = Recorder(assignment, context.metric, context.folder, add, verdict, Stopwatch(context.deadlines))
        handle = self._handle(assignment, recorder)
        started = time.time()
        error: BaseException | None = None
        result: Any = None
        log = log_path(context.folder, trial_key) if context.quiet else None
        with watched_threads(self.resident) as left, isolated(handle.seed("global"), log):
            try:
                result = context.train(handle)
            except (Interrupted, BdbQuit):
                # Told to stop by the user, here or in a debugger: no outcome; it runs again when the sweep goes on.
                raise Interrupted from None
            except StorageError:
                raise
            except BaseException as caught:
                error = caught
            handle.close()
        if isinstance(error, OSError) and error.errno in storage.DISK_ERRORS:
            # No outcome either: with room on the disk it would have ended otherwise.
            raise StorageError(f"trial {trial_key} cannot write: {error}; mend that, and the same command goes on")
        outcome = self._judge(assignment, recorder, result, error, (started, time.time()))
        return outcome, left

    def _handle(self, assignment: Assignment, recorder: Recorder) -> Trial:
        trial, resume = assignment.trial, assignment.resume_from
        folder = self.context.folder
        return Trial(
            assignment.params,
            name=str(trial),
            sweep_seed=self.context.seed,
            replicate=trial.replicate,
            device=self.context.device,
            sink=recorder,
            restore=None if resume is None else lambda: checkpoint.load(checkpoints_path(folder, trial) / str(resume)),
            artifacts=artifacts_path(folder, trial),
            share=self._share,
        )

    def _share(self, key: str, factory: Callable[[], Any]) -> Any:
        if key not in self.shared:
            before = set(threading.enumerate())
            self.shared[key] = factory()
            # Threads of shared objects (a data loader's, say) stay with the worker, not with the trial.
            self.resident.update(set(threading.enumerate()) - before)
        return self.shared[key]

    def _judge(
        self,
        assignment: Assignment,
        recorder: Recorder,
        result: Any,
        error: BaseException | None,
        times: tuple[float, float],
    ) -> Outcome:
        def ended(state: State, **details: Any) -> Outcome:
            return Outcome(
                assignment.trial,
                assignment.attempt,
                state,
                steps=recorder.steps,
                started=times[0],
                ended=times[1],
                **details,
            )

        match recorder.ending:
            case Ending.DIVERGED:
                return ended(State.FAIL, cause=Cause.DIVERGED)
            case Ending.STOPPED:
                return ended(State.PRUNED, value=recorder.last)
            case Ending.RUNG:
                return ended(State.WAITING, value=recorder.last, kept=recorder.kept)
            case Ending.PREEMPTED:
                return ended(State.WAITING, value=recorder.last, kept=recorder.kept, cause=Cause.PREEMPTED)
            case None:
                pass
        if error is not None:
            return ended(State.FAIL, cause=cause_of(error), error=describe(error))
        try:
            returned = read_result(result, self.context.metric, recorder.last)
        except UnusableResult as unusable:
            return ended(State.FAIL, cause=Cause.USER_ERROR, error=str(unusable))
        declared = {name: value for name, value in returned.items() if name in self.context.metrics}
        others = {name: value for name, value in returned.items() if name not in self.context.metrics}
        if others:
            recorder.record(None, others, final=True)
        value = returned[self.context.metric]
        if not math.isfinite(value):
            return ended(State.FAIL, cause=Cause.DIVERGED, metrics=declared)
        return ended(State.COMPLETE, value=value, metrics=declared)


def cause_of(error: BaseException) -> Cause:
    """The cause that an exception stands for."""
    if isinstance(error, TrialFailed):
        return error.cause
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Cause.OUT_OF_MEMORY
    return Cause.USER_ERROR


def describe(error: BaseException) -> str:
    """The traceback as the user needs it: without our own frames, bounded in length, its end kept."""
    if isinstance(error, TrialFailed | CommandFailed):
        return str(error)
    if isinstance(error, SystemExit):
        first = f"the training function called sys.exit({error.code!r}); return the metrics instead\n"
    else:
        first = ""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    text = first + "".join(traceback.format_exception(type(error), error, frames))
    return text if len(text) <= ERROR_CHARACTERS else "[...]\n" + text[-ERROR_CHARACTERS:]


def read_result(result: Any, metric: str, last: float | None) -> dict[str, float]:
    """The final metrics that a training function returned, the objective among them.

    A mapping of names to numbers; a number, which is the objective; or None when the objective was reported. Raises
    `UnusableResult` for anything else.
    """
    if result is None:
        if last is None:
            raise UnusableResult(
                f"the training function returned None and never reported {metric!r}; "
                f"return {{{metric!r}: value}} or call trial.report(step, {metric}=value)"
            )
        return {metric: last}
    if not isinstance(result, Mapping):
        return {metric: _number(metric, result)}
    if metric not in result:
        names = [str(name) for name in result]
        near = get_close_matches(metric, names, n=1, cutoff=0.0) if names else []
        hint = f"; did you mean metric: {near[0]}?" if near else ""
        raise UnusableResult(
            f"the spec's metric is {metric!r}, "
            f"but the training function returned {', '.join(names) or 'no metric'}{hint}"
        )
    return {str(name): _number(str(name), value) for name, value in result.items()}


def _number(name: str, value: Any) -> float:
    try:
        return as_number(value)
    except (TypeError, ValueError) as error:
        raise UnusableResult(f"the training function returned {error} for metric {name!r}") from None
