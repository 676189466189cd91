"""A worker against a scripted scheduler: nothing is sent twice, nothing is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swathe.orchestrator.messages import Assignment, Cause, Lease, Outcome, Push, Reply, State, TrialKey
from swathe.orchestrator.runner import RunContext, Runner
from swathe.orchestrator.schema import decode_rows
from swathe.orchestrator.task import Trial
from swathe.orchestrator.worker import Worker


class Script:
    """Answers wishes for a lease from a list, and keeps every push."""

    def __init__(self, *leases: Lease) -> None:
        self.pushes: list[Push] = []
        self.returned = False
        self._leases = list(leases)

    def __call__(self, push: Push) -> Reply:
        self.pushes.append(push)
        if not push.wants_lease:
            return Reply(returned=self.returned)
        return Reply(lease=self._leases.pop(0)) if self._leases and not self.returned else Reply(dismissed=True)


def lease(number: int, count: int) -> Lease:
    return Lease(number, "w", tuple(Assignment(TrialKey("c", k, 0), 1, {"k": k}) for k in range(count)))


def worker(train: Callable[[Trial], Any], script: Script, folder: Path, push_seconds: float = 60.0) -> Worker:
    return Worker("w", Runner(RunContext(train, ("loss",), ("loss",), 0, folder)), script, push_seconds=push_seconds)


def rows_of(script: Script) -> list[tuple[str, int, float]]:
    found = []
    for push in script.pushes:
        for blob in push.rows:
            found += ((row["trial"], row["step"], row["value"]) for row in decode_rows(blob.payload).to_pylist())
    return found


def report(trial: Trial) -> float:
    for step in range(3):
        trial.report(step, loss=trial.params["k"])
    return 1.0


def test_a_lease_is_one_push_when_it_is_short(tmp_path: Path) -> None:
    script = Script(lease(1, 4), lease(2, 2))
    assert worker(report, script, tmp_path).run()
    assert [(push.lease, len(push.outcomes), push.wants_lease) for push in script.pushes] == [
        (None, 0, True),
        (1, 4, True),
        (2, 2, True),
    ]
    assert len(rows_of(script)) == 18


def test_a_long_trial_is_pushed_while_it_runs_and_every_row_goes_once(tmp_path: Path) -> None:
    script = Script(lease(1, 2))
    seen = threading.Event()

    def train(trial: Trial) -> float:
        for step in range(200):
            trial.report(step, loss=step)
            if step % 20 == 0:
                seen.wait(0.01)
        return 1.0

    worker(train, script, tmp_path, push_seconds=0.002).run()
    expected = [(f"c/{k}/0", step, float(step)) for k in range(2) for step in range(200)]
    assert rows_of(script) == expected
    running = [blob.running for push in script.pushes for blob in push.rows if blob.running]
    assert running
    for push in script.pushes:
        for blob in push.rows:
            names = set(decode_rows(blob.payload).column("trial").to_pylist())
            assert names == {str(blob.running)} if blob.running else not names & {str(blob.running)}


def test_returned_trials_are_not_started(tmp_path: Path) -> None:
    script = Script(lease(1, 5))

    def train(trial: Trial) -> float:
        script.returned = True
        # The pulse learns of it; wait until it has.
        while not any(push.lease == 1 for push in script.pushes):
            threading.Event().wait(0.001)
        threading.Event().wait(0.05)
        return 1.0

    assert worker(train, script, tmp_path, push_seconds=0.001).run()
    assert sum(len(push.outcomes) for push in script.pushes) == 1


def test_a_trial_that_leaves_a_thread_ends_the_worker_after_its_outcome_is_sent(tmp_path: Path) -> None:
    release = threading.Event()
    script = Script(lease(1, 3))

    def train(trial: Trial) -> float:
        threading.Thread(target=release.wait, daemon=True).start()
        return 1.0

    assert not worker(train, script, tmp_path).run()
    assert [len(push.outcomes) for push in script.pushes] == [0, 1] and not script.pushes[-1].wants_lease
    release.set()


def test_a_failed_exchange_in_the_background_ends_the_worker(tmp_path: Path) -> None:
    calls: list[Push] = []

    def exchange(push: Push) -> Reply:
        calls.append(push)
        if push.wants_lease and len(calls) == 1:
            return Reply(lease=lease(1, 100))
        raise ConnectionError("scheduler is gone")

    def train(trial: Trial) -> float:
        threading.Event().wait(0.01)
        return 1.0

    with pytest.raises(ConnectionError, match="gone"):
        Worker("w", Runner(RunContext(train, ("loss",), ("loss",), 0, tmp_path)), exchange, push_seconds=0.005).run()
    assert len(calls) == 2


def test_a_trial_whose_end_cannot_be_judged_is_a_user_error_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(lease(1, 3))
    made = worker(report, script, tmp_path)
    judge = Runner._judge

    def fails_once(self: Runner, assignment: Assignment, *rest: Any) -> Outcome:
        if assignment.params["k"] == 1:
            raise UnicodeError("cannot be encoded")
        return judge(self, assignment, *rest)

    monkeypatch.setattr(Runner, "_judge", fails_once)
    assert made.run()
    outcomes = [outcome for push in script.pushes for outcome in push.outcomes]
    assert [outcome.state for outcome in outcomes] == [State.COMPLETE, State.FAIL, State.COMPLETE]
    assert outcomes[1].cause is Cause.USER_ERROR and "UnicodeError: cannot be encoded" in outcomes[1].error
