"""Reading a ledger without disturbing its writer: what `status`, `results` and the live display show."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import sqlalchemy as sa

from ..errors import LedgerAway, LedgerEmpty, LedgerError
from ..messages import Capacity, Cause, State, Suggestion, TrialKey
from . import tables as t
from .opening import clock_of, insist, one_moment, open_engine, shown, stamp_of
from .records import CellProgress, Failure, Progress, SweepRecord, Tail
from .rows import decode_capacity, decode_suggestions
from .sqlite import Stamp
from .writing import PartRange

SLICE = 2_000
READING_SECONDS = 30.0

Given = ParamSpec("Given")
Result = TypeVar("Result")


def _patient(read: Callable[Given, Result]) -> Callable[Given, Result]:
    """Read again for a while when the database is away, or has begun to be written to in the middle."""

    @functools.wraps(read)
    def patient(*given: Given.args, **named: Given.kwargs) -> Result:
        stamp: Callable[[], Stamp | None] = cast(Any, given[0])._stamp

        def attempt() -> Result:
            before = stamp()
            try:
                found = read(*given, **named)
            except LedgerError:
                if before is None or not before.still or stamp() == before:
                    raise
            else:
                if before is None or not before.still or stamp() == before:
                    return found
            raise LedgerAway("the ledger is written to all the time while it is read; read it once more")

        return insist(attempt, READING_SECONDS)

    return patient


class Reader:
    """Read-only access to one sweep of a ledger: the one called `name`, or the only one that it holds."""

    def __init__(self, url: str, name: str | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = open_engine(url)
        self._stamp = stamp_of(url)
        self._clock = clock
        self._shown = shown(url)
        try:
            self.name = self._only_name() if name is None else name
        except LedgerError:
            self._engine.dispose()
            raise

    @_patient
    def _only_name(self) -> str:
        with one_moment(self._engine) as connection:
            names = connection.execute(sa.select(t.sweep.c.name).limit(2)).scalars().all()
        if len(names) != 1:
            raise LedgerError(
                f"ledger {self._shown} holds {'no sweep' if not names else 'several sweeps'}; say which one"
            )
        return names[0]

    @_patient
    def sweep(self) -> SweepRecord:
        """The sweep's own row."""
        with one_moment(self._engine) as connection:
            asked = clock_of(self._engine, self._clock).label("asked")
            row = connection.execute(sa.select(t.sweep, asked).where(t.sweep.c.name == self.name)).one_or_none()
        if row is None:
            raise LedgerEmpty(
                f"ledger {self._shown} holds no sweep named {self.name}; `swathe list` shows what it holds"
            )
        return SweepRecord(
            name=row.name,
            spec=row.spec,
            root=row.root,
            metrics=tuple(row.metrics),
            amendments=tuple(row.amendments),
            status=row.status,
            owner=row.owner,
            heartbeat=row.heartbeat,
            created=row.created,
            epoch=row.epoch,
            spent=row.spent,
            warm=tuple(row.warm),
            shapes=row.shapes,
            crew=row.crew,
            results=row.results,
            asked=float(row.asked),
        )

    @_patient
    def progress(self) -> Progress:
        """Counts and best values by cell."""
        c = t.trial.c
        mine = c.sweep == self.name
        # A pruned trial's value is of an early step.
        final = sa.case((c.state == State.COMPLETE.value, c.value))
        value = sa.func.min(final), sa.func.max(final), sa.func.sum(c.ended - c.started)
        counted = sa.select(c.cell, c.state, c.cause, sa.func.count(), *value).where(mine)
        with one_moment(self._engine) as connection:
            groups = connection.execute(counted.group_by(c.cell, c.state, c.cause)).all()
            retried = sa.select(sa.func.count()).where(t.attempt.c.sweep == self.name, ~t.attempt.c.late)
            attempts = connection.execute(retried).scalar_one()
            status = connection.execute(sa.select(t.sweep.c.status).where(t.sweep.c.name == self.name)).scalar()
        if status is None:
            raise LedgerError(f"the ledger holds no sweep named {self.name}")
        cells: dict[str, list[Any]] = {}
        for group in groups:
            cells.setdefault(group[0], []).append(group)
        return Progress({cell: _cell_progress(cell, each) for cell, each in cells.items()}, attempts, status)

    @_patient
    def failures(self, limit: int = 20) -> tuple[Failure, ...]:
        """The latest failed trials; those that diverged are results and no failures."""
        c = t.trial.c
        own = c.cause != Cause.DIVERGED.value
        failed = sa.select(t.trial).where(c.sweep == self.name, c.state == State.FAIL.value, own)
        with one_moment(self._engine) as connection:
            rows = connection.execute(failed.order_by(c.ended.desc(), c.commit.desc()).limit(limit)).all()
        return tuple(
            Failure(
                TrialKey(row.cell, row.configuration, row.replicate),
                Cause(row.cause),
                row.attempt,
                json.loads(row.params),
                row.error,
                row.worker,
            )
            for row in rows
        )

    @_patient
    def suggestion(self, trial: TrialKey) -> Mapping[str, Any] | None:
        """The searched parameters of a trial, or None when its configuration has not been proposed."""
        c = t.generation.c
        proposed = sa.select(c.suggestions).where(c.sweep == self.name, c.cell == trial.cell)
        with one_moment(self._engine) as connection:
            for text in connection.execute(proposed).scalars():
                for number, params, _ in json.loads(text):
                    if number == trial.configuration:
                        return params
        return None

    @_patient
    def proposals(self) -> list[tuple[str, int, tuple[Suggestion, ...]]]:
        """All that has been proposed: cell, generation, suggestions."""
        c = t.generation.c
        chosen = sa.select(c.cell, c.generation, c.suggestions).where(c.sweep == self.name)
        with one_moment(self._engine) as connection:
            rows = connection.execute(chosen.order_by(c.cell, c.generation)).all()
        return [(row.cell, row.generation, decode_suggestions(row.suggestions)) for row in rows]

    @_patient
    def unsettled(self) -> list[tuple[str, bytes]]:
        """Payloads of metric rows of trials whose end has not been seen, with the trial's name, in order."""
        c = t.rows.c
        chosen = sa.select(c.trial, c.payload).where(c.sweep == self.name, c.commit.is_(None), c.trial.is_not(None))
        with one_moment(self._engine) as connection:
            return [(row.trial, row.payload) for row in connection.execute(chosen.order_by(c.id))]

    @_patient
    def tail(self, part: PartRange | None = None, keep: Callable[[Sequence[Any]], Sequence[Any]] = list) -> Tail:
        """All results, or, given a `part`, just the commits in it.

        What `keep` makes of a slice of the trials is kept of them: whole, as Python objects, they take much memory.
        """
        with one_moment(self._engine) as connection:
            done = sa.select(t.part).where(t.part.c.sweep == self.name, t.part.c.done).order_by(t.part.c.first)
            parts = tuple(PartRange(row.first, row.last) for row in connection.execute(done))
            first = part.first if part else max((each.last for each in parts), default=0) + 1
            last = part.last if part else 2**62
            inside = t.trial.c.commit.between(first, last)
            chosen = sa.select(t.trial).where(t.trial.c.sweep == self.name, inside)
            order = (t.trial.c.cell, t.trial.c.configuration, t.trial.c.replicate)
            slices = connection.execute(chosen.order_by(*order).execution_options(yield_per=SLICE)).partitions()
            trials = [each for rows in slices for each in keep(rows)]
            blobs = sa.select(t.rows.c.payload).where(t.rows.c.sweep == self.name, t.rows.c.commit.between(first, last))
            payloads = tuple(connection.execute(blobs.order_by(t.rows.c.commit, t.rows.c.id)).scalars())
            taken_back = sa.select(t.retired.c.trial, t.retired.c.commit).where(t.retired.c.sweep == self.name)
            retired = tuple((row.trial, row.commit) for row in connection.execute(taken_back))
        return Tail(parts, trials, payloads, retired)

    @_patient
    def capacities(self) -> dict[str, Capacity]:
        """What was decided on the lanes of each shape, last."""
        c = t.capacity.c
        with one_moment(self._engine) as connection:
            rows = connection.execute(sa.select(t.capacity).where(c.sweep == self.name).order_by(c.id)).all()
        return {row.shape: decode_capacity(row) for row in rows}

    @_patient
    def failed(self, causes: Iterable[Cause]) -> dict[TrialKey, Cause]:
        """All trials that failed for one of these causes, in order."""
        c = t.trial.c
        wanted = [each.value for each in causes]
        chosen = sa.select(c.cell, c.configuration, c.replicate, c.cause).where(c.sweep == self.name)
        chosen = chosen.where(c.cause.in_(wanted)).order_by(c.cell, c.configuration, c.replicate)
        with one_moment(self._engine) as connection:
            return {TrialKey(*key): Cause(cause) for *key, cause in connection.execute(chosen)}

    @_patient
    def state_of(self, trial: TrialKey) -> State | None:
        """How a trial was decided, or None while it is not."""
        c = t.trial.c
        same = (c.cell == trial.cell, c.configuration == trial.configuration, c.replicate == trial.replicate)
        with one_moment(self._engine) as connection:
            found = connection.execute(sa.select(c.state).where(c.sweep == self.name, *same)).scalar()
        return State(found) if found else None

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def names_in(url: str) -> list[str]:
    """The names of the sweeps that a ledger holds, in order."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.select(t.sweep.c.name).order_by(t.sweep.c.name)).scalars())
    finally:
        engine.dispose()


def _cell_progress(cell: str, groups: Sequence[Any]) -> CellProgress:
    counts = {(State(state), Cause(cause) if cause else None): number for _, state, cause, number, *_ in groups}
    lows = [low for *_, low, _, _ in groups if low is not None]
    highs = [high for *_, high, _ in groups if high is not None]
    seconds = sum(total or 0.0 for *_, total in groups)
    return CellProgress(cell, counts, min(lows, default=None), max(highs, default=None), seconds)
