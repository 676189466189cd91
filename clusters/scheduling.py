"""The scheduler of a sweep on a cluster: an actor that outlives whoever submitted it and comes back from the ledger."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback

import ray

from ..orchestrator.errors import LedgerError, OwnershipLost, SwatheError
from ..orchestrator.home import Home
from ..orchestrator.isolation import pinned_threads
from ..orchestrator.ledger import Owner
from ..orchestrator.mailbox import Mailbox
from ..orchestrator.messages import Held, Push, Reply, WorkerInfo
from ..orchestrator.scheduler import Scheduler
from .fleet import Fleet
from .posts import Staffing
from .workers import Stranger, require

OPEN_SECONDS = 600.0
RETRY_SECONDS = 2.0
LINGER_SECONDS = 60.0
CRASHED = 4


class ClusterScheduler:
    """A `Mailbox` and a `Fleet`. Its constructor takes little, because Ray repeats it when the actor is restarted."""

    def __init__(self, home: Home, staffing: Staffing, takeover: bool, epoch: int) -> None:
        """`epoch` is that of the ledger when this was submitted: a higher one is of an earlier life of this actor."""
        context = ray.get_runtime_context()
        self._home = home
        self._staffing = staffing
        self._takeover = takeover
        self._epoch = epoch
        self._again = False
        self._known: set[str] = set()
        self._ready = asyncio.Event()
        self._refusal: Exception | None = None
        self._self = context.current_actor
        # Ray constructs it inside its event loop. A call to itself would not do: Ray drops calls to an actor of which
        # the caller knows that it is being restarted, and a process may know that of itself.
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def started(self) -> None:
        """Returns when it owns the sweep. Raises `SwatheError` when it cannot."""
        await self._ready.wait()
        if self._refusal is not None:
            raise self._refusal

    async def join(self, info: WorkerInfo, node: str) -> int:
        """Introduce a worker; the number of its last push that is in the ledger."""
        await self.started()
        self._known.add(info.worker)
        return await self._fleet.join(info, node)

    async def keep(self, worker: str, held: Held | None) -> None:
        """A worker says which lease of an earlier scheduler it goes on with."""
        await self.started()
        self._fleet.keep(worker, held)

    async def exchange(self, push: Push) -> Reply:
        """A worker's call; answered after the tick that commits it, or when there is a lease for it.

        Raises `Stranger` when its caller has not noticed that its scheduler has a successor.
        """
        await self.started()
        if push.worker not in self._known:
            raise Stranger(f"worker {push.worker} has not introduced itself to scheduler {self._scheduler.epoch}")
        if push.wants_lease:
            await self._fleet.gathered(push.worker)
        self._fleet.heard(push)
        reply = await self._mailbox.exchange(push)
        self._fleet.answered(push.worker, reply)
        return reply

    async def leave(self, worker: str, clean: bool) -> None:
        """A worker ends of its own accord."""
        await self.started()
        self._fleet.left(worker)

    async def _run(self) -> None:
        """Run the sweep until it closes and its workers have gone; then end this process."""
        self._log("begins")
        try:
            await self._open()
        except Exception as error:
            if self._again and not isinstance(error, SwatheError):
                self._crash()
            # Whoever submits it is told.
            traceback.print_exc()
            self._refusal = error
            self._ready.set()
            await asyncio.sleep(LINGER_SECONDS)
            await self._end()
        try:
            await self._serve()
        except OwnershipLost as error:
            # Its workers are the successor's, or end by themselves.
            self._log(str(error))
        except BaseException:
            self._crash()
        await self._end()

    def _log(self, text: str) -> None:
        """Into Ray's log of this process, where whoever waits for the scheduler can read what it waits for."""
        print(f"{time.strftime('%H:%M:%S')} scheduler of {self._home.name}: {text}", file=sys.stderr, flush=True)

    def _crash(self) -> None:
        """Ray starts it again, which is a fresh look at the ledger; the traceback is in Ray's logs."""
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(CRASHED)

    async def _end(self) -> None:
        """End for good: not by `exit_actor`, which waits for calls of workers that are dead."""
        ray.kill(self._self)
        await asyncio.sleep(LINGER_SECONDS)

    async def _open(self) -> None:
        require(self._staffing.secrets)
        since = time.monotonic()
        home, owner = self._home, Owner.here()
        while True:
            try:
                record = home.record()
                self._again = record.epoch > self._epoch
                takeover = self._takeover or self._again
                self._scheduler = Scheduler(home.folder, home.ledger, owner=owner, takeover=takeover)
                break
            except LedgerError as error:
                # The database may be down for the same reason that this was started again.
                self._log(str(error))
                if time.monotonic() - since > OPEN_SECONDS:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
        self._mailbox = Mailbox(self._scheduler)
        self._fleet = Fleet(self._home, self._staffing, self._mailbox)
        adopted = self._fleet.adopt(record.crew)
        self._log(f"drives it in epoch {self._scheduler.epoch}, waits for {', '.join(adopted) or 'no earlier workers'}")
        self._ready.set()

    async def _serve(self) -> None:
        governing = asyncio.create_task(self._fleet.govern())
        try:
            with pinned_threads(self._staffing.threads):
                serving = asyncio.create_task(self._mailbox.serve(self._fleet.staffed, self._fleet.kill))
                await asyncio.wait([serving, governing], return_when=asyncio.FIRST_COMPLETED)
                if governing.done():
                    # It never ends by itself.
                    governing.result()
                await serving
            self._fleet.disband()
            self._fleet.tell()
        finally:
            governing.cancel()
            self._scheduler.close()
