"""Suggestions as pure functions of a view: the one package that imports Optuna.

`random`, `qmc` and `grid` are indexed by the configuration's number and never look at values. `tpe` and `gp` build a
fresh Optuna study from the view, so the same view gives the same suggestions in any process.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..messages import Scalar, Suggestion
from ..task import Float
from . import model
from .indexed import SAMPLERS
from .points import active, lattice, uniform, value_at
from .records import Request, Settings, Space

__all__ = ["Request", "Search", "Space", "active", "lattice"]


@dataclass(frozen=True, slots=True)
class Search(Settings):
    """A sampler at work."""

    def propose(self, request: Request) -> tuple[Suggestion, ...]:
        """The suggestions of one generation."""
        if not self.space:
            return tuple(Suggestion(number, {}, "grid") for number in request.numbers)
        return tuple(
            _known(self, request.cell, each) if each.configuration < len(self.enqueue) else each
            for each in self._sampled(request)
        )

    def _sampled(self, request: Request) -> tuple[Suggestion, ...]:
        if self.sequential:
            return model.propose(self, request)
        points = SAMPLERS[self.sampler](self, request)
        return tuple(
            Suggestion(number, point, self.sampler) for number, point in zip(request.numbers, points, strict=True)
        )


def _known(search: Settings, cell: str, sampled: Suggestion) -> Suggestion:
    """An enqueued configuration; what it leaves open stays as sampled, or is drawn where it was not active."""
    number, point = sampled.configuration, dict[str, Scalar]()
    entry = search.enqueue[number]
    for name, parameter in search.space.items():
        if active(parameter, point):
            drawn = sampled.params.get(name, value_at(parameter, uniform(search.seed, cell, number, name)))
            point[name] = entry.get(name, drawn)
            if isinstance(parameter, Float):
                point[name] = float(point[name])
    return Suggestion(number, point, "enqueued")
