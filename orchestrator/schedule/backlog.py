"""What waits for the workers of one share: the cells whose trials occupy the same, apart from all others.

No trial of one share waits for one of another, so each is asked for, packed and leased for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from ..events import ProposeGeneration, RecordCapacity
from ..messages import Held, TrialKey
from .packs import Packs
from .plan import Plan
from .proposals import Proposals
from .queue import TrialQueue
from .results import CellResults

Expected = Callable[[TrialKey], float | None]


class Backlog:
    """Generations to ask for, and the open trials that no worker holds; `undecided` counts those without final word."""

    def __init__(self, plan: Plan, cells: Mapping[str, CellResults], capacities: dict[str, int]) -> None:
        self.undecided = len(cells) * plan.configurations * plan.replicates
        self.packs = Packs(plan, cells, capacities)
        self.queue = TrialQueue()
        self._proposals = Proposals(plan, cells)

    def __iter__(self) -> Iterator[TrialKey]:
        yield from self.queue
        yield from self.packs

    def add(self, trials: Iterable[TrialKey]) -> None:
        """Newly proposed trials, or those of an earlier session."""
        self.queue.add(self.packs.gather(trials))

    def back(self, trials: Iterable[TrialKey]) -> None:
        """Trials of a lease that have not been run; they keep their turn."""
        self.queue.put_back(self.packs.back(trials))

    def promote(self, trials: Iterable[TrialKey]) -> None:
        """Trials that go on after a rung."""
        self.queue.promote(self.packs.gather(trials))

    def suspect(self, trials: Iterable[TrialKey]) -> None:
        """Trials that may have killed their worker."""
        self.queue.suspect(self.packs.back(trials))

    def withdraw(self, held: Held) -> set[TrialKey]:
        """Take out what a worker of an earlier session runs already, as far as it waits here."""
        return (self.packs if held.fused else self.queue).withdraw(held.trials)

    def settle(self) -> list[RecordCapacity]:
        """Form the packs that are due; what is to be recorded."""
        records, alone = self.packs.settle()
        self.queue.add(alone)
        return records

    def decided(self, trial: TrialKey) -> None:
        """A trial has its final word."""
        self.packs.left(trial)
        self.undecided -= 1
        self._proposals.offer(trial.cell)

    def proposed(self, cell: str) -> None:
        """One generation of `cell` that was asked for has come."""
        self._proposals.arrived()
        self._proposals.offer(cell)

    def ask(self, workers: int) -> Iterator[ProposeGeneration]:
        """Orders for more generations, for so many workers."""
        return self._proposals.ask(len(self.queue) + len(self.packs), workers)

    def leases(self, expected: Expected) -> int:
        """How many workers would find a lease worth its while here."""
        return self.queue.leases(expected) + self.packs.leases


class Backlogs(Mapping[str, Backlog]):
    """The backlog of each share, and which one a trial belongs to. What is recorded of a shape holds in all of them."""

    def __init__(self, plan: Plan, cells: Mapping[str, CellResults], capacities: Mapping[str, int]) -> None:
        self.capacities = dict(capacities)
        self._share = {cell.key: cell.share for cell in plan.cells}
        self._found = {
            share: Backlog(plan, {key: cell for key, cell in cells.items() if key in keys}, self.capacities)
            for share, keys in plan.shares.items()
        }

    def __getitem__(self, share: str) -> Backlog:
        return self._found[share]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    @property
    def undecided(self) -> int:
        """Trials without a final word."""
        return sum(backlog.undecided for backlog in self._found.values())

    @property
    def open(self) -> Collection[str]:
        """The shares that have any."""
        return [share for share, backlog in self._found.items() if backlog.undecided]

    def share(self, cell: str) -> str:
        """What the trials of a cell occupy."""
        return self._share[cell]

    def of(self, cell: str) -> Backlog:
        """The backlog of a cell."""
        return self._found[self._share[cell]]

    def restore(self, waiting: Iterable[TrialKey], decided: Iterable[TrialKey]) -> None:
        """Take in trials of earlier sessions."""
        for trial in decided:
            self.of(trial.cell).undecided -= 1
        grouped: dict[str, list[TrialKey]] = {}
        for trial in waiting:
            grouped.setdefault(self._share[trial.cell], []).append(trial)
        for share, trials in grouped.items():
            self._found[share].add(trials)

    def idle(self, worker: str, share: str | None, *, lost: bool = False) -> None:
        """A worker has come to the end of its lease, or to its own."""
        if share in self._found:
            self._found[share].packs.idle(worker, lost=lost)

    # The trials of one lease are of one share.

    def back(self, trials: Iterable[TrialKey]) -> None:
        """Trials of one lease have not been run."""
        if unrun := list(trials):
            self.of(unrun[0].cell).back(unrun)

    def suspect(self, trials: Iterable[TrialKey]) -> None:
        """Of the trials of one lease nobody knows which one was running when its worker died."""
        for trial in trials:
            self.of(trial.cell).queue.suspect([trial])

    def together(self, trials: Iterable[TrialKey]) -> list[TrialKey]:
        """Those trials of one lease that were leased as a pack."""
        return [each for trial in trials for each in self.of(trial.cell).packs.together([trial])]

    def settle(self) -> list[RecordCapacity]:
        """Form all packs that are due."""
        return [each for backlog in self._found.values() for each in backlog.settle()]

    def ask(self, workers: Callable[[str], int]) -> Iterator[ProposeGeneration]:
        """Orders for generations of every share, which has so many `workers`."""
        for share, backlog in self._found.items():
            yield from backlog.ask(workers(share))

    def demand(self, busy: Mapping[str | None, int], expected: Expected) -> dict[str, int]:
        """How many workers of each share could be at work: those that are, and one for each lease that waits.

        While it has undecided trials, one is always there.
        """
        return {
            share: max(int(backlog.undecided > 0), busy.get(share, 0) + backlog.leases(expected))
            for share, backlog in self._found.items()
        }
