"""Attacks with gradients: points of a ball around given inputs at which a loss is large.

A loss maps inputs (N x ...) to values (N), each of its own input alone. It may be that of a lane's model in training or
measurement: gradients are by `torch.func`, which works under `vmap`, and none reaches the weights. Radii are numbers or
0-dimensional tensors, so they may differ from lane to lane; a radius of 0 gives the inputs back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad
from torch.nn.functional import cross_entropy

NORMS = ("linf", "l2")
Loss = Callable[[Tensor], Tensor]
Radius = float | Tensor


def fgsm(loss: Loss, x: Tensor, radius: Radius, norm: str = "linf") -> Tensor:
    """The fast gradient (sign) method: one step as long as the radius (Goodfellow, Shlens and Szegedy 2015)."""
    return pgd(loss, x, radius, norm, steps=1, size=1.0)


def pgd(
    loss: Loss,
    x: Tensor,
    radius: Radius,
    norm: str = "linf",
    *,
    steps: int = 8,
    size: float = 0.25,
    start: Tensor | None = None,
    bounds: tuple[float, float] | None = None,
) -> Tensor:
    """Projected steepest ascent: `steps` steps of `size` radii from x, or from x + `start` (Madry et al. 2018).

    The points lie within `radius` of x, and inside `bounds` where x does. Raises `ValueError` for an unknown norm.
    """
    if norm not in NORMS:
        raise ValueError(f"norm {norm!r} is unknown; it is one of {', '.join(NORMS)}")
    at = x if start is None else _inside(x, start, radius, norm, bounds)
    for _ in range(steps):
        with torch.no_grad():  # of the weights; what is inside `grad` is differentiated
            slope = grad(lambda at: loss(at).sum())(at)
        at = _inside(x, at - x + size * radius * _steepest(slope, norm), radius, norm, bounds)
    return at.detach()


def worst(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, radius: Radius, norm: str, **options: Any) -> Tensor:
    """Where PGD, with these `options`, finds the cross-entropy of a classifier largest; y are the classes (N)."""
    return pgd(lambda at: cross_entropy(model(at), y, reduction="none"), x, radius, norm, **options)


def _steepest(slope: Tensor, norm: str) -> Tensor:
    """The unit displacement of each example along which the loss rises most; 0 where its slope is."""
    if norm == "linf":
        return slope.sign()
    # Scaled first: the squares of what a sure network leaves of a slope are 0 in single precision.
    largest = slope.abs().flatten(1).amax(1)
    scaled = slope / _wide(torch.where(largest > 0, largest, 1.0), slope)
    return scaled / _wide(_length(scaled).clamp(min=1.0), slope)


def _inside(x: Tensor, shift: Tensor, radius: Radius, norm: str, bounds: tuple[float, float] | None) -> Tensor:
    """x + `shift`, moved into the ball and then, which leads towards x, into the bounds."""
    if norm == "linf":
        limit = torch.as_tensor(radius, dtype=x.dtype, device=x.device)
        shift = shift.clamp(-limit, limit)
    else:
        length = _length(shift)
        shift = shift * _wide(torch.where(length > radius, radius / torch.where(length > 0, length, 1.0), 1.0), x)
    return x + shift if bounds is None else (x + shift).clamp(*bounds)


def _length(x: Tensor) -> Tensor:
    """|x_i| (N)."""
    return x.flatten(1).square().sum(1).sqrt()


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(N) as (N x 1 x ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))
