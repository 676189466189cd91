"""Gives leased trials their cutoffs: tables made of the curves of earlier generations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from . import compaction
from .cutoffs import Curve
from .events import GrantLease, Instruction, RecordOutcome
from .home import Home
from .messages import Assignment, Lease, State, TrialKey
from .planning import percentile_of
from .schedule import Curves, ScheduleState
from .spec import Sweep

_KEPT = 64  # tables; those of the generations in progress are asked for again and again


class Cutting:
    """The tables of one sweep. They are functions of the views, so a restarted scheduler finds the same ones."""

    def __init__(self, sweep: Sweep, state: ScheduleState, home: Home | Path) -> None:
        self._state = state
        self._rule = percentile_of(sweep)
        self._curves = Curves()
        self._tables: dict[tuple[str, int], dict[int, float]] = {}
        if self._rule is not None:
            for trial, curve in past_curves(home, sweep.watched):
                self._curves.add(trial, curve)

    def take_in(self, instructions: Sequence[Instruction]) -> list[Instruction]:
        """Learn the curves of trials that have ended; give those that are leased their tables."""
        if self._rule is None:
            return list(instructions)
        for each in instructions:
            if isinstance(each, RecordOutcome) and each.outcome.state is State.COMPLETE:
                self._curves.add(each.outcome.trial, each.outcome.curve)
        return [GrantLease(self._cut(each.lease)) if isinstance(each, GrantLease) else each for each in instructions]

    def _cut(self, lease: Lease) -> Lease:
        return replace(lease, assignments=tuple(self._with_table(each) for each in lease.assignments))

    def _with_table(self, assignment: Assignment) -> Assignment:
        if assignment.cutoffs is None:
            return assignment
        trial = assignment.trial
        table = self._table(trial.cell, trial.configuration // self._state.plan.generation)
        return replace(assignment, cutoffs=replace(assignment.cutoffs, table=table))

    def _table(self, cell: str, generation: int) -> dict[int, float]:
        assert self._rule is not None
        if (cell, generation) not in self._tables:
            view, plan = self._state.view(cell, generation), self._state.plan
            seen = plan.seen(generation)
            self._tables[cell, generation] = self._curves.table(cell, view, seen, self._rule, minimize=plan.minimize)
            if len(self._tables) > _KEPT:
                del self._tables[next(iter(self._tables))]
        return self._tables[cell, generation]


def past_curves(home: Home | Path, metric: str) -> Iterator[tuple[TrialKey, Curve]]:
    """The curves of `metric` of the trials of a sweep that are complete."""
    tables = compaction.read_tables(home)
    rows = zip(tables.trials["trial"].to_pylist(), tables.trials["state"].to_pylist(), strict=True)
    complete = {trial for trial, state in rows if state == State.COMPLETE}
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    columns = (tables.metrics[name].to_pylist() for name in ("trial", "metric", "step", "value", "final"))
    for trial, name, step, value, final in zip(*columns, strict=True):
        if name == metric and step is not None and not final and trial in complete:
            curves[trial].append((step, value))
    for trial, curve in curves.items():
        yield TrialKey.parse(trial), tuple(sorted(curve))
