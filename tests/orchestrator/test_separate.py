"""`isolate: process`: whatever a trial does to its process, the worker stays and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from swathe.orchestrator import compaction, processes
from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import StorageError
from swathe.orchestrator.layout import log_path
from swathe.orchestrator.loading import task_of
from swathe.orchestrator.messages import Assignment, Cause, Outcome, State, TrialKey, Verdict
from swathe.orchestrator.schema import MetricRow
from swathe.orchestrator.separate import runner_of

KEY = TrialKey("cell", 0, 0)

TASK = """
import ctypes, os, re, signal, subprocess, sys, time
import numpy as np

def train(trial):
    way = trial.params["way"]
    trial.report(0, loss=1.0)
    if way == "exit": os._exit(7)
    if way == "fault": ctypes.string_at(0)
    if way == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if way == "raise": raise KeyError("layer")
    if way == "forever": re.match(r"(a+)+$", "a" * 64 + "b")
    if way == "children":
        subprocess.Popen(["sleep", "600"])
        open(os.environ["SWATHE_TEST_PIDS"], "w").write(str(os.getpid()))
        subprocess.Popen(["sleep", "600"])
    if way == "slow":
        for step in range(1, 1000):
            trial.report(step, state={"step": step}, loss=1.0)
            time.sleep(0.01)
    print("hello from", os.getpid() != int(os.environ.get("SWATHE_TEST_PARENT", 0)))
    return {"loss": float(np.float32(trial.seed("init"))), "shared": trial.shared("x", lambda: 2.5)}
"""

SPEC = """
name: apart
task: train.py:train
metric: loss
isolate: process
grid: {way: [exit, fine, fault]}
limits: {attempts: 2, failures: 1.0}
"""


@pytest.fixture
def execute(make_sweep, tmp_path: Path):
    def run_way(way: str, *overrides: str, verdict=lambda: Verdict.CONTINUE) -> tuple[Outcome, list[MetricRow]]:
        sweep = make_sweep(*overrides, task=TASK, text=SPEC)
        runner, _ = runner_of(sweep, task_of(sweep), tmp_path)
        rows: list[MetricRow] = []
        before = set(psutil.Process().children(recursive=True))
        outcome, left = runner.run(Assignment(KEY, 2, {"way": way}), rows.append, verdict)
        assert not left and not set(psutil.Process().children()) - before
        return outcome, rows

    return run_way


def test_a_good_trial_is_as_it_is_in_this_process(execute, tmp_path: Path) -> None:
    outcome, rows = execute("fine")
    assert (outcome.state, outcome.attempt, outcome.steps) == (State.COMPLETE, 2, 0)
    assert outcome.value == float(np.float32(outcome.value))
    assert [(row.step, row.metric, row.value) for row in rows] == [(0, "loss", 1.0), (None, "shared", 2.5)]
    assert log_path(tmp_path, KEY).read_text(encoding="utf-8") == "hello from True\n"


@pytest.mark.parametrize(("way", "told"), [("exit", "exit status 7"), ("fault", "SIGSEGV"), ("kill", "SIGKILL")])
def test_a_dying_process_is_a_lost_worker(way: str, told: str, execute, tmp_path: Path) -> None:
    outcome, rows = execute(way)
    assert (outcome.cause, outcome.steps, len(rows)) == (Cause.WORKER_LOST, 0, 1)
    assert told in outcome.error
    # The interpreter's last words are kept, and an empty log is not.
    assert ("in train" in outcome.error) == log_path(tmp_path, KEY).exists() == (way == "fault")


def test_an_exception_is_the_users(execute) -> None:
    outcome, _ = execute("raise")
    assert outcome.cause is Cause.USER_ERROR and "KeyError: 'layer'" in outcome.error


def test_a_kill_for_want_of_memory_is_told_apart(execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "out_of_memory_kills", lambda: 10**9)
    assert execute("kill")[0].cause is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize(("limit", "cause"), [("trial", Cause.TIMEOUT), ("stall", Cause.STALLED)])
def test_an_endless_loop_in_c_is_ended_at_the_limit(limit: str, cause: Cause, execute) -> None:
    begun = time.monotonic()
    outcome, _ = execute("forever", f"limits.{limit}=5")
    assert outcome.cause is cause and outcome.steps == 0 and time.monotonic() - begun < 30


def test_what_a_trial_leaves_behind_ends_with_it(execute, gone, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SWATHE_TEST_PIDS", str(tmp_path / "pid"))
    assert execute("children")[0].state is State.COMPLETE
    assert gone(int((tmp_path / "pid").read_text()))


def test_verdicts_reach_the_process(execute) -> None:
    said: list[MetricRow] = []

    def verdict() -> Verdict:
        said.append(MetricRow("", 0, 0, 0, "", 0.0, False))
        return Verdict.PAUSE if len(said) > 3 else Verdict.CONTINUE

    outcome, _ = execute("slow", verdict=verdict)
    assert (outcome.state, outcome.cause, outcome.kept) == (State.WAITING, Cause.PREEMPTED, True)


def test_a_full_disk_is_no_outcome(execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWATHE_FAULTS", "checkpoint.written:1:full")
    with pytest.raises(StorageError, match="the same command goes on"):
        execute("slow", verdict=lambda: Verdict.PAUSE)


def test_a_sweep_goes_on_through_dying_trials(make_sweep, tmp_path: Path) -> None:
    finished = run(make_sweep(task=TASK, text=SPEC), Launch(tmp_path / "sweeps", "inline"))
    trials = compaction.read_tables(finished.folder).trials.to_pandas().set_index("param.way")
    assert trials["state"].to_dict() == {"exit": "FAIL", "fine": "COMPLETE", "fault": "FAIL"}
    assert trials.loc["exit", "attempt"] == 2 and trials.loc["fault", "cause"] == "worker_lost"


def test_a_group_ends_when_its_starter_is_killed(gone) -> None:
    starter = """
import sys, time
from swathe.orchestrator.processes import Group, Start
group = Group(Start(["sh", "-c", "sleep 600 & sleep 600"]), None, None)
print(group.process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        group = int(process.stdout.readline())
        os.killpg(group, 0)
        process.send_signal(signal.SIGKILL)
    assert gone(group)
