"""The loop around a `Scheduler`: whatever has arrived by the time of a tick is committed as one. Without Ray."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .messages import Loss, Push, Reply, Suggestion
from .scheduler import HEARTBEAT_SECONDS, Scheduler
from .search import Request

BEHIND_PARTS = 8


class Mailbox:
    """Takes in what workers say and answers after the tick that commits it. For one event loop."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.draining = False
        self.failure: str | None = None
        self._mail: list[tuple[Push, asyncio.Future[Reply]]] = []
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._proposed: list[tuple[Request, tuple[Suggestion, ...]]] = []
        self._lost: list[Loss] = []
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._wake = asyncio.Event()

    async def exchange(self, push: Push) -> Reply:
        """Answered after the tick that commits the push, or when there is a lease for its worker."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._mail.append((push, answer))
        self._wake.set()
        return await answer

    def drain(self) -> None:
        """Start no more trials."""
        self.draining = True
        self._wake.set()

    def lose(self, loss: Loss) -> None:
        """A worker is gone."""
        self._lost.append(loss)
        self._waiting.pop(loss.worker, None)
        self._wake.set()

    def wake(self) -> None:
        """Something has changed that a tick is to look at."""
        self._wake.set()

    async def serve(self, staffed: Callable[[], bool], cancelled: Callable[[], None]) -> None:
        """Tick until the sweep is closed and its workers have gone, or `staffed` says that none will ever come.

        `cancelled` is called after each tick of a cancelled sweep. All results are in parts at the end.
        """
        beside = asyncio.create_task(self._search())
        self._compacting = asyncio.create_task(asyncio.sleep(0))
        try:
            while staffed() or self.scheduler.closed is None:
                await self._sleep()
                self._tick()
                if self.scheduler.closed == "cancelled":
                    cancelled()
                if not staffed() and self.scheduler.closed is None:
                    break
                await self._compact()
            await self._compacting
            await asyncio.to_thread(self.scheduler.compact, everything=True)
        finally:
            beside.cancel()
            await asyncio.wait([self._compacting])

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
        ticked = self.scheduler.tick([push for push, _ in mail], proposed=proposed, lost=lost, drain=self.draining)
        for worker, reply in ticked.replies.items():
            answer = self._waiting.pop(worker, None)
            if answer is not None and not answer.done():
                answer.set_result(reply)
        for request in ticked.requests:
            self._requests.put_nowait(request)

    async def _compact(self) -> None:
        """Write a part when one is due, while ticks go on; wait for it where the next one would be too large."""
        if self._compacting.done() or self.scheduler.due(BEHIND_PARTS):
            await self._compacting
        if self._compacting.done() and self.scheduler.due():
            self._compacting = asyncio.create_task(asyncio.to_thread(self.scheduler.compact))

    async def _search(self) -> None:
        """Proposals are made one after another in a thread, so that a slow sampler does not hold up reports."""
        due: deque[Request] = deque()
        while True:
            while not (due and self._requests.empty()):
                due.append(await self._requests.get())
            try:
                proposed = await asyncio.to_thread(self.scheduler.propose, due)
            except Exception as error:
                self.failure = f"the sampler failed on cell {due.popleft().cell}: {type(error).__name__}: {error}"
                self.draining = True
            else:
                self._proposed += proposed
            self._wake.set()
