"""Which workers there are, and what each of them holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..messages import Assignment, Calibration, Lease, TrialKey


class Workforce:
    """Workers are idle, or hold one lease; a lease holds the trials in it that have not been reported."""

    def __init__(self, leases: int = 0) -> None:
        self.leases = leases
        self._held: dict[str, tuple[int, dict[TrialKey, int]]] = {}
        self._idle: dict[str, None] = {}
        self._known: dict[str, str] = {}
        # Asked at every event and every grant, so not counted anew among ten thousand workers.
        self._counts: Counter[str] = Counter()
        self._leaving: set[str] = set()

    def share(self, worker: str) -> str | None:
        """The share of a worker; None for one that is not known."""
        return self._known.get(worker)

    def count(self, share: str) -> int:
        """How many workers of a share there are."""
        return self._counts[share]

    @property
    def idle(self) -> Sequence[str]:
        """Workers that wait for a lease, longest first."""
        return [worker for worker in self._idle if worker not in self._leaving]

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
        self._idle[worker] = None
        return self._held.pop(worker, (0, {}))[1]

    def lose(self, worker: str) -> tuple[int, Mapping[TrialKey, int]]:
        """The worker is gone; its lease and what it held."""
        self._forget(worker)
        self._leaving.discard(worker)
        self._idle.pop(worker, None)
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
        self._leaving.add(worker)

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
        del self._idle[worker]
        self.leases += 1
        self._held[worker] = (self.leases, {each.trial: each.attempt for each in assignments})
        return Lease(self.leases, worker, assignments, fused, calibration)

    def take(self, worker: str, lease: int, trial: TrialKey) -> bool:
        """Take a reported trial out of the worker's lease; False when it is not in it (any more)."""
        return self.holds(worker, lease) and self._held[worker][1].pop(trial, None) is not None

    def dismiss(self, wanted: Collection[str] = ()) -> list[str]:
        """Send the idle workers away that are to leave, or whose share is none of those `wanted`."""
        gone = [worker for worker in self._idle if self._known[worker] not in wanted or worker in self._leaving]
        self._leaving.difference_update(gone)
        for worker in gone:
            del self._idle[worker]
            self._forget(worker)
        return gone

    def _know(self, worker: str, share: str) -> None:
        self._forget(worker)
        self._known[worker] = share
        self._counts[share] += 1

    def _forget(self, worker: str) -> None:
        if worker in self._known:
            self._counts[self._known.pop(worker)] -= 1

    def validate(self) -> None:
        """Check the invariants."""
        assert not set(self._idle) & set(self._held), "a worker is idle or holds a lease"
        assert set(self._idle) | set(self._held) <= set(self._known)
        assert +self._counts == Counter(self._known.values())
