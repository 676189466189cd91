"""A scheduler that is started again begins by itself, and insists that workers introduce themselves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import ActorUnavailableError

from swathe.clusters.posts import Staffing
from swathe.clusters.scheduling import ClusterScheduler
from swathe.clusters.workers import Stranger
from swathe.orchestrator import driver
from swathe.orchestrator.driver import Launch
from swathe.orchestrator.loading import task_of
from swathe.orchestrator.messages import Push

pytestmark = pytest.mark.ray
NOBODY = Staffing({}, workers=0)


def test_a_scheduler_begins_again_though_it_knows_that_it_is_being_restarted(
    make_sweep, tmp_path: Path, ray_session: None
) -> None:
    class Knowing(ClusterScheduler):
        """Ray drops calls to an actor of which the caller knows that it is being restarted, here those to itself."""

        def __init__(self, *arguments) -> None:
            context = ray.get_runtime_context()
            calls: list[Any] = []
            while context.was_current_actor_reconstructed and not (calls and ray.wait(calls, timeout=0.1)[0]):
                calls.append(context.current_actor.started.remote())
            super().__init__(*arguments)

    sweep = make_sweep()
    home = driver.prepare(sweep, task_of(sweep), Launch(tmp_path / "sweeps"))
    actor = ray.remote(Knowing).options(num_cpus=0, max_restarts=-1, max_concurrency=100)
    scheduler = actor.remote(home, NOBODY, False, home.record().epoch)
    try:
        ray.get(scheduler.started.remote(), timeout=60)
        assert home.record().epoch == 1
        ray.kill(scheduler, no_restart=False)
        deadline = time.monotonic() + 60
        while home.record().epoch == 1:
            assert time.monotonic() < deadline, "the sweep has no scheduler any more"
            time.sleep(0.05)
        with pytest.raises(Stranger, match="has not introduced itself to scheduler 2"):
            _answer(scheduler, Push("w1.1", None, wants_lease=True))
    finally:
        ray.kill(scheduler)


def _answer(scheduler: Any, push: Push) -> Any:
    """What the scheduler says; it is at work a moment before Ray lets calls through to it."""
    while True:
        try:
            return ray.get(scheduler.exchange.remote(push), timeout=60)
        except ActorUnavailableError:
            time.sleep(0.05)
