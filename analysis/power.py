"""What a transfer study can find out, before it is run: simulated studies of its size through the real verdict.

Nobody knows the noise of a sweep beforehand, so the landscapes and the noise are those that the verdict is calibrated
on (`simulated`), in turn. A pure function of the design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .drift import drift
from .optima import fit_levels
from .simulated import LANDSCAPES, Design, simulate
from .transfer import Rule, decide

STUDIES = 30  # simulated at each drift
POWER = 0.8
DRIFTS = (0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)  # octaves per doubling, tried in this order
ROOM = 2.0  # octaves that a grid should reach beyond the outermost optima
SEEN = 0.5  # octaves per doubling: a grid should hold a drift like that of the standard parameterisation


@dataclass(frozen=True, slots=True)
class Power:
    """What a design can be expected to say. Drifts are octaves per doubling.

    `half_width`: median half-width of the interval by which an optimum drifts, when it stays put. `transfers`: the
    chance of the verdict *transfers* then. `detectable`: the smallest drift tried that is called *drifts* in 80% of
    studies or more, None when none is. `room`: the largest drift at which every optimum, starting from the middle of
    the grid, lies two octaves inside it; negative where not even steady optima do.
    """

    half_width: float
    transfers: float
    detectable: float | None
    room: float


def power(design: Design, rule: Rule) -> Power:
    """The power of a design judged by `rule`; a second or two."""
    steady = _judged(design, rule, 0.0)
    widths = [(high - low) / 2 for low, high, _ in steady]
    detectable = next((each for each in DRIFTS if _share(_judged(design, rule, each), "drifts") >= POWER), None)
    return Power(float(np.median(widths)), _share(steady, "transfers"), detectable, room(design))


def room(design: Design) -> float:
    """The largest drift, in octaves per doubling, that the grid of a design has room for."""
    span = (design.points - 1) * design.step - 2 * ROOM
    return span / ((design.levels - 1) * design.spacing)


def wanted(design: Design) -> int:
    """How many points of the same spacing hold a drift of `SEEN` octaves per doubling."""
    span = SEEN * (design.levels - 1) * design.spacing + 2 * ROOM
    return max(design.points, int(np.ceil(span / design.step - 1e-9)) + 1)


def _judged(design: Design, rule: Rule, true: float) -> list[tuple[float, float, str]]:
    found: list[tuple[float, float, str]] = []
    for number in range(STUDIES):
        land = LANDSCAPES[number % len(LANDSCAPES)]
        study = simulate(np.random.default_rng([round(1000 * true), number]), true, land, design)
        slope = drift(fit_levels(study.curves()), design.seeds)
        wide = slope.interval(rule.drifts)
        found.append((*wide, decide(wide, slope.interval(rule.transfers), rule.margin, design.seeds)))
    return found


def _share(found: Sequence[tuple[float, float, str]], word: str) -> float:
    return sum(each[2] == word for each in found) / len(found)
