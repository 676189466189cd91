"""A resident worker: takes leases, runs their trials one after another, reports. Knows nothing of Ray."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol, cast

from .errors import SwatheError
from .faultpoints import reach
from .messages import (
    Assignment,
    Calibration,
    Capacity,
    Cause,
    Lease,
    Outcome,
    Push,
    Reply,
    RowBlob,
    Running,
    State,
    TrialKey,
    Verdict,
    WorkerInfo,
)
from .outcomes import describe
from .schema import MetricRow, encode_rows

PUSH_SECONDS = 1.0

Exchange = Callable[[Push], Reply]
Note = Callable[[Running | None], None]


class TrialRunner(Protocol):
    """Runs one trial: its rows go to `add`, `verdict` says whether it goes on. Returns the threads that it has left."""

    def run(
        self, assignment: Assignment, add: Callable[[MetricRow], None], verdict: Callable[[], Verdict], /
    ) -> tuple[Outcome, Sequence[threading.Thread]]: ...


class PackRunner(TrialRunner, Protocol):
    """Runs a pack as it runs a trial, and measures how many lanes pay."""

    def run_pack(
        self, assignments: Sequence[Assignment], add: Callable[[MetricRow], None], verdict: Callable[[], Verdict], /
    ) -> tuple[Sequence[Outcome], Sequence[threading.Thread]]: ...

    def calibrate(self, order: Calibration, /) -> Capacity: ...


def no_note(running: Running | None) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class _Unsent:
    """What has gathered since the last push. Its lock is held for moments only, never during an exchange."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    running: TrialKey | None = None
    began: float = 0.0
    spoke: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    ended_rows: list[MetricRow] = field(default_factory=list[MetricRow])
    running_rows: list[MetricRow] = field(default_factory=list[MetricRow])
    paused_rows: list[tuple[TrialKey, list[MetricRow]]] = field(default_factory=list[tuple[TrialKey, list[MetricRow]]])
    lanes: int = 1
    lane_rows: list[MetricRow] = field(default_factory=list[MetricRow])
    capacity: Capacity | None = None

    def begin(self, trial: TrialKey, lanes: int = 1) -> Running:
        """Rows are this trial's from now on, or those of a pack of which it is the first."""
        with self.lock:
            self.running, self.lanes = trial, lanes
            self.began = self.spoke = monotonic()
            return Running(trial, self.began, self.spoke, lanes)

    def add(self, row: MetricRow) -> None:
        """One row of the running trial."""
        with self.lock:
            self.running_rows.append(row)
            self.spoke = monotonic()

    def add_lane(self, row: MetricRow) -> None:
        """One row of the running pack, which is sent with all of them: a pack commits as one."""
        with self.lock:
            self.lane_rows.append(row)
            self.spoke = monotonic()

    def end_pack(self, outcomes: Sequence[Outcome]) -> None:
        """The running pack has ended; what failed as one and will be split leaves no rows."""
        paused = {str(outcome.trial): outcome.trial for outcome in outcomes if outcome.state is State.WAITING}
        apart: dict[TrialKey, list[MetricRow]] = {}
        with self.lock:
            for row in self.lane_rows if not any(outcome.split for outcome in outcomes) else ():
                trial = paused.get(row.trial)
                (self.ended_rows if trial is None else apart.setdefault(trial, [])).append(row)
            self.outcomes.extend(outcomes)
            self.paused_rows.extend(apart.items())
            self.lane_rows = []
            self.running = None

    def end(self, outcome: Outcome) -> None:
        """The running trial has ended."""
        with self.lock:
            self.outcomes.append(outcome)
            if outcome.state is State.WAITING and self.running_rows:
                # Whether they count is known when the trial ends.
                self.paused_rows.append((outcome.trial, self.running_rows))
            else:
                self.ended_rows.extend(self.running_rows)
            self.running_rows = []
            self.running = None

    def take(self) -> tuple[tuple[Outcome, ...], tuple[RowBlob, ...], Running | None, Capacity | None]:
        """Everything gathered, which is then forgotten here."""
        with self.lock:
            outcomes, running, capacity = tuple(self.outcomes), self.running, self.capacity
            word = None if running is None else Running(running, self.began, self.spoke, self.lanes)
            self.capacity = None
            ended, partial, paused = self.ended_rows, self.running_rows, self.paused_rows
            self.outcomes, self.ended_rows, self.running_rows, self.paused_rows = [], [], [], []
        blobs = [RowBlob(encode_rows(ended), len(ended))] if ended else []
        blobs += (RowBlob(encode_rows(rows), len(rows), trial) for trial, rows in paused)
        if partial:
            assert running is not None, "rows of a running trial have a trial"
            blobs.append(RowBlob(encode_rows(partial), len(partial), running))
        return outcomes, tuple(blobs), word, capacity


def _unjudged(assignment: Assignment, error: Exception) -> Outcome:
    """The outcome of a trial whose end could not be judged."""
    text = f"the trial's end could not be judged:\n{describe(error)}"
    return Outcome(assignment.trial, assignment.attempt, State.FAIL, Cause.USER_ERROR, error=text)


def this_process(name: str, device: str, share: str = "") -> WorkerInfo:
    """This process as the worker `name`."""
    return WorkerInfo(name, os.uname().nodename, device, os.getpid(), share)


class Worker:
    """Runs leases until it is dismissed.

    `exchange` sends a push and returns the reply once everything in it is committed. While a lease runs, a second
    thread pushes what has gathered every `push_seconds`, so that results are safe and visible soon; trials run in the
    thread that called `run`. `note` is told what runs right before it does, for it may not come to a push.
    """

    def __init__(
        self,
        name: str,
        runner: TrialRunner,
        exchange: Exchange,
        *,
        note: Note = no_note,
        push_seconds: float = PUSH_SECONDS,
    ) -> None:
        self.name = name
        self._runner = runner
        self._exchange = exchange
        self._note = note
        self._push_seconds = push_seconds
        self._unsent = _Unsent()
        self._pushing = threading.Lock()
        self._returned = False
        self._failure: BaseException | None = None
        self._verdicts: dict[TrialKey, Verdict] = {}

    def run(self) -> bool:
        """Work until dismissed. False means that a trial left threads behind, so that this process should end."""
        reply = self._exchange(Push(self.name, None, wants_lease=True))
        while not reply.dismissed:
            assert reply.lease is not None, "a worker that wants a lease gets one or is dismissed"
            clean = self._run_lease(reply.lease)
            reply = self._push(reply.lease.number, wants_lease=clean)
            if not clean:
                return False
        return True

    def _run_lease(self, lease: Lease) -> bool:
        self._returned = False
        ended = threading.Event()
        pulse = threading.Thread(target=self._pulse, args=(lease.number, ended), name="swathe-pulse", daemon=True)
        pulse.start()
        try:
            if lease.calibration is not None:
                self._unsent.capacity = cast(PackRunner, self._runner).calibrate(lease.calibration)
                return True
            if lease.fused:
                return self._run_pack(lease.assignments)
            for assignment in lease.assignments:
                if self._returned:
                    break
                self._note(self._unsent.begin(assignment.trial))
                outcome, left = self._run_trial(assignment)
                reach("trial.ended")
                self._unsent.end(outcome)
                if left:
                    return False
            return True
        finally:
            self._note(None)
            ended.set()
            pulse.join()
            if self._failure is not None:
                raise self._failure

    def _run_trial(self, assignment: Assignment) -> tuple[Outcome, Sequence[threading.Thread]]:
        try:
            return self._runner.run(assignment, self._unsent.add, self._verdict)
        except SwatheError:
            raise
        except Exception as error:
            # Whatever a trial has brought about is its own outcome, and nobody else's end.
            return _unjudged(assignment, error), []

    def _run_pack(self, assignments: Sequence[Assignment]) -> bool:
        self._note(self._unsent.begin(assignments[0].trial, len(assignments)))
        runner = cast(PackRunner, self._runner)
        try:
            outcomes, left = runner.run_pack(assignments, self._unsent.add_lane, self._verdict)
        except SwatheError:
            raise
        except Exception as error:
            outcomes, left = [_unjudged(each, error) for each in assignments], []
        reach("trial.ended")
        self._unsent.end_pack(outcomes)
        return not left

    def _verdict(self) -> Verdict:
        assert self._unsent.running is not None, "only a running trial asks"
        # Trials that are to be returned pause where they can.
        otherwise = Verdict.PAUSE if self._returned else Verdict.CONTINUE
        return self._verdicts.get(self._unsent.running, otherwise)

    def _pulse(self, lease: int, ended: threading.Event) -> None:
        try:
            while not ended.wait(self._push_seconds):
                self._push(lease, wants_lease=False)
        except BaseException as error:
            # Told to the thread that runs trials, which ends its lease after the present one.
            self._failure, self._returned = error, True

    def _push(self, lease: int, *, wants_lease: bool) -> Reply:
        with self._pushing:
            reach("worker.pushing")
            outcomes, rows, running, capacity = self._unsent.take()
            reach("worker.taken")
            reply = self._exchange(Push(self.name, lease, outcomes, rows, wants_lease, running, capacity))
            reach("worker.pushed")
            self._returned = self._returned or reply.returned
            self._verdicts.update(reply.verdicts)
            return reply
