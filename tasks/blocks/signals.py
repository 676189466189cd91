"""Examples of which it is known where the signal is, the coordinates that decide the class; the same numbers always."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from .datasets import digits

Marked = tuple[Tensor, Tensor, Tensor]  # x (N x D), classes (N), where the signal is (N x D)
NAMES = ("points", "noisy", "block-digits", "block-digits-top", "digits")


def marked(name: str) -> tuple[Marked, Marked]:
    """Examples to train on and others (Shah, Jain and Netrapalli 2021). Raises `ValueError` for an unknown name.

    `points` are y e_j in 10 dimensions, y = +-1; `noisy` ones have 20, j below 10, and noise of size 0.1 in all.
    `block-digits` are a digit and a square that is always the same, in random order one above the other, with the digit
    above in `block-digits-top`; `digits` are signal wholly. Pixels lie in [0, 1].
    """
    if name not in NAMES:
        raise ValueError(f"data {name!r} is unknown; it is one of {', '.join(NAMES)}")
    z = torch.Generator().manual_seed(0)
    if name in ("points", "noisy"):
        shape = (10, 0.0) if name == "points" else (20, 0.1)
        return _points(*shape, z), _points(*shape, z)
    train, held_out = digits()
    low, high = train[0].aminmax()
    return tuple(_placed(name, (x - low) / (high - low), y, z) for x, y in (train, held_out))  # pyright: ignore


def _points(dimension: int, noise: float, z: torch.Generator) -> Marked:
    y, j = torch.randint(2, (1000,), generator=z), torch.randint(10, (1000, 1), generator=z)
    signal = torch.arange(dimension) == j
    return signal * (2.0 * y[:, None] - 1) + noise * (2 * torch.rand(1000, dimension, generator=z) - 1), y, signal


def _placed(name: str, x: Tensor, y: Tensor, z: torch.Generator) -> Marked:
    if name == "digits":
        return x, y, torch.ones_like(x, dtype=torch.bool)
    square = pad(torch.ones(4, 4), (2, 2, 2, 2)).flatten().expand_as(x)
    above = ((torch.rand(len(x), 1, generator=z) < 0.5) | (name == "block-digits-top")).expand_as(x)
    return (
        torch.cat([torch.where(above, x, square), torch.where(above, square, x)], 1),
        y,
        torch.cat([above, ~above], 1),
    )
