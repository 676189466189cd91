"""The trials of an earlier sweep as a workload: their curves and their durations."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np

from .. import compaction
from ..errors import SwatheError
from ..messages import Cause, Scalar, State
from ..spec import Sweep
from .course import Course
from .neighbours import Neighbours

# Between two reports a pause lasts this many times as long as what usually lies between them.
_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """One trial with a result. Times are seconds: `started` and `ended` Unix ones, the others of training.

    `steps` are those of its reports of the objective, with `values` and the seconds of training before each.
    """

    params: Mapping[str, Scalar]
    replicate: int
    state: State
    cause: Cause | None
    value: float | None
    worker: str
    started: float
    ended: float
    last: int | None
    steps: tuple[int, ...]
    values: tuple[float, ...]
    seconds: tuple[float, ...]
    total: float


class Report(NamedTuple):
    """One report of the objective; `at` in Unix seconds."""

    step: int
    at: float
    value: float


def read_trials(folder: Path, sweep: Sweep) -> list[RecordedTrial]:
    """The trials of the sweep in `folder` that ended by themselves or were pruned, in the order of the table.

    Raises `SwatheError` when there is none.
    """
    tables = compaction.read_tables(folder)
    reports = _reports(tables.metrics, sweep.objective)
    kinds = sweep.parameter_kinds()
    found: list[RecordedTrial] = []
    for row in tables.trials.to_pylist():
        cause = Cause(row["cause"]) if row["cause"] else None
        if cause is None or cause.deterministic:
            params = compaction.row_params(row, kinds)
            found.append(_recorded(row, params, reports.get(row["trial"], []), sweep.pruner is not None))
    if not found:
        raise SwatheError(f"no trial of {folder} has ended with a result; run it first")
    return found


class Recorded:
    """A workload made of recorded trials: each trial is the nearest of them, of the same replicate if there is one.

    A recorded trial that was pruned is taken to stay where it was: its objective beyond is unknown. The same holds
    for its truth.
    """

    def __init__(self, trials: Sequence[RecordedTrial], axes: Sequence[str]) -> None:
        groups: dict[frozenset[tuple[str, str]], list[RecordedTrial]] = defaultdict(list)
        for each in trials:
            groups[frozenset((name, repr(value)) for name, value in each.params.items())].append(each)
        self._configurations = list(groups.values())
        self._neighbours = Neighbours([group[0].params for group in self._configurations], frozenset(axes))
        self._whole = _longest(trials)
        self.pruned = sum(each.state is State.PRUNED for each in trials)
        self.exact = self.near = 0

    @classmethod
    def read(cls, folder: Path, sweep: Sweep) -> Recorded:
        """The workload of the sweep in `folder`, whose spec is `sweep`."""
        return cls(read_trials(folder, sweep), list(sweep.grid))

    @property
    def optimum(self) -> float | None:
        """Unknown: only what was recorded is known."""
        return None

    def trial(self, params: Mapping[str, Scalar], replicate: int) -> RecordedTrial:
        """The nearest recorded trial."""
        index, exact = self._neighbours.nearest(params)
        self.exact, self.near = self.exact + exact, self.near + (not exact)
        group = self._configurations[index]
        same = [each for each in group if each.replicate == replicate]
        return same[0] if same else group[replicate % len(group)]

    def course(self, params: Mapping[str, Scalar], replicate: int) -> Course:
        """The course of the nearest recorded trial."""
        trial = self.trial(params, replicate)
        if trial.state is State.PRUNED:
            return _prolonged(trial, self._whole)
        return _course(trial, trial.steps, trial.total)

    def truth(self, params: Mapping[str, Scalar]) -> float | None:
        """The mean objective over the replicates of the nearest recorded configuration."""
        group = self._configurations[self._neighbours.nearest(params)[0]]
        values = [each.value for each in group if each.value is not None]
        return fmean(values) if 2 * len(values) >= len(group) else None


def _course(trial: RecordedTrial, steps: Sequence[int], total: float) -> Course:
    values = dict(zip(trial.steps, trial.values, strict=True))
    known, seconds = trial.steps, trial.seconds
    final = trial.value
    last = steps[-1] if steps else trial.last

    def value(step: int) -> float:
        return values.get(step, final if final is not None else 0.0)

    def until(step: int) -> float:
        place = bisect_right(known, step)
        if place == len(known) and last is not None and known and last > known[-1]:
            return seconds[-1] + (total - seconds[-1]) * (step - known[-1]) / (last - known[-1])
        return seconds[place - 1] if place else 0.0

    reports = steps if trial.cause is not Cause.DIVERGED else steps[:-1]
    return Course(reports, value, until, total, last, final, trial.cause)


def _prolonged(trial: RecordedTrial, whole: Sequence[int]) -> Course:
    """A pruned trial as it would go on: at its own pace, reporting where others did, and no better."""
    beyond = [step for step in whole if trial.steps and step > trial.steps[-1]]
    if not beyond:
        return _course(trial, trial.steps, trial.total)
    pace = trial.total / (trial.steps[-1] + 1)
    return _course(trial, [*trial.steps, *beyond], pace * (beyond[-1] + 1))


def whole_trials(trials: Sequence[RecordedTrial]) -> list[RecordedTrial]:
    """The trials that were trained to their end, and the pruned ones as if they had gone on at their pace."""
    longest, found = _longest(trials), list[RecordedTrial]()
    for each in trials:
        if each.state is State.COMPLETE:
            found.append(each)
        elif each.state is State.PRUNED and each.steps and longest:
            course = _prolonged(each, longest)
            found.append(replace(each, total=course.total, last=course.last))
    return found


def _longest(trials: Sequence[RecordedTrial]) -> Sequence[int]:
    """The steps at which a trial reports that is trained to its end."""
    return max((each.steps for each in trials if each.state is State.COMPLETE), key=len, default=())


def _recorded(
    row: Mapping[str, Any], params: Mapping[str, Scalar], reports: Sequence[Report], paused: bool
) -> RecordedTrial:
    started, ended = row["started"].timestamp(), row["ended"].timestamp()
    gaps = _without_pauses(np.diff([started, *(each.at for each in reports), ended]).tolist(), paused)
    seconds = np.cumsum(gaps).tolist()
    return RecordedTrial(
        params=params,
        replicate=row["replicate"],
        state=State(row["state"]),
        cause=Cause(row["cause"]) if row["cause"] else None,
        value=row["value"],
        worker=row["worker"],
        started=started,
        ended=ended,
        last=row["steps"],
        steps=tuple(each.step for each in reports),
        values=tuple(each.value for each in reports),
        seconds=tuple(seconds[:-1]),
        total=seconds[-1],
    )


def _without_pauses(gaps: list[float], paused: bool) -> list[float]:
    """Seconds between reports, where a trial that could pause did not train in the longest of them."""
    gaps = [max(0.0, each) for each in gaps]
    if not paused or len(gaps) < 4:
        return gaps
    usual = median(gaps[1:-1])
    return [gaps[0], *(usual if each > _PAUSE * usual else each for each in gaps[1:-1]), min(gaps[-1], _PAUSE * usual)]


def _reports(metrics: Any, metric: str) -> dict[str, list[Report]]:
    """The reports of the objective by trial, in the order of steps; of a step reported twice the last counts."""
    found: dict[str, dict[int, Report]] = defaultdict(dict)
    for trial, step, at, value in _rows(metrics, metric):
        found[trial][step] = Report(step, at, value)
    return {trial: [by_step[step] for step in sorted(by_step)] for trial, by_step in found.items()}


def _rows(metrics: Any, metric: str) -> Iterator[tuple[str, int, float, float]]:
    columns = (metrics.column(name).to_pylist() for name in ("metric", "final", "trial", "step", "time", "value"))
    for name, final, trial, step, at, value in zip(*columns, strict=True):
        if name == metric and step is not None and not final:
            yield trial, step, at.timestamp(), value
