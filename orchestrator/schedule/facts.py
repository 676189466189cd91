"""What a schedule knows of its trials, as records: final words, what views show, and what restores a state."""

from __future__ import annotations

from collections.abc import Mapping
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
