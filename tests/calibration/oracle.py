"""The best that could be known: the drift by maximum likelihood from somebody who knows the shape and the noise.

The oracle knows the landscape, how far optima and cliffs move between seeds, and the noise; not how high the loss of a
level is, nor where its optimum lies. For every seed and level it computes the likelihood of each place of the optimum,
averaged over where cliff and optimum may have moved to, and profiles the drift over all of them together.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import logsumexp

from swathe.analysis.simulated import CLIFF_JITTER, Design, Landscape, Study

Array = NDArray[np.float64]

STEP = 0.02  # octaves between places that are weighed
REACH = 0.8  # octaves to either side of the truth
SLOPES = np.arange(-0.3, 0.3001, 0.004)  # drifts around the truth
DROP = 1.92  # of the log likelihood at the ends of a 95% interval: half the 95% quantile of chi-squared


def interval(study: Study, true: float, land: Landscape, design: Design) -> tuple[float, float]:
    """The oracle's 95% interval of the drift, by profile likelihood around the true one."""
    places = np.arange(-REACH, REACH + STEP / 2, STEP)
    starts = places[np.abs(places) <= REACH / 2]
    lines = starts[None, :, None] + SLOPES[:, None, None] * design.doublings
    spread = land.jitter / np.sqrt(2)  # half the variance is a seed's own, half that of a seed at a level
    total = np.zeros((len(SLOPES), len(starts)))
    for seed in range(design.seeds):
        mine = np.zeros_like(total)
        for level, middle in enumerate(true * design.doublings):
            logs = _blurred(_log(study, seed, level, middle + places, land, design)[None], spread)[0]
            mine += np.interp(lines[..., level], places, logs)
        total += _blurred(mine, spread)
    profile = total.max(axis=1)
    inside = SLOPES[profile >= profile.max() - DROP]
    half = (SLOPES[1] - SLOPES[0]) / 2
    return true + float(inside[0]) - half, true + float(inside[-1]) + half


def _log(study: Study, seed: int, level: int, places: Array, land: Landscape, design: Design) -> Array:
    """The log likelihood (places,) of one seed's curve, whatever its height, the optimum being at each place."""
    nodes, weights = hermegauss(7)
    middle = land.cliff - land.narrowing * design.doublings[level]
    cliffs = np.maximum(middle + CLIFF_JITTER * nodes, 0.2)[:, None, None]
    expected = land.loss(study.x[None, None] - places[None, :, None], cliffs)
    expected = np.broadcast_to(expected, (len(nodes), len(places), len(study.x)))
    seen = study.loss[seed, level]
    trained = ~np.isnan(seen)
    possible = (np.isnan(expected) == ~trained).all(axis=2)
    with np.errstate(invalid="ignore"):
        left = np.log(seen[trained]) - np.log(expected[..., trained])
    left -= left.mean(axis=2, keepdims=True)
    # A floor in place of zero, since seven cliffs stand in for all of them.
    logs = np.where(possible, -0.5 * (left**2).sum(axis=2) / land.noise**2, -60.0)
    return logsumexp(np.nan_to_num(logs, nan=-60.0) + np.log(weights / weights.sum())[:, None], axis=0)


def _blurred(logs: Array, spread: float) -> Array:
    """The log likelihoods (n, places) where each place is off by `spread` octaves, one standard deviation."""
    far = int(np.ceil(3 * spread / STEP))
    kernel = np.exp(-0.5 * (np.arange(-far, far + 1) * STEP / spread) ** 2)
    top = logs.max(axis=1, keepdims=True)
    padded = np.pad(np.exp(logs - top), ((0, 0), (far, far)), mode="edge")
    blurred = sum(weight * padded[:, k : k + logs.shape[1]] for k, weight in enumerate(kernel / kernel.sum()))
    return np.log(np.asarray(blurred) + 1e-300) + top
