"""Derivatives of a scalar function for all lanes at once: gradients, Hessian-vector products, Jacobians, sharpness.

A function f(x, *context) is written for one lane; `x` (a tree) and each of `context` are given stacked, with lanes as
their first axis. `Lanes.smooth` gives the three for a program's loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from .lane import Tensors
from .optim import spread

Function = Callable[..., Any]
Multipliers = Mapping[str, Tensor | float]
"""{name of a tensor in x: M}, positive: a number, one per lane (lanes), or a tensor of the stacked tensor's shape."""


class Top(NamedTuple):
    """The largest algebraic eigenvalue of each lane (lanes), its unit eigenvector as a tree, and |H v - value v|."""

    value: Tensor
    vector: Tensors
    residual: Tensor


def gradient(f: Function, x: Tensors, *context: Any) -> Tensors:
    """df/dx of every lane, stacked as x is."""
    return vmap(grad(f))(x, *context)


def hessian_vector(f: Function, x: Tensors, v: Tensors, *context: Any) -> Tensors:
    """H v of every lane, H the Hessian of f at x; v is stacked as x is.

    As the gradient of <df/dx, v>. Forward over reverse would do with less memory, but in torch 2.13 it fails for
    `mse_loss` and `huber_loss`.
    """

    def along(x: Tensors, v: Tensors, *context: Any) -> Tensor:
        slope = grad(f)(x, *context)
        return reduce(torch.add, ((slope[name] * v[name]).sum() for name in x))

    return vmap(grad(along))(x, v, *context)


def jacobian(f: Function, x: Tensors, *context: Any) -> Any:
    """d f(x)_i / d x_j of every lane, for f with tensors as values: (lanes x shape of f x shape of the tensor in x)."""
    return vmap(jacrev(f))(x, *context)


def top_eigenvalue(
    f: Function,
    x: Tensors,
    context: tuple[Any, ...] = (),
    *,
    multipliers: Multipliers | None = None,
    iterations: int = 30,
    start: Tensors | None = None,
) -> Top:
    """The largest algebraic eigenvalue of M^(1/2) H M^(1/2) of every lane, H the Hessian of f at x.

    Lanczos with full reorthogonalisation. Power iteration would find the largest absolute value, which at a muP
    initialisation, where the spectrum is nearly symmetric, is as often negative. `start` is a tree to begin from, such
    as the vector found some steps earlier; without it all lanes begin from the same fixed vector. A lane whose Hessian
    is not finite gets NaN.
    """
    root, product = _operator(f, x, context, multipliers)
    lanes, size = root.shape
    begin = _beginning(size, root) if start is None else _flat(start)
    steps = list(_lanczos(product, begin.expand(lanes, size), min(iterations, size)))
    basis, diagonal, after = (torch.stack([step[i] for step in steps], 1) for i in range(3))
    value, y = _top_of_tridiagonal(diagonal, after[:, :-1])
    residual = (after[:, -1] * y[:, -1]).abs()
    return Top(value, _unflat((basis * y.to(basis.dtype).unsqueeze(2)).sum(1), x), residual)


def ritz(
    f: Function,
    x: Tensors,
    start: Tensors,
    context: tuple[Any, ...] = (),
    *,
    multipliers: Multipliers | None = None,
    iterations: int = 30,
) -> tuple[Tensor, Tensor]:
    """Ritz values of M^(1/2) H M^(1/2) of every lane (lanes x iterations, ascending) and their weights from `start`.

    The weights of a lane sum to 1. They are Gauss quadrature: sum w g(value) = v.g(H)v for the unit vector v along
    `start` and polynomials g of degree below 2 `iterations` (Golub and Welsch 1969). There are at most as many as x has
    entries. A lane whose Hessian is not finite gets NaN.
    """
    root, product = _operator(f, x, context, multipliers)
    steps = list(_lanczos(product, _flat(start).expand_as(root), min(iterations, root.shape[1])))
    diagonal, after = (torch.stack([step[i] for step in steps], 1) for i in (1, 2))
    values, vectors = _decomposed(diagonal, after[:, :-1])
    return values, vectors[:, 0].square()


def _operator(
    f: Function, x: Tensors, context: tuple[Any, ...], multipliers: Multipliers | None
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """M^(1/2) and the product of M^(1/2) H M^(1/2) with vectors, both (lanes x size)."""
    root = _flat({name: _root(multipliers, name, t) for name, t in x.items()})
    return root, lambda q: root * _flat(hessian_vector(f, x, _unflat(root * q, x), *context))


def _lanczos(product: Callable[[Tensor], Tensor], q: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields vector (lanes x size), diagonal entry and the entry beside it (lanes), `count` times.

    Where a lane's Krylov space is exhausted, it goes on with zero vectors and repeats its first diagonal entry, which
    lies inside the spectrum and so never becomes its top.
    """
    q = q / q.norm(dim=1, keepdim=True)
    basis: list[Tensor] = []
    first = open_ = torch.ones(len(q), dtype=torch.float64, device=q.device)
    for step in range(count):
        basis.append(q)
        w = product(q)
        alpha = (w * q).sum(1).to(torch.float64)
        first = alpha if step == 0 else first
        size = w.norm(dim=1)
        span = torch.stack(basis, 1)  # lanes x vectors x size
        for _ in range(2):  # twice is enough (Parlett 1980)
            w = w - (span * (span * w.unsqueeze(1)).sum(2, keepdim=True)).sum(1)
        beta = w.norm(dim=1)
        more = beta > 10 * torch.finfo(w.dtype).eps * size
        yield q, torch.where(open_ > 0, alpha, first), torch.where(more, beta, 0.0).to(torch.float64)
        open_ = open_ * more
        q = torch.where(more.unsqueeze(1), w / beta.unsqueeze(1), 0.0)


def _top_of_tridiagonal(diagonal: Tensor, beside: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue and its vector, of tridiagonal matrices; NaN where entries are not finite."""
    values, vectors = _decomposed(diagonal, beside)
    return values[:, -1], vectors[:, :, -1]


def _decomposed(diagonal: Tensor, beside: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and vectors of tridiagonal matrices; NaN where entries are not finite."""
    fine = (diagonal.isfinite().all(1) & beside.isfinite().all(1)).unsqueeze(1)
    matrix = torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    values, vectors = torch.linalg.eigh(torch.where(fine.unsqueeze(2), matrix, 0.0))
    return torch.where(fine, values, torch.nan), torch.where(fine.unsqueeze(2), vectors, torch.nan)


def _beginning(size: int, like: Tensor) -> Tensor:
    """A fixed random direction: the same for every lane, in any pack."""
    random = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return random.to(like.device, like.dtype)


def _root(multipliers: Multipliers | None, name: str, like: Tensor) -> Tensor:
    m = torch.as_tensor((multipliers or {}).get(name, 1.0), dtype=like.dtype, device=like.device)
    return spread(m.sqrt(), like).expand(like.shape) if m.ndim in (0, 1) else m.sqrt()


def _flat(tree: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([x.flatten(1) for x in tree.values()], 1)


def _unflat(vectors: Tensor, like: Tensors) -> Tensors:
    parts = vectors.split([x[0].numel() for x in like.values()], 1)
    return {name: part.view(x.shape) for part, (name, x) in zip(parts, like.items(), strict=True)}
