"""What is said of a sweep on a cluster, whose scheduler may be away."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from swathe.orchestrator import driver
from swathe.orchestrator.cli import watch
from swathe.orchestrator.driver import Launch
from swathe.orchestrator.errors import LedgerAway
from swathe.orchestrator.home import Home
from swathe.orchestrator.ledger import Owner
from swathe.orchestrator.loading import task_of
from swathe.orchestrator.scheduler import Scheduler


def test_status_says_how_long_a_sweep_has_been_without_its_scheduler(make_sweep, tmp_path: Path, call) -> None:
    sweep = make_sweep()
    home = driver.prepare(sweep, task_of(sweep), Launch(tmp_path / "sweeps"))
    clock = [time.time() - 190.0]
    elsewhere = Owner("a node of the cluster", 1, 0.0)
    scheduler = Scheduler(home.folder, home.ledger, owner=elsewhere, clock=lambda: clock[0])
    scheduler.tell({"workers": [], "said": ["2 workers: wait for 1 cpus"]})
    shown = call("status", home.folder)
    assert "tiny: interrupted" in shown.stdout
    assert re.search(r"silent for 3 min \d+ s; the cluster starts it again", shown.stdout)
    assert "wait for 1 cpus" in shown.stdout
    clock[0] = time.time()
    scheduler.tell({"workers": [], "said": []})
    scheduler.close()
    shown = call("status", home.folder)
    assert "tiny: running" in shown.stdout and "silent" not in shown.stdout


def test_watch_waits_for_a_database_that_is_started_again(
    finished: Path, call, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = [LedgerAway("the database system is starting up")] * 3
    opened_home = watch.opened_home

    def opened(home: Home):
        if calls.append(home) or (len(calls) > 1 and away):
            raise away.pop()
        return opened_home(home)

    calls: list[Home] = []
    monkeypatch.setattr(watch, "opened_home", opened)
    monkeypatch.chdir(finished)
    shown = call("watch", "tiny")
    assert shown.exit_code == 0 and not away, shown.output
    assert "tiny finished" in shown.stdout
