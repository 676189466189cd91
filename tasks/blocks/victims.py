"""What attacks from labels alone are tried on: boundaries known in closed form, and perceptrons on digits."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .datasets import digits
from .hard_label import DOUBLE, Counted, Oracle, random_start, to_boundary, unit

KNOWN = ("half-space", "ball", "cone")


class Case(NamedTuple):
    """What is attacked; without `start` the attack is to find an adversarial point itself."""

    oracle: Oracle
    source: Tensor
    start: Tensor | None = None


def known(name: str, dimension: int, z: torch.Generator) -> Case:
    """A boundary at the distance 1 from the source, which is 0; the direction is random."""
    u, other = (unit(each) for each in torch.randn(2, dimension, generator=z, dtype=DOUBLE))
    source = torch.zeros_like(u)
    if name == "half-space":
        return Case(lambda x: x @ u > 1, source)
    if name == "ball":
        return Case(lambda x: (x + 2 * u).norm(dim=1) > 3, source)

    def cone(x: Tensor) -> Tensor:
        return (x - (x @ u)[:, None] * u).norm(dim=1) < 0.4 * (x @ u - 1)

    return Case(cone, source, 6 * u + 1.2 * unit(other - (other @ u) * u))


def first_point(ask: Counted, case: Case, tolerance: float, z: torch.Generator) -> Tensor:
    """The boundary point that an attack begins at, on the segment from the source to `start` or to a random point."""
    start = random_start(ask, case.source, z) if case.start is None else case.start
    return to_boundary(ask, case.source, start, tolerance)


@lru_cache(maxsize=16)
def classifier(seed: int) -> nn.Module:
    """A perceptron of 64-128-10 that was trained on the digits."""
    (x, y), _ = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.double().requires_grad_(False)


def known_digits(count: int, targeted: bool, seed: int, z: torch.Generator) -> list[Case]:
    """Held-out digits that a classifier (of `seed`) knows, to be taken for any other; with `targeted` for one of the
    class of a certain other digit, at which the attack starts."""
    model, (_, (x, y)) = classifier(seed), digits()
    x = x.to(DOUBLE)
    x, y = x[right := model(x).argmax(1) == y], y[right]
    cases: list[Case] = []
    for i in torch.randperm(len(x), generator=z)[:count].tolist():
        others = (y != y[i]).nonzero().flatten()
        j = int(others[torch.randint(len(others), (), generator=z)])
        lost, won = lambda at, c=y[i]: model(at).argmax(1) != c, lambda at, c=y[j]: model(at).argmax(1) == c
        cases.append(Case(won, x[i], x[j]) if targeted else Case(lost, x[i]))
    return cases
