"""Pure scheduling: decisions as `ScheduleState.handle(event) -> [instruction]`, without clock, I/O or randomness."""

from .curves import Curves, Percentile
from .facts import Decision, Observation, Snapshot, observed
from .plan import CellPlan, Plan
from .rungs import Rungs
from .state import ScheduleState

__all__ = [
    "CellPlan",
    "Curves",
    "Decision",
    "Observation",
    "Percentile",
    "Plan",
    "Rungs",
    "ScheduleState",
    "Snapshot",
    "observed",
]
