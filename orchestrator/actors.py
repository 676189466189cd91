"""The one place where classes become Ray actors. A dead worker becomes a lost worker in the scheduler's next tick."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayActorError, RayTaskError

from .errors import SwatheError
from .faultpoints import reach
from .home import Home
from .isolation import pinned_threads
from .ledger import Owner, Reader
from .loading import task_of
from .messages import Loss, Push, Reply, Suggestion, WorkerInfo
from .scheduler import HEARTBEAT_SECONDS, Scheduler
from .search import Request
from .separate import runner_of
from .shipping import shipped
from .spec import Sweep, parse
from .watchdog import ROUND_SECONDS, NoteFile, watchdog_of
from .worker import Worker, this_process

STARTS_IN_VAIN = 3
BEHIND_PARTS = 8


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of a sweep: how many, and the share of the machine that each one gets (`memory` in bytes)."""

    count: int
    cpus: float
    gpus: float
    memory: int = 0


class WorkersFailing(SwatheError):
    """Workers die before they have taken any work; the message says how."""


class SchedulerActor:
    """Mailbox around a `Scheduler`. Everything that has arrived by the time of a tick is committed as one."""

    def __init__(self, home: Home, owner: Owner, takeover: bool, crew: Crew, working_directory: str) -> None:
        self._home, self._folder = home, home.folder
        self._scheduler = Scheduler(home.folder, home.ledger, owner=owner, takeover=takeover)
        self._crew = crew
        self._working_directory = working_directory
        self._mail: list[tuple[Push, asyncio.Future[Reply]]] = []
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._proposed: list[tuple[Request, tuple[Suggestion, ...]]] = []
        self._lost: list[Loss] = []
        self._watchdog = watchdog_of(_sweep_at(home)[0], self._folder)
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._draining = False
        self._alive = crew.count
        self._joined: set[str] = set()
        self._workers: set[Any] = set()
        self._failure: str | None = None

    async def join(self, info: WorkerInfo) -> None:
        """Introduce a worker."""
        self._joined.add(info.worker)
        self._scheduler.join(info)
        self._watchdog.joined(info)

    async def exchange(self, push: Push) -> Reply:
        """A worker's call; answered after the tick that commits it, or when there is a lease for it."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._mail.append((push, answer))
        self._watchdog.heard(push)
        self._wake.set()
        return await answer

    async def drain(self) -> None:
        """Start no more trials."""
        self._draining = True
        self._wake.set()

    async def run(self) -> str:
        """Run the sweep with its crew until it closes and its workers have gone; returns why it closed."""
        reach("scheduler.started")
        # A search counts in floating point, too, and inline it does so with the threads of trials.
        with pinned_threads(max(1, int(self._crew.cpus))):
            return await self._run()

    async def _run(self) -> str:
        crew = [asyncio.create_task(self._keep_worker(index)) for index in range(self._crew.count)]
        beside = [asyncio.create_task(self._search()), asyncio.create_task(self._watch())]
        self._compacting = asyncio.create_task(asyncio.sleep(0))
        try:
            while self._alive or self._scheduler.closed is None:
                await self._sleep()
                self._tick()
                if not self._alive and self._scheduler.closed is None:
                    break
                await self._compact()
            await self._compacting
            await asyncio.to_thread(self._scheduler.compact, everything=True)
            if self._scheduler.closed not in ("finished", "cancelled") and self._failure is not None:
                raise WorkersFailing(self._failure)
            assert self._scheduler.closed is not None, "workers leave a sweep that is open only by failing"
            return self._scheduler.closed
        finally:
            for task in (*beside, *crew):
                task.cancel()
            await asyncio.wait([self._compacting])
            self._watchdog.close()
            self._scheduler.close()

    async def _sleep(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), HEARTBEAT_SECONDS)
        self._wake.clear()

    def _tick(self) -> None:
        mail, self._mail = self._mail, []
        proposed, self._proposed = self._proposed, []
        lost, self._lost = self._lost, []
        for push, answer in mail:
            self._waiting[push.worker] = answer
        ticked = self._scheduler.tick([push for push, _ in mail], proposed=proposed, lost=lost, drain=self._draining)
        for worker, reply in ticked.replies.items():
            answer = self._waiting.pop(worker, None)
            if answer is not None and not answer.done():
                answer.set_result(reply)
        for request in ticked.requests:
            self._requests.put_nowait(request)
        if self._scheduler.closed == "cancelled":
            while self._workers:
                ray.kill(self._workers.pop())

    async def _compact(self) -> None:
        """Write a part when one is due, while ticks go on; wait for it where the next one would be too large."""
        if self._compacting.done() or self._scheduler.due(BEHIND_PARTS):
            await self._compacting
        if self._compacting.done() and self._scheduler.due():
            self._compacting = asyncio.create_task(asyncio.to_thread(self._scheduler.compact))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            self._watchdog.bark()

    async def _search(self) -> None:
        """Proposals are made one after another in a thread, so that a slow sampler does not hold up reports."""
        due: deque[Request] = deque()
        while True:
            while not (due and self._requests.empty()):
                due.append(await self._requests.get())
            try:
                proposed = await asyncio.to_thread(self._scheduler.propose, due)
            except Exception as error:
                self._failure = f"the sampler failed on cell {due.popleft().cell}: {type(error).__name__}: {error}"
                self._draining = True
            else:
                self._proposed += proposed
            self._wake.set()

    async def _keep_worker(self, index: int) -> None:
        """Keep one place of the crew filled until the sweep closes."""
        in_vain = 0
        incarnation = 0
        while self._scheduler.closed is None and in_vain < STARTS_IN_VAIN:
            name = f"worker-{index}.{incarnation}"
            incarnation += 1
            here, crew = ray.get_runtime_context().current_actor, self._crew
            share = {"num_cpus": crew.cpus, "num_gpus": crew.gpus, "memory": crew.memory or None}
            place = ray.remote(WorkerActor).options(**share, max_restarts=0)
            actor = place.remote(name, self._home, crew.cpus, self._working_directory)
            self._workers.add(actor)
            try:
                if await actor.run.remote(here):
                    break
            except RayActorError as error:
                in_vain = 0 if name in self._joined else in_vain + 1
                self._failure = f"workers die before they take any work: {first_line(error)}"
            except RayTaskError as error:
                in_vain = STARTS_IN_VAIN
                self._failure = f"worker {name} failed: {first_line(error.cause or error)}"
            self._lost.append(self._watchdog.lost(name))
            self._waiting.pop(name, None)
            self._workers.discard(actor)
            ray.kill(cast(Any, actor))
            self._wake.set()
        self._alive -= 1
        self._wake.set()


class WorkerActor:
    """A `Worker` in a process of its own."""

    def __init__(self, name: str, home: Home, cpus: float, working_directory: str) -> None:
        self._name = name
        self._home, self._folder = home, home.folder
        self._cpus = cpus
        self._working_directory = working_directory

    def run(self, scheduler: Any) -> bool:
        """Work until dismissed; False means that a trial left threads behind and this process should end."""
        reach("worker.started")
        os.chdir(self._working_directory)
        with pinned_threads(max(1, int(self._cpus))):
            sweep, results = _sweep_at(self._home)
            runner, context = runner_of(sweep, task_of(sweep), self._folder, results)
            note = NoteFile(self._folder, self._name)
            ray.get(scheduler.join.remote(this_process(self._name, context.device)))
            with shipped(runner, self._folder, results) as shipping:
                return Worker(
                    self._name, shipping, lambda push: ray.get(scheduler.exchange.remote(push)), note=note
                ).run()


def _sweep_at(home: Home) -> tuple[Sweep, str | None]:
    """The sweep, and the URI of its results if they lie in a store."""
    with closing(Reader(home.ledger, home.name)) as reader:
        record = reader.sweep()
    return parse(record.spec, source="ledger", root=Path(record.root)), record.results


def first_line(error: BaseException) -> str:
    """What an exception says, in short."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
