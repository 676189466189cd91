"""The embedded cluster on a real Ray: the same results as inline, through death and take-over."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.actors import Crew, SchedulerActor
from swathe.orchestrator.driver import Launch, prepare, run
from swathe.orchestrator.errors import LedgerError, SchedulerLost, SweepLive
from swathe.orchestrator.home import Home
from swathe.orchestrator.ledger import Owner, Reader
from swathe.orchestrator.ledger.tables import url_of
from swathe.orchestrator.loading import task_of
from swathe.orchestrator.scheduler import Scheduler, Ticked

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

TORCH = """
import torch

def train(trial):
    torch.manual_seed(trial.seed("init"))
    model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params["lr"])
    x = torch.randn(256, 64); y = x[:, :1] * x[:, 1:2]
    for step in range(10):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        trial.report(step, loss=loss.item())
    return {"loss": loss.item()}
"""

# Each worker's first trial waits until the others are there: a fast one could run the whole sweep before they come.
GATHERING = """
import math, os, time
from pathlib import Path

def gather():
    here = Path(__file__).with_name("gathering")
    (here / f"came-{os.getpid()}").touch()
    while len(list(here.glob("came-*"))) < int((here / "wanted").read_text()):
        time.sleep(0.01)
    return True

def train(trial):
    trial.shared("gather", gather)
    x = math.log10(trial.params["lr"])
    for step in range(3):
        loss = (x + 1 + 0.3 * trial.params["width"]) ** 2 + 1 / (step + 1) + trial.seed("init") / 2**31 / 100
        trial.report(step, loss=loss, doubled=2 * loss)
    return {"loss": loss}
"""

DYING = """
import os

def train(trial):
    if trial.params["lr"] > 0.1 and trial.params["width"] == 2:
        os._exit(7)
    return {"loss": trial.params["lr"]}
"""

LEAVING = """
import threading, time

def train(trial):
    before = sum(thread.name == "left over" for thread in threading.enumerate())
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="left over").start()
    return {"loss": before}
"""

# The first trial kills the scheduler of its sweep and goes on.
ORPHANED = """
import os, time
from pathlib import Path
import psutil

def train(trial):
    Path(__file__).with_name("worker").write_text(str(os.getpid()))
    for each in psutil.Process().parent().children():
        if each.cmdline()[0].startswith("ray::SchedulerActor"):
            each.kill()
    time.sleep(600)
"""

# Each execution leaves a line, so that what is computed twice can be counted.
SLOW = """
import os, time

def train(trial):
    with open(os.environ["SWATHE_TEST_RAN"], "a") as file:
        file.write(trial.name + "\\n")
    for step in range(4):
        time.sleep(0.02)
        trial.report(step, loss=trial.params["lr"] + step)
    return {"loss": trial.params["lr"]}
"""


def hash_of(folder: Path) -> str:
    return str(digest(*compaction.read_tables(folder)))


@pytest.mark.parametrize("kind", ["random", "tpe", "torch"])
def test_hash_is_the_same_inline_and_with_one_or_three_workers(kind: str, make_sweep, tmp_path, ray_session) -> None:
    sampler = "random" if kind == "random" else "tpe"
    task = TORCH if kind == "torch" else GATHERING
    sweep = make_sweep(f"sampler={sampler}", "configurations=24", "seeds=1", task=task)
    want_workers(sweep.root, 1)
    hashes = {"inline": hash_of(run(sweep, Launch(tmp_path / "inline", "inline")).folder)}
    for workers in (3,) if kind == "torch" else (1, 3):
        want_workers(sweep.root, workers)
        folder = run(sweep, Launch(tmp_path / f"w{workers}", "embedded", workers)).folder
        hashes[f"{workers} workers"] = hash_of(folder)
    assert len(set(hashes.values())) == 1, hashes
    trials = compaction.read_tables(folder).trials.to_pandas()
    if sampler == "tpe":
        assert (trials["proposed_by"] == "model").mean() >= 0.4
    if task == GATHERING:
        assert trials["worker"].nunique() == 3


def want_workers(root: Path, count: int) -> None:
    """From now on the `GATHERING` task in `root` waits for so many."""
    place = root / "gathering"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "wanted").write_text(str(count))


def test_a_search_counts_with_the_same_threads_as_inline(make_sweep, tmp_path: Path, monkeypatch) -> None:
    """With 160 observations `gp` proposes other points on two threads than on one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    sweep = make_sweep("resources.cpus=2")
    folder = prepare(sweep, task_of(sweep), Launch(tmp_path, "embedded")).folder
    threads: set[str] = set()
    tick = Scheduler.tick

    def watched(self: Scheduler, *pushes: Any, **named: Any) -> Ticked:
        threads.add(os.environ["OMP_NUM_THREADS"])
        return tick(self, *pushes, **{**named, "drain": True})

    monkeypatch.setattr(Scheduler, "tick", watched)
    actor = SchedulerActor(Home.of(folder), Owner.here(), False, Crew(0, {}, {}), str(tmp_path))
    assert asyncio.run(actor.run()) == "drained"
    assert threads == {"2"} and os.environ["OMP_NUM_THREADS"] == "7"


def test_a_trial_that_kills_its_worker_fails_alone(make_sweep, tmp_path: Path, ray_session: None) -> None:
    sweep = make_sweep("seeds=1", "limits.failures=1.0", task=DYING)
    finished = run(sweep, Launch(tmp_path, "embedded", 2))
    trials = compaction.read_tables(finished.folder).trials.to_pandas()
    guilty = (trials["param.lr"] > 0.1) & (trials["param.width"] == 2)
    assert guilty.any() and len(trials) == 24
    assert set(trials.loc[guilty, "cause"]) == {"worker_lost"} and set(trials.loc[guilty, "attempt"]) == {3}
    assert set(trials.loc[~guilty, "state"]) == {"COMPLETE"}
    assert finished.exit_code == 0
    assert digest(*compaction.read_tables(finished.folder)).partial == guilty.sum()


def test_a_worker_with_leftover_threads_is_replaced(make_sweep, tmp_path: Path, ray_session: None) -> None:
    sweep = make_sweep("seeds=1", "configurations=2", task=LEAVING)
    trials = compaction.read_tables(run(sweep, Launch(tmp_path, "embedded", 1)).folder).trials.to_pandas()
    assert set(trials["state"]) == {"COMPLETE"} and trials["worker"].nunique() == 4
    assert set(trials["value"]) == {0.0}


def test_no_worker_outlives_a_scheduler_that_dies(make_sweep, tmp_path: Path, ray_session: None) -> None:
    """The driver, to whom the first workers belong, goes on: it is connected to a Ray that others use."""
    sweep = make_sweep("seeds=1", "configurations=1", task=ORPHANED)
    with pytest.raises(SchedulerLost, match="The same command goes on"):
        run(sweep, Launch(tmp_path, "embedded", 1))
    worker = int((sweep.root / "worker").read_text())
    deadline = time.monotonic() + 60
    while psutil.pid_exists(worker):
        assert time.monotonic() < deadline, "the worker goes on"
        time.sleep(0.02)


class Driver:
    """`swathe run` in a process of its own; what it prints goes to a file."""

    def __init__(self, sweep, directory: Path, ran: Path, *extra: str) -> None:
        path = sweep.root / "as-run.yaml"
        path.write_text(sweep.to_yaml(), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("swathe")), "run", str(path), "--dir", str(directory), *extra]
        self._log = ran.with_name(f"driver-{time.monotonic_ns()}.log")
        with self._log.open("w", encoding="utf-8") as log:
            environment = {**os.environ, "SWATHE_TEST_RAN": str(ran)}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_until(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, f"waited too long\n{self.output}"
            time.sleep(0.02)

    def finish(self) -> int:
        return self.process.wait(timeout=120)

    def kill_all(self) -> None:
        """SIGKILL to the driver and to everything it has started."""
        parent = psutil.Process(self.process.pid)
        for each in [*parent.children(recursive=True), parent]:
            try:
                each.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                pass
        self.process.wait()


def decided(folder: Path) -> int:
    try:
        reader = Reader(url_of(folder), folder.name)
        try:
            return reader.progress().count()
        finally:
            reader.close()
    except LedgerError:
        return -1


@pytest.mark.outage
def test_kill_nine_of_everything_several_times_loses_and_repeats_nothing(make_sweep, tmp_path: Path) -> None:
    sweep = make_sweep("sampler=tpe", "configurations=40", task=SLOW)
    total = len(sweep.cells) * sweep.per_cell * sweep.seeds
    folder, ran = tmp_path / "killed" / sweep.name, tmp_path / "ran.txt"
    acknowledged: set[str] = set()
    in_flight = 0
    for goal in (20, 60, 110):
        driver = Driver(sweep, folder.parent, ran)
        driver.wait_until(lambda goal=goal: decided(folder) >= goal)
        driver.kill_all()
        before = {str(row["trial"]) for row in compaction.read_tables(folder).trials.to_pylist()}
        assert acknowledged <= before
        repeated = Counter(ran.read_text().split())
        assert all(repeated[trial] <= 1 + in_flight for trial in acknowledged)
        acknowledged, in_flight = before, in_flight + 1
        ran_so_far = Counter(ran.read_text().split())
    last = Driver(sweep, folder.parent, ran)
    assert last.finish() == 0, last.output
    after = Counter(ran.read_text().split())
    assert all(after[trial] == ran_so_far[trial] for trial in acknowledged), "an acknowledged trial was run again"
    assert len(after) == total
    os.environ["SWATHE_TEST_RAN"] = str(tmp_path / "undisturbed.txt")
    try:
        straight = run(sweep, Launch(tmp_path / "straight", "inline")).folder
    finally:
        del os.environ["SWATHE_TEST_RAN"]
    assert hash_of(folder) == hash_of(straight)


def test_a_second_run_on_a_live_sweep_is_refused_and_takes_over_after_its_death(make_sweep, tmp_path: Path) -> None:
    sweep = make_sweep("sampler=random", "configurations=50", task=SLOW)
    folder, ran = tmp_path / "live" / sweep.name, tmp_path / "ran.txt"
    first = Driver(sweep, folder.parent, ran, "--cluster", "inline")
    first.wait_until(lambda: decided(folder) >= 3)
    second = Driver(sweep, folder.parent, ran, "--cluster", "inline")
    assert second.finish() == 2 and "--takeover" in second.output and "Traceback" not in second.output
    with pytest.raises(SweepLive):
        run(sweep, Launch(folder.parent, "inline"))
    first.kill_all()
    acknowledged = {str(row["trial"]) for row in compaction.read_tables(folder).trials.to_pylist()}
    third = Driver(sweep, folder.parent, ran, "--cluster", "inline")
    assert third.finish() == 0, third.output
    counted = Counter(ran.read_text().split())
    assert len(acknowledged) >= 3 and all(counted[trial] == 1 for trial in acknowledged)


# The regular expression takes an age inside C and never lets go of the interpreter's lock.
ENDLESS = """
import re, subprocess

def train(trial):
    number = trial.params["number"]
    trial.report(0, loss=number)
    if number == 2:
        subprocess.Popen(["sleep", "601.5"])
        re.match(r"(a+)+$", "a" * 64 + "b")
    return {"loss": number}
"""

ENDLESS_SPEC = """
name: endless
task: ./train.py:train
metric: loss
grid: {number: [0, 1, 2, 3, 4, 5]}
limits: {attempts: 2, failures: 1.0}
"""


@pytest.mark.parametrize("limit", ["trial", "stall"])
def test_a_worker_stuck_in_c_past_its_deadline_is_killed(
    limit: str, make_sweep, tmp_path: Path, ray_session: None
) -> None:
    cause = "timeout" if limit == "trial" else "stalled"
    sweep = make_sweep(f"limits.{limit}=1.5", task=ENDLESS, text=ENDLESS_SPEC)
    finished = run(sweep, Launch(tmp_path, "embedded", 1))
    trials = compaction.read_tables(finished.folder).trials.to_pandas().set_index("param.number")
    assert finished.reason == "finished"
    assert trials["cause"].dropna().to_dict() == {2: cause} and f"limits.{limit}" in trials.loc[2, "error"]
    # Charged twice and failed by the rule; the others ran once, two of them on workers that came after.
    assert trials["attempt"].to_dict() == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1, 5: 1}
    assert 1.5 < (trials.loc[2, "ended"] - trials.loc[2, "started"]).total_seconds() < 6
    left = [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "601.5"]]
    assert not left and not (finished.folder / ".workers").exists()
