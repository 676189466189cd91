"""What workers ask of a cluster, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayError

from ..orchestrator.messages import WorkerInfo


@dataclass(frozen=True, slots=True)
class Share:
    """The share of a node that a worker asks Ray for (`memory` in bytes), and how many such workers there may be."""

    cpus: float
    gpus: float = 0.0
    memory: int = 0
    workers: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def asked(self) -> dict[str, float]:
        """In Ray's words."""
        share = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory), **self.resources}
        return {name: much for name, much in share.items() if much}


@dataclass(frozen=True, slots=True)
class Staffing:
    """The shares that trials occupy, by name, how many workers there may be in all, and variables of the nodes.

    Searches count with so many `threads`.
    """

    shares: Mapping[str, Share]
    workers: int | None = None
    threads: int = 1
    secrets: tuple[str, ...] = ()

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Staffing:
        """From plain values, as a request carries them."""
        shares = {name: Share(**share) for name, share in told["shares"].items()}
        return cls(shares, told["workers"], told["threads"], tuple(told["secrets"]))

    def allotted(self, demand: Mapping[str, int]) -> dict[str, int]:
        """How many workers each share is to have for so much demand.

        One after another gets one more until there is no demand or no room; those that need most of a node come first.
        """
        most = {
            name: min([demand.get(name, 0)] + ([] if share.workers is None else [share.workers]))
            for name, share in self.shares.items()
        }
        room = sum(most.values()) if self.workers is None else self.workers
        found = dict.fromkeys(sorted(most, key=lambda name: _needs(self.shares[name]), reverse=True), 0)
        while room > 0 and (short := [name for name in found if found[name] < most[name]]):
            fewest = min(short, key=lambda name: found[name])
            found[fewest] += 1
            room -= 1
        return found


def _needs(share: Share) -> tuple[float, int, float]:
    return share.gpus, share.memory, share.cpus


@dataclass(slots=True)
class Post:
    """A worker, from the moment when Ray is asked for it; `info` and `node` are known once it has come.

    Of one that an earlier scheduler has hired the share is not known before, either, and `node` is the beginning of its
    id, or "" where that scheduler had not seen it come.
    """

    name: str
    actor: Any
    since: float
    share: str | None = None
    info: WorkerInfo | None = None
    node: str = ""
    trial: str = ""
    lanes: int = 0
    busy: float = 0.0
    leaving: bool = False
    ended: bool = False
    cores: float | None = None
    gpus: float | None = None

    @property
    def adopted(self) -> bool:
        """Whether an earlier scheduler has hired it and it has not introduced itself to this one."""
        return self.share is None


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
        "share": post.share or "",
        "trial": post.trial,
        "lanes": post.lanes,
        "cores": post.cores,
        "gpus": post.gpus,
    }


def reason(error: RayError) -> str:
    """The line of a Ray error that says what was wrong."""
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "error:" in line]
    return (telling or lines or [type(error).__name__])[-1][:500]
