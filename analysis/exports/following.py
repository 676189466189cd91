"""What has changed in a sweep since the last look: ended trials, and what those that run have reported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...orchestrator import schema
from ...orchestrator.compaction import Shape, Tables, assemble, row_params
from ...orchestrator.ledger import Reader, SweepRecord, Tail
from ...orchestrator.messages import Cause, Scalar, State, TrialKey
from ...orchestrator.spec import Sweep
from ...orchestrator.storage import Place
from .records import Point, TrialView

Rows = dict[str, tuple[list[Point], dict[str, float]]]


class Follower:
    """Tells what is new in a sweep. It only reads, and of what it has told it holds the names.

    `proposals` are the searched parameters of all configurations that have been proposed, as of the last look.
    """

    def __init__(self, place: Place, reader: Reader) -> None:
        self._place = place
        self._reader = reader
        self.restart()
        self._take(reader.sweep())

    def restart(self) -> None:
        """Forget what has been told: the next look tells everything."""
        self._told: dict[str, str] = {}
        self._reported: dict[str, int] = {}
        self._through = 0
        self.proposals: dict[tuple[str, int], dict[str, Scalar]] = {}

    def _take(self, record: SweepRecord) -> None:
        self.record = record
        self._shape = Shape.read(record)
        self._kinds = self.sweep.parameter_kinds()

    @property
    def sweep(self) -> Sweep:
        """The spec as of the last look; a sweep may grow."""
        return self._shape.sweep

    def changes(self) -> Iterator[TrialView]:
        """Trials that ended, or reported something, since the last look. To be read to its end."""
        if (record := self._reader.sweep()).spec != self.record.spec:
            self._take(record)
        self.record = record
        # Read before the outcomes: a trial that ends in between is told as ended.
        unsettled = self._reader.unsettled()
        for cell, _, suggestions in self._reader.proposals():
            self.proposals.update(((cell, each.configuration), dict(each.params)) for each in suggestions)
        commits = [self._through]
        tail = self._reader.tail(keep=self._keeping(commits))
        recent: set[str] = set()
        for part in tail.parts:
            commits.append(part.last)
            if part.last > self._through:
                yield from self._ended(Tail((part,), (), (), tail.retired), recent)
        yield from self._ended(Tail((), tail.trials, tail.blobs), recent)
        self._through = max(commits)
        yield from self._running(unsettled, recent)

    def _keeping(self, commits: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """Rows of the ledger as slices of the table, noting their commits."""

        def keep(rows: Sequence[Any]) -> Sequence[Any]:
            commits.append(max((row.commit for row in rows), default=0))
            return self._shape.tables(rows)

        return keep

    def _ended(self, tail: Tail, recent: set[str]) -> Iterator[TrialView]:
        tables = assemble(self._place, self._shape, tail, self._reader)
        recent.update(tables.trials["trial"].to_pylist())
        fresh = {row["trial"]: row for row in tables.trials.to_pylist() if self._told.get(row["trial"]) != _mark(row)}
        if not fresh:
            return
        rows = _by_trial(tables, fresh)
        for name, row in fresh.items():
            yield self._view(row, *rows[name])
            self._told[name] = _mark(row)
            self._reported.pop(name, None)

    def _view(self, row: dict[str, Any], points: list[Point], finals: dict[str, float]) -> TrialView:
        declared = {
            key.removeprefix(schema.METRIC): value
            for key, value in row.items()
            if key.startswith(schema.METRIC) and value is not None
        }
        finals = {**declared, **finals}
        others = (finals.get(name) for name in self.sweep.objectives[1:])
        facts = {name: str(row[name]) for name in ("generation", "proposed_by", "node", "device", "worker", "attempt")}
        return TrialView(
            key=TrialKey.parse(row["trial"]),
            state=State(row["state"]),
            params=row_params(row, self._kinds),
            points=tuple(sorted(points, key=lambda each: (each.metric, each.step))),
            cause=Cause(row["cause"]) if row["cause"] else None,
            values=(row["value"], *others),
            finals=finals,
            started=row["started"].timestamp(),
            ended=row["ended"].timestamp(),
            steps=row["steps"],
            mark=_mark(row),
            facts={**facts, **({"error": row["error"]} if row["error"] else {})},
        )

    def _running(self, unsettled: Sequence[tuple[str, bytes]], recent: set[str]) -> Iterator[TrialView]:
        payloads: dict[str, list[bytes]] = defaultdict(list)
        for name, payload in unsettled:
            if name not in recent:
                payloads[name].append(payload)
        for name, blobs in payloads.items():
            key = TrialKey.parse(name)
            searched = self.proposals.get((key.cell, key.configuration))
            if self._reported.get(name) == len(blobs) or searched is None:
                continue
            self._reported[name] = len(blobs)
            table = assemble(self._place, self._shape, Tail((), (), tuple(blobs)), self._reader).metrics
            points, _ = _by_trial(Tables(table, table), {name})[name]
            points.sort(key=lambda each: (each.metric, each.step))
            started = min((each.time for each in points), default=0.0)
            params = {**self._shape.cells[key.cell], **searched}
            yield TrialView(key, State.RUNNING, params, tuple(points), started=started)


def _mark(row: dict[str, Any]) -> str:
    """What tells an outcome from a later one of the same trial."""
    return f"{row['attempt']}.{row['lease']}.{row['ended'].timestamp():.6f}"


def _by_trial(tables: Tables, names: Any) -> Rows:
    """Points and final metrics of the named trials; of a step that was repeated, the row of the latest attempt."""
    table = tables.metrics
    columns = [table[name].to_pylist() for name in ("trial", "attempt", "step", "metric", "value", "final")]
    times = table["time"].cast("int64").to_pylist()
    latest: dict[str, dict[tuple[str, int], tuple[int, Point]]] = defaultdict(dict)
    finals: dict[str, dict[str, float]] = defaultdict(dict)
    for trial, attempt, step, metric, value, final, time in zip(*columns, times, strict=True):
        if trial not in names or value is None:
            continue
        if final:
            finals[trial][metric] = value
        else:
            place = (metric, step)
            before = latest[trial].get(place)
            if before is None or before[0] <= attempt:
                latest[trial][place] = attempt, Point(metric, step, value, time / 1e6)
    return {name: ([point for _, point in latest[name].values()], finals[name]) for name in names}
