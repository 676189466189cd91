"""Pure scheduling: decisions as `ScheduleState.handle(event) -> [instruction]`, without clock, I/O or randomness."""

from .plan import CellPlan, Plan
from .results import Decision, Observation, Snapshot
from .rungs import Rungs
from .state import ScheduleState

__all__ = ["CellPlan", "Decision", "Observation", "Plan", "Rungs", "ScheduleState", "Snapshot"]
