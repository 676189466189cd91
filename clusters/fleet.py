"""The workers of a sweep on a cluster: as many as there is work for, where Ray finds room, from nodes that stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors

from ..orchestrator.actors import first_line
from ..orchestrator.home import Home
from ..orchestrator.mailbox import Mailbox
from ..orchestrator.messages import Held, Loss, Push, Reply, WorkerInfo
from . import nodes
from .posts import Post, Staffing, described, reason
from .sizing import Hire, Release, sized
from .wardens import Wardens
from .workers import ClusterWorker, worker_name

ROUND_SECONDS = 1.0
TELL_SECONDS = 2.0
# A place that is not found within this time is told with its reason.
PLACE_SECONDS = 5.0
# How long a successor waits for the workers of its predecessor before it gives their trials to others.
GATHER_SECONDS = 30.0
STARTS_IN_VAIN = 3
REPORTS_A_SECOND = 400.0


class Fleet:
    """Hires, releases and buries workers. For the event loop of the scheduler's actor."""

    def __init__(self, home: Home, staffing: Staffing, mailbox: Mailbox) -> None:
        self._home = home
        self._staffing = staffing
        self._mailbox = mailbox
        self._scheduler = mailbox.scheduler
        self._posts: dict[str, Post] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wardens = Wardens(home, self._posts)
        self._expected: set[str] = set()
        self._gathering = asyncio.Event()
        self._gathering.set()
        self._hired = 0
        self._in_vain = 0
        self._said = ""
        self._shortages: list[str] = []
        self._gone: set[str] = set()
        self._told = 0.0

    # What the scheduler's actor hears

    async def join(self, info: WorkerInfo, node: str) -> int:
        """A worker has come, or comes back; the number of its last push that is in the ledger."""
        post = self._posts.get(info.worker)
        if post is not None:
            post.info, post.node, post.busy, post.share = info, node, time.monotonic(), info.share
            self._in_vain, self._said = 0, ""
            # Nobody waits for the answer; a warden that is not there yet hears of it when it is.
            self._wardens.at(node).joined.remote(info)
        return self._scheduler.join(info)

    def keep(self, worker: str, held: Held | None) -> None:
        """A worker says which lease of an earlier scheduler it goes on with."""
        if held is not None:
            self._scheduler.keep(worker, held)
            if (post := self._posts.get(worker)) is not None and held.trials:
                post.trial, post.lanes = str(held.trials[0]), len(held.trials) if held.fused else 1
        self._expected.discard(worker)
        self._check_gathered()

    def heard(self, push: Push) -> None:
        """A worker has spoken."""
        if (post := self._posts.get(push.worker)) is not None:
            post.busy = time.monotonic()
            if push.running is not None:
                post.trial, post.lanes = str(push.running.trial), push.running.lanes
            if push.wants_lease:
                post.trial, post.lanes = "", 0

    def answered(self, worker: str, reply: Reply) -> None:
        """A worker has been given something, or nothing."""
        if (post := self._posts.get(worker)) is not None and reply.lease is not None:
            trials = [each.trial for each in reply.lease.assignments]
            post.trial = str(trials[0]) if trials else "a measurement"
            post.lanes = len(trials) if reply.lease.fused else 1

    def left(self, worker: str) -> None:
        """A worker ends of its own accord."""
        if worker in self._posts:
            self._posts[worker].ended = True

    async def gathered(self, worker: str) -> None:
        """Returns when no trial that waits may still be run by a worker of an earlier scheduler."""
        await self._gathering.wait()

    def _check_gathered(self) -> None:
        if not self._expected:
            self._gathering.set()

    # Life of the fleet

    def adopt(self, crew: Mapping[str, Any] | None) -> list[str]:
        """Take over the workers of an earlier scheduler, which will introduce themselves; returns their names.

        `crew` is what that scheduler has told of them.
        """
        prefix = worker_name(self._home.name, "")
        places = {each["worker"]: each["id"] for each in (crew or {}).get("workers", ())}
        found = [name for name in list_named_actors() if name and name.startswith(prefix)]
        for full in found:
            name = full.removeprefix(prefix)
            with suppress(ValueError):
                actor = ray.get_actor(full)
                # One that had not begun has forgotten that it was to; else this waits until it has ended.
                actor.run.remote()
                self._employ(Post(name, actor, time.monotonic(), node=places.get(name, "")))
                self._expected.add(name)
        if self._expected:
            self._gathering.clear()
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._gathering.set)
        return sorted(self._expected)

    def staffed(self) -> bool:
        """Whether anybody has to be waited for; while the sweep is open there is always somebody to come."""
        if self._scheduler.closed is None:
            return self._in_vain < STARTS_IN_VAIN or bool(self._posts)
        return any(post.info is not None for post in self._posts.values())

    def kill(self) -> None:
        """End all workers at once."""
        for post in self._posts.values():
            ray.kill(post.actor)

    def disband(self) -> None:
        """The sweep has ended: end those that have not come, for nobody would ever tell them. For good."""
        for task in self._tasks:
            task.cancel()
        for post in [each for each in self._posts.values() if each.info is None]:
            ray.kill(post.actor)
            del self._posts[post.name]

    async def govern(self) -> None:
        """Look after the fleet every second; never ends."""
        while True:
            self._reap()
            await self._see_nodes()
            self._size()
            await self._explain()
            if time.monotonic() - self._told >= TELL_SECONDS:
                await self._wardens.measure()
                self.tell()
            await asyncio.sleep(ROUND_SECONDS)

    def _reap(self) -> None:
        """Raise what went wrong with a worker's end: its trial would wait for it for ever."""
        for task in [each for each in self._tasks if each.done()]:
            self._tasks.discard(task)
            task.result()

    async def _see_nodes(self) -> None:
        """Workers on nodes that go hand back what they run."""
        try:
            going = await asyncio.to_thread(nodes.leaving)
        except (RayError, RuntimeError):
            # Ray's head is slow, or away for a moment.
            return
        for post in self._posts.values():
            if post.node in going and not post.leaving:
                self._release(post)

    def _release(self, post: Post) -> None:
        post.leaving = True
        self._scheduler.leave(post.name)
        self._mailbox.wake()

    def _size(self) -> None:
        """Hire as many as there is work for; let those go that have had none for a while."""
        over = self._scheduler.closed is not None or self._mailbox.draining or self._in_vain >= STARTS_IN_VAIN
        demand = {} if over else self._scheduler.demand
        for each in sized([*self._posts.values()], self._staffing, demand, time.monotonic()):
            match each:
                case Hire(share=share):
                    self._hire(share)
                case Release(post=post) if post.info is None:
                    ray.kill(post.actor)
                    post.leaving = True
                case Release(post=post):
                    self._release(post)

    def _hire(self, share: str) -> None:
        self._hired += 1
        name = f"w{self._scheduler.epoch}.{self._hired}"
        asked = self._staffing.shares[share]
        made = ray.remote(ClusterWorker).options(
            name=worker_name(self._home.name, name),
            lifetime="detached",
            max_restarts=0,
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            memory=asked.memory or None,
            resources=dict(asked.resources) or None,
        )
        push_seconds = max(1.0, len(self._posts) / REPORTS_A_SECOND)
        actor = made.remote(self._home, name, share, push_seconds, self._staffing.secrets)
        actor.run.remote()
        self._employ(Post(name, actor, time.monotonic(), share))

    def _employ(self, post: Post) -> None:
        self._posts[post.name] = post
        self._tasks.add(asyncio.create_task(self._attend(post)))

    async def _attend(self, post: Post) -> None:
        """Wait for a worker's end, and see what it means."""
        try:
            # In a queue behind what it does, so that the answer is its death.
            await post.actor.end.remote()
            why = "it was not dismissed"
        except RayError as error:
            why = reason(error)
        ray.kill(post.actor)
        loss = Loss(post.name) if post.ended else await self._wardens.lost(post)
        del self._posts[post.name]
        self._expected.discard(post.name)
        self._check_gathered()
        # Those that Ray had found no place for yet end with the scheduler that had hired them.
        if post.info is None and not post.leaving and not post.adopted:
            self._in_vain += 1
            self._said = f"workers do not start: {why}"
            if self._in_vain >= STARTS_IN_VAIN:
                self._mailbox.failure = self._said
                self._mailbox.draining = True
        self._mailbox.lose(loss)

    # What is told

    async def _explain(self) -> None:
        """Why workers are not placed."""
        waiting = [post for post in self._posts.values() if post.info is None and not post.leaving]
        late = [post.share for post in waiting if time.monotonic() - post.since > PLACE_SECONDS]
        shortages = [await self._shortage_of(share, waiting) for share in self._staffing.shares if share in late]
        self._shortages = [told for told in shortages if told]

    async def _shortage_of(self, share: str, waiting: Sequence[Post]) -> str:
        count = sum(post.share == share for post in waiting)
        try:
            told = await asyncio.to_thread(nodes.shortage, self._staffing.shares[share].asked)
        except Exception as error:
            # Ray's state API is down; the sweep does not depend on it.
            told = f"wait for a place ({type(error).__name__}: {first_line(error)})"
        return f"{count} worker{'s' * (count != 1)}: {told}" if told else ""

    def tell(self) -> None:
        """Write how the workers are into the ledger."""
        self._told = time.monotonic()
        late = [] if self._gathering.is_set() else sorted(self._expected)
        awaited = late and f"waits up to {GATHER_SECONDS:.0f} s for workers of an earlier scheduler: {', '.join(late)}"
        said = [text for text in (self._mailbox.failure or self._said, *self._shortages, awaited) if text]
        self._scheduler.tell({"workers": [described(post) for post in self._posts.values()], "said": said})
