"""Known functions on the unit cube, scaled to [0, 1] with their minimum at 0: the final values of synthetic trials.

Hartmann's functions in three and six dimensions, which the multi-fidelity benchmarks MFHartmann build on (Kandasamy et
al., 2017, arXiv:1703.06240), and Branin's in two; constants as in Dixon and Szego (1978), "Towards Global
Optimisation 2".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

_ALPHA = (1.0, 1.2, 3.0, 3.2)
_A3 = ((3.0, 10.0, 30.0), (0.1, 10.0, 35.0), (3.0, 10.0, 30.0), (0.1, 10.0, 35.0))
_P3 = (
    (0.3689, 0.1170, 0.2673),
    (0.4699, 0.4387, 0.7470),
    (0.1091, 0.8732, 0.5547),
    (0.0381, 0.5743, 0.8828),
)
_A6 = (
    (10.0, 3.0, 17.0, 3.5, 1.7, 8.0),
    (0.05, 10.0, 17.0, 0.1, 8.0, 14.0),
    (3.0, 3.5, 1.7, 10.0, 17.0, 8.0),
    (17.0, 8.0, 0.05, 10.0, 0.1, 14.0),
)
_P6 = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)
_LOWEST3, _LOWEST6 = -3.86278, -3.32237
_BRANIN_LOWEST, _BRANIN_HIGHEST = 0.397887, 308.129


class Surface(NamedTuple):
    """A function on the unit cube with values in [0, 1], and where it is 0."""

    at: Callable[[Sequence[float]], float]
    optimum: tuple[float, ...]

    def value(self, point: Sequence[float]) -> float:
        """The value at a point: coordinates that it lacks are the optimum's, further ones do not matter."""
        known = tuple(point[: len(self.optimum)])
        return min(1.0, max(0.0, self.at((*known, *self.optimum[len(known) :]))))


def _hartmann(a: Sequence[Sequence[float]], p: Sequence[Sequence[float]], lowest: float) -> Surface:
    def at(point: Sequence[float]) -> float:
        total = 0.0
        for alpha, scales, centre in zip(_ALPHA, a, p, strict=True):
            exponent = sum(s * (x - c) ** 2 for s, x, c in zip(scales, point, centre, strict=True))
            total += alpha * math.exp(-exponent)
        return 1.0 - total / -lowest

    return Surface(at, _OPTIMA[len(a[0])])


def _branin(point: Sequence[float]) -> float:
    x, y = 15.0 * point[0] - 5.0, 15.0 * point[1]
    bowl = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    value = bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    return (value - _BRANIN_LOWEST) / (_BRANIN_HIGHEST - _BRANIN_LOWEST)


_OPTIMA = {
    3: (0.114614, 0.555649, 0.852547),
    6: (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573),
}
HARTMANN3 = _hartmann(_A3, _P3, _LOWEST3)
HARTMANN6 = _hartmann(_A6, _P6, _LOWEST6)
BRANIN = Surface(_branin, ((math.pi + 5) / 15, 2.275 / 15))


def surface(dimensions: int) -> Surface:
    """A surface for a space with this many searched parameters; of more than six the first six matter."""
    if dimensions == 2:
        return BRANIN
    return HARTMANN3 if dimensions <= 3 else HARTMANN6
