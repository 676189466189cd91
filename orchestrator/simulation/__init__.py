"""Simulated sweeps: the real schedule and search under a simulated clock, over recorded or synthetic trials."""

from .bounds import lower_bound
from .cluster import Cluster
from .course import Course, Workload
from .engine import simulate
from .history import Arrival, History
from .quality import Quality, judge
from .synthetic import Knobs, Synthetic

__all__ = [
    "Arrival",
    "Cluster",
    "Course",
    "History",
    "Knobs",
    "Quality",
    "Synthetic",
    "Workload",
    "judge",
    "lower_bound",
    "simulate",
]
