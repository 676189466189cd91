"""How good the decisions of a simulated sweep are, judged by what every configuration would truly reach."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from ..messages import State, TrialKey
from .course import Workload
from .history import History

TOP = 0.01


class Quality(NamedTuple):
    """Means over cells, in units of the objective, 0 being best; None where nothing can be said.

    `regret` is what the configuration that the sweep shows as best misses of the best one proposed; `gap` what it
    misses of the best in the whole space, where that is known. `mispruned` is the share of the truly best hundredth
    of the configurations (at least one a cell) that were pruned.
    """

    regret: float | None
    gap: float | None
    mispruned: float | None


def judge(history: History, workload: Workload) -> Quality:
    """Judge the sweep's choice in each cell."""
    regrets: list[float] = []
    gaps: list[float] = []
    pruned: list[bool] = []
    for cell in history.plan.cells:
        truths = true_values(history, workload, cell.key)
        ranked = sorted((badness(history, truth), number) for number, truth in enumerate(truths) if truth is not None)
        if not ranked:
            continue
        best = math.ceil(TOP * len(ranked))
        pruned += [_pruned(history, cell.key, number) for _, number in ranked[:best]]
        chosen = choice(history, cell.key)
        truth = None if chosen is None else truths[chosen]
        if truth is None:
            continue
        regrets.append(badness(history, truth) - ranked[0][0])
        if workload.optimum is not None:
            gaps.append(badness(history, truth) - badness(history, workload.optimum))
    return Quality(_mean(regrets), _mean(gaps), _mean(pruned))


def badness(history: History, value: float) -> float:
    """The value, lower being better."""
    return value if history.plan.minimize else -value


def true_values(history: History, workload: Workload, cell: str) -> list[float | None]:
    """What each proposed configuration of a cell truly reaches, in number order."""
    shared = next(each.params for each in history.plan.cells if each.key == cell)
    return [workload.truth({**shared, **params}) for params in history.params[cell]]


def choice(history: History, cell: str) -> int | None:
    """The configuration with the best mean objective among those of which at least half the trials completed."""
    values: dict[int, list[float]] = defaultdict(list)
    for trial, decision in history.decisions.items():
        if trial.cell == cell and decision.state is State.COMPLETE and decision.value is not None:
            values[trial.configuration].append(badness(history, decision.value))
    means = [(fmean(each), number) for number, each in values.items() if 2 * len(each) >= history.plan.replicates]
    return min(means)[1] if means else None


def _pruned(history: History, cell: str, configuration: int) -> bool:
    decisions = (
        history.decisions.get(TrialKey(cell, configuration, replicate)) for replicate in range(history.plan.replicates)
    )
    return any(each is not None and each.state is State.PRUNED for each in decisions)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


class Leader:
    """Which of several configurations looks best by its latest objective, lower being better."""

    def __init__(self) -> None:
        self._latest: dict[Hashable, float] = {}
        self.best: Hashable | None = None

    def update(self, configuration: Hashable, value: float) -> None:
        """A configuration has a new objective."""
        fallen = configuration == self.best and value > self._latest[configuration]
        self._latest[configuration] = value
        if fallen:
            self.best = min(self._latest, key=self._latest.__getitem__)
        elif self.best is None or value < self._latest[self.best]:
            self.best = configuration


class Incumbent(NamedTuple):
    """What was known at one moment: `epochs` steps trained so far, and the truth of what looked best then."""

    at: float
    epochs: int
    truth: float


def incumbents(history: History, workload: Workload) -> Iterator[Incumbent]:
    """What looked best after each arrival, in a sweep with one cell and one replicate."""
    cell, epochs, leader = history.plan.cells[0].key, 0, Leader()
    truths = true_values(history, workload, cell)
    for each in history.arrivals:
        epochs += each.epochs
        number = each.trial.configuration
        if each.value is not None and truths[number] is not None:
            leader.update(number, badness(history, each.value))
        truth = truths[leader.best] if isinstance(leader.best, int) else None
        if truth is not None:
            yield Incumbent(each.at, epochs, truth)
