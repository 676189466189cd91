"""How a layer's multiplier, deviation and rate scale with width and depth, as one table of exponents.

A matrix W of a network computes m W x, begins at W = s Z with Z_ij ~ N(0, 1), and is trained by W <- W - eta r G with
the gradient G (SGD), or the gradient normalised by Adam. A parameterisation says how m, s and r scale with the width,
relative to a base network, for which all are one network trained in one way (Yang et al. 2022, arXiv:2203.03466).
A vector, such as a bias, is a matrix of role "input" whose x is 1. Attention multiplies q.k by a power of the head's
size.

m -> c m, s -> s / c, r -> r / c^2 (SGD) or r / c (Adam) changes nothing: `mean_field` is `mup` with unit deviations.

With depth L the last matrix of a residual branch h + m W x has m ~ L^-alpha. An update of all L branches moves h by
L m r |dm/dW| ~ L^(1 - 2 alpha) r (SGD) or L m r ~ L^(1 - alpha) r (Adam), so that r ~ L^(2 alpha - 1) or L^(alpha - 1)
keeps it. `depth_mup` is alpha = 1/2 (Bordelon et al. 2023, arXiv:2309.16620; Yang et al. 2023, arXiv:2310.02244),
`completep` alpha = 1 (Dey et al. 2025, arXiv:2505.01618; it has rules for Adam's epsilon and weight decay, too, which
nothing here uses). The others ignore depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

# Powers of width / base width in: multiplier m, deviation s, rate r under SGD, rate r under Adam;
# of head size / base head size in the multiplier of q.k;
# of depth / base depth in: multiplier m of a branch, rates of its matrices under SGD and under Adam.
EXPONENTS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "standard": {
        "input": (0, 0, 0, 0),
        "hidden": (0, -1 / 2, 0, 0),
        "output": (0, -1 / 2, 0, 0),
        "attention": (-1 / 2,),
        "depth": (0, 0, 0),
    },
    "ntk": {
        "input": (0, 0, 0, -1 / 2),
        "hidden": (-1 / 2, 0, 0, -1),
        "output": (-1 / 2, 0, 0, -1 / 2),
        "attention": (-1 / 2,),
        "depth": (0, 0, 0),
    },
    "mup": {
        "input": (0, 0, 1, 0),
        "hidden": (0, -1 / 2, 0, -1),
        "output": (-1, 0, 1, 0),
        "attention": (-1,),
        "depth": (0, 0, 0),
    },
    "mean_field": {
        "input": (0, 0, 1, 0),
        "hidden": (-1 / 2, 0, 1, -1 / 2),
        "output": (-1, 0, 1, 0),
        "attention": (-1,),
        "depth": (0, 0, 0),
    },
}
EXPONENTS = {
    **EXPONENTS,
    "depth_mup": {**EXPONENTS["mup"], "depth": (-1 / 2, 0, -1 / 2)},
    "completep": {**EXPONENTS["mup"], "depth": (-1, 1, 0)},
}


class Layer(NamedTuple):
    """One matrix W (outputs x inputs) with its multiplier m, deviation s and rate r."""

    shape: tuple[int, int]
    multiplier: float
    deviation: float
    rate: float


class Scaling(NamedTuple):
    """A parameterisation, for Adam where `adaptive` and else for SGD, at a width and a depth."""

    parameterization: str
    adaptive: bool
    width: int
    base_width: int
    depth: int = 1
    base_depth: int = 1

    def layer(self, role: str, shape: tuple[int, int], deviation: float, multiplier: float = 1.0) -> Layer:
        """A matrix of `shape` whose deviation, multiplier and rate 1 are given for the base network; see `scaled`."""
        base, depth = Layer(shape, multiplier, deviation, 1.0), self.depth / self.base_depth
        ratio = self.width / self.base_width
        return scaled(role, base, ratio, self.parameterization, adaptive=self.adaptive, depth=depth)

    def attention(self, heads: int) -> float:
        """The factor of q.k: (head size)^-1/2 at the base width."""
        (power,) = EXPONENTS[self.parameterization]["attention"]
        return (self.base_width / heads) ** (-1 / 2) * (self.width / self.base_width) ** power


def scaled(role: str, base: Layer, ratio: float, parameterization: str, *, adaptive: bool, depth: float = 1.0) -> Layer:
    """`base`, which has the shape of the real width and the numbers of the base width, at width / base width = `ratio`
    and depth / base depth = `depth`.

    `role` is input, hidden or output; a hidden matrix in a residual branch is a branch when it is the last one there,
    and else inner. `adaptive` is whether it is trained by Adam.
    """
    table, inside = EXPONENTS[parameterization], role in ("inner", "branch")
    m, s, *r = table["hidden" if inside else role]
    rate = base.rate * ratio ** r[adaptive]
    multiplier = base.multiplier * ratio**m
    if inside:
        branch, *r = table["depth"]
        rate *= depth ** r[adaptive]
        multiplier *= depth**branch if role == "branch" else 1.0
    return Layer(base.shape, multiplier, base.deviation * ratio**s, rate)


class Matrix(nn.Module):
    """m W x for images or activations x (... x inputs) -> (... x outputs); W = s Z at the start.

    It knows the rate r of its training, by which curvature is measured, and does not use it.
    """

    multiplier: Tensor
    rate: Tensor

    def __init__(self, layer: Layer, z: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.deviation * torch.randn(layer.shape, generator=z))
        self.register_buffer("multiplier", torch.tensor(layer.multiplier, dtype=torch.float64))
        self.register_buffer("rate", torch.tensor(layer.rate, dtype=torch.float64))

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
    return named_rates({str(2 * place): layer for place, layer in enumerate(layers)})


def named_rates(layers: Mapping[str, Layer]) -> Mapping[str, Mapping[str, float]]:
    """Each layer's r by its tensor's name, where `layers` go by the names of their modules; as `rates`."""
    return {f"{name}.weight": {"lr": layer.rate} for name, layer in layers.items()}
