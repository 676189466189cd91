"""Points of a space: drawn by coordinates in [0, 1), or walked through."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

from ..messages import Scalar
from ..spec.parameters import same
from ..task import Choice, Float, Int, Lattice, Parameter
from .records import Space


def seed_for(*parts: object) -> int:
    """A 32-bit seed from anything that prints faithfully (SHA-256)."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


def uniform(*parts: object) -> float:
    """A number in [0, 1) that is a pure function of its arguments, with 53 random bits."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53


def place(space: Space, at: Callable[[str], float]) -> dict[str, Scalar]:
    """The point of `space` at coordinates `at(name)` in [0, 1), with the parameters whose condition holds."""
    point: dict[str, Scalar] = {}
    for name, parameter in space.items():
        if active(parameter, point):
            point[name] = value_at(parameter, at(name))
    return point


def lattice(space: Space) -> list[dict[str, Scalar]]:
    """Every point of a finite space, the last parameter varying fastest; each active combination once."""
    points: list[dict[str, Scalar]] = [{}]
    for name, parameter in space.items():
        grown: list[dict[str, Scalar]] = []
        for point in points:
            if active(parameter, point):
                grown.extend({**point, name: value} for value in values_of(parameter))
            else:
                grown.append(point)
        points = grown
    return points


def active(parameter: Parameter, point: Mapping[str, Scalar]) -> bool:
    return all(other in point and same(point[other], value) for other, value in (parameter.when or {}).items())


def values_of(parameter: Parameter) -> Sequence[Scalar]:
    match parameter:
        case Choice(choices=choices):
            return choices
        case Lattice():
            return parameter.values()
        case Int(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case Float(low=low, high=high, step=step):
            assert step is not None, "the spec refuses a continuous parameter under the grid sampler"
            return [low + step * k for k in range(1 + math.floor((high - low) / step + 1e-9))]


def value_at(parameter: Parameter, u: float) -> Scalar:
    match parameter:
        case Float(low=low, high=high, log=True):
            return min(high, max(low, math.exp(math.log(low) + u * (math.log(high) - math.log(low)))))
        case Float(low=low, high=high, step=None):
            return min(high, low + u * (high - low))
        case Int(low=low, high=high, log=True):
            edges = math.log(low - 0.5), math.log(high + 0.5)
            return min(high, max(low, round(math.exp(edges[0] + u * (edges[1] - edges[0])))))
        case _:
            values = values_of(parameter)
            return values[int(u * len(values))]
