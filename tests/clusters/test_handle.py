"""The handle on a sweep: what it says of one that has ended, of one that has not, and of none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from swathe.clusters import Handle, attach, submit
from swathe.clusters.handle import StillRunning
from swathe.orchestrator import driver
from swathe.orchestrator.driver import Launch
from swathe.orchestrator.errors import SwatheError
from swathe.orchestrator.ledger import Owner
from swathe.orchestrator.loading import task_of
from swathe.orchestrator.scheduler import Scheduler


def test_a_sweep_from_python(make_sweep, tmp_path: Path) -> None:
    handle = submit(make_sweep("configurations=3"), "inline", directory=tmp_path)
    now = handle.status()
    assert (now.condition, now.trials, now.decided, now.complete, now.failed) == ("finished", 12, 12, 12, 0)
    trials = handle.trials()
    assert len(trials) == 12 and now.best == pytest.approx(trials["value"].min())
    assert set(handle.metrics()["metric"]) == {"loss", "accuracy", "doubled"}
    ended = handle.wait()
    assert (ended.reason, ended.exit_code) == ("finished", 0)
    assert repr(handle).startswith("<Handle tiny: finished, 12/12 trials (12 complete, 0 pruned, 0 failed); best ")
    assert "12/12 trials" in handle._repr_html_() and '<progress value="12" max="12">' in handle._repr_html_()
    again = attach("tiny", "inline", directory=tmp_path)
    assert again.status() == now


def test_a_sweep_that_goes_on_is_not_waited_for_without_end(make_sweep, tmp_path: Path) -> None:
    sweep = make_sweep()
    launch = Launch(tmp_path, "inline")
    home = driver.prepare(sweep, task_of(sweep), launch)
    scheduler = Scheduler(home.folder, home.ledger, owner=Owner.here())
    scheduler.tell({"workers": [], "said": ["1 worker: waits for 1 gpus <held>"]})
    handle = Handle(home, "inline")
    assert handle.status().condition == "running" and handle.status().decided == 0
    assert "waits for 1 gpus" in repr(handle)
    assert "&lt;held&gt;" in handle._repr_html_(), "what is not ours is text, not markup"
    with pytest.raises(StillRunning, match="tiny has not ended within 0 s"):
        handle.wait(0)
    scheduler.close()


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SwatheError, match="there is no sweep 'nothing' on embedded; `swathe list"):
        attach("nothing", directory=tmp_path)


def test_importing_costs_nothing() -> None:
    code = "import swathe.clusters, sys; assert not {'ray', 'pandas', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
