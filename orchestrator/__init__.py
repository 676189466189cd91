"""The public names of Swathe; everything else is internal. Loaded on first use, so that importing costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .claims import Claim, Estimate, Frames, Paper
    from .driver import Finished, Launch, run
    from .errors import SwatheError
    from .spec import Sweep, load
    from .task import Choice, Float, Int, Lattice, StopTrial, Task, Trial

_HOMES = {
    "Choice": "task",
    "Claim": "claims",
    "Estimate": "claims",
    "Finished": "driver",
    "Float": "task",
    "Frames": "claims",
    "Int": "task",
    "Lattice": "task",
    "Launch": "driver",
    "Paper": "claims",
    "StopTrial": "task",
    "Sweep": "spec",
    "SwatheError": "errors",
    "Task": "task",
    "Trial": "task",
    "load": "spec",
    "run": "driver",
}

__all__ = [
    "Choice",
    "Claim",
    "Estimate",
    "Finished",
    "Float",
    "Frames",
    "Int",
    "Lattice",
    "Launch",
    "Paper",
    "StopTrial",
    "SwatheError",
    "Sweep",
    "Task",
    "Trial",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"swathe.orchestrator has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
