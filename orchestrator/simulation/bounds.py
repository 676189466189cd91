"""How short a sweep's makespan could be at best: no schedule of the same decisions on the same workers is shorter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..messages import TrialKey
from ..schedule import Plan
from .history import History


def lower_bound(history: History) -> float:
    """The larger of the work divided by the workers, and the longest chain of things that wait for each other, in
    seconds."""
    return max(history.work / history.cluster.workers, longest_chain(history.plan, stretches(history)))


def stretches(history: History) -> dict[TrialKey, list[float]]:
    """The seconds of training of each trial, from pause to pause."""
    found: dict[TrialKey, list[float]] = defaultdict(list)
    for each in history.arrivals:
        found[each.trial].append(each.seconds)
    return found


def longest_chain(plan: Plan, seconds: Mapping[TrialKey, Sequence[float]]) -> float:
    """Seconds on the longest chain: a generation meets at each rung, and with a model it waits for earlier ones."""
    lengths: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for trial, parts in seconds.items():
        lengths[trial.cell, trial.configuration // plan.generation].append(list(parts))
    by_cell: dict[str, dict[int, float]] = defaultdict(dict)
    for (cell, generation), trials in lengths.items():
        by_cell[cell][generation] = _meetings(trials)
    return max((_last_end(plan, each) for each in by_cell.values()), default=0.0)


def _meetings(trials: Iterable[list[float]]) -> float:
    """Seconds until the last of a generation's trials has ended, when all meet after each part."""
    longest: list[float] = []
    for parts in trials:
        longest.extend([0.0] * (len(parts) - len(longest)))
        for place, part in enumerate(parts):
            longest[place] = max(longest[place], part)
    return sum(longest)


def _last_end(plan: Plan, lengths: Mapping[int, float]) -> float:
    """Seconds until a cell's last generation has ended, on workers without limit."""
    if not plan.sequential:
        return max(lengths.values(), default=0.0)
    ends: list[float] = []
    for generation in range(max(lengths, default=-1) + 1):
        begin = max(ends[: max(0, generation - plan.lag)], default=0.0)
        ends.append(begin + lengths.get(generation, 0.0))
    return max(ends, default=0.0)
