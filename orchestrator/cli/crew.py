"""The workers of a sweep on a cluster, as its ledger tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from .printing import duration, table

RETURNS = "the cluster starts it again as long as it lives; if not, submit the sweep again, and it goes on"

NEEDED = ("worker", "state", "device", "cores", "GPU")


@dataclass(frozen=True, slots=True)
class Hand:
    """One worker: what it does, where, how many cores it has used lately and how busy its GPUs are, from 0 to 1.

    None: not measured yet, or it has none.
    """

    worker: str
    state: str
    node: str
    device: str
    trial: str
    cores: float | None
    share: str = ""
    gpus: float | None = None


@dataclass(frozen=True, slots=True)
class Crew:
    """All workers, and what the scheduler has to say of them: why they do not start, what they wait for."""

    hands: tuple[Hand, ...]
    said: tuple[str, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any] | None, silent: float | None = None) -> Crew | None:
        """From the ledger; None for a sweep that is on no cluster. `silent` are the seconds without a scheduler."""
        if told is None:
            return None
        hands = tuple(_hand(each) for each in told.get("workers", ()))
        lost = () if silent is None else (f"its scheduler has been silent for {duration(silent)}; {RETURNS}",)
        return cls(hands, (*lost, *told.get("said", ())))

    def as_text(self) -> str:
        """In one line: `3 workers on 2 nodes: 2 running, 1 idle; 1.8 cores busy; GPUs 93% busy`."""
        states = Counter(hand.state for hand in self.hands)
        nodes = {hand.node for hand in self.hands if hand.node}
        counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        workers = f"{len(self.hands)} worker{'s' * (len(self.hands) != 1)}"
        if not nodes:
            return f"{workers}: {counted}" if counted else workers
        measured = [hand.cores for hand in self.hands if hand.cores is not None]
        used = f"; {sum(measured):.1f} cores busy" if measured else ""
        gpus = [hand.gpus for hand in self.hands if hand.gpus is not None]
        used += f"; GPUs {sum(gpus) / len(gpus):.0%} busy" if gpus else ""
        shares = Counter(hand.share for hand in self.hands)
        if len(shares) > 1:
            used += "".join(f"; {count} with {share}" for share, count in sorted(shares.items()))
        return f"{workers} on {len(nodes)} node{'s' * (len(nodes) != 1)}: {counted}{used}"

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        hands = [{name: getattr(hand, name) for name in Hand.__slots__} for hand in self.hands]
        return {"workers": hands, "said": list(self.said)}

    def rows(self, room: int) -> Table | None:
        """At most `room` workers as a table, those at work first; None where there is no room for any."""
        if room < 2 or not self.hands:
            return None
        on_gpus = any(hand.gpus is not None for hand in self.hands)
        extra = ("GPU",) if on_gpus else ()
        shown = table("worker", "state", "node", "device", "cores", *extra, "trial", right=("cores", *extra))
        ranked = sorted(self.hands, key=lambda hand: (hand.state != "running", hand.state))
        for hand in ranked[: room - 1]:
            cores = "-" if hand.cores is None else f"{hand.cores:.1f}"
            busy = ("-" if hand.gpus is None else f"{hand.gpus:.0%}",) if on_gpus else ()
            shown.add_row(hand.worker, hand.state, hand.node, hand.device, cores, *busy, hand.trial)
        for column in shown.columns:
            # Where it is narrow, the names of nodes give way.
            if column.header in NEEDED:
                column.min_width = max(map(len, map(str, [column.header, *column.cells])))
        return shown


def _hand(told: Mapping[str, Any]) -> Hand:
    node = f"{told['node']} {told['id']}".strip()
    lanes = f" and {told['lanes'] - 1} more" if told.get("lanes", 0) > 1 else ""
    return Hand(
        told["worker"],
        told["state"],
        node,
        told["device"],
        f"{told['trial']}{lanes}",
        told["cores"],
        told.get("share", ""),
        told.get("gpus"),
    )
