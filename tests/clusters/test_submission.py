"""A sweep on a Ray cluster of several nodes: submitted, left alone, and the same as inline."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Launch, run

from .loopback import NAME, Loopback

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def hash_of(folder: Path) -> str:
    return str(digest(*compaction.read_tables(folder)))


def test_a_submitted_sweep_ends_as_inline(make_sweep, tmp_path: Path, loopback: Loopback) -> None:
    sweep = make_sweep("name=plain")
    inline = run(sweep, Launch(tmp_path / "inline", "inline")).folder
    said = loopback.submit(sweep.root / "sweep.yaml", "name=plain")
    assert f"swathe watch plain --cluster {NAME}" in said
    loopback.finish("plain")
    assert loopback.hash("plain") == hash_of(inline)


SLOW = """
import os, time
from pathlib import Path

def train(trial):
    with open(os.environ["SWATHE_TEST_RAN"], "a") as file:
        file.write(f"{trial.name} {os.getpid()} {os.environ['SWATHE_TEST_VALUE']}\\n")
    start, loss = 0, trial.params["lr"]
    if (state := trial.restore()) is not None:
        start = int(state.decode())
    hold = Path(os.environ["SWATHE_TEST_RAN"] + ".hold")
    for step in range(start, 300):
        time.sleep(0.2 if hold.exists() else 0)
        loss = trial.params["lr"] * (step + 1)
        trial.report(step, state=lambda: str(step + 1).encode(), loss=loss)
    return {"loss": loss}
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the trials of `SLOW` leave a line each time that one begins."""
    path = tmp_path / "ran"
    path.touch()
    monkeypatch.setenv("SWATHE_TEST_RAN", str(path))
    monkeypatch.setenv("SWATHE_TEST_VALUE", "passed")
    return path


@pytest.mark.outage
def test_a_dead_scheduler_comes_back_and_running_trials_go_on(
    make_sweep, tmp_path: Path, loopback: Loopback, ran: Path
) -> None:
    sweep = make_sweep("name=orphans", "configurations=6", "seeds=1", task=SLOW)
    expected = hash_of(run(sweep, Launch(tmp_path / "inline", "inline")).folder)
    ran.write_text("")
    hold = Path(f"{ran}.hold")
    hold.touch()
    asked = (sweep.root / "sweep.yaml", "name=orphans", "configurations=6", "seeds=1")
    loopback.submit(*asked, workers=3)
    for epoch in (1, 2, 3):
        loopback.wait(lambda: len(busy(loopback, "orphans")) == 3)
        workers = {each.pid for each in loopback.processes("ClusterWorker")}
        if epoch < 3:
            loopback.scheduler().kill()
        else:
            loopback.submit(*asked, workers=3, takeover=True)
        loopback.wait(lambda: loopback.record("orphans").epoch > epoch and loopback.crew("orphans"))  # noqa: B023
        assert workers == {each.pid for each in loopback.processes("ClusterWorker")}
    # The last one attends to them as to its own.
    loopback.processes("ClusterWorker")[0].kill()
    loopback.wait(lambda: any(str(each["worker"]).startswith("w4.") for each in busy(loopback, "orphans")))
    hold.unlink()
    loopback.finish("orphans")
    assert loopback.hash("orphans") == expected
    trials = [line.split()[0] for line in ran.read_text().splitlines()]
    assert len(trials) == len(set(trials)) + 1, "no trial was begun twice but that of the worker that was killed"
    assert {line.split()[2] for line in ran.read_text().splitlines()} == {"passed"}


@pytest.mark.outage
def test_a_node_that_dies_or_goes_costs_no_trial_an_attempt(
    make_sweep, tmp_path: Path, loopback: Loopback, ran: Path
) -> None:
    changes = ("configurations=4", "seeds=1", "limits.attempts=1")
    sweep = make_sweep(*changes, task=SLOW)
    expected = hash_of(run(sweep, Launch(tmp_path / "inline", "inline")).folder)
    ran.write_text("")
    hold = Path(f"{ran}.hold")
    hold.touch()
    loopback.submit(sweep.root / "sweep.yaml", "name=nodes", *changes)
    loopback.wait(lambda: len(busy(loopback, "nodes")) == 4)
    spot, doomed = loopback.tell("add", 1, 0), loopback.tell("add", 1, 0)
    loopback.wait(lambda: {spot[:8], doomed[:8]} <= {each["id"] for each in busy(loopback, "nodes")})
    loopback.tell("kill", doomed)
    assert loopback.tell("drain", spot)
    loopback.wait(lambda: spot[:8] not in {each["id"] for each in loopback.crew("nodes")})
    hold.unlink()
    loopback.finish("nodes")
    assert loopback.hash("nodes") == expected
    begun = [line.split()[0] for line in ran.read_text().splitlines()]
    assert len(begun) > len(set(begun)), "trials were handed on"


def busy(loopback: Loopback, name: str) -> list[dict[str, object]]:
    """The workers that run a trial."""
    return [each for each in loopback.crew(name) if each["state"] == "running"]
