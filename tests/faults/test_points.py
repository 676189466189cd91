"""Death by SIGKILL at every write point, and a disk that is full there: the same command again goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swathe.orchestrator import faultpoints
from tests.faults import judging, sweeps
from tests.faults.launching import Life, undisturbed

# Only a cluster of actors has these, or a program (see `test_lanes`); checkpoints are made at rungs.
ELSEWHERE = ("scheduler.started", "worker.started", "ledger.capacity")
QUICK = (
    "ledger.created",
    "ledger.commit.before",
    "ledger.commit.after",
    "part.planned",
    "table.written",
    "table.renamed",
    "part.written",
    "checkpoint.written",
    "reply.before",
    "worker.taken",
)
INLINE = [point for point in faultpoints.POINTS if point not in ELSEWHERE]


IN_ACTORS = (
    "scheduler.started:1",
    "worker.started:2",
    "ledger.commit.before:4",
    "ledger.commit.after:5",
    "reply.before:6",
    "lease.granted:3",
    "worker.taken:3",
    "worker.pushed:4",
    "trial.ended:9",
    "checkpoint.written:3",
    "checkpoint.renamed:4",
    "table.renamed:1",
)


def project_of(folder: Path) -> sweeps.Project:
    fields = {"sampler": {"name": "tpe", "generation": 2}, "configurations": 12, "seeds": 1, "pruner": sweeps.HALVING}
    return sweeps.make(folder, **fields)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(project_of(tmp_path_factory.mktemp("twin")))


def arrivals(counts: Path, point: str) -> int:
    path = counts / point
    return path.stat().st_size if path.exists() else 0


def live_through(project: sweeps.Project, fault: str, tally: dict[str, int], **how: Any) -> list[judging.Acknowledged]:
    """Run until it finishes; the fault comes about once. Returns what was acknowledged after each death."""
    counts = project.folder / "arrivals"
    counts.mkdir()
    faults = {"SWATHE_FAULTS": fault, "SWATHE_FAULTS_SEEN": str(counts)}
    moments: list[judging.Acknowledged] = []
    point = fault.partition(":")[0]
    for _ in range(3):
        life = Life(project, "sweeps", environment=faults, **how)
        code = life.end()
        assert "Traceback" not in life.output, life.output
        assert not life.strays()
        if code == 0:
            break
        # An actor dies alone, and its driver says so.
        assert code == 2 if how else code == -9, life.output
        tally[f"deaths at {point}"] = tally.get(f"deaths at {point}", 0) + 1
        moments.append(judging.acknowledged(project.sweep_in("sweeps")))
    else:
        raise AssertionError(f"it did not finish\n{life.output}")
    return moments


@pytest.mark.parametrize("point", sweeps.long_but(INLINE, *QUICK))
def test_a_death_at_the_first_arrival(point: str, twin: Path, tmp_path: Path, tally: dict[str, int]) -> None:
    check(f"{point}:1", twin, tmp_path, tally)


@pytest.mark.long
@pytest.mark.parametrize("arrival", [2, 3, 5, 8])
@pytest.mark.parametrize("point", INLINE)
def test_a_death_at_a_later_arrival(
    point: str, arrival: int, twin: Path, tmp_path: Path, tally: dict[str, int]
) -> None:
    check(f"{point}:{arrival}", twin, tmp_path, tally)


def check(fault: str, twin: Path, tmp_path: Path, tally: dict[str, int]) -> None:
    project = project_of(tmp_path)
    moments = live_through(project, fault, tally)
    point, _, arrival = fault.partition(":")
    if not moments:
        count = arrivals(project.folder / "arrivals", point)
        assert count < int(arrival), f"{point} was reached {count} times and nothing happened"
        assert int(arrival) > 1, f"{point} was never reached"
    judging.judge(project.sweep_in("sweeps"), twin, moments, project.ran)


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", IN_ACTORS)
def test_a_death_in_an_actor(fault: str, twin: Path, tmp_path: Path, tally: dict[str, int]) -> None:
    """The scheduler's ends the driver, a worker's is made good by another worker."""
    project = project_of(tmp_path)
    moments = live_through(project, fault, tally, cluster="embedded", words=["--workers", "2"])
    point, _, arrival = fault.partition(":")
    assert arrivals(project.folder / "arrivals", point) >= int(arrival), f"{point} was not reached often enough"
    judging.judge(project.sweep_in("sweeps"), twin, moments, project.ran)
