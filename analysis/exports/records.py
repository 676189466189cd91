"""What exporters write: one trial as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ...orchestrator.messages import Cause, Scalar, State, TrialKey


class Point(NamedTuple):
    """One reported number; `time` in Unix seconds."""

    metric: str
    step: int
    value: float
    time: float


@dataclass(frozen=True, slots=True)
class TrialView:
    """A trial at one moment: RUNNING once it has reported something, or ended. Times are Unix seconds.

    `values` are the objectives, None where they are not known; `finals` the metrics it returned; `points` what it
    reported, by step; `facts` says where and how it ran.
    """

    key: TrialKey
    state: State
    params: Mapping[str, Scalar]
    points: tuple[Point, ...] = ()
    cause: Cause | None = None
    values: tuple[float | None, ...] = ()
    finals: Mapping[str, float] = field(default_factory=dict[str, float])
    started: float = 0.0
    ended: float | None = None
    steps: int | None = None
    mark: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def name(self) -> str:
        """`cell/configuration/replicate`."""
        return str(self.key)

    @property
    def last_step(self) -> int:
        """Where its final metrics belong: the last step that it reported, 0 when there is none."""
        return max((each.step for each in self.points), default=self.steps or 0)

    def closing(self) -> list[Point]:
        """Its final metrics as points at the last step, without those that were reported there already."""
        known = {(each.metric, each.step): each.value for each in self.points}
        step = self.last_step
        return [
            Point(name, step, value, self.ended or self.started)
            for name, value in self.finals.items()
            if known.get((name, step)) != value
        ]
