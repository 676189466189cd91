"""The coordinate check: do activations keep their size as a network gets wider, at the start and while it trains?

For every layer and step the slope of log2 of the activations' size on log2 of the width, by seed, with a t interval.
A parameterisation under which hyperparameters transfer keeps all of them flat (Yang et al. 2022, arXiv:2203.03466).
One exception is legitimate: before training, the last layer may shrink, as logits do under muP like width^-1/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ..orchestrator.errors import SwatheError
from .estimates import SEEDS
from .statistics import slope_weights, t_interval
from .words import signed

TOLERANCE = 0.15  # of a slope: over a 64-fold range less than a factor of two
COLUMNS = ("width", "seed", "layer", "depth", "step", "size")

Trend = Literal["flat", "grows", "shrinks", "undecided"]
Word = Literal["passes", "fails", "undecided"]


@dataclass(frozen=True, slots=True)
class CoordinateSlope:
    """How one layer's activations scale with width at one step: the power, its 95% interval (by seeds), the trend.

    `exempt`: the trend is legitimate, so it does not count.
    """

    layer: str
    step: int
    slope: float
    low: float
    high: float
    trend: Trend
    exempt: bool


@dataclass(frozen=True, slots=True)
class CoordinateVerdict:
    """`passes` when every layer is flat at every step, `fails` when one is not, else `undecided`."""

    verdict: Word
    slopes: tuple[CoordinateSlope, ...]
    seeds: int
    tolerance: float
    reasons: tuple[str, ...]


def judge_coordinates(sizes: pd.DataFrame, *, tolerance: float = TOLERANCE) -> CoordinateVerdict:
    """The verdict for a frame of sizes: columns width, seed, layer, depth (a layer's place), step (0: untrained), size.

    Raises `SwatheError` for a missing column, fewer than three widths, or a combination that was not measured.
    """
    if missing := [name for name in COLUMNS if name not in sizes.columns]:
        raise SwatheError(f"there is no column {missing[0]!r} among the sizes; they need {', '.join(COLUMNS)}")
    widths, seeds = sorted(set(sizes["width"])), sorted(set(sizes["seed"]))
    if len(widths) < 3:
        raise SwatheError(f"sizes were measured at {len(widths)} width(s); a slope that can be trusted takes 3")
    last = sizes["depth"].max()
    slopes: list[CoordinateSlope] = []
    for _, rows in sizes.groupby(["depth", "step"], sort=True):
        depth, step = rows["depth"].iloc[0], int(rows["step"].iloc[0])
        table = rows.pivot(index="seed", columns="width", values="size").reindex(index=seeds, columns=widths)
        exempt = depth == last and step == 0
        slopes.append(_slope(str(rows["layer"].iloc[0]), step, table.to_numpy(np.float64), widths, exempt))
    judged = tuple(_judged(each, tolerance) for each in slopes)
    word = _word(judged, len(seeds))
    return CoordinateVerdict(word, judged, len(seeds), tolerance, tuple(_reasons(word, judged, len(seeds), tolerance)))


def _slope(layer: str, step: int, table: np.ndarray, widths: Sequence[float], exempt: bool) -> CoordinateSlope:
    """The power law of one layer at one step from its sizes (seeds, widths)."""
    if np.isnan(table).any():
        raise SwatheError(f"layer {layer} lacks sizes at step {step}; measure every width with every seed")
    if not np.isfinite(table).all() or (table <= 0).any():
        # An explosion is growth beyond any power; a layer that is dead has none.
        slope = np.inf if not np.isfinite(table).all() else -np.inf
        return CoordinateSlope(layer, step, slope, slope, slope, "undecided", exempt)
    powers = np.log2(table) @ slope_weights(np.log2(np.array(widths, dtype=np.float64)))
    low, high = t_interval(powers, 0.95) if len(powers) > 1 else (-np.inf, np.inf)
    return CoordinateSlope(layer, step, float(powers.mean()), low, high, "undecided", exempt)


def _judged(found: CoordinateSlope, tolerance: float) -> CoordinateSlope:
    trend: Trend = "undecided"
    if found.low > tolerance:
        trend = "grows"
    elif found.high < -tolerance:
        trend = "shrinks"
    elif -tolerance < found.low and found.high < tolerance:
        trend = "flat"
    exempt = found.exempt and found.slope < tolerance
    return CoordinateSlope(found.layer, found.step, found.slope, found.low, found.high, trend, exempt)


def _word(slopes: Sequence[CoordinateSlope], seeds: int) -> Word:
    if seeds < SEEDS:
        return "undecided"
    counted = [each.trend for each in slopes if not each.exempt]
    if any(trend in ("grows", "shrinks") for trend in counted):
        return "fails"
    return "passes" if all(trend == "flat" for trend in counted) else "undecided"


def _reasons(word: Word, slopes: Sequence[CoordinateSlope], seeds: int, tolerance: float) -> list[str]:
    counted = [each for each in slopes if not each.exempt]
    steepest = max(counted, key=lambda each: abs(each.slope))
    told = [
        f"The steepest is layer {steepest.layer} at step {steepest.step}: its activations scale as"
        f" width^{signed(steepest.slope)} (95% interval {signed(steepest.low)} to {signed(steepest.high)}); flat means"
        f" within \N{PLUS-MINUS SIGN}{tolerance:g}."
    ]
    if seeds < SEEDS:
        told.append(f"{seeds} seed(s): at least {SEEDS} are needed for a verdict.")
    if any(each.exempt for each in slopes):
        told.append("The last layer before training is left out: it may start small at large widths.")
    if word == "undecided" and seeds >= SEEDS:
        open_ = [f"{each.layer} at step {each.step}" for each in counted if each.trend == "undecided"]
        told.append(f"Undecided: {', '.join(open_[:5])}. Measure more seeds, or wider networks.")
    return told
