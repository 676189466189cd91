"""Simulated loss curves: a basin with a slow left side and a cliff on the right, where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Landscape:
    """A loss over u = octaves from the optimum. `kind` "descent": (bias + noise that explodes at the cliff), as for
    SGD on a quadratic; "wall": falls until it diverges; "bowl": a parabola without a cliff."""

    kind: str = "descent"
    cliff: float = 1.0
    steepness: float = 0.5
    noise: float = 0.02
    jitter: float = 0.05

    def loss(self, u: NDArray[np.float64], cliff: NDArray[np.float64]) -> NDArray[np.float64]:
        """The loss, NaN where it diverges."""
        if self.kind == "bowl":
            return 0.1 * np.exp(0.5 * self.steepness * u**2)
        if self.kind == "wall":
            return np.where(u > 0, np.nan, 0.1 * 2.0 ** (-self.steepness * u))
        reach = 1 - 2.0**-cliff
        scale = self.steepness * reach**2
        inside = np.maximum(1 - 2.0 ** (u - cliff), 1e-9)
        loss = (2.0 ** (-self.steepness * u) + scale * 2.0**u / inside) / (1 + scale / reach)
        return np.where(u >= cliff, np.nan, np.minimum(0.1 * loss, 0.9))


@dataclass(frozen=True)
class Simulated:
    """Losses (seeds, levels, points) at `x` (points,) in octaves, for levels whose log2 is `levels`."""

    x: NDArray[np.float64]
    levels: NDArray[np.float64]
    loss: NDArray[np.float64]

    def frame(self) -> pd.DataFrame:
        """As a trials frame of axis `width` and hyperparameter `lr`."""
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
                "cause": np.where(diverged, "diverged", None),
                "value": value,
                "param.width": (2.0 ** self.levels[level]).astype(int),
                "param.lr": 2.0 ** self.x[point],
            }
        )


def simulate(
    rng: np.random.Generator,
    drift: float,
    seeds: int = 3,
    *,
    landscape: Landscape | None = None,
    points: int = 11,
    levels: int = 4,
) -> Simulated:
    """One study on a half-octave grid whose optimum moves by `drift` octaves a doubling; its phase is random."""
    land = landscape or Landscape()
    steps = np.arange(levels) - (levels - 1) / 2
    x = (np.arange(points) - points // 2) * 0.5
    optimum = rng.uniform(-0.25, 0.25) + drift * steps
    moved = optimum + land.jitter * (rng.normal(size=(seeds, levels)) + rng.normal(size=(seeds, 1))) / np.sqrt(2)
    cliff = np.maximum(land.cliff + 0.1 * rng.normal(size=(seeds, levels, 1)), 0.2)
    loss = land.loss(x - moved[..., None], cliff)
    shared = rng.normal(size=(seeds, 1, 1))
    return Simulated(x, np.arange(levels) + 6.0, loss * np.exp(land.noise * (shared + rng.normal(size=loss.shape))))


@pytest.fixture
def make_study() -> Callable[..., Simulated]:
    """`simulate`, for tests that cannot import it."""
    return simulate


@pytest.fixture
def make_landscape() -> Callable[..., Landscape]:
    """`Landscape`, for tests that cannot import it."""
    return Landscape


@pytest.fixture(scope="module")
def simulate_module() -> tuple[Callable[..., Simulated], Callable[..., Landscape]]:
    """`simulate` and `Landscape`, for fixtures of a whole module."""
    return simulate, Landscape
