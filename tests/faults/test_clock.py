"""A clock that jumps, by hours in both directions: results do not change, and a driver's sign of life stays."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from swathe.orchestrator import driver
from swathe.orchestrator.driver import Launch
from swathe.orchestrator.ledger import Owner, Reader
from swathe.orchestrator.ledger.tables import url_of
from swathe.orchestrator.loading import load_task
from swathe.orchestrator.messages import Push, Reply
from swathe.orchestrator.runner import RunContext, Runner
from swathe.orchestrator.scheduler import Scheduler
from swathe.orchestrator.worker import Worker, this_process
from tests.faults import judging, sweeps
from tests.faults.launching import undisturbed


class JumpingClock:
    """A clock that now and then is set forwards or backwards by up to a day."""

    def __init__(self, seed: int) -> None:
        self._draws = random.Random(seed)
        self._offset = 0.0

    def __call__(self) -> float:
        if self._draws.random() < 0.2:
            self._offset = self._draws.uniform(-86_400, 86_400)
        return time.time() + self._offset


@pytest.mark.parametrize("jumps", sweeps.long_but(range(8), 0))
def test_a_jumping_clock_changes_no_result(jumps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = sweeps.make(tmp_path / "project", sampler={"name": "tpe", "generation": 2}, pruner=sweeps.HALVING)
    monkeypatch.setenv(sweeps.RAN, str(project.ran))
    twin = undisturbed(project)
    sweep = project.sweep
    task = load_task(sweep.task, sweep.root)
    folder = driver.prepare(sweep, task, Launch(project.directory("sweeps"), "inline")).folder
    scheduler = Scheduler(folder, url_of(folder), clock=JumpingClock(jumps))
    monkeypatch.setattr("swathe.orchestrator.scheduler.PART_ROWS", 40)

    def exchange(push: Push) -> Reply:
        replies, proposed = {}, []
        while True:
            ticked = scheduler.tick([] if replies or proposed else [push], proposed=proposed)
            replies.update(ticked.replies)
            proposed = [(request, scheduler.search.propose(request)) for request in ticked.requests]
            if not proposed:
                scheduler.compact()
                return replies[push.worker]

    scheduler.join(this_process("w", "cpu"))
    assert Worker("w", Runner(RunContext.of(sweep, task, folder)), exchange).run()
    scheduler.compact(everything=True)
    assert scheduler.closed == "finished"
    scheduler.close()
    judging.judge(folder, twin, [], project.ran)


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_driver_whose_clock_was_set_says_that_it_lives(jump: float, tmp_path: Path) -> None:
    project = sweeps.make(tmp_path / "project")
    task = load_task(project.sweep.task, project.sweep.root)
    folder = driver.prepare(project.sweep, task, Launch(project.directory("sweeps"), "inline")).folder
    now = [1e9]
    elsewhere = Owner("another-host", 1, 0.0)
    scheduler = Scheduler(folder, url_of(folder), owner=elsewhere, clock=lambda: now[0])
    now[0] += jump
    for _ in range(3):
        now[0] += 6.0
        scheduler.tick()
    reader = Reader(url_of(folder), folder.name, clock=lambda: now[0])
    assert reader.sweep().live() and reader.sweep().heartbeat > now[0] - 10
    reader.close()
    scheduler.close()
    with sqlite3.connect(folder / "ledger.db") as connection:
        assert connection.execute("SELECT heartbeat FROM sweep").fetchone()[0] > now[0] - 10
