"""Pruning by rungs: who goes on, as a pure function of what has arrived.

Successive halving (Jamieson and Talwalkar, 2016), synchronous inside a generation, so that it never depends on which
trial was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Rungs:
    """Where trials are compared and how many go on.

    Rung r lies at step `first` * `reduction`**r. Of n configurations max(1, n // `reduction`) go on, or `keep` when it
    is given; there are at most `limit` rungs.
    """

    first: int
    reduction: int = 3
    keep: int | None = None
    limit: int | None = None

    def step(self, rung: int) -> int:
        """The step of a rung."""
        return self.first * self.reduction**rung

    def survivors(self, count: int) -> int:
        """How many of `count` configurations go on."""
        return min(count, max(1, count // self.reduction) if self.keep is None else self.keep)


class Standing(NamedTuple):
    """Where a generation's race stands: the rung that is waited for (None: the race is over), and who is left."""

    rung: int | None
    entrants: frozenset[int]


def standing(rungs: Rungs, numbers: Sequence[int], score: Callable[[int, int], float | None]) -> Standing:
    """The standing of the configurations `numbers` of one generation.

    `score(number, rung)` is None while the configuration has not arrived at the rung; lower is better, and infinity is
    for those without a value. Ties go to the lower number.
    """
    entrants = sorted(numbers)
    rung = 0
    while (rungs.limit is None or rung < rungs.limit) and len(entrants) > rungs.survivors(len(entrants)):
        scores = [score(number, rung) for number in entrants]
        known = [(each, number) for each, number in zip(scores, entrants, strict=True) if each is not None]
        if len(known) < len(entrants):
            return Standing(rung, frozenset(entrants))
        entrants = sorted(number for _, number in sorted(known)[: rungs.survivors(len(entrants))])
        rung += 1
    return Standing(None, frozenset(entrants))
