"""A worker's line to its scheduler, which may die and have a successor. Knows nothing of Ray."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, sleep
from typing import Any

from .messages import Held, Push, Reply, WorkerInfo

RETRY_SECONDS = 0.5
ORPHANED = 3


class Unreachable(Exception):
    """There is no scheduler at the moment."""


class Link:
    """Sends pushes until they are acknowledged, by one scheduler or the next.

    `call(method, *arguments)` calls the scheduler and raises `Unreachable`. After a silence the worker introduces
    itself anew and says which lease it holds; what the ledger had taken in already is not sent again. A worker that has
    been without scheduler for `orphan` seconds ends its process, whatever it runs.
    """

    def __init__(self, info: WorkerInfo, call: Callable[..., Any], orphan: float) -> None:
        self._info = info
        self._call = call
        self._orphan = orphan
        self._pushes = 0
        self._held: Held | None = None

    def join(self) -> None:
        """Introduce the worker."""
        self._persist(self._introduce)

    def _introduce(self) -> int:
        committed: int = self._call("join", self._info)
        self._call("keep", self._info.worker, self._held)
        return committed

    def leave(self, clean: bool) -> None:
        """Say that the worker ends; `clean` as `Worker.run` returns it."""
        self._persist(lambda: self._call("leave", self._info.worker, clean))

    def exchange(self, push: Push) -> Reply:
        """The answer to `push`, which comes when it is committed."""
        self._pushes += 1
        sent = replace(push, number=self._pushes)
        known = True

        def once() -> Reply:
            nonlocal sent, known
            if not known:
                sent = self._rejoin(sent)
            # Whoever does not answer may have died before or after it committed.
            known = False
            return self._call("exchange", sent)

        reply = self._persist(once)
        self._acknowledge(sent)
        if reply.lease is not None:
            lease = reply.lease
            self._held = Held(lease.number, tuple(each.trial for each in lease.assignments), lease.fused)
        return reply

    def _rejoin(self, push: Push) -> Push:
        """Tell a scheduler who this is and what it runs; what of `push` has still to be said."""
        committed = self._call("join", self._info)
        if 0 < push.number <= committed:
            self._acknowledge(push)
            push = replace(push, outcomes=(), rows=(), capacity=None, number=0)
        self._call("keep", self._info.worker, self._held)
        return push

    def _acknowledge(self, push: Push) -> None:
        if self._held is not None and push.outcomes:
            done = {outcome.trial for outcome in push.outcomes}
            self._held = replace(self._held, trials=tuple(each for each in self._held.trials if each not in done))

    def _persist(self, attempt: Callable[[], Any]) -> Any:
        since: float | None = None
        while True:
            try:
                return attempt()
            except Unreachable:
                since = since or monotonic()
                if monotonic() - since > self._orphan:
                    # Its outcomes would come too late for anybody, and the node is wanted by others.
                    os._exit(ORPHANED)
                sleep(RETRY_SECONDS)
