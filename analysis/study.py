"""What a sweep was made to find out, read off its axes until a spec says so itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log2
from typing import Any

import pandas as pd

from ..orchestrator.schema import PARAM
from ..orchestrator.spec import Sweep
from ..orchestrator.task import Float, Int, Lattice
from .summary import split_parameters

AXES = ("width", "depth", "batch_size", "heads", "layers", "steps", "tokens", "epochs")
HYPERPARAMETERS = ("lr", "learning_rate", "eta", "step_size")
LEVELS = 3  # fewer values of an axis do not make a study of it
OCTAVES = 2.0  # a searched number that spans fewer is taken for a linear one, where only results are known


@dataclass(frozen=True, slots=True)
class TransferStudy:
    """Does the best `hyperparameter` stay put along `axis`, separately for each combination of `by`?"""

    axis: str
    hyperparameter: str
    by: tuple[str, ...]


def infer_study(source: Sweep | pd.DataFrame) -> TransferStudy | None:
    """The transfer study that a sweep, or a frame of its trials, amounts to; None when it is none.

    It is one when a grid axis has three or more positive numbers and one searched parameter is log-scaled. Of several
    axes or parameters the usual names (width, lr) are preferred; without one of them the case is not clear, and the
    answer None. A frame has no spec: what varies within a cell counts as searched, over two octaves as log-scaled.
    """
    if isinstance(source, Sweep):
        axes = [name for name, values in source.grid.items() if _ordered(values)]
        grid, searched = list(source.grid), [name for name, shape in source.search.items() if _logarithmic(shape)]
    else:
        grid, axes, searched = _read_frame(source)
    axis, hyperparameter = _choose(axes, AXES), _choose(searched, HYPERPARAMETERS)
    if axis is None or hyperparameter is None:
        return None
    return TransferStudy(axis, hyperparameter, tuple(name for name in grid if name != axis))


def _choose(names: list[str], usual: Iterable[str]) -> str | None:
    preferred = [name for name in usual if name in names]
    return preferred[0] if preferred else names[0] if len(names) == 1 else None


def _ordered(values: Iterable[Any]) -> bool:
    found = list(values)
    numeric = all(isinstance(each, int | float) and not isinstance(each, bool) and each > 0 for each in found)
    return numeric and len(set(found)) >= LEVELS


def _logarithmic(shape: object) -> bool:
    return isinstance(shape, Lattice) or (isinstance(shape, Float | Int) and shape.log)


def _read_frame(trials: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Grid axes, the ordered ones among them, and log-scaled searched parameters."""
    grid, within = split_parameters(trials)
    values = {name: trials[PARAM + name].dropna().unique().tolist() for name in (*grid, *within)}
    axes = [name for name in grid if _ordered(values[name])]
    wide = [name for name in within if _ordered(values[name])]
    return grid, axes, [name for name in wide if log2(max(values[name]) / min(values[name])) >= OCTAVES]
