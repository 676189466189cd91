"""The nearest of some known points among parameters of mixed types."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..messages import Scalar

_LOG_RATIO = 20.0
_FAR = 100.0


class Neighbours:
    """Finds the nearest of `points`: first by the parameters in `first` (the axes of a grid), then by the others.

    Numbers count by their share of the range that the points span, in the logarithm where that is wider than
    twentyfold; words and absent values are equal or one range apart.
    """

    def __init__(self, points: Sequence[Mapping[str, Scalar | None]], first: frozenset[str] = frozenset()) -> None:
        self._exact = {_key(point): index for index, point in reversed(list(enumerate(points)))}
        names = sorted({name for point in points for name in point})
        columns = {name: [point.get(name) for point in points] for name in names}
        varying = [name for name in names if len({repr(value) for value in columns[name]}) > 1]
        self._axes = [_Axis(name, columns[name], _FAR if name in first else 1.0) for name in varying]
        self._count = len(points)
        self._found: dict[frozenset[tuple[str, str]], int] = {}

    def nearest(self, point: Mapping[str, Scalar]) -> tuple[int, bool]:
        """The index of the nearest point, the first among equals, and whether it is the very same."""
        key = _key(point)
        if key in self._exact:
            return self._exact[key], True
        if key not in self._found:
            distance = np.zeros(self._count)
            for axis in self._axes:
                distance += axis.distances(point.get(axis.name))
            self._found[key] = int(distance.argmin())
        return self._found[key], False


class _Axis:
    """One parameter of the points: squared distances to a value, times `weight`."""

    def __init__(self, name: str, values: Sequence[Scalar | None], weight: float) -> None:
        self.name = name
        self._weight = weight
        self._values = values
        numbers = [float(value) for value in values if is_number(value)]
        self._numeric = len(numbers) == len(values)
        self._log = self._numeric and min(numbers) > 0 and max(numbers) / min(numbers) > _LOG_RATIO
        placed = np.array([self._place(value) for value in values]) if self._numeric else np.zeros(0)
        self._placed: NDArray[np.float64] = placed
        self._range = float(np.ptp(placed)) if self._numeric else 1.0

    def distances(self, value: Scalar | None) -> NDArray[np.float64]:
        """Squared distances of all points to `value`, in ranges."""
        if not self._numeric or not is_number(value):
            return self._weight * np.array([float(repr(each) != repr(value)) for each in self._values])
        return self._weight * ((self._placed - self._place(value)) / self._range) ** 2

    def _place(self, value: Scalar | None) -> float:
        number = float(value or 0)
        return math.log(max(number, 1e-300)) if self._log else number


def is_number(value: Scalar | None) -> TypeGuard[int | float]:
    """Whether it is an int or a float; true and false are words."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(point: Mapping[str, Scalar | None]) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in point.items() if value is not None)
