"""Why a verdict is what it is, and what would settle it, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .curves import Curves
from .drift import Slope
from .optima import Fit
from .statistics import half_width
from .words import signed, spoken

MOST_SEEDS = 100  # more than this is no advice


class Question(NamedTuple):
    """What was asked: the axis, the hyperparameter, the margin (octaves per doubling), the fewest seeds."""

    axis: str
    hyperparameter: str
    margin: float
    fewest: int


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
        yield _remedy(slope, question.margin)
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
    low, high = slope.interval(0.95)
    unit = f"octaves of {spoken(question.hyperparameter)} per doubling of {spoken(question.axis)}"
    if not slope.unbounded:
        yield f"The optimum moves by {signed(slope.value)} {unit} (95% interval {signed(low)} to {signed(high)})."
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
            yield (
                f"At {spoken(question.axis)} {names} the optimum is censored: it may lie {beyond} the values tried."
                f" Extend the range of {spoken(question.hyperparameter)} well {beyond} {2**edge:.3g} (2^{edge:g})."
            )


def _remedy(slope: Slope, margin: float) -> str:
    """How many more seeds would settle it if the estimate stays where it is, or that none would."""
    inside = abs(slope.value) < margin
    for seeds in range(slope.seeds + 1, MOST_SEEDS + 1):
        half = half_width(slope.spread(seeds), 0.90 if inside else 0.95)
        if abs(abs(slope.value) - margin) > half:
            outcome = "transfers" if inside else "drifts"
            return f"About {seeds - slope.seeds} more seed(s) would settle it as '{outcome}' if the estimate stays."
    if slope.from_grid > slope.from_seeds:
        return "More seeds would not settle it: the grid is too coarse. Halve its step around the optima."
    return f"The estimate is too near the margin of {margin:g}; more levels tell more than more seeds."
