"""How a layer's multiplier, deviation and rate scale with width, as one table of exponents.

A matrix W of a network computes m W x, begins at W = s Z with Z_ij ~ N(0, 1), and is trained by W <- W - eta r G with
the gradient G (SGD), or the gradient normalised by Adam. A parameterisation says how m, s and r scale with the width,
relative to a base width at which all of them are one network trained in one way (Yang et al. 2022, arXiv:2203.03466).

m -> c m, s -> s / c, r -> r / c^2 (SGD) or r / c (Adam) changes nothing: `mean_field` is `mup` with unit deviations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

# Powers of width / base width in: multiplier m, deviation s, rate r under SGD, rate r under Adam.
EXPONENTS = {
    "standard": {"input": (0, 0, 0, 0), "hidden": (0, -1 / 2, 0, 0), "output": (0, -1 / 2, 0, 0)},
    "ntk": {"input": (0, 0, 0, -1 / 2), "hidden": (-1 / 2, 0, 0, -1), "output": (-1 / 2, 0, 0, -1 / 2)},
    "mup": {"input": (0, 0, 1, 0), "hidden": (0, -1 / 2, 0, -1), "output": (-1, 0, 1, 0)},
    "mean_field": {"input": (0, 0, 1, 0), "hidden": (-1 / 2, 0, 1, -1 / 2), "output": (-1, 0, 1, 0)},
}


class Layer(NamedTuple):
    """One matrix W (outputs x inputs) with its multiplier m, deviation s and rate r."""

    shape: tuple[int, int]
    multiplier: float
    deviation: float
    rate: float


def scaled(role: str, base: Layer, ratio: float, parameterization: str, *, adaptive: bool) -> Layer:
    """`base`, which has the shape of the real width and the numbers of the base width, at width / base width = `ratio`.

    `role` is input, hidden or output; `adaptive` is whether it is trained by Adam.
    """
    m, s, sgd, adam = EXPONENTS[parameterization][role]
    r = adam if adaptive else sgd
    return Layer(base.shape, base.multiplier * ratio**m, base.deviation * ratio**s, base.rate * ratio**r)


class Matrix(nn.Module):
    """m W x for images or activations x (batch x inputs) -> (batch x outputs); W = s Z at the start."""

    multiplier: Tensor

    def __init__(self, layer: Layer, z: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.deviation * torch.randn(layer.shape, generator=z))
        self.register_buffer("multiplier", torch.tensor(layer.multiplier, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        return self.multiplier * linear(x, self.weight)


def mlp(layers: list[Layer], seed: int) -> nn.Sequential:
    """Matrices with rectifiers between them; the matrix of layer l is the module number 2 l.

    Z depends on seed and shapes alone: parameterisations share it.
    """
    z = torch.Generator().manual_seed(seed)
    first, *others = (Matrix(layer, z) for layer in layers)
    return nn.Sequential(first, *(part for matrix in others for part in (nn.ReLU(), matrix)))


def rates(layers: list[Layer]) -> Mapping[str, Mapping[str, float]]:
    """Each layer's r by its tensor's name in `mlp`, as the `scale` of an optimizer."""
    return {f"{2 * place}.weight": {"lr": layer.rate} for place, layer in enumerate(layers)}
