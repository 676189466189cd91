"""`stop`, `cancel`, `retry` and `logs`, and what `run` says of changes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def running(project: Path, cluster: str = "inline", slowest: float = 60.0) -> Iterator[subprocess.Popen[str]]:
    """`swathe run` on trials of which those with the highest rate take long; some others have ended."""
    text = (project / "train.py").read_text()
    slow = text.replace('time.sleep(p.get("sleep", 0.0))', 'print("step", step, flush=True); time.sleep(SLEEP)')
    (project / "train.py").write_text(slow.replace("SLEEP", f'{slowest} if p["lr"] == 1.0 else 0.05'))
    command = [sys.executable, "-m", "swathe.orchestrator.cli", "run", "sweep.yaml", "--cluster", cluster]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len([*(project / "sweeps").glob("tiny/artifacts/*/*/*")]) < 2:
            assert process.poll() is None and time.monotonic() < deadline, "no trial has ended"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
        (project / "train.py").write_text(text)


def told(call) -> dict:
    return json.loads(call("status", "tiny", "--json").stdout)


def test_stop_drains_from_another_terminal(project: Path, call) -> None:
    with running(project, slowest=0.5) as process:
        shown = call("stop", "tiny")
        assert shown.exit_code == 0 and "draining" in shown.stdout
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "tiny drained: " in out
    assert told(call)["status"] == "drained"


@pytest.mark.parametrize("cluster", ["inline", pytest.param("embedded", marks=pytest.mark.ray)])
def test_cancel_kills_and_retry_reverses(cluster: str, project: Path, call) -> None:
    with running(project, cluster) as process:
        while told(call)["trials"]["decided"] < 12:
            time.sleep(0.1)
        time.sleep(0.5)
        begun = time.monotonic()
        shown = call("cancel", "tiny")
        assert shown.exit_code == 0, shown.output
        assert time.monotonic() - begun < 10
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "tiny cancelled: " in out
    now = told(call)
    assert now["status"] == "cancelled" and now["causes"]["cancelled"] >= 1
    again = call("retry", "tiny")
    assert again.exit_code == 0 and "again" in again.stdout
    last = call("run", "sweep.yaml", "--cluster", "inline", "--accept-changes")
    assert last.exit_code == 0, last.output
    assert told(call)["trials"]["complete"] == 28


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_nobody_is_asked_when_nobody_is_at_work(verb: str, workplace: Path, call) -> None:
    shown = call(verb, "tiny")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr.startswith("Error: tiny is finished, and nobody is at work on it")


def test_retry_says_what_could_be_retried(workplace: Path, call) -> None:
    shown = call("retry", "mixed")
    assert shown.exit_code == 2
    assert "--cause diverged or --cause user_error" in shown.stderr
    assert "names no trial" in call("retry", "mixed", "nonsense").stderr


def test_logs_prints_what_a_trial_printed(workplace: Path, call) -> None:
    trial = json.loads(call("results", "tiny", "--json").stdout)[0]["trial"]
    assert call("logs", "tiny", trial).stdout == f"trained {trial}\n"
    assert call("logs", "tiny", trial, "--follow").stdout == f"trained {trial}\n"
    shown = call("logs", "tiny", trial.rpartition("/")[0] + "/9")
    assert shown.stdout == "" and "has printed nothing" in shown.stderr


def test_changed_code_is_refused_without_a_terminal_and_branched_with_a_name(project: Path, call) -> None:
    common = ("run", "sweep.yaml", "--cluster", "inline")
    assert call(*common).exit_code == 0
    (project / "helper.py").write_text("x = 1\n")
    assert call(*common).exit_code == 0
    grown = (*common, "--set", "seeds=3")
    shown = call(*grown)
    assert shown.exit_code == 2
    assert "has changed: added helper.py; go on with --accept-changes" in shown.stderr
    branched = call(*grown, "--branch", "tiny2")
    assert branched.exit_code == 0, branched.output
    assert "nothing of tiny is reused" in branched.stdout
    accepted = call(*grown, "--accept-changes")
    assert accepted.exit_code == 0
    assert "going on: 28 of 42 trials were decided before" in accepted.stdout
