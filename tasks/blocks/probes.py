"""Measurements of a network beyond its loss: trace and spectral density of the Hessian, the tangent kernel.

As in `fusion.derivatives`, a function f(x, *context) is written for one lane; `x`, a tree of tensors, and `context` are
given stacked, with lanes as their first axis (`Lanes.smooth` gives all three). Largest eigenvalues are
`derivatives.top_eigenvalue`. Random directions depend on `seed` alone and are the same in every lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...orchestrator.fusion.derivatives import hessian_vector, jacobian, ritz

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
