"""Workers judged by what they said last."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from swathe.orchestrator.deadlines import Deadlines, Stopwatch, TrialFailed
from swathe.orchestrator.messages import Assignment, Cause, Loss, Push, Running, State, TrialKey, WorkerInfo
from swathe.orchestrator.runner import RunContext, Runner
from swathe.orchestrator.schedule.watch import Watch
from swathe.orchestrator.task import Trial
from swathe.orchestrator.watchdog import NoteFile, Watchdog

KEY, OTHER = TrialKey("c", 0, 0), TrialKey("c", 1, 0)


@pytest.mark.parametrize(
    ("now", "noted", "pushed", "told"),
    [
        (9.0, None, None, None),
        (9.0, None, Running(KEY, 0.0, 0.0), None),  # it is idle by now
        (10.5, Running(KEY, 0.0, 0.0), Running(KEY, 0.0, 9.0), None),  # within the slack
        (11.5, Running(KEY, 0.0, 0.0), Running(KEY, 0.0, 11.0), (KEY, Cause.TIMEOUT)),
        (6.0, Running(KEY, 0.0, 0.0), Running(KEY, 0.0, 2.0), (KEY, Cause.STALLED)),
        (5.0, Running(KEY, 0.0, 0.0), Running(KEY, 0.0, 2.0), None),
        (5.0, Running(KEY, 0.0, 0.0), None, (KEY, Cause.STALLED)),
        (5.0, Running(OTHER, 3.0, 3.0), Running(KEY, 0.0, 1.0), None),  # another has begun since the last push
    ],
)
def test_silence_counts_from_the_last_word(now: float, noted, pushed, told) -> None:
    loss = Watch(Deadlines(trial=10.0, stall=2.5), slack=1.0).judge("w", now, noted, pushed)
    assert (loss and (loss.trial, loss.cause)) == told
    assert loss is None or "limits." in loss.error


def test_a_worker_that_hangs_is_killed_once_and_its_trial_known(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, Watch(Deadlines(trial=0.1), slack=0.0))
    with subprocess.Popen(["sleep", "600"]) as process:
        note = NoteFile(tmp_path, "w")
        watchdog.joined(WorkerInfo("w", "here", "cpu", process.pid))
        began = time.monotonic()
        note(Running(KEY, began, began))
        watchdog.heard(Push("w", 1, running=Running(KEY, began, began)))
        watchdog.bark()
        assert process.poll() is None
        time.sleep(0.15)
        watchdog.bark()
        assert process.wait(5) == -9
    loss = watchdog.lost("w")
    assert (loss.trial, loss.cause) == (KEY, Cause.TIMEOUT) and loss.seconds >= 0.1
    note(None)
    assert watchdog.lost("w") == Loss("w")
    note.close()
    watchdog.close()
    assert not list(tmp_path.iterdir())


def test_a_worker_that_dies_by_itself_says_what_it_ran(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, Watch(Deadlines(), slack=0.0))
    note = NoteFile(tmp_path, "w")
    note(Running(KEY, 1.0, 1.0))
    note(Running(OTHER, 2.0, 2.0))
    note.close()
    loss = watchdog.lost("w")
    assert (loss.trial, loss.cause) == (OTHER, Cause.WORKER_LOST)


@pytest.mark.parametrize(
    ("deadlines", "cause"), [(Deadlines(trial=0.05), Cause.TIMEOUT), (Deadlines(stall=0.04), Cause.STALLED)]
)
def test_a_late_report_ends_the_trial_where_nobody_can_kill_it(
    deadlines: Deadlines, cause: Cause, tmp_path: Path
) -> None:
    def train(trial: Trial) -> float:
        for step in range(3):
            try:
                trial.report(step, loss=1.0)
            except Exception:  # the end must get through this
                pass
            time.sleep(0.06)
        return 1.0

    context = RunContext(train, ("loss",), ("loss",), seed=7, folder=tmp_path, deadlines=deadlines)
    outcome, _ = Runner(context).run(Assignment(KEY, 1, {}), lambda row: None)
    assert (outcome.state, outcome.cause, outcome.steps) == (State.FAIL, cause, 1)
    assert "limits." in outcome.error and "Traceback" not in outcome.error


def test_a_stopwatch_without_limits_never_rings() -> None:
    stopwatch = Stopwatch(Deadlines(), began=0.0, spoke=0.0)
    stopwatch.report()
    with pytest.raises(TrialFailed):
        Stopwatch(Deadlines(trial=1.0), began=0.0, spoke=0.0).report()
