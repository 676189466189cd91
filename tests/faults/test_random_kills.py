"""SIGKILL at random moments, now and then SIGTERM, until the sweep has finished: nothing is lost or done twice."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from swathe.orchestrator import embedded, faultpoints
from tests.faults import judging, sweeps
from tests.faults.conftest import RAY_EVERY
from tests.faults.launching import Life, undisturbed

WORKERS = (2, 1, 4, 2, 4)
VICTIMS = ("driver", "raylet", "scheduler", "everything")
# A trial that was running when its worker was killed is charged, and the spec allows three attempts.
WORKER_KILLS = 2
# The share of drivers that are asked to drain instead: what they were running pauses where it is.
DRAINS = 0.3


@pytest.mark.timeout(600)
def test_a_sweep_that_is_killed_at_random(seed: int, tmp_path: Path, tally: dict[str, int]) -> None:
    project = sweeps.draw(tmp_path / "project", seed)
    started = time.monotonic()
    twin = undisturbed(project)
    usual = time.monotonic() - started
    draws = random.Random(f"kills {seed}")
    moments: list[judging.Acknowledged] = []
    for _ in range(10):
        life = Life(project, "sweeps", environment=random_fault(draws) if draws.random() < 0.5 else {})
        ends = time.monotonic() + draws.uniform(0.0, 0.7 * usual)
        while life.code is None and time.monotonic() < ends:
            time.sleep(0.001)
        if life.code is None:
            (life.ask_to_drain if draws.random() < DRAINS else life.kill)()
        if life.end() == 0:
            break
        assert life.code in (-signal.SIGKILL, -signal.SIGTERM, 130), life.output
        count(tally, "drains of inline drivers" if life.code == 130 else "kills of inline drivers")
        moments.append(judging.acknowledged(project.sweep_in("sweeps")))
    last = Life(project, "sweeps")
    assert last.end() == 0, last.output
    judging.judge(project.sweep_in("sweeps"), twin, moments, project.ran)
    count(tally, "inline sweeps that held")


def random_fault(draws: random.Random) -> dict[str, str]:
    """Death at one of the first arrivals at one of the points."""
    return {"SWATHE_FAULTS": f"{draws.choice(faultpoints.POINTS)}:{draws.randint(1, 12)}"}


def count(tally: dict[str, int], what: str) -> None:
    tally[what] = tally.get(what, 0) + 1


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_sweep_on_ray_that_is_killed_at_random(seed: int, tmp_path: Path, tally: dict[str, int]) -> None:
    project = sweeps.draw_deadly(tmp_path / "project", seed)
    words = ["--workers", str(WORKERS[seed // RAY_EVERY % len(WORKERS)])]
    twin = undisturbed(project, cluster="embedded", words=["--workers", "2"])
    draws = random.Random(f"kills {seed}")
    killer = Killer(project, draws, tally)
    victims = [*draws.sample(VICTIMS, 2), *["worker"] * WORKER_KILLS]
    draws.shuffle(victims)
    life = Life(project, "sweeps", cluster="embedded", words=words)
    for victim in victims:
        if not killer.kill(life, victim):
            life = Life(project, "sweeps", cluster="embedded", words=words)
    assert life.end(300) == 0, life.output
    assert not life.strays()
    judging.judge(project.sweep_in("sweeps"), twin, killer.moments, project.ran)
    count(tally, "sweeps on Ray that held")


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("deaths", [1, embedded.STARTS])
def test_a_raylet_that_dies_while_ray_starts(deaths: int, tmp_path: Path) -> None:
    project = sweeps.make(tmp_path / "project", configurations=4)
    life = Life(project, "sweeps", cluster="embedded", words=["--workers", "2"])
    for _ in range(deaths):
        life.wait_until(lambda: life.member("raylet", random.Random(0)) is not None)
        raylet = life.member("raylet", random.Random(0))
        assert raylet is not None
        raylet.kill()
        life.wait_until(lambda: life.member("raylet", random.Random(0)) is None)
    code = life.end(300)
    assert "Traceback" not in life.output, life.output
    assert not life.strays()
    if deaths == embedded.STARTS:
        assert code == 2 and "Ray did not start" in life.output, life.output
        life = Life(project, "sweeps")
        code = life.end()
    assert code == 0, life.output


class Killer:
    """Kills processes of a sweep and writes down what it had acknowledged just before or after."""

    def __init__(self, project: sweeps.Project, draws: random.Random, tally: dict[str, int]) -> None:
        self.moments: list[judging.Acknowledged] = []
        self._project = project
        self._draws = draws
        self._tally = tally

    def kill(self, life: Life, victim: str) -> bool:
        """Wait for some work to be done, then kill; returns whether the life goes on."""
        goal = len(judging.executions(self._project.ran)) + self._draws.randint(0, 12)
        deadline = time.monotonic() + 120
        ran = self._project.ran
        while life.code is None and (len(judging.executions(ran)) < goal or not self._there(life, victim)):
            assert time.monotonic() < deadline, f"no work is done\n{life.output}"
            time.sleep(0.02)
        self._note()
        if life.code is not None:
            assert life.code == 0, life.output
            return True
        if victim == "everything":
            life.kill()
        elif (process := life.member(victim, self._draws)) is not None:
            process.kill()
        count(self._tally, f"kills of the {victim}" if victim != "worker" else "kills of a worker")
        if victim == "worker":
            return True
        assert life.end() in ((-9,) if victim in ("driver", "everything") else (0, 2)), life.output
        assert "Traceback" not in life.output, life.output
        strays = life.strays()
        assert not strays, f"left behind: {strays}"
        self._note()
        return life.code == 0

    def _there(self, life: Life, victim: str) -> bool:
        return victim == "everything" or life.member(victim, self._draws) is not None

    def _note(self) -> None:
        self.moments.append(judging.acknowledged(self._project.sweep_in("sweeps")))
