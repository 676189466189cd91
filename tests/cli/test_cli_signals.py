"""Ctrl-C on `swathe run` in a process of its own: the first drains, the second ends it at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def running(project: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`swathe run` on slow trials, some of which have ended."""
    command = [sys.executable, "-m", "swathe.orchestrator.cli", "run", "sweep.yaml", "--cluster", "inline"]
    process = subprocess.Popen(
        [*command, *words], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not [*(project / "sweeps").glob("tiny/artifacts/*/*/*")]:
            assert process.poll() is None and time.monotonic() < deadline, "no trial has ended"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def status(project: Path, call) -> dict:
    return json.loads(call("status", project / "sweeps" / "tiny", "--json").stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(number: signal.Signals, project: Path, call) -> None:
    with running(project, "--set", "fixed.sleep=0.05") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "draining: running trials finish, nothing new starts; press again to stop at once" in out
    assert "tiny drained: " in out
    assert "trials are left; the same command goes on with them" in out
    told = status(project, call)
    assert told["status"] == "drained"
    assert 0 < told["trials"]["decided"] == told["trials"]["complete"] < 28
    again = call("run", "sweep.yaml", "--cluster", "inline", "--set", "fixed.sleep=0.05")
    assert again.exit_code == 0, again.output
    assert f"going on: {told['trials']['decided']} of 28 trials were decided before" in again.stdout
    assert status(project, call)["trials"]["complete"] == 28


def test_the_second_signal_ends_it_at_once(project: Path, call) -> None:
    # The trials with the highest rate run for minutes; the others end at once.
    text = (project / "train.py").read_text()
    (project / "train.py").write_text(text.replace('p.get("sleep", 0.0)', '60.0 if p["lr"] == 1.0 else 0.0'))
    with running(project) as process:
        while status(project, call)["trials"]["decided"] < 12:
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (130, "")
    assert out.endswith("tiny: stopped at once; the same command goes on from here\n")
    told = status(project, call)
    assert (told["status"], told["causes"]) == ("interrupted", {})
    assert told["trials"]["decided"] == told["trials"]["complete"] == 12


def test_a_sweep_goes_on_when_nobody_reads_what_it_says(project: Path, call) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "swathe.orchestrator.cli", "run", "sweep.yaml", "--cluster", "inline"]
    process = subprocess.Popen(command, cwd=project, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")
    assert status(project, call)["trials"]["complete"] == 28
