"""What a sweep has to do, as the schedule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..cutoffs import Cutoffs
from ..messages import Scalar
from ..packing import Fusing
from .rungs import Rungs


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One cell: its key, the parameters that all of its trials share (grid and fixed), and what they occupy.

    `share` names that: only workers of this share run its trials.
    """

    key: str
    params: Mapping[str, Scalar]
    share: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers that decide what is run.

    `configurations` and `replicates` are per cell; `generation` is G and `lag` the number of generations whose values
    a view leaves out. `sequential` says that search or pruner read values: generation g then waits for all of
    generation g - 1 - lag, otherwise generations are opened as workers need them. `attempts` bounds the charged
    executions of a trial.

    With `rungs`, the configurations of a generation race each other; with `cutoffs` a trial ends by its own curve, once
    its replicates agree. Both look at the objective, or at the metric `watched`, of which `minimize` says what is good.
    `others` are the names of further objectives. `views` holds (generation, replicates): from that generation on a view
    shows so many replicates of each configuration, whatever was added since. More than the share `failures` of failed
    trials ends the sweep; None never does. With `fusing` trials of equal shape run as lanes of one program.
    """

    cells: tuple[CellPlan, ...]
    configurations: int
    replicates: int = 1
    generation: int = 4
    lag: int = 1
    sequential: bool = True
    attempts: int = 3
    minimize: bool = True
    rungs: Rungs | None = None
    cutoffs: Cutoffs | None = None
    watched: str | None = None
    others: tuple[str, ...] = ()
    views: tuple[tuple[int, int], ...] = ()
    failures: float | None = None
    fusing: Fusing | None = None

    @property
    def shares(self) -> Mapping[str, frozenset[str]]:
        """The keys of the cells of each share."""
        found: dict[str, set[str]] = {}
        for cell in self.cells:
            found.setdefault(cell.share, set()).add(cell.key)
        return {share: frozenset(keys) for share, keys in found.items()}

    def unshared(self) -> Plan:
        """The same plan for workers that run every cell."""
        return replace(self, cells=tuple(replace(cell, share="") for cell in self.cells))

    @property
    def generations(self) -> int:
        """How many generations a cell has; the last one may be short."""
        return -(-self.configurations // self.generation)

    @property
    def trials(self) -> int:
        """All trials of the sweep."""
        return len(self.cells) * self.configurations * self.replicates

    def trials_of(self, generation: int) -> int:
        """How many trials one generation of one cell has."""
        return len(self.numbers(generation)) * self.replicates

    def seen(self, generation: int) -> int:
        """How many replicates of each configuration the view of a generation shows."""
        return [count for first, count in ((0, self.replicates), *self.views) if first <= generation][-1]

    def numbers(self, generation: int) -> range:
        """The configuration numbers of one generation."""
        first = generation * self.generation
        return range(first, min(first + self.generation, self.configurations))
