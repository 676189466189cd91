"""Tangent kernels of perceptrons: that of a network, and the one that all tend to as they grow wide.

Jacot, Gabriel, Hongler (2018), arXiv:1806.07572. A network is a mapping of its tensors: weights w0 (n_1 x n_0), w1, ...
and biases b0 (n_1), b1, ..., all of size 1, and `beta`, a number:

    a_0 = x        z_(l+1) = w_l a_l / sqrt(n_l) + beta b_l        a_l = sigma(z_l)        f = the last z
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Map = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, tuple[Map, Map]] = {  # sigma and its slope; the rectifier keeps variances from layer to layer
    "relu": (lambda z: 2**0.5 * z.relu(), lambda z: 2**0.5 * (z > 0).to(z.dtype)),
    "erf": (torch.erf, lambda z: 2 / math.pi**0.5 * (-z * z).exp()),
    "identity": (lambda z: z, torch.ones_like),
}


def moments(k: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] (N x N), u and v centred Gaussians with covariances k (N x N).

    Arc-cosine kernels of degrees 1 and 0 (Cho and Saul 2009); the arcsine kernel and its slope (Williams 1997).
    """
    a = k.diagonal()
    if activation == "relu":
        size = (a[:, None] * a).sqrt()
        angle = (k / size).clamp(-1, 1).arccos()
        return size * (angle.sin() + (math.pi - angle) * angle.cos()) / math.pi, (math.pi - angle) / math.pi
    if activation == "erf":
        both = (1 + 2 * a[:, None]) * (1 + 2 * a)
        return 2 / math.pi * (2 * k / both.sqrt()).arcsin(), 4 / math.pi / (both - 4 * k * k).sqrt()
    return k, torch.ones_like(k)


def limit_kernel(x: Tensor, layers: int, beta: float, activation: str) -> Tensor:
    """The tangent kernel (N x N) of infinite width at x (N x n_0), of so many matrices and one output."""
    sigma = theta = x @ x.mT / x.shape[1] + beta**2
    for _ in range(layers - 1):
        squares, slopes = moments(sigma, activation)
        sigma = squares + beta**2
        theta = theta * slopes + sigma
    return theta


def passed(of: Tensors, x: Tensor, activation: str) -> list[tuple[Tensor, Tensor]]:
    """a_l and z_(l+1) of every layer, each (N x its width), at x (N x n_0)."""
    a, found = x, list[tuple[Tensor, Tensor]]()
    while (w := of.get(f"w{len(found)}")) is not None:
        z = a @ w.mT / a.shape[1] ** 0.5 + of["beta"] * of[f"b{len(found)}"]
        found.append((a, z))
        a = ACTIVATIONS[activation][0](z)
    return found


def empirical_kernel(of: Tensors, x: Tensor, activation: str, parameterization: str = "ntk") -> Tensor:
    """The tangent kernel (N x N) of a network with one output at x (N x n_0); no Jacobian is formed.

    sum_l (a_l.a_l' / n_l + beta^2) (d_l.d_l') with d_l = df / dz_(l+1). In the `standard` parameterisation matrices are
    w_l / sqrt(n_l); that leaves the functions as they are, and a kernel without the division by n_l.
    """
    layers = passed(of, x, activation)
    d, theta = torch.ones_like(layers[-1][1]), x.new_zeros(len(x), len(x))
    for place, (a, _) in reversed(list(enumerate(layers))):
        share = 1 / a.shape[1] if parameterization == "ntk" else 1.0
        theta = theta + (share * (a @ a.mT) + of["beta"] ** 2) * (d @ d.mT)
        if place:
            d = d @ of[f"w{place}"] / a.shape[1] ** 0.5 * ACTIVATIONS[activation][1](layers[place - 1][1])
    return theta
