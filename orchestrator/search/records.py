"""What a search is asked, and how it is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..messages import Scalar, State
from ..schedule import Observation
from ..task import Parameter

Space = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Request:
    """One generation of one cell to be proposed.

    `numbers` are the configurations wanted; `history` the parameters of every lower-numbered one, `observations`
    what the view shows of them (same length, in number order), after those of earlier sweeps. Both are empty for
    samplers that are indexed.
    """

    cell: str
    generation: int
    numbers: range
    history: Sequence[Mapping[str, Scalar]] = ()
    observations: Sequence[Observation] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """A sampler with its space, each parameter after those that its condition names.

    `minimize` says of each objective whether low values are good. `startup` is the number of finished configurations
    that a model needs; `enqueue` are known ones, which take the first numbers of every cell.
    """

    sampler: str
    space: Space
    seed: int
    minimize: tuple[bool, ...] = (True,)
    startup: int = 8
    enqueue: Sequence[Mapping[str, Scalar]] = ()

    @property
    def sequential(self) -> bool:
        """Whether suggestions depend on the values of earlier configurations."""
        return bool(self.space) and self.sampler in ("tpe", "gp")


class Told(NamedTuple):
    """What Optuna is told of one configuration: `values` when it is COMPLETE or PRUNED, the latter at `step`."""

    state: State
    values: tuple[float, ...] = ()
    step: int = 0
