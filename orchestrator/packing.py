"""Which trials share a pack: those of equal shape, across cells, as a function of their parameters alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from typing import TypeVar

from .messages import Scalar

MOST_LANES = 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fusing:
    """How a sweep fuses trials: `shapes` are the parameters that decide shapes, with their defaults.

    `lanes` is the number of lanes of all packs, 0 for plain trials, None where each shape is measured.
    """

    shapes: Mapping[str, Scalar | None]
    lanes: int | None = None

    def shape(self, params: Mapping[str, Scalar]) -> str:
        """The shape's name, equal for trials that can share a pack: its parameters as JSON; 1 and 1.0 differ."""
        found = {name: params.get(name, default) for name, default in self.shapes.items()}
        return dumps(found, sort_keys=True)


def span(trials: int, lanes: int | None) -> int:
    """How many generations are packed together, where nothing depends on which of them ends first: enough for a pack.

    `trials` counts those of one generation.
    """
    return max(1, -(-(lanes or MOST_LANES) // max(1, trials)))


def packs(trials: Sequence[T], lanes: int) -> list[tuple[T, ...]]:
    """`trials` in order, as the least number of packs of at most `lanes`, of sizes that differ by one at most.

    Without some of its packs the same trials give the others again: so it does not matter which of them were trained
    before a crash.
    """
    count = -(-len(trials) // max(1, lanes))
    size, larger = divmod(len(trials), count) if count else (0, 0)
    found, first = list[tuple[T, ...]](), 0
    for place in range(count):
        last = first + size + (place < larger)
        found.append(tuple(trials[first:last]))
        first = last
    return found
