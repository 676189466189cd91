"""The trials that wait for a worker, and how many of them make a lease."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from ..messages import TrialKey

# A worker's way to the scheduler and back takes some ten milliseconds; trials of a second pay it every other time.
LEASE_SECONDS = 2.0
LEASE_TRIALS = 512


class TrialQueue:
    """Open trials that no worker holds. Those that may have killed a worker are leased alone, before the others."""

    def __init__(self, trials: Iterable[TrialKey] = ()) -> None:
        self._waiting = deque(trials)
        self._suspects: deque[TrialKey] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[TrialKey]:
        yield from self._suspects
        yield from self._waiting

    def add(self, trials: Iterable[TrialKey]) -> None:
        """Newly proposed trials."""
        self._waiting.extend(trials)

    def put_back(self, trials: Iterable[TrialKey]) -> None:
        """Trials of a lease that were not run; they keep their turn."""
        self._waiting.extendleft(reversed(list(trials)))

    def promote(self, trials: Iterable[TrialKey]) -> None:
        """Trials that go on after a rung: first, because a whole generation waits for them."""
        self.put_back(trials)

    def withdraw(self, trials: Collection[TrialKey]) -> set[TrialKey]:
        """Take out those of `trials` that wait here, for a worker that runs them already."""
        found = {trial for trial in self if trial in trials}
        if found:
            self._waiting = deque(trial for trial in self._waiting if trial not in found)
            self._suspects = deque(trial for trial in self._suspects if trial not in found)
        return found

    def suspect(self, trials: Iterable[TrialKey]) -> None:
        """Trials whose last attempt failed with its worker."""
        self._suspects.extend(trials)

    def leases(self, expected: Callable[[TrialKey], float | None]) -> int:
        """How many workers would find a lease worth its while here; `expected` as in `take`."""
        known = {cell: expected(trial) for cell, trial in {trial.cell: trial for trial in self._waiting}.items()}
        shares = {cell: 1.0 if cost is None else min(1.0, cost / LEASE_SECONDS) for cell, cost in known.items()}
        return len(self._suspects) + math.ceil(sum(shares[trial.cell] for trial in self._waiting))

    def take(self, workers: int, expected: Callable[[TrialKey], float | None]) -> list[TrialKey]:
        """The trials of one lease: about two seconds of work, and no more than this worker's share of what waits.

        `expected` tells the seconds a trial takes; one of unknown cost counts as a whole lease.
        """
        if self._suspects:
            return [self._suspects.popleft()]
        share = -(-len(self._waiting) // max(1, workers))
        trials: list[TrialKey] = []
        seconds = 0.0
        while self._waiting and len(trials) < min(share, LEASE_TRIALS) and seconds < LEASE_SECONDS:
            trial = self._waiting.popleft()
            trials.append(trial)
            cost = expected(trial)
            seconds += LEASE_SECONDS if cost is None else cost
        return trials
