"""Looking at a sweep several times without fooling oneself: what each look's confidence has to be.

Pocock (1977): every look uses one nominal level, chosen so that all of them together err no more often than one look
would. The critical value follows from the joint distribution of the estimates at the looks, whose variances fall as
1 / replicates; it is integrated exactly, look by look (Armitage, McPherson, Rowe 1969), so it is a pure function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from ..orchestrator.waves import looks
from .transfer import Rule

POINTS = 401  # of the grid on which a density is integrated
FAR = 8.0  # standard deviations that stand in for infinity


def corrected(rule: Rule, seeds: int) -> Rule:
    """The rule that every look at a sweep of at most `seeds` replicates uses; `rule` itself when there is one look."""
    at = looks(seeds)
    two = nominal(at, 1 - rule.drifts, two_sided=True)
    # Equivalence is a pair of one-sided tests, each at half of what its interval leaves outside.
    one = nominal(at, (1 - rule.transfers) / 2, two_sided=False)
    return replace(rule, drifts=1 - two, transfers=1 - 2 * one)


@cache
def nominal(at: Sequence[int], level: float, *, two_sided: bool) -> float:
    """The level of each look such that all looks, after `at` replicates, err with probability `level` together."""
    if len(at) == 1:
        return level
    critical: Any = brentq(lambda c: _crossing(at, c, two_sided) - level, 0.5, FAR / 2, xtol=1e-10)
    return float(norm.sf(critical)) * (2 if two_sided else 1)


def _crossing(at: Sequence[int], critical: float, two_sided: bool) -> float:
    """The probability that a standardised mean of normal numbers crosses `critical` at one of the looks."""
    grid, weights = _region(at[0], critical, two_sided)
    density = norm.pdf(grid, scale=np.sqrt(at[0])) * weights
    for before, now in pairwise(at):
        new, weights = _region(now, critical, two_sided)
        density = (norm.pdf(new[:, None] - grid[None], scale=np.sqrt(now - before)) @ density) * weights
        grid = new
    return 1.0 - float(density.sum())


def _region(n: int, critical: float, two_sided: bool) -> tuple[np.ndarray, np.ndarray]:
    """The sums of `n` numbers with which one goes on, and the weights of Simpson's rule on them."""
    high = critical * np.sqrt(n)
    grid = np.linspace(-high if two_sided else -FAR * np.sqrt(n), high, POINTS)
    weights = np.where(np.arange(POINTS) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return grid, weights * (grid[1] - grid[0]) / 3
