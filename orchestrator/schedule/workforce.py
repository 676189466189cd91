"""Which workers there are, and what each of them holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..messages import Assignment, Calibration, Lease, TrialKey


class Workforce:
    """Workers are idle, or hold one lease; a lease holds the trials in it that have not been reported."""

    def __init__(self, leases: int = 0) -> None:
        self.leases = leases
        self._held: dict[str, tuple[int, dict[TrialKey, int]]] = {}
        self._known: dict[str, str] = {}
        # By share, longest first, and counted: at every event there may be ten thousand workers that it does not touch.
        self._idle: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._counts: Counter[str] = Counter()
        self._leaving: dict[str, None] = {}

    def share(self, worker: str) -> str | None:
        """The share of a worker; None for one that is not known."""
        return self._known.get(worker)

    def count(self, share: str) -> int:
        """How many workers of a share there are."""
        return self._counts[share]

    def idle(self, share: str) -> str | None:
        """The worker of a share that has waited longest for a lease and is to stay; None where all are at work."""
        return next((worker for worker in self._idle[share] if worker not in self._leaving), None)

    @property
    def holders(self) -> Sequence[str]:
        """Workers that hold a lease."""
        return list(self._held)

    @property
    def busy(self) -> bool:
        """Whether any worker holds a lease."""
        return bool(self._held)

    def held(self) -> Iterator[TrialKey]:
        """Every trial in a lease."""
        for _, trials in self._held.values():
            yield from trials

    def holds(self, worker: str, lease: int | None) -> bool:
        """Whether `lease` is the one that `worker` holds now."""
        return worker in self._held and self._held[worker][0] == lease

    def wait(self, worker: str, share: str) -> Mapping[TrialKey, int]:
        """The worker is idle; what it had not run of its last lease comes back, with attempts."""
        self._know(worker, share)
        self._idle[share][worker] = None
        return self._held.pop(worker, (0, {}))[1]

    def lose(self, worker: str) -> tuple[int, Mapping[TrialKey, int]]:
        """The worker is gone; its lease and what it held."""
        self._forget(worker)
        self._leaving.pop(worker, None)
        return self._held.pop(worker, (0, {}))

    def stop(self) -> list[tuple[str, int, dict[TrialKey, int]]]:
        """Every lease is void; which worker held it, its number, and its unreported trials in their order."""
        held = [(worker, lease, trials) for worker, (lease, trials) in self._held.items()]
        self._held.clear()
        return held

    def keep(self, worker: str, share: str, lease: int, trials: Mapping[TrialKey, int]) -> None:
        """The worker holds a lease of an earlier session."""
        self._know(worker, share)
        self._held[worker] = (lease, dict(trials))

    def leave(self, worker: str) -> None:
        """The worker is to go when it comes to the end of its lease."""
        self._leaving[worker] = None

    def leaves(self, worker: str) -> bool:
        """Whether it is to go."""
        return worker in self._leaving

    def grant(
        self,
        worker: str,
        assignments: tuple[Assignment, ...],
        *,
        fused: bool = False,
        calibration: Calibration | None = None,
    ) -> Lease:
        """Give an idle worker its next lease."""
        del self._idle[self._known[worker]][worker]
        self.leases += 1
        self._held[worker] = (self.leases, {each.trial: each.attempt for each in assignments})
        return Lease(self.leases, worker, assignments, fused, calibration)

    def take(self, worker: str, lease: int, trial: TrialKey) -> bool:
        """Take a reported trial out of the worker's lease; False when it is not in it (any more)."""
        return self.holds(worker, lease) and self._held[worker][1].pop(trial, None) is not None

    def dismiss(self, wanted: Collection[str] = ()) -> list[str]:
        """Send the idle workers away that are to leave, or whose share is none of those `wanted`."""
        gone = [worker for share, idle in self._idle.items() if share not in wanted for worker in idle]
        gone += [worker for worker in self._leaving if worker not in gone and self._waits(worker)]
        for worker in gone:
            self._leaving.pop(worker, None)
            self._forget(worker)
        return gone

    def _waits(self, worker: str) -> bool:
        return worker in self._known and worker in self._idle[self._known[worker]]

    def _know(self, worker: str, share: str) -> None:
        if self._known.get(worker) == share:
            return
        self._forget(worker)
        self._known[worker] = share
        self._counts[share] += 1

    def _forget(self, worker: str) -> None:
        if (share := self._known.pop(worker, None)) is not None:
            self._counts[share] -= 1
            self._idle[share].pop(worker, None)

    def validate(self) -> None:
        """Check the invariants."""
        idle = {worker for each in self._idle.values() for worker in each}
        assert not idle & set(self._held), "a worker is idle or holds a lease"
        assert idle | set(self._held) <= set(self._known)
        assert +self._counts == Counter(self._known.values())
