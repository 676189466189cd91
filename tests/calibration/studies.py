"""What the verdict makes of simulated studies: one at a time, and many on all cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np

from swathe.analysis.drift import Slope, drift
from swathe.analysis.looks import corrected
from swathe.analysis.optima import fit_levels
from swathe.analysis.polynomial import checks
from swathe.analysis.simulated import LANDSCAPES, Design, Study, simulate
from swathe.analysis.transfer import RULE, Rule, decide
from swathe.orchestrator.waves import looks

from .oracle import interval

LEVELS, POINTS = 5, 9  # the recommended design
ROOM = 2.0  # octaves that its grid reaches beyond the outermost optima

Job = TypeVar("Job")
Result = TypeVar("Result")


class Case(NamedTuple):
    """A study to simulate: its truth, its seeds, and its number, which decides landscape and noise."""

    drift: float
    seeds: int
    number: int
    thorough: bool = False


class Judged(NamedTuple):
    """What was found: the drift with its 95% interval, the verdict and how many seeds it took.

    `oracle` and `parabola` are 95% intervals of the oracle and of the weighted parabola, in thorough cases only.
    """

    case: Case
    value: float
    low: float
    high: float
    word: str
    seeds: int
    oracle: tuple[float, float] | None = None
    parabola: tuple[float, float] | None = None

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low <= self.case.drift <= self.high


def design_of(drift: float, seeds: int) -> Design:
    """The recommended design: its grid is as wide as the drift asks for, with half octaves at least."""
    return Design(LEVELS, POINTS, max(0.5, ((LEVELS - 1) * abs(drift) + 2 * ROOM) / (POINTS - 1)), seeds)


def drawn(case: Case) -> tuple[Study, Design]:
    """The study of a case; landscapes take turns."""
    design = design_of(case.drift, case.seeds)
    rng = np.random.default_rng([round(1000 * case.drift), case.seeds, case.number])
    return simulate(rng, case.drift, LANDSCAPES[case.number % len(LANDSCAPES)], design), design


def settled(study: Study, seeds: int, rule: Rule) -> tuple[Slope, tuple[float, float], str]:
    """The drift, its interval and the verdict from the first `seeds` seeds."""
    slope = drift(fit_levels(study.curves(seeds)), seeds)
    wide = slope.interval(rule.drifts)
    return slope, wide, decide(wide, slope.interval(rule.transfers), rule.margin, seeds)


def judged(case: Case) -> Judged:
    """One case, judged once at its end."""
    study, design = drawn(case)
    slope, (low, high), word = settled(study, case.seeds, RULE)
    found = Judged(case, slope.value, low, high, word, case.seeds)
    if not case.thorough:
        return found
    curves = study.curves()
    parabola = checks(curves.curves, fit_levels(curves))[0]
    told = None if parabola.low is None or parabola.high is None else (parabola.low, parabola.high)
    land = LANDSCAPES[case.number % len(LANDSCAPES)]
    return found._replace(oracle=interval(study, case.drift, land, design), parabola=told)


def stopped(case: Case) -> Judged:
    """One case that ends at the first look which decides it."""
    study, _ = drawn(case)
    rule = corrected(RULE, case.seeds)
    for seeds in looks(case.seeds):
        slope, (low, high), word = settled(study, seeds, rule)
        if word != "undecided":
            break
    return Judged(case, slope.value, low, high, word, seeds)


def on_all_cores(task: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
    """The results in the order of the jobs."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        return pool.map(task, list(jobs), chunksize=50)
