"""What there is to compare of two sweeps: their cells, their drifts, what they were asked and where they ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from ..orchestrator.errors import SwatheError
from ..orchestrator.spec import Sweep
from .curves import text
from .deciding import verdicts
from .differences import difference_of_best, difference_of_drifts
from .estimates import CONFIDENCE, Estimate
from .records import Statement
from .robust import robustness_statements
from .study import TransferStudy, infer_study
from .summary import BestRow, best_configurations
from .transfer import MARGIN, TransferVerdict
from .transfer_page import transfer_statement
from .words import group_label

ABSENT = "absent"
MOST_CELLS = 40

Word = Literal["alike", "differ", "undecided"]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Side:
    """One of two sweeps: what it is called here, its ended trials, its spec, its provenance."""

    label: str
    trials: pd.DataFrame
    sweep: Sweep
    provenance: Mapping[str, Any]

    @property
    def direction(self) -> str:
        """Whether low or high values of its first metric are good."""
        return self.sweep.directions[self.sweep.objective]

    @property
    def progress(self) -> str:
        """How far it is."""
        total = len(self.sweep.cells) * self.sweep.per_cell * self.sweep.seeds
        return f"{self.label}: {len(self.trials)} of {total} trials have ended."

    @property
    def asked(self) -> Mapping[str, Any]:
        """Its spec without the name."""
        return self.sweep.model_dump(exclude_none=True, exclude={"name"})

    @cached_property
    def study(self) -> TransferStudy | None:
        """The transfer study that it is, None when it is none."""
        return infer_study(self.sweep)

    @cached_property
    def judged(self) -> Mapping[Key, TransferVerdict]:
        """The verdict of each group of its transfer study; none where there is no study or nothing to judge."""
        if self.study is None:
            return {}
        try:
            return verdicts(self.trials, self.sweep, self.study)
        except SwatheError:
            return {}

    @property
    def statements(self) -> Sequence[Statement]:
        """Its verdicts in words."""
        study = self.study
        if study is None:
            return robustness_statements(self.trials, self.sweep)
        return [transfer_statement(key, verdict, study, self.sweep) for key, verdict in self.judged.items()]


@dataclass(frozen=True, slots=True)
class Compared:
    """The best of a cell in both sweeps, and the difference on seeds that did not choose it."""

    cell: str
    label: str
    first: BestRow
    second: BestRow
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Drifts:
    """The drifts of a group in both sweeps: `alike` when the 90% interval of their difference lies within `margin`,
    `differ` when the 95% one lies on one side of 0, else undecided."""

    label: str
    difference: Estimate
    margin: float
    word: Word


def shares_seeds(first: Side, second: Side) -> bool:
    """Whether replicates with the same number have the same seeds: they follow from the sweep's seed."""
    return first.sweep.seed == second.sweep.seed


def cells(first: Side, second: Side) -> list[Compared]:
    """The cells that both sweeps have, at most `MOST_CELLS`; intervals are Bonferroni's, for all of them at once."""
    theirs = {row.cell: row for row in best_configurations(second.trials, second.direction)}
    both = [row for row in best_configurations(first.trials, first.direction) if row.cell in theirs][:MOST_CELLS]
    confidence, shared = 1 - (1 - CONFIDENCE) / max(len(both), 1), shares_seeds(first, second)
    found = []
    for row in both:
        ours, others = (side.trials.loc[text(side.trials, "cell") == row.cell] for side in (first, second))
        size = difference_of_best(ours, others, first.direction, shared=shared, confidence=confidence)
        found.append(Compared(row.cell, row.label, row, theirs[row.cell], size))
    return found


def drifts(first: Side, second: Side) -> list[Drifts]:
    """The drifts of the groups that both transfer studies have; none unless they ask the same question."""
    study = first.study
    if study is None or study != second.study:
        return []
    found = []
    for key in first.judged.keys() & second.judged.keys():
        ours, others = (_group(side.trials, study, key) for side in (first, second))
        shared = shares_seeds(first, second)
        wide = difference_of_drifts(ours, others, study, first.direction, shared=shared)
        narrow = difference_of_drifts(ours, others, study, first.direction, shared=shared, confidence=0.90)
        label = group_label(study.by, key)
        found.append(Drifts(label, wide, MARGIN, decide_difference(wide, narrow, MARGIN)))
    return sorted(found, key=lambda each: each.label)


def decide_difference(wide: Estimate, narrow: Estimate, margin: float) -> Word:
    """What a difference of drifts says by its 95% and its 90% interval."""
    if wide.low is None or wide.high is None or narrow.low is None or narrow.high is None:
        return "undecided"
    if -margin < narrow.low and narrow.high < margin:
        return "alike"
    return "differ" if wide.low > 0 or wide.high < 0 else "undecided"


def _group(trials: pd.DataFrame, study: TransferStudy, key: Key) -> pd.DataFrame:
    kept = pd.Series(True, index=trials.index)
    for name, value in zip(study.by, key, strict=True):
        kept &= trials[f"param.{name}"] == value
    return trials.loc[kept]


def changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What differs between two nested records, by dotted path: name, the value of the one, of the other."""
    ours, theirs = dict(_flat(one)), dict(_flat(other))
    names = [*ours, *(name for name in theirs if name not in ours)]
    pairs = ((name, ours.get(name, ABSENT), theirs.get(name, ABSENT)) for name in names)
    return [(name, before, after) for name, before, after in pairs if before != after]


def _flat(record: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{path}{key}", ", ".join(map(str, value))
        else:
            yield f"{path}{key}", str(value)
