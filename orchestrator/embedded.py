"""The embedded cluster: a Ray of this machine, started for one sweep and ended with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from .actors import Crew, SchedulerActor, first_line, hired
from .errors import SchedulerLost, SwatheError
from .home import Home
from .ledger import Owner
from .signals import stop_signals
from .spec import Resources, Sweep

POLL_SECONDS = 0.2
# Ray waits only so long for its processes, which a busy machine starts late.
STARTS = 3


def run_embedded(
    sweep: Sweep, home: Home, workers: int | None, *, takeover: bool, stopping: Callable[[], None] = lambda: None
) -> str:
    """Run the sweep at `home` on a Ray of this machine; returns why it closed.

    The first Ctrl-C drains and calls `stopping`.
    """
    with _local_ray(sweep, workers):
        crew = _crew(sweep, workers or sweep.limits.workers)
        starting = _first_workers(crew, home)
        # Workers may outnumber what Ray counts as free; how they share the machine is the user's choice then.
        made = ray.remote(SchedulerActor).options(num_cpus=0)
        scheduler = made.remote(home, Owner.here(), takeover, crew, str(Path.cwd()), starting)
        running = scheduler.run.remote()

        def drain() -> None:
            scheduler.drain.remote()
            stopping()

        with stop_signals(drain):
            try:
                while not ray.wait([running], timeout=POLL_SECONDS)[0]:
                    pass
                return ray.get(running)
            except RayTaskError as error:
                if isinstance(error.cause, SwatheError):
                    raise error.cause from None
                raise
            except RayError as error:
                if isinstance(cause := getattr(error, "cause", None), SwatheError):
                    raise cause from None
                raise SchedulerLost(
                    f"the scheduler of {home.name} died; was it killed, or memory short? The same command goes on"
                ) from None
            finally:
                # They belong to this process, and so would outlive a scheduler that died.
                for worker in starting:
                    ray.kill(worker)


@contextmanager
def _local_ray(sweep: Sweep, workers: int | None) -> Iterator[None]:
    """A Ray of our own on this machine, unless this process is connected to one already."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    wanted = workers or sweep.limits.workers or 0
    cpus = max(float(os.cpu_count() or 1), wanted * max(share.cpus for share in sweep.shares.values()))
    options = {
        "num_cpus": int(-(-cpus // 1)),
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "object_store_memory": 100 * 2**20,
    }
    for left in reversed(range(STARTS)):
        try:
            ray.init(address="local", **options)
            break
        except Exception as error:
            # A bare one where its processes die while it waits for them.
            ray.shutdown()
            if not left:
                why = f"Ray did not start {STARTS} times, and the same command tries again: {first_line(error)}"
                raise SchedulerLost(why) from error
    # Private, as Ray 2.60 has no switch for it: the driver prints every death of a worker, which is an outcome here.
    vars(import_module("ray._private.worker"))["_worker_logs_enabled"] = False
    try:
        yield
    finally:
        ray.shutdown()


def _crew(sweep: Sweep, wanted: int | None) -> Crew:
    """`wanted` workers at a time, or as many as fit on this machine."""
    # Where not all find room at once, those that need most of it are placed first.
    shares = dict(sorted(sweep.shares.items(), key=lambda item: _needs(item[1]), reverse=True))
    if wanted is not None and len(shares) == 1:
        return Crew(wanted, shares, dict.fromkeys(shares, wanted))
    places = {name: _places(share) for name, share in shares.items()}
    return Crew(wanted or sum(places.values()), shares, places)


def _first_workers(crew: Crew, home: Home) -> list[Any]:
    """Workers that start beside the scheduler, and so all at once: Ray has begun one process for each processor.

    Where there are several shares, the scheduler alone knows which of them are wanted.
    """
    if len(crew.shares) > 1:
        return []
    ((share, asked),) = crew.shares.items()
    return [hired(home, share, asked, str(Path.cwd())) for _ in range(min(crew.count, os.cpu_count() or 1))]


def _needs(share: Resources) -> tuple[float, int, float]:
    return share.gpus, share.memory or 0, share.cpus


def _places(share: Resources) -> int:
    """How many workers of a share fit on this machine."""
    have, shares = ray.cluster_resources(), share.asked
    places = {name: have.get(name, 0.0) / much for name, much in shares.items()}
    short = min(places, key=lambda name: places[name])
    if places[short] < 1:
        name, unit = {"CPU": ("cpus", 1), "GPU": ("gpus", 1), "memory": ("GiB of memory", 2**30)}[short]
        raise SwatheError(
            f"a trial asks for {shares[short] / unit:g} {name}, and this machine has "
            f"{have.get(short, 0.0) / unit:.3g}; lower resources in the spec"
        )
    return int(places[short])
