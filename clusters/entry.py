"""What a submitted job runs on the cluster: makes the sweep, starts its scheduler, and ends.

`python -m swathe.clusters.entry REQUEST`, where REQUEST is the JSON text of a `Request`; it holds no secret.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import ActorUnavailableError, RayTaskError

from ..orchestrator import driver
from ..orchestrator.driver import Launch
from ..orchestrator.errors import SwatheError
from ..orchestrator.home import Home
from ..orchestrator.loading import task_of
from ..orchestrator.spec import parse
from .posts import Staffing
from .scheduling import RETRY_SECONDS, ClusterScheduler
from .workers import require, scheduler_name

STARTED = "started"
FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a cluster: a spec as text, the folder of the snapshot that it belongs to, and how to run it."""

    spec: str
    root: str
    directory: str
    ledger: str | None
    store: str | None
    namespace: str
    staffing: dict[str, Any]
    takeover: bool = False
    accept: bool = False
    origin: str | None = None

    def as_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


def submit(request: Request) -> str:
    """Make or reopen the sweep and start its scheduler; `STARTED` or `FINISHED`. Raises `SwatheError`."""
    staffing = Staffing.read(request.staffing)
    require(staffing.secrets)
    sweep = parse(request.spec, source="the spec", root=Path(request.root))
    launch = Launch(
        directory=Path(request.directory),
        ledger=request.ledger,
        results=request.store,
        takeover=request.takeover,
        accept=lambda changed: request.accept,
        origin=request.origin,
    )
    home = driver.prepare(sweep, task_of(sweep), launch)
    if home.record().status == FINISHED:
        return FINISHED
    ray.init(address="auto", namespace=request.namespace, log_to_driver=False, logging_level=logging.ERROR)
    _start(home, staffing, request.takeover, home.record().epoch)
    return STARTED


def _start(home: Home, staffing: Staffing, takeover: bool, epoch: int) -> None:
    name = scheduler_name(home.name)
    try:
        # The ledger says that it does not drive the sweep, or the user wants another one.
        ray.kill(ray.get_actor(name))
    except ValueError:
        pass
    made = ray.remote(ClusterScheduler).options(
        name=name, lifetime="detached", num_cpus=0, max_restarts=-1, max_concurrency=10_000
    )
    actor = made.remote(home, staffing, takeover, epoch)
    while True:
        try:
            return ray.get(actor.started.remote())
        except ActorUnavailableError:
            # It has died while it opened the sweep, and Ray starts it again.
            time.sleep(RETRY_SECONDS)
        except RayTaskError as error:
            ray.kill(cast(Any, actor))
            if isinstance(error.cause, SwatheError):
                raise error.cause from None
            raise


def main() -> None:
    """The job's entry point."""
    # Where the snapshot lies differs from node to node, so the ledger knows paths relative to it.
    sys.path.insert(0, os.getcwd())
    try:
        print(submit(Request(**json.loads(sys.argv[1]))))
    except SwatheError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
