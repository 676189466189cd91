"""The one place where classes become Ray actors. A dead worker becomes a lost worker in the scheduler's next tick."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayActorError, RayTaskError

from .errors import SwatheError
from .faultpoints import reach
from .home import Home
from .isolation import pinned_threads
from .ledger import Owner
from .loading import task_of
from .mailbox import Mailbox
from .messages import Push, Reply, WorkerInfo
from .scheduler import Scheduler
from .separate import runner_of
from .shipping import shipped
from .spec import Resources, Sweep, parse
from .watchdog import ROUND_SECONDS, NoteFile, watchdog_of
from .worker import Worker, this_process

STARTS_IN_VAIN = 3


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of a sweep: how many at a time, and of each share how many at most; scarce ones come first."""

    count: int
    shares: Mapping[str, Resources]
    places: Mapping[str, int]


class WorkersFailing(SwatheError):
    """Workers die before they have taken any work; the message says how."""


class SchedulerActor:
    """A `Mailbox` and the crew of workers that it answers, which end with it.

    Where the crew has one share only, workers of it may be `starting` already.
    """

    def __init__(
        self,
        home: Home,
        owner: Owner,
        takeover: bool,
        crew: Crew,
        working_directory: str,
        starting: Sequence[Any] = (),
    ) -> None:
        self._home, self._folder = home, home.folder
        self._scheduler = Scheduler(home.folder, home.ledger, owner=owner, takeover=takeover)
        self._mailbox = Mailbox(self._scheduler)
        self._crew = crew
        self._working_directory = working_directory
        sweep = sweep_at(home)[0]
        self._threads = sweep.threads
        self._watchdog = watchdog_of(sweep, self._folder)
        self._alive = crew.count
        self._staff = Counter[str]()
        self._joined: set[str] = set()
        self._starting = list(starting)
        self._workers: set[Any] = set()

    async def join(self, info: WorkerInfo) -> None:
        """Introduce a worker."""
        self._joined.add(info.worker)
        self._scheduler.join(info)
        self._watchdog.joined(info)

    async def exchange(self, push: Push) -> Reply:
        """A worker's call; answered after the tick that commits it, or when there is a lease for it."""
        self._watchdog.heard(push)
        return await self._mailbox.exchange(push)

    async def drain(self) -> None:
        """Start no more trials."""
        self._mailbox.drain()

    async def run(self) -> str:
        """Run the sweep with its crew until it closes and its workers have gone; returns why it closed."""
        reach("scheduler.started")
        # A search counts in floating point, too, and inline it does so with the threads of trials.
        with pinned_threads(self._threads):
            return await self._run()

    async def _run(self) -> str:
        crew = [asyncio.create_task(self._keep_place(index)) for index in range(self._crew.count)]
        watching = asyncio.create_task(self._watch())
        try:
            await self._mailbox.serve(lambda: self._alive > 0, self._kill_workers)
            if self._scheduler.closed not in ("finished", "cancelled") and self._mailbox.failure is not None:
                raise WorkersFailing(self._mailbox.failure)
            assert self._scheduler.closed is not None, "workers leave a sweep that is open only by failing"
            return self._scheduler.closed
        finally:
            for task in (watching, *crew):
                task.cancel()
            self._watchdog.close()
            self._scheduler.close()

    def _kill_workers(self) -> None:
        while self._workers:
            ray.kill(self._workers.pop())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            self._watchdog.bark()

    async def _keep_place(self, index: int) -> None:
        """Keep one place of the crew filled, with workers of one share after another, until the sweep closes."""
        names = (f"worker-{index}.{incarnation}" for incarnation in count())
        while self._scheduler.closed is None and (share := self._next_share()) is not None:
            self._staff[share] += 1
            clean = await self._keep_worker(share, names)
            self._staff[share] -= 1
            if not clean:
                break
        self._alive -= 1
        self._mailbox.wake()

    def _next_share(self) -> str | None:
        """The share that has the fewest workers of those that have work and room for more."""
        demand, places = self._scheduler.demand, self._crew.places
        open_shares = [share for share in places if demand.get(share) and self._staff[share] < places[share]]
        return min(open_shares, key=lambda share: self._staff[share], default=None)

    async def _keep_worker(self, share: str, names: Iterator[str]) -> bool:
        """Keep a worker of this share until it is dismissed, or False when that is in vain."""
        in_vain = 0
        while self._scheduler.closed is None and in_vain < STARTS_IN_VAIN:
            name = next(names)
            here = ray.get_runtime_context().current_actor
            actor = self._starting.pop() if self._starting else self._hire(share)
            self._workers.add(actor)
            try:
                if await actor.run.remote(name, here):
                    return True
            except RayActorError as error:
                in_vain = 0 if name in self._joined else in_vain + 1
                self._mailbox.failure = f"workers die before they take any work: {first_line(error)}"
            except RayTaskError as error:
                in_vain = STARTS_IN_VAIN
                self._mailbox.failure = f"worker {name} failed: {first_line(error.cause or error)}"
            finally:
                self._workers.discard(actor)
                ray.kill(cast(Any, actor))
            self._mailbox.lose(self._watchdog.lost(name))
        return False

    def _hire(self, share: str) -> Any:
        return hired(self._home, share, self._crew.shares[share], self._working_directory)


class WorkerActor:
    """A `Worker` in a process of its own."""

    def __init__(self, home: Home, share: str, working_directory: str) -> None:
        self._home, self._folder = home, home.folder
        self._share = share
        self._working_directory = working_directory

    def run(self, name: str, scheduler: Any) -> bool:
        """Work until dismissed; False means that a trial left threads behind and this process should end."""
        reach("worker.started")
        os.chdir(self._working_directory)
        sweep, results = sweep_at(self._home)
        share = sweep.shares[self._share]
        with pinned_threads(share.threads):
            runner, context = runner_of(sweep, task_of(sweep), self._folder, results, share)
            note = NoteFile(self._folder, name)
            ray.get(scheduler.join.remote(this_process(name, context.device, self._share)))
            with shipped(runner, self._folder, results) as shipping:
                return Worker(name, shipping, lambda push: ray.get(scheduler.exchange.remote(push)), note=note).run()


def hired(home: Home, share: str, asked: Resources, working_directory: str) -> Any:
    """A `WorkerActor` that starts as soon as Ray has what its share asks for."""
    part = {"num_cpus": asked.cpus, "num_gpus": asked.gpus, "memory": asked.memory}
    return ray.remote(WorkerActor).options(**part, max_restarts=0).remote(home, share, working_directory)


def sweep_at(home: Home) -> tuple[Sweep, str | None]:
    """The sweep, and the URI of its results if they lie in a store."""
    record = home.record()
    return parse(record.spec, source="ledger", root=Path(record.root)), record.results


def first_line(error: BaseException) -> str:
    """What an exception says, in short."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
