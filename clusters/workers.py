"""What runs on the nodes of a cluster: workers that outlive schedulers, and one warden a node that watches them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import ray
from ray.actor import exit_actor
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError, RpcError

from ..orchestrator.actors import sweep_at
from ..orchestrator.errors import SwatheError
from ..orchestrator.home import Home
from ..orchestrator.isolation import pinned_threads
from ..orchestrator.link import Link, Unreachable
from ..orchestrator.loading import task_of
from ..orchestrator.messages import Loss, WorkerInfo
from ..orchestrator.separate import runner_of
from ..orchestrator.shipping import shipped
from ..orchestrator.watchdog import ROUND_SECONDS, NoteFile, watchdog_of
from ..orchestrator.worker import Worker, this_process
from .gpus import busy

LOOK_SECONDS = 2.0


class MissingVariable(SwatheError):
    """A node lacks a variable that the profile says it has."""


class Stranger(Exception):
    """A scheduler has not heard of this worker: it is the successor of the one that had."""


def scheduler_name(sweep: str) -> str:
    """What Ray calls the scheduler of a sweep."""
    return f"swathe/{sweep}"


def worker_name(sweep: str, worker: str) -> str:
    """What Ray calls a worker of a sweep."""
    return f"swathe/{sweep}/{worker}"


def notes_of(home: Home) -> Path:
    """Where the workers of a node note what they run: on its own disk."""
    return Path(tempfile.gettempdir()) / f"swathe-{os.getuid()}" / home.name


def require(secrets: tuple[str, ...]) -> None:
    """Raise `MissingVariable` when this process lacks one of these variables."""
    for name in secrets:
        if name not in os.environ:
            raise MissingVariable(
                f"the variable {name} is not set on node {os.uname().nodename}; set it where Ray is started there, "
                "or remove it from secrets in the profile"
            )


class ClusterWorker:
    """A `Worker` in a process of its own that knows its scheduler by name, so that it may have successors."""

    def __init__(self, home: Home, name: str, share: str, push_seconds: float, secrets: tuple[str, ...]) -> None:
        self._home = home
        self._name = name
        self._share = share
        self._push_seconds = push_seconds
        self._secrets = secrets

    def run(self) -> None:
        """Work until dismissed, and end this process."""
        require(self._secrets)
        sweep, results = sweep_at(self._home)
        share = sweep.shares[self._share]
        with pinned_threads(share.threads):
            runner, context = runner_of(sweep, task_of(sweep), self._home.folder, results, share)
            info = this_process(self._name, context.device, self._share)
            info = replace(info, gpus=tuple(str(each) for each in ray.get_gpu_ids()))
            node = ray.get_runtime_context().get_node_id()
            link = Link(info, Line(scheduler_name(sweep.name), node), sweep.limits.orphan)
            link.join()
            note = NoteFile(notes_of(self._home), self._name)
            with shipped(runner, self._home.folder, results) as shipping:
                clean = Worker(self._name, shipping, link.exchange, note=note, push_seconds=self._push_seconds).run()
            link.leave(clean)
        exit_actor()

    def end(self) -> None:
        """Never answered before `run` has ended: whoever calls this learns of the worker's death."""


class Line:
    """Calls methods of the scheduler of this name, whichever process that is at the time."""

    def __init__(self, name: str, node: str) -> None:
        self._name = name
        self._node = node
        self._scheduler: Any = None

    def __call__(self, method: str, *arguments: Any) -> Any:
        extra = (self._node,) if method == "join" else ()
        try:
            if self._scheduler is None:
                self._scheduler = ray.get_actor(self._name)
            return ray.get(getattr(self._scheduler, method).remote(*arguments, *extra))
        except (RayActorError, ObjectLostError, GetTimeoutError, RpcError, ValueError, Stranger) as error:
            # ValueError: there is no actor of this name. The others but the first: its node died with a long answer, or
            # Ray's head is slow or away.
            self._scheduler = None
            raise Unreachable(str(error)) from None


class Use(NamedTuple):
    """What a worker uses: cores since it was last asked, and the share of the time that its GPUs are busy."""

    cores: float
    gpus: float | None


class Warden:
    """Watches the workers of one node from outside: kills those whose trials break a limit, measures the others."""

    def __init__(self, home: Home) -> None:
        self._watchdog = watchdog_of(sweep_at(home)[0], notes_of(home), fresh=False)
        self._processes: dict[str, psutil.Process] = {}
        self._gpus: dict[str, tuple[str, ...]] = {}
        self._busy: dict[str, float] = {}

    async def watch(self) -> None:
        """Never ends."""
        looking = asyncio.get_running_loop().create_task(self._look())
        while not looking.done():
            await asyncio.sleep(ROUND_SECONDS)
            self._watchdog.bark()
        looking.result()

    async def _look(self) -> None:
        """See how busy the GPUs are, where a worker has one; the answer may take a second."""
        while True:
            if any(self._gpus.values()):
                self._busy = await asyncio.to_thread(busy)
            await asyncio.sleep(LOOK_SECONDS)

    async def joined(self, info: WorkerInfo) -> None:
        """A worker has come to this node."""
        self._watchdog.joined(info)
        self._gpus[info.worker] = info.gpus
        with suppress(psutil.NoSuchProcess):
            self._processes[info.worker] = psutil.Process(info.pid)
            self._processes[info.worker].cpu_percent()

    async def lost(self, worker: str) -> Loss:
        """What is known about a worker that has died."""
        self._processes.pop(worker, None)
        self._gpus.pop(worker, None)
        return self._watchdog.lost(worker)

    async def use(self) -> dict[str, Use]:
        """What each worker uses."""
        found: dict[str, Use] = {}
        for worker, process in self._processes.items():
            seen = [self._busy[gpu] for gpu in self._gpus.get(worker, ()) if gpu in self._busy]
            with suppress(psutil.NoSuchProcess):
                found[worker] = Use(process.cpu_percent() / 100, sum(seen) / len(seen) if seen else None)
        return found
