"""Where the best configuration lies at the edge of what was searched: the best may lie beyond, so it is censored."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, log2
from typing import Any, Literal

from ..orchestrator.spec import Sweep
from ..orchestrator.task import Choice, Int, Lattice, Parameter
from .words import assignments, plain

Side = Literal["low", "high"]

NEAR = 0.01  # the share of a continuous range that counts as its edge
MARK = "censored: at the edge of the range searched"


def edge(value: Any, shape: Parameter) -> Side | None:
    """At which end of its range a searched number lies, None inside it; words have no ends."""
    if isinstance(value, bool | str) or value is None or isnan(value):
        return None
    if isinstance(shape, Lattice | Choice):
        values = shape.values() if isinstance(shape, Lattice) else shape.choices
        if len(values) < 3 or any(isinstance(each, bool | str) or each is None for each in values):
            return None
        low, high = min(values), max(values)  # type: ignore[type-var]
        return "low" if value <= low else "high" if value >= high else None
    if isinstance(shape, Int) and shape.high - shape.low < 2 * shape.step:
        return None
    scale = log2 if shape.log else float
    low, high, here = scale(shape.low), scale(shape.high), scale(value)
    room = 0.0 if isinstance(shape, Int) else NEAR * (high - low)
    return "low" if here <= low + room else "high" if here >= high - room else None


def edges(params: Mapping[str, Any], sweep: Sweep) -> dict[str, Side]:
    """The parameters of a configuration that lie at an edge, and at which."""
    found: dict[str, Side] = {}
    for name, value in params.items():
        side = edge(value, sweep.search[name]) if name in sweep.search else None
        if side is not None:
            found[name] = side
    return found


def marked(params: Mapping[str, Any], sweep: Sweep) -> str:
    """The parameters with their values, those at an edge of their range said to be censored."""
    at = edges(params, sweep)
    shown = {
        name: f"{plain(value) if isinstance(value, float) else value} ({MARK})" if name in at else value
        for name, value in params.items()
    }
    return assignments(shown)
