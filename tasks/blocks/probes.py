"""Measurements of a network beyond its loss: trace and spectral density of the Hessian, the tangent kernel.

All but `sharpness` are for lanes, as in `fusion.derivatives`: a function f(x, *context) is written for one lane; `x`, a
tree of tensors, and `context` are given stacked, with lanes as their first axis (`Lanes.smooth` gives all three).
Largest eigenvalues are `derivatives.top_eigenvalue`. Random directions depend on `seed` alone and are the same in every
lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...orchestrator.fusion.derivatives import hessian_vector, jacobian, ritz, top_eigenvalue
from ...orchestrator.fusion.substitutes import Inside

SMALLEST = 1e-12  # sqrt(v) of a dead unit is 0

Tree = dict[str, Tensor]
Function = Callable[..., Tensor]


class Density(NamedTuple):
    """A spectrum as points with weights that sum to 1 in each lane, both (lanes x points)."""

    values: Tensor
    weights: Tensor


class Trace(NamedTuple):
    """The mean of v.Hv over random v (lanes), and its standard error (lanes), NaN for one sample."""

    value: Tensor
    error: Tensor


def sharpness(
    f: Callable[[Any], Tensor], model: Any, *, iterations: int = 20, betas: tuple[float, float] | None = None
) -> Tensor:
    """The largest eigenvalue of P^(1/2) H P^(1/2), for the `metrics` of a program of one lane, whose model this is.

    H is the Hessian of f(model) in the model's matrices (`parameterization.Matrix`), P diag(r) with their rates r, and
    for Adam with these `betas` diag(r / sqrt(v)) with its bias-corrected v; NaN before the first update. Gradient
    descent is stable below 2 (1 + momentum) / lr, Adam below 2 (1 + beta_1) / (1 - beta_1) / lr (Cohen et al. 2021,
    arXiv:2103.00065; 2022, arXiv:2207.14484).
    """
    x = {name: w for name, w in model.tensors.items() if name.endswith("weight")}
    p = {name: model.tensors[name.removesuffix("weight") + "rate"] for name in x}
    if betas is not None:
        correction = (1 - betas[1] ** model.optimizer["t"].double()).sqrt()
        roots = {name: v.sqrt() / correction.to(v.dtype) for name, v in model.optimizer["v"].items()}
        p = {name: p[name] / roots[name].clamp(min=SMALLEST) for name in x}
    one, multipliers = ({name: tree[name].unsqueeze(0) for name in x} for tree in (x, p))
    always = torch.zeros((), dtype=torch.int64)
    # Fused attention has no second derivative; and the vector to begin from is to be the same in any lane and step.
    with Inside(always, always, lanes=True, smooth=True):
        top = top_eigenvalue(lambda w: f(model.at(w)), one, multipliers=multipliers, iterations=iterations)
    found = top.value.squeeze(0)
    return found if betas is None else torch.where(model.optimizer["t"] > 0, found, torch.nan)


def trace(f: Function, x: Tree, context: tuple[Any, ...] = (), *, samples: int = 16, seed: int = 0) -> Trace:
    """The trace of the Hessian by random signs (Hutchinson 1990)."""
    found = torch.stack([_inner(v, hessian_vector(f, x, v, *context)) for v in _signs(x, samples, seed)])
    return Trace(found.mean(0), found.std(0) / samples**0.5)


def spectral_density(
    f: Function,
    x: Tree,
    context: tuple[Any, ...] = (),
    *,
    iterations: int = 40,
    samples: int = 8,
    seed: int = 0,
) -> Density:
    """The spectral density of the Hessian by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017)."""
    found = [ritz(f, x, v, context, iterations=iterations) for v in _signs(x, samples, seed)]
    return Density(torch.cat([values for values, _ in found], 1), torch.cat([w for _, w in found], 1) / samples)


def tangent_kernel(f: Function, x: Tree, context: tuple[Any, ...] = ()) -> Tensor:
    """J J^T (lanes x outputs x outputs) for f with a tensor of outputs as value, its entries in their order."""
    rows = jacobian(f, x, *context)
    lanes = len(next(iter(x.values())))
    sizes = {name: tensor[0].numel() for name, tensor in x.items()}
    flat = (rows[name].reshape(lanes, -1, size) for name, size in sizes.items())
    return sum((j @ j.mT for j in flat), start=torch.zeros(()))


def _signs(x: Tree, samples: int, seed: int) -> Iterator[Tree]:
    z = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        drawn = {name: torch.randint(2, t.shape[1:], generator=z) * 2 - 1 for name, t in x.items()}
        yield {name: v.to(x[name]).expand_as(x[name]) for name, v in drawn.items()}


def _inner(a: Tree, b: Tree) -> Tensor:
    """(lanes)."""
    return torch.stack([(a[name] * b[name]).flatten(1).sum(1) for name in a]).sum(0)


def lane_by_lane(f: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
    """f(x), written for one lane and called once for each: LAPACK rounds by where in memory a matrix begins.

    Without a gradient.
    """
    return _LaneByLane.apply(f, x)  # pyright: ignore[reportReturnType]


class _LaneByLane(torch.autograd.Function):
    @staticmethod
    def forward(f: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
        return tuple(f(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing is kept."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], f: Any, x: Tensor) -> tuple[tuple[Tensor, ...], int]:
        """Each lane from memory of its own, which begins at a multiple of 64 bytes."""
        (_, dim) = in_dims
        lanes = x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
        found = [_LaneByLane.apply(f, lane.clone()) for lane in lanes]
        return tuple(map(torch.stack, zip(*found, strict=True))), 0
