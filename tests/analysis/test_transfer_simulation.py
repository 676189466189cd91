"""The verdict on simulated studies whose truth is known: its intervals cover, and it is hardly ever wrong.

Half-octave grids of 11 or 13 points and 4 levels; basins with a cliff 0.5 to 1.5 octaves right of the optimum, a loss
that simply falls until it diverges, and a wide symmetric bowl; 2% noise, a cliff that moves from seed to seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from swathe.analysis.curves import Curve, Curves
from swathe.analysis.drift import drift
from swathe.analysis.optima import fit_levels
from swathe.analysis.transfer import MARGIN, decide

DRIFTS = (0.0, 0.1, 0.25, 0.5, 1.0)
LANDSCAPES = (
    {"cliff": 0.5},
    {"cliff": 1.0},
    {"cliff": 1.5, "noise": 0.05},
    {"kind": "wall", "steepness": 0.3, "jitter": 0.1},
    {"kind": "bowl", "steepness": 0.3},
)
REPEATS = 10


class Judged(NamedTuple):
    drift: float
    covered: bool
    word: str


def once(study, true: float) -> Judged:
    cost = np.where(np.isnan(study.loss), np.inf, np.log(study.loss))
    seeds = len(cost)
    levels = tuple(Curve(float(2**level), study.x, cost[:, k]) for k, level in enumerate(study.levels))
    slope = drift(fit_levels(Curves(levels, seeds, True, 1.0, False, (), {})), seeds)
    low, high = slope.interval(0.95)
    return Judged(true, low <= true <= high, decide((low, high), slope.interval(0.90), MARGIN, seeds))


@pytest.fixture(scope="module", params=[3, 5], ids=["3 seeds", "5 seeds"])
def results(request) -> tuple[int, list[Judged]]:
    rng = np.random.default_rng(20)
    make, land = request.getfixturevalue("simulate_module")
    found = [
        once(make(rng, true, request.param, landscape=land(**options), points=13 if true == 1.0 else 11), true)
        for true in DRIFTS
        for options in LANDSCAPES
        for _ in range(REPEATS)
    ]
    return request.param, found


def share(found: list[Judged], word: str, *drifts: float) -> float:
    return float(np.mean([each.word == word for each in found if each.drift in drifts]))


def test_the_95_percent_interval_covers(results):
    _, found = results
    assert np.mean([each.covered for each in found]) >= 0.94
    for true in DRIFTS:
        assert np.mean([each.covered for each in found if each.drift == true]) >= 0.88


def test_a_verdict_is_hardly_ever_wrong(results):
    _, found = results
    assert share(found, "transfers", 0.25, 0.5, 1.0) <= 0.02
    assert share(found, "drifts", 0.0, 0.1) <= 0.02


def test_clear_cases_are_decided(results):
    seeds, found = results
    assert share(found, "transfers", 0.0) >= (0.6 if seeds == 3 else 0.75)
    assert share(found, "drifts", 0.5, 1.0) >= 0.85
