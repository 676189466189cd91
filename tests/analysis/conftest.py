"""Simulated studies for tests that cannot import a neighbour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from swathe.analysis.simulated import Design, Landscape, Study, simulate


def study_spec(seeds: int = 3) -> str:
    """The spec that `study` with its usual grid is the outcome of."""
    return f"""name: study
task: train.py:train
metric: train_loss
grid: {{width: [64, 128, 256, 512]}}
search: {{lr: {{log2: [-2.5, 2.5], num: 11}}}}
sampler: grid
seeds: {seeds}
"""


def study(
    rng: np.random.Generator,
    drift: float,
    seeds: int = 3,
    *,
    landscape: Landscape | None = None,
    points: int = 11,
    levels: int = 4,
) -> Study:
    """A simulated study on a half-octave grid whose optimum moves by `drift` octaves a doubling."""
    return simulate(rng, drift, landscape or Landscape(), Design(levels, points, 0.5, seeds))


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """`study`, for tests that cannot import it."""
    return study


@pytest.fixture
def make_landscape() -> Callable[..., Landscape]:
    """`Landscape`, for tests that cannot import it."""
    return Landscape


@pytest.fixture(scope="module")
def simulate_module() -> tuple[Callable[..., Study], Callable[..., Landscape]]:
    """`study` and `Landscape`, for fixtures of a whole module."""
    return study, Landscape
