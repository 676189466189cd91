"""Simulated studies of transfer whose truth is known: what the verdicts are calibrated on and `plan` predicts with.

Shapes and noise are those of real sweeps of the learning rate (`tasks/scaling/lr_transfer.yaml`): the loss falls
slowly towards the optimum and blows up beside it, 0.5-3% noise from seed to seed, a cliff that moves between seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .curves import Curve, Curves

Array = NDArray[np.float64]

HIGHEST = 0.9  # the loss is cut here, as a network that has learnt nothing is no worse
CLIFF_JITTER = 0.1  # octaves: how far a cliff moves from seed to seed and level to level


@dataclass(frozen=True)
class Landscape:
    """A loss over u = octaves from the optimum.

    `kind` "descent": bias plus noise that explodes at the cliff, as for SGD on a quadratic; "wall": falls until it
    diverges; "bowl": a parabola in the logarithm without a cliff. `cliff` is its distance from the optimum in octaves
    at the middle level, `narrowing` by how much it shrinks per doubling. `noise` is the relative standard deviation of
    a loss, `jitter` (octaves) that of where a seed's optimum lies.
    """

    kind: str = "descent"
    cliff: float = 1.0
    steepness: float = 0.5
    noise: float = 0.02
    jitter: float = 0.05
    narrowing: float = 0.0

    def loss(self, u: Array, cliff: Array) -> Array:
        """The loss at `u`, NaN where it diverges; `cliff` broadcasts against `u`."""
        if self.kind == "bowl":
            return 0.1 * np.exp(0.5 * self.steepness * u**2)
        if self.kind == "wall":
            return np.where(u > 0, np.nan, 0.1 * 2.0 ** (-self.steepness * u))
        reach = 1 - 2.0**-cliff
        scale = self.steepness * reach**2
        inside = np.maximum(1 - 2.0 ** (u - cliff), 1e-9)
        loss = (2.0 ** (-self.steepness * u) + scale * 2.0**u / inside) / (1 + scale / reach)
        return np.where(u >= cliff, np.nan, np.minimum(0.1 * loss, HIGHEST))


LANDSCAPES = (
    Landscape(cliff=0.5),
    Landscape(cliff=1.0),
    Landscape(cliff=1.5, noise=0.05),
    Landscape(cliff=1.0, narrowing=0.15),
    Landscape("wall", steepness=0.3, jitter=0.1),
    Landscape("bowl", steepness=0.3),
)


@dataclass(frozen=True)
class Design:
    """A sweep's size: `levels` of the axis, `spacing` doublings apart, `points` of the hyperparameter, `step` octaves
    apart, `seeds`."""

    levels: int = 5
    points: int = 9
    step: float = 0.5
    seeds: int = 5
    spacing: float = 1.0

    @property
    def trials(self) -> int:
        """All of its trials."""
        return self.levels * self.points * self.seeds

    @property
    def doublings(self) -> Array:
        """The levels (levels,) in doublings from the middle one."""
        return (np.arange(self.levels, dtype=np.float64) - (self.levels - 1) / 2) * self.spacing

    @property
    def x(self) -> Array:
        """The points (points,) in octaves from the middle one."""
        return (np.arange(self.points, dtype=np.float64) - (self.points - 1) / 2) * self.step


@dataclass(frozen=True)
class Study:
    """Losses (seeds, levels, points), NaN where a trial diverged, at `x` (points,) in octaves for levels whose log2 is
    `levels`."""

    x: Array
    levels: Array
    loss: Array

    def curves(self, seeds: int | None = None) -> Curves:
        """What `curves.gather` makes of its frame, without the frame; of the first `seeds` seeds, else of all."""
        cost = np.where(np.isnan(self.loss), np.inf, np.log(self.loss))[:seeds]
        levels = tuple(Curve(float(2.0**level), self.x, cost[:, k]) for k, level in enumerate(self.levels))
        return Curves(levels, len(cost), True, 1.0, False, (), {})

    def frame(self, axis: str = "width", hyperparameter: str = "lr") -> pd.DataFrame:
        """As a frame of trials."""
        seeds, levels, points = self.loss.shape
        seed, level, point = (index.ravel() for index in np.indices((seeds, levels, points)))
        value = self.loss.ravel()
        diverged = np.isnan(value)
        return pd.DataFrame(
            {
                "cell": np.char.add("w", level.astype(str)),
                "configuration": point,
                "replicate": seed,
                "state": np.where(diverged, "FAIL", "COMPLETE"),
                "cause": ["diverged" if each else None for each in diverged],
                "value": value,
                f"param.{axis}": (2.0 ** self.levels[level]).astype(int),
                f"param.{hyperparameter}": 2.0 ** self.x[point],
            }
        )


def simulate(rng: np.random.Generator, drift: float, land: Landscape, design: Design) -> Study:
    """One study whose optimum moves by `drift` octaves a doubling; where it lies between grid points is random."""
    seeds, levels, steps = design.seeds, design.levels, design.doublings
    optimum = rng.uniform(-0.5, 0.5) * design.step + drift * steps
    moved = optimum + land.jitter * (rng.normal(size=(seeds, levels)) + rng.normal(size=(seeds, 1))) / np.sqrt(2)
    cliff = land.cliff - land.narrowing * steps[:, None] + CLIFF_JITTER * rng.normal(size=(seeds, levels, 1))
    loss = land.loss(design.x - moved[..., None], np.maximum(cliff, 0.2))
    shared = rng.normal(size=(seeds, 1, 1))
    noisy = loss * np.exp(land.noise * (shared + rng.normal(size=loss.shape)))
    return Study(design.x, steps - steps[0] + 6.0, noisy)
