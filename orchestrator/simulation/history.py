"""What a simulation leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ..messages import Cause, Scalar, State, TrialKey
from ..schedule import Decision, Plan
from .cluster import Cluster


class Arrival(NamedTuple):
    """The scheduler has learned that a trial paused or ended. `at` and `seconds` of training are simulated seconds.

    `epochs` are the steps trained since the checkpoint it started from, `value` the objective at step `steps`.
    """

    at: float
    trial: TrialKey
    state: State
    steps: int | None
    value: float | None
    seconds: float
    epochs: int


@dataclass(frozen=True)
class History:
    """A simulated sweep. Times are seconds, `work` and `lost` seconds of all workers together.

    `decisions` are the trials' final words, `params` those of every configuration by cell and in number order,
    `arrivals` in the order of time. `lost` is work that died with its worker, `retried` the attempts it took.
    `mailbox` is the share of its time in which the scheduler was busy with messages.
    """

    plan: Plan
    cluster: Cluster
    closed: str
    makespan: float
    lost: float
    retried: int
    messages: int
    mailbox: float
    decisions: Mapping[TrialKey, Decision]
    params: Mapping[str, Sequence[Mapping[str, Scalar]]]
    arrivals: Sequence[Arrival] = field(repr=False)

    @cached_property
    def work(self) -> float:
        """Seconds of training that led to a decision."""
        return sum(each.seconds for each in self.arrivals)

    @property
    def epochs(self) -> int:
        """Steps of training that led to a decision."""
        return sum(each.epochs for each in self.arrivals)

    @property
    def utilisation(self) -> float:
        """The share of all workers' time in which they trained what was needed."""
        return self.work / (self.cluster.workers * self.makespan) if self.makespan else 0.0

    @cached_property
    def states(self) -> Mapping[State, int]:
        """Trials by state."""
        return Counter(each.state for each in self.decisions.values())

    @cached_property
    def causes(self) -> Mapping[Cause, int]:
        """Failed trials by cause."""
        return Counter(each.cause for each in self.decisions.values() if each.cause)
