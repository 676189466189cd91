"""What workers ask of a cluster, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayError

from ..orchestrator.messages import WorkerInfo


@dataclass(frozen=True, slots=True)
class Staffing:
    """What workers ask Ray for (`memory` in bytes), how many there may be, and the variables that nodes must have."""

    cpus: float
    gpus: float = 0.0
    memory: int = 0
    workers: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict[str, float])
    secrets: tuple[str, ...] = ()

    @property
    def asked(self) -> dict[str, float]:
        """The share of a node that a worker takes, in Ray's words."""
        share = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory), **self.resources}
        return {name: much for name, much in share.items() if much}


@dataclass(slots=True)
class Post:
    """A worker, from the moment when Ray is asked for it; `info` and `node` are known once it has come."""

    name: str
    actor: Any
    since: float
    info: WorkerInfo | None = None
    node: str = ""
    trial: str = ""
    lanes: int = 0
    busy: float = 0.0
    leaving: bool = False
    ended: bool = False
    cores: float | None = None


def described(post: Post) -> Mapping[str, Any]:
    """A worker for the ledger."""
    busy = "running" if post.trial else "idle"
    state = "starting" if post.info is None else "leaving" if post.leaving else busy
    return {
        "worker": post.name,
        "state": state,
        "node": post.info.node if post.info else "",
        "id": post.node[:8],
        "device": post.info.device if post.info else "",
        "trial": post.trial,
        "lanes": post.lanes,
        "cores": post.cores,
    }


def reason(error: RayError) -> str:
    """The line of a Ray error that says what was wrong."""
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "error:" in line]
    return (telling or lines or [type(error).__name__])[-1][:500]
