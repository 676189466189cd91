"""What a schedule knows of its trials, as records: final words, what views show, and what restores a state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..messages import Cause, Pause, State, Suggestion, TrialKey


class Decision(NamedTuple):
    """A trial's final word. `value` is None unless it is COMPLETE or PRUNED; `steps` is the last one reported.

    `others` are its values of further objectives, as many as the plan names.
    """

    state: State
    cause: Cause | None
    value: float | None
    steps: int | None = None
    others: tuple[float | None, ...] = ()


class Observation(NamedTuple):
    """What a view shows of one configuration: state, cause and the mean value over its successful replicates.

    RUNNING stands for unfinished; FAIL with cause None for a configuration that only its surroundings made fail.
    `steps` is the lowest last step among its pruned replicates; `others` the means of further objectives.
    """

    state: State
    cause: Cause | None
    value: float | None
    steps: int | None = None
    others: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The durable part of a state: what the ledger must hold to continue a sweep.

    `proposals` are (cell, generation, suggestions) in the order of generations; `decisions` the decided trials;
    `pauses` those of trials in generations that are not decided, in order; `charges` the charged attempts of open
    trials; `leases` the number of leases granted so far; `capacities` the lanes of each shape that were decided on.
    """

    proposals: tuple[tuple[str, int, tuple[Suggestion, ...]], ...] = ()
    decisions: Mapping[TrialKey, Decision] = field(default_factory=dict[TrialKey, Decision])
    pauses: tuple[Pause, ...] = ()
    charges: Mapping[TrialKey, int] = field(default_factory=dict[TrialKey, int])
    leases: int = 0
    capacities: Mapping[str, int] = field(default_factory=dict[str, int])


def observed(decisions: Sequence[Decision]) -> Observation:
    """What a view shows of a configuration whose replicates were decided so (at least one).

    COMPLETE or PRUNED when at least half of them succeeded, with means over those.
    """
    good = [decision for decision in decisions if decision.cause is None]
    if 2 * len(good) >= len(decisions):
        pruned = [decision.steps or 0 for decision in good if decision.state is State.PRUNED]
        value, *others = (_mean(each) for each in zip(*((each.value, *each.others) for each in good), strict=True))
        state = State.PRUNED if pruned else State.COMPLETE
        return Observation(state, None, value, min(pruned, default=None), tuple(others))
    causes = [decision.cause for decision in decisions if decision.cause]
    for cause in (Cause.DIVERGED, Cause.USER_ERROR):
        if cause in causes:
            return Observation(State.FAIL, cause, None)
    return Observation(State.FAIL, None, None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
