"""Runs one trial: calls the task, and turns whatever it does into a typed outcome."""

from __future__ import annotations

import math
import os
import threading
from bdb import BdbQuit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from time import time, time_ns
from typing import Any, cast

from . import checkpoint, storage
from .cutoffs import Follower
from .deadlines import NO_DEADLINES, Deadlines, Stopwatch
from .errors import Interrupted, StorageError
from .isolation import end_copy, isolated, watched_threads
from .layout import artifacts_path, log_path, work_path
from .messages import Assignment, Cause, Outcome, State, TrialKey, Verdict
from .outcomes import cause_of, describe, read_result
from .schema import MetricRow
from .spec import Resources, Sweep
from .states import States
from .task import Fusible, StopTrial, Task, Trial

AT_ITS_END = """
This trial went on from its state at step {step} and reported nothing more. If that was its last step, its loop did not
run again: keep what it returns in the state, or return nothing, which stands for the last reported metrics.
"""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all trials of a sweep share. `metrics` are the declared final metrics, the `objectives` first.

    The pruner looks at the objective `watched`, or the first. `quiet` trials print into their log file, others where
    the process does.
    """

    train: Callable[[Trial], Any]
    objectives: tuple[str, ...]
    metrics: tuple[str, ...]
    seed: int
    folder: Path
    device: str = "cpu"
    quiet: bool = True
    deadlines: Deadlines = NO_DEADLINES
    watched: str | None = None
    fusible: Fusible | None = None
    results: str | None = None

    @property
    def told(self) -> tuple[tuple[str, ...], str]:
        """The objectives, and the metric that trials are pruned by."""
        return self.objectives, self.watched or self.objectives[0]

    @property
    def states(self) -> States:
        """Where states are kept."""
        return States(self.folder, self.results)

    @classmethod
    def of(
        cls, sweep: Sweep, task: Task, folder: Path, results: str | None = None, share: Resources | None = None
    ) -> RunContext:
        """The context of trials of `sweep` that occupy `share`, which may be left out where all occupy the same."""
        device = "cuda:0" if (share or next(iter(sweep.shares.values()))).gpus else "cpu"
        return cls(
            task.train,
            sweep.objectives,
            declared_metrics(sweep, task),
            sweep.seed,
            folder.resolve(),
            device,
            deadlines=Deadlines(sweep.limits.trial, sweep.limits.stall),
            watched=sweep.watched,
            fusible=task.fusible,
            results=results,
        )


def declared_metrics(sweep: Sweep, task: Task) -> tuple[str, ...]:
    """The final metrics that are columns of `trials`: the objectives first, then the others the task promises."""
    return (*sweep.objectives, *(name for name in task.metrics if name not in sweep.objectives))


# Final metrics, or what reading them has raised.
Returned = dict[str, float] | BaseException


class Ending(Enum):
    """Why a trial was stopped at a report."""

    DIVERGED = auto()
    STOPPED = auto()
    RUNG = auto()
    PREEMPTED = auto()


@dataclass(slots=True)
class Recorder:
    """Takes a trial's reports. `add` gets each row; `verdict` is asked after each report; `last` holds objectives.

    Once the trial has been stopped nothing more is recorded, even if it swallows the `StopTrial`. One that is `leaving`
    has kept its state, and stops where it would report a later step: it may just as well be about to return.
    """

    assignment: Assignment
    objectives: tuple[str, ...]
    watched: str
    states: States
    add: Callable[[MetricRow], None]
    verdict: Callable[[], Verdict]
    stopwatch: Stopwatch
    ending: Ending | None = None
    leaving: bool = False
    kept: bool = False
    last: dict[str, float] = field(default_factory=dict[str, float])
    steps: int | None = None
    curve: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    follower: Follower | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        given = self.assignment
        self.name = str(given.trial)
        # What was reported before a pause counts as if there had been none.
        self.steps = given.resume_from
        known = zip(self.objectives, given.resume_values, strict=False)
        self.last = {name: value for name, value in known if value is not None}
        self.curve.extend(given.curve or ())
        if given.cutoffs is not None:
            self.follower = Follower(given.cutoffs, given.curve or ())

    def accept(self, step: int, metrics: Mapping[str, float], state: object) -> None:
        """Record `metrics`; raises `StopTrial` when the trial is to end here."""
        if self.leaving and self.steps is not None and step > self.steps:
            self.ending = self.ending or Ending.PREEMPTED
        if self.ending is not None:
            raise StopTrial
        self.record(step, metrics, final=False)
        self.steps = step
        for name in self.objectives:
            if name in metrics:
                self.last[name] = metrics[name]
        self.stopwatch.report()
        self.ending = self._due(step, metrics)
        # Asked once a report, so that the lanes of a pack, which share the answer, stay in step.
        verdict = self.verdict() if self.ending is None else Verdict.CONTINUE
        if verdict is Verdict.STOP:
            self.ending = Ending.STOPPED
        # Without a state the trial would start again at step 0; it is left to end.
        asked = verdict is Verdict.PAUSE and not self.leaving
        if state is not None and (asked or self.ending is Ending.RUNG):
            # A state that the store does not take is none: the trial would start again, so it rather goes on.
            self.kept = self.states.keep(cast(checkpoint.State, state), self.assignment.trial, step)
            self.leaving = self.ending is None and self.kept
        if self.ending is not None:
            raise StopTrial

    def record(self, step: int | None, metrics: Mapping[str, float], *, final: bool) -> None:
        """One row a metric."""
        now, attempt = time_ns() // 1000, self.assignment.attempt
        for metric, value in metrics.items():
            self.add(MetricRow(self.name, attempt, step, now, metric, value, final))

    def _due(self, step: int, metrics: Mapping[str, float]) -> Ending | None:
        if not all(map(math.isfinite, self.last.values())):
            return Ending.DIVERGED
        pause_at = self.assignment.pause_at
        if pause_at is not None and step >= pause_at and self.watched in self.last:
            return Ending.RUNG
        if self.assignment.curve is not None and self.watched in metrics and self._cut(step, metrics[self.watched]):
            assert self.assignment.cutoffs is not None
            return Ending.RUNG if self.assignment.cutoffs.votes else Ending.STOPPED
        return None

    def _cut(self, step: int, value: float) -> bool:
        self.curve.append((step, value))
        return self.follower is not None and self.follower.crossed(step, value)


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
        recorder = Recorder(assignment, *context.told, context.states, add, verdict, Stopwatch(context.deadlines))
        handle = self._handle(assignment, recorder)
        started = time()

        def train() -> Returned:
            return self._read(context.train(handle), recorder)

        returned, error, left = self._call(train, [handle], trial_key)
        return self._judge(assignment, recorder, returned, error, (started, time())), left

    def _call(
        self, train: Callable[[], Any], handles: Sequence[Trial], trial: TrialKey
    ) -> tuple[Any, BaseException | None, list[threading.Thread]]:
        """What `train` returns or raises, and the threads it leaves; it has `handles`, `trial` is the first of them."""
        error: BaseException | None = None
        result: Any = None
        log = log_path(self.context.folder, trial) if self.context.quiet else None
        process = os.getpid()
        with watched_threads(self.resident) as left, isolated(handles[0].seed("global"), log):
            try:
                result = train()
            except (Interrupted, BdbQuit):
                # Told to stop by the user, here or in a debugger: no outcome; it runs again when the sweep goes on.
                raise Interrupted from None
            except StorageError:
                raise
            except BaseException as caught:
                error = caught
            if os.getpid() != process:
                end_copy(error)
            for handle in handles:
                handle.close()
        if isinstance(error, OSError) and error.errno in storage.DISK_ERRORS:
            # No outcome either: with room on the disk it would have ended otherwise.
            raise StorageError(f"trial {trial} cannot write: {error}; mend that, and the same command goes on")
        return result, error, left

    def _read(self, result: Any, recorder: Recorder) -> Returned:
        """The metrics in what a training function returned, or what its objects raise when they are read."""
        if recorder.ending is not None:
            return {}
        try:
            return read_result(result, self.context.objectives, recorder.last)
        except (Interrupted, BdbQuit):
            raise
        except BaseException as error:
            return error

    def _handle(self, assignment: Assignment, recorder: Recorder) -> Trial:
        trial, resume = assignment.trial, assignment.resume_from
        folder, states = self.context.folder, self.context.states
        return Trial(
            assignment.params,
            name=str(trial),
            sweep_seed=self.context.seed,
            replicate=trial.replicate,
            device=self.context.device,
            sink=recorder,
            restore=None if resume is None else lambda: states.load(trial, resume),
            artifacts=artifacts_path(folder, trial),
            folder=work_path(folder, trial),
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
        returned: Returned,
        error: BaseException | None,
        times: tuple[float, float],
    ) -> Outcome:
        trial, attempt = assignment.trial, assignment.attempt

        def ended(state: State, **details: Any) -> Outcome:
            return Outcome(trial, attempt, state, steps=recorder.steps, started=times[0], ended=times[1], **details)

        match recorder.ending:
            case Ending.DIVERGED:
                return ended(State.FAIL, cause=Cause.DIVERGED)
            case Ending.STOPPED:
                return ended(State.PRUNED, **self._reached(recorder))
            case Ending.RUNG:
                curve = tuple(recorder.curve)
                return ended(State.WAITING, kept=recorder.kept, curve=curve, **self._reached(recorder))
            case Ending.PREEMPTED:
                kept = {"kept": recorder.kept, "curve": tuple(recorder.curve), "cause": Cause.PREEMPTED}
                return ended(State.WAITING, **kept, **self._reached(recorder))
            case None:
                pass
        if error is not None:
            text = describe(error)
            if assignment.resume_from is not None and recorder.steps == assignment.resume_from:
                text += AT_ITS_END.format(step=assignment.resume_from)
            return ended(State.FAIL, cause=cause_of(error), error=text)
        if isinstance(returned, BaseException):
            return ended(State.FAIL, cause=cause_of(returned), error=describe(returned))
        declared = {name: value for name, value in returned.items() if name in self.context.metrics}
        others = {name: value for name, value in returned.items() if name not in self.context.metrics}
        if others:
            recorder.record(None, others, final=True)
        values = [returned[name] for name in self.context.objectives]
        if not all(map(math.isfinite, values)):
            return ended(State.FAIL, cause=Cause.DIVERGED, metrics=declared)
        return ended(State.COMPLETE, value=values[0], metrics=declared, curve=tuple(recorder.curve))

    def _reached(self, recorder: Recorder) -> dict[str, Any]:
        """The objectives as a trial that has not come to its end has reported them last."""
        first, *others = self.context.objectives
        others = {name: recorder.last[name] for name in others if name in recorder.last}
        return {"value": recorder.last.get(first), "metrics": others}
