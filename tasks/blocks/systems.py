"""Small systems for questions about scaling: a network at any width and depth, and what it learns.

The width and the depth are those of a `Scaling`; digits have mean |x|^2 = 64, which lr_transfer.py explains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import models
from .datasets import mnist5k_vectors, single_index
from .parameterization import Layer, Scaling, mlp
from .text import bible, pieces

PIXELS, CLASSES, NORM = 784, 10, 64.0
FEATURES, POINTS = 10, 64  # of the regression
KINDS, LENGTH, HEADS = 68, 32, 4  # characters of the text and of a piece of it, the transformer's heads

Examples = tuple[Tensor, Tensor]  # images and one-hot classes; x (N x 10) and y (N x 1); characters and the next ones


class System(NamedTuple):
    """A network, its examples to train on and others, how many of the former a training loss is measured on, and the
    losses (`losses.risk`) that fit."""

    layers: Callable[[Scaling], Mapping[str, Layer]]
    build: Callable[[Mapping[str, Layer], Scaling, int], nn.Module]
    examples: Callable[[], tuple[Examples, Examples]]
    probe: int
    losses: tuple[str, ...]


def regression() -> tuple[Examples, Examples]:
    """64 points to train on and 256 others."""
    x, y = single_index(5 * POINTS, FEATURES, torch.Generator().manual_seed(0))
    return (x[:POINTS], y[:POINTS]), (x[POINTS:], y[POINTS:])


def text() -> tuple[Examples, Examples]:
    """2^15 pieces of 32 characters to train on and 256 later ones."""
    return pieces(bible().train, LENGTH, 2**15), pieces(bible().held_out, LENGTH, 256)


SYSTEMS = {
    "mlp": System(
        lambda scaling: models.mlp_layers(scaling, PIXELS, CLASSES, NORM),
        lambda layers, _, seed: mlp([*layers.values()], seed),
        *(lambda: mnist5k_vectors(NORM), 1000, ("mse", "cross_entropy")),
    ),
    "residual": System(
        lambda scaling: models.residual_layers(scaling, FEATURES, 1),
        lambda layers, _, seed: models.Residual(layers, seed),
        *(regression, POINTS, ("mse",)),
    ),
    "transformer": System(
        lambda scaling: models.transformer_layers(scaling, KINDS, LENGTH),
        lambda layers, scaling, seed: models.Transformer(layers, HEADS, scaling.attention(HEADS), seed),
        *(text, 64, ("cross_entropy",)),
    ),
}
