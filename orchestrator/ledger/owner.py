"""Who drives a sweep, and whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from ..errors import SweepLive

HEARTBEAT_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Owner:
    """The driver that owns a sweep, so that a later one on the same machine can tell whether it still lives."""

    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def gone(self) -> bool:
        """Whether the owner is known to be dead: same machine, and no such process any more."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def refuse_live(name: str, owner: Mapping[str, Any], heartbeat: float, now: float) -> None:
    """Raise `SweepLive` when `owner` may still be driving the sweep; an empty owner drives nothing."""
    if not owner or now - heartbeat > HEARTBEAT_LIMIT or Owner(**owner).gone():
        return
    raise SweepLive(
        f"sweep {name} is being driven by process {owner['pid']} on {owner['host']}, which was alive "
        f"{max(0.0, now - heartbeat):.0f} s ago; look at it with `swathe status {name}`, or replace it with --takeover"
    )
