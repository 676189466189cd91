"""Attacks that learn of a point only whether it is adversarial: the oracle, bisection, noise, and two rivals.

Points and directions are vectors (D) in double precision. `x_s` is the source, `x_b` an adversarial point at the
boundary, and every answer about a point costs one query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Oracle = Callable[[Tensor], Tensor]  # points (N x D) -> whether each is adversarial (N)
DOUBLE, TRIES, HALVINGS = torch.float64, 40, 100


class Counted:
    """An oracle that counts the points it is asked about in `queries`."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle, self.queries = oracle, 0

    def all(self, points: Tensor) -> Tensor:
        """Whether each of `points` (N x D) is adversarial (N)."""
        self.queries += len(points)
        return self._oracle(points)

    def __call__(self, point: Tensor) -> bool:
        """Whether one point (D) is."""
        return bool(self.all(point[None]))


def unit(x: Tensor) -> Tensor:
    """x / |x|, 0 for 0."""
    return x / x.norm().clamp(min=1e-300)


def bisect(ask: Counted, at: Callable[[float], Tensor], inside: float, outside: float, tolerance: float) -> Tensor:
    """An adversarial point of the curve `at`, within `tolerance` of one that is not, between an adversarial one at
    `inside` and one that is not at `outside`."""
    for _ in range(HALVINGS):
        if (at(inside) - at(outside)).norm() <= tolerance:
            break
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if ask(at(middle)) else (inside, middle)
    return at(inside)


def to_boundary(ask: Counted, x_s: Tensor, x: Tensor, tolerance: float) -> Tensor:
    """Where the segment from an adversarial point to the source meets the boundary."""
    return bisect(ask, lambda share: x_s + share * (x - x_s), 1.0, 0.0, tolerance)


def random_start(ask: Counted, x_s: Tensor, z: torch.Generator) -> Tensor:
    """An adversarial point: Gaussian noise on the source, of deviation 0.02, 0.04, ..."""
    deviation, x = 0.0, x_s
    while not deviation or not ask(x):
        deviation += 0.02
        x = x_s + deviation * torch.randn(len(x_s), generator=z, dtype=DOUBLE)
    return x


def noises(count: int, dimension: int, factor: int, z: torch.Generator) -> Tensor:
    """Gaussian directions (count x dimension); with `factor` > 1 images of the lowest 1 / factor of the frequencies of
    the orthonormal DCT, across and down (Guo, Frank and Weinberger 2018)."""
    if factor == 1:
        return torch.randn(count, dimension, generator=z, dtype=DOUBLE)
    side = math.isqrt(dimension)
    k, n = torch.arange(side // factor, dtype=DOUBLE)[:, None], torch.arange(side, dtype=DOUBLE)
    basis = torch.cos(math.pi * (2 * n + 1) * k / (2 * side)) * torch.where(k == 0, 1.0, 2.0).sqrt() / side**0.5
    return (basis.T @ torch.randn(count, len(k), len(k), generator=z, dtype=DOUBLE) @ basis).flatten(1)


def line_search(ask: Counted, x_s: Tensor, x_b: Tensor, eta: Tensor, tolerance: float) -> Tensor:
    """The boundary along the direction `eta` from the source, if that is nearer than x_b, else x_b; as in GeoDA
    (Rahmati, Moosavi-Dezfooli, Frossard and Dai 2020). Tries the distance of x_b first, then twice as far each time."""
    radius = (x_b - x_s).norm()
    for n in range(TRIES):
        if ask(x := x_s + 2**n * radius * eta):
            found = to_boundary(ask, x_s, x, tolerance)
            return found if (found - x_s).norm() < radius else x_b
    return x_b


def boundary_attack(ask: Counted, x_s: Tensor, x_b: Tensor, z: torch.Generator) -> Iterator[Tensor]:
    """The points of the Boundary Attack (Brendel, Rauber and Bethge 2018): a random step on the sphere around the
    source, then one towards it. Steps grow and shrink so that half of the first and a quarter of the second succeed."""
    around, inwards = 0.1, 0.1  # as shares of the distance
    while True:
        radius = (x_b - x_s).norm()
        aside = x_b + around * radius * unit(torch.randn(len(x_s), generator=z, dtype=DOUBLE))
        aside = x_s + radius * unit(aside - x_s)
        if ask(aside):
            nearer = x_s + (1 - inwards) * (aside - x_s)
            success = ask(nearer)
            x_b, inwards = (nearer, min(1.3 * inwards, 0.5)) if success else (aside, inwards / 1.1)
            around *= 1.1
        else:
            around /= 1.1
        yield x_b
