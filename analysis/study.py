"""What a sweep was made to find out: what its spec says, else read off its axes."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import pandas as pd

from ..orchestrator.schema import PARAM
from ..orchestrator.spec import Sweep
from ..orchestrator.spec.studies import AXES, HYPERPARAMETERS, choose, logarithmic, ordered
from .summary import split_parameters

OCTAVES = 2.0  # a searched number that spans fewer is taken for a linear one, where only results are known


@dataclass(frozen=True, slots=True)
class TransferStudy:
    """Does the best `hyperparameter` stay put along `axis`, separately for each combination of `by`?"""

    axis: str
    hyperparameter: str
    by: tuple[str, ...]

    @classmethod
    def of(cls, sweep: Sweep) -> TransferStudy | None:
        """The transfer study that a spec asks for; None where it asks for another, or for none."""
        asked = sweep.question
        if asked is None or asked.name != "transfer":
            return None
        assert asked.axis is not None and asked.hyperparameter is not None, "a settled study names both"
        return cls(asked.axis, asked.hyperparameter, tuple(name for name in sweep.grid if name != asked.axis))


def infer_study(source: Sweep | pd.DataFrame) -> TransferStudy | None:
    """The transfer study that a sweep asks for, or that it or a frame of its trials amounts to; None when it is none.

    Without `study` in the spec it is one when a grid axis has three or more positive numbers and one searched parameter
    is log-scaled. Of several axes or parameters the usual names (width, lr) are preferred; without one of them the case
    is not clear, and the answer None. A frame has no spec: what varies within a cell counts as searched, over two
    octaves as log-scaled.
    """
    if isinstance(source, Sweep):
        if source.study is not None:
            return TransferStudy.of(source)
        axes = [name for name, values in source.grid.items() if ordered(values)]
        grid, searched = list(source.grid), [name for name, shape in source.search.items() if logarithmic(shape)]
    else:
        grid, axes, searched = _read_frame(source)
    axis, hyperparameter = choose(axes, AXES), choose(searched, HYPERPARAMETERS)
    if axis is None or hyperparameter is None:
        return None
    return TransferStudy(axis, hyperparameter, tuple(name for name in grid if name != axis))


def _read_frame(trials: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Grid axes, the ordered ones among them, and log-scaled searched parameters."""
    grid, within = split_parameters(trials)
    values = {name: trials[PARAM + name].dropna().unique().tolist() for name in (*grid, *within)}
    axes = [name for name in grid if ordered(values[name])]
    wide = [name for name in within if ordered(values[name])]
    return grid, axes, [name for name in wide if log2(max(values[name]) / min(values[name])) >= OCTAVES]
