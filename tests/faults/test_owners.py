"""Two drivers on one sweep, one of which may have slept: one writes, the other goes away with a word."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import judging, sweeps
from tests.faults.launching import Life, Tight, undisturbed

FIELDS = {
    "configurations": 12,
    "sampler": {"name": "tpe", "generation": 2},
    "pruner": sweeps.HALVING,
    "fixed": {"sleep": 0.005},
}
# Where a driver may fall asleep without holding the ledger's lock: see `put_to_sleep`.
ASLEEP = (
    "ledger.claimed:1",
    "ledger.commit.after:12",
    "part.planned:2",
    "table.written:3",
    "table.renamed:3",
    "part.written:2",
    "part.finished:1",
    "checkpoint.written:5",
    "checkpoint.renamed:5",
    "lease.granted:6",
    "reply.before:9",
    "worker.taken:9",
    "worker.pushed:9",
    "trial.ended:20",
)


@pytest.fixture
def project(tmp_path: Path) -> sweeps.Project:
    return sweeps.make(tmp_path / "project", **FIELDS)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(sweeps.make(tmp_path_factory.mktemp("twin"), **FIELDS))


@pytest.fixture
def lives() -> Iterator[list[Life]]:
    """Processes of a test; none outlives it."""
    started: list[Life] = []
    yield started
    for life in started:
        if life.code is None:
            life.kill()


def put_to_sleep(project: sweeps.Project, place: str, *words: str) -> Life:
    """A driver that stops at `place`.

    All of its threads stop at once. Beside a trial one of them may be in a transaction, so that one has nothing to
    push there; the other places lie where only one thread may be.
    """
    beside_a_trial = place.startswith(("trial.", "checkpoint."))
    tight = Tight(push_seconds=3600.0) if beside_a_trial else Tight()
    return Life(project, "sweeps", words=words, environment={"SWATHE_FAULTS": f"{place}:stop"}, tight=tight)


def asleep(life: Life) -> bool:
    return all(each.status() == "stopped" for each in life.family())


def everything(folder: Path) -> dict[str, object]:
    """The results of a sweep: the ledger's rows and the parts."""
    connection = sqlite3.connect(folder / "ledger.db", timeout=30)
    tables = ("sweep", "generation", "trial", "attempt", "pause", "rows", "part")
    found: dict[str, object] = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    connection.close()
    return found | {str(path): path.read_bytes() for path in folder.rglob("*.parquet")}


def gone_with_a_word(life: Life) -> None:
    assert life.end(60) == 2, life.output
    assert "taken over by another driver" in life.output and "Traceback" not in life.output, life.output


@pytest.mark.parametrize("place", sweeps.long_but(ASLEEP, "part.planned:2", "ledger.commit.after:12"))
def test_a_driver_that_wakes_after_a_takeover_has_no_effect(
    place: str, project: sweeps.Project, twin: Path, lives: list[Life]
) -> None:
    """It wakes when its successor has finished."""
    lives.append(zombie := put_to_sleep(project, place))
    zombie.wait_until(lambda: asleep(zombie))
    moment = judging.acknowledged(project.sweep_in("sweeps"))
    lives.append(heir := Life(project, "sweeps", words=["--takeover"]))
    assert heir.end() == 0, heir.output
    before = everything(project.sweep_in("sweeps"))
    zombie.signal(signal.SIGCONT)
    gone_with_a_word(zombie)
    assert everything(project.sweep_in("sweeps")) == before
    judging.judge(project.sweep_in("sweeps"), twin, [moment], project.ran)


@pytest.mark.long
@pytest.mark.parametrize("progress", [1, 8, 20])
@pytest.mark.parametrize("place", ASLEEP)
def test_a_driver_that_wakes_beside_its_successor(
    place: str, progress: int, project: sweeps.Project, twin: Path, lives: list[Life]
) -> None:
    """It wakes while its successor is at work."""
    lives.append(zombie := put_to_sleep(project, place))
    zombie.wait_until(lambda: asleep(zombie))
    moment = judging.acknowledged(project.sweep_in("sweeps"))
    lives.append(heir := put_to_sleep(project, f"trial.ended:{progress}", "--takeover"))
    heir.wait_until(lambda: asleep(heir) or heir.code is not None)
    zombie.signal(signal.SIGCONT)
    gone_with_a_word(zombie)
    heir.signal(signal.SIGCONT)
    assert heir.end() == 0, heir.output
    judging.judge(project.sweep_in("sweeps"), twin, [moment], project.ran)


@pytest.mark.long
def test_a_driver_that_sleeps_with_the_ledger_locked_is_named(project: sweeps.Project, lives: list[Life]) -> None:
    lives.append(zombie := put_to_sleep(project, "ledger.commit.before:5"))
    zombie.wait_until(lambda: asleep(zombie))
    lives.append(heir := Life(project, "sweeps", words=["--takeover"]))
    assert heir.end() == 2 and "locked" in heir.output and "Traceback" not in heir.output, heir.output
    zombie.signal(signal.SIGCONT)
    assert zombie.end() == 0, zombie.output


def test_of_several_drivers_that_start_together_one_runs_the_sweep(
    project: sweeps.Project, twin: Path, lives: list[Life]
) -> None:
    lives.extend(Life(project, "sweeps") for _ in range(3))
    codes = sorted(life.end() for life in lives)
    assert codes == [0, 2, 2], [life.output for life in lives]
    for life in lives:
        assert "Traceback" not in life.output, life.output
        assert life.code == 0 or "--takeover" in life.output, life.output
    judging.judge(project.sweep_in("sweeps"), twin, [], project.ran)
    counts = [call.trial for call in judging.executions(project.ran) if call.step == 0]
    assert len(counts) == len(set(counts)), "a trial was begun twice"


@pytest.mark.long
def test_takeovers_one_after_another(project: sweeps.Project, twin: Path, lives: list[Life]) -> None:
    moments: list[judging.Acknowledged] = []
    for number in range(4):
        lives.append(life := Life(project, "sweeps", words=["--takeover"] if number else []))
        life.wait_until(lambda number=number: len(judging.executions(project.ran)) > 10 * number + 5)
        moments.append(judging.acknowledged(project.sweep_in("sweeps")))
    assert lives[-1].end() == 0, lives[-1].output
    for life in lives[:-1]:
        gone_with_a_word(life)
    judging.judge(project.sweep_in("sweeps"), twin, moments, project.ran)


@pytest.mark.parametrize("seconds", sweeps.long_but([1.0, 4.0, 40.0], 1.0))
def test_a_ledger_that_somebody_else_holds(
    seconds: float, project: sweeps.Project, twin: Path, lives: list[Life]
) -> None:
    lives.append(life := Life(project, "sweeps"))
    life.wait_until(lambda: len(judging.executions(project.ran)) > 5)
    connection = sqlite3.connect(project.sweep_in("sweeps") / "ledger.db", timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    time.sleep(seconds)
    still = life.code is None
    connection.execute("ROLLBACK")
    connection.close()
    if seconds < 30:
        assert still and life.end() == 0, life.output
    else:
        assert life.end() == 2 and "locked" in life.output and "Traceback" not in life.output, life.output
        lives.append(life := Life(project, "sweeps"))
        assert life.end() == 0, life.output
    judging.judge(project.sweep_in("sweeps"), twin, [], project.ran)
