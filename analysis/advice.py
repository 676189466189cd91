"""Why a verdict is what it is, and what would settle it, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .curves import Curves
from .drift import Slope
from .optima import Fit
from .polynomial import Check
from .scaling import Rates, Transferred
from .statistics import half_width
from .words import signed, spoken

MOST_SEEDS = 100  # more than this is no advice
ROOM = 2.0  # octaves: how far a grid should reach beyond an optimum


class Question(NamedTuple):
    """What was asked: the axis, the hyperparameter, the margin (octaves per doubling), the fewest seeds, and the
    confidence of the intervals by which an optimum drifts and transfers."""

    axis: str
    hyperparameter: str
    margin: float
    fewest: int
    confidence: tuple[float, float] = (0.95, 0.90)


def reasons(verdict: str, slope: Slope, fits: Sequence[Fit], curves: Curves, question: Question) -> tuple[str, ...]:
    """The sentences that go with a verdict, most important first."""
    return tuple(_sentences(verdict, slope, fits, curves, question))


def _sentences(verdict: str, slope: Slope, fits: Sequence[Fit], curves: Curves, question: Question) -> Iterator[str]:
    axis, hyperparameter = spoken(question.axis), spoken(question.hyperparameter)
    yield from _estimate(slope, question)
    yield from _censored(fits, curves, question)
    if curves.seeds < question.fewest:
        yield f"{curves.seeds} seed(s) at every {axis}: at least {question.fewest} are needed for a verdict."
    elif verdict == "undecided" and not slope.unbounded:
        yield _remedy(slope, question)
    known = {fit.level for fit in fits}
    for curve in curves.curves:
        if curve.level not in known:
            yield (
                f"{axis} {curve.level:g} is left out: it was tried at {len(curve.x)} value(s) of"
                f" {hyperparameter}, and 3 are needed."
            )
    if len(fits) < 3:
        yield f"{len(fits)} value(s) of {axis} can be compared; 3 or more show whether the drift is a line."
    if curves.scattered:
        yield f"Each {axis} has its own values of {hyperparameter}; one lattice for all would tell more."
    if curves.varying:
        yield f"Trials also differ in {', '.join(curves.varying)}; their losses are averaged at each value tried."
    if unfinished := sum(curves.excluded.get(state, 0) for state in ("waiting", "running")):
        yield f"Provisional: {unfinished} trial(s) have not ended."


def _estimate(slope: Slope, question: Question) -> Iterator[str]:
    wide = question.confidence[0]
    low, high = slope.interval(wide)
    unit = f"octaves of {spoken(question.hyperparameter)} per doubling of {spoken(question.axis)}"
    if not slope.unbounded:
        interval = f"{100 * wide:.3g}% interval {signed(low)} to {signed(high)}"
        yield f"The optimum moves by {signed(slope.value)} {unit} ({interval})."
    elif slope.unbounded == {"low"}:
        yield f"The optimum moves by at most {signed(high)} {unit}; how far below that is not known."
    elif slope.unbounded == {"high"}:
        yield f"The optimum moves by at least {signed(low)} {unit}; how far above that is not known."


def _censored(fits: Sequence[Fit], curves: Curves, question: Question) -> Iterator[str]:
    for side, beyond, extreme in (("low", "below", min), ("high", "above", max)):
        levels = [fit for fit in fits if fit.censored == side]
        if levels:
            names = ", ".join(f"{fit.level:g}" for fit in levels)
            edge = extreme(curves.at(fit.level).x[0 if side == "low" else -1] for fit in levels)
            reach = extreme(_foreseen(fits, fit.level, edge) for fit in levels)
            target = extreme(edge, reach) + (-ROOM if side == "low" else ROOM)
            target = np.floor(target) if side == "low" else np.ceil(target)
            yield (
                f"At {spoken(question.axis)} {names} the optimum is censored: it may lie {beyond} the values tried,"
                f" which end at {2**edge:.3g} (2^{edge:g}). Extend the grid of {spoken(question.hyperparameter)} to"
                f" {2**target:.3g} (2^{target:g})."
            )


def _foreseen(fits: Sequence[Fit], level: float, otherwise: float) -> float:
    """Where a line through the optima that are known puts that of `level`; `otherwise` with fewer than two of them."""
    known = [(np.log2(fit.level), fit.full) for fit in fits if fit.censored is None]
    if len(known) < 2:
        return otherwise
    x, y = np.array(known).T
    slope, start = np.polyfit(x, y, 1)
    return float(start + slope * np.log2(level))


def beside(
    slope: Slope,
    others: Sequence[Check],
    costs: Sequence[Transferred],
    speeds: Rates | None,
    question: Question,
) -> tuple[str, ...]:
    """What other estimators say where they contradict, and what transfer costs beside what scaling gains."""
    return (*_contradictions(slope, others), *_costs(costs, speeds, question))


def _contradictions(slope: Slope, others: Sequence[Check]) -> Iterator[str]:
    low, high = slope.interval(0.95)
    for check in others:
        if check.drift is None or check.low is None or check.high is None or slope.unbounded:
            continue
        if check.low > high or check.high < low:
            yield (
                f"A {check.name} reads the drift as {signed(check.drift)} ({signed(check.low)} to"
                f" {signed(check.high)}), apart from the interval above: the basin is no polynomial, or its shape"
                " changes along the axis. Look at the curves."
            )


def _costs(costs: Sequence[Transferred], speeds: Rates | None, question: Question) -> Iterator[str]:
    if costs and costs[0].relative is not None and costs[0].relative < np.inf:
        # Where scaling gains next to nothing the share is a number without a meaning.
        share = f"{costs[0].relative:.2%}" if costs[0].relative <= 1 else "more than all"
        yield (
            f"Reusing the optimum of {spoken(question.axis)} {costs[0].level:g} at the largest gives up"
            f" {share} of what scaling gains."
        )
    if speeds is not None:
        word = {True: "Transfer is fast", False: "Transfer is not fast", None: "Whether transfer is fast is undecided"}
        yield (
            f"{word[speeds.fast]}: the regret falls as {spoken(question.axis)}^{signed(-speeds.regret)}, the gap to the"
            f" largest as ^{signed(-speeds.gap)} (difference of powers {signed(speeds.low)} to {signed(speeds.high)})."
        )


def _remedy(slope: Slope, question: Question) -> str:
    """How many more seeds would settle it if the estimate stays where it is, or that none would."""
    margin, (wide, narrow) = question.margin, question.confidence
    inside = abs(slope.value) < margin
    for seeds in range(slope.seeds + 1, MOST_SEEDS + 1):
        half = half_width(slope.spread(seeds), narrow if inside else wide)
        if abs(abs(slope.value) - margin) > half:
            outcome = "transfers" if inside else "drifts"
            return f"About {seeds - slope.seeds} more seed(s) would settle it as '{outcome}' if the estimate stays."
    if slope.from_grid > slope.from_seeds:
        return "More seeds would not settle it: the grid is too coarse. Halve its step around the optima."
    return f"The estimate is too near the margin of {margin:g}; more levels tell more than more seeds."
