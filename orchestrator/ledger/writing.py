"""The one writer of a ledger: takes a sweep over, commits a tick at a time, and is fenced off by its successor."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import psutil
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..errors import LedgerError, OwnershipLost, SweepLive
from ..events import DiscardOutcome, RecordAttempt, RecordOutcome
from ..faultpoints import reach
from ..messages import Capacity, Cause, Pause, RowBlob, State, Suggestion, TrialKey, WorkerInfo
from ..schedule import Decision, Snapshot
from . import rows as r
from . import tables as t
from .hearing import hear, heard

HEARTBEAT_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Owner:
    """The driver that owns a sweep, so that a later one on the same machine can tell whether it still lives."""

    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def gone(self) -> bool:
        """Whether the owner is known to be dead: same machine, and no such process any more."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one tick writes, in one transaction. `rows` are (lease, blob); `proposals` (cell, generation, ...).

    `heard` are the numbers of the pushes that it takes in, by worker.
    """

    proposals: Sequence[tuple[str, int, tuple[Suggestion, ...]]] = ()
    outcomes: Sequence[tuple[RecordOutcome, WorkerInfo]] = ()
    pauses: Sequence[Pause] = ()
    attempts: Sequence[RecordAttempt] = ()
    late: Sequence[DiscardOutcome] = ()
    rows: Sequence[tuple[int, RowBlob]] = ()
    leases: int = 0
    status: str | None = None
    partial: frozenset[TrialKey] = field(default_factory=frozenset[TrialKey])
    capacities: Sequence[Capacity] = ()
    heard: Mapping[str, int] = field(default_factory=dict[str, int])


class PartRange(NamedTuple):
    """A part of the results: the commits `first`..`last`, both included."""

    first: int
    last: int


class Ledger:
    """The writing side of one sweep's ledger, from `claim` on."""

    def __init__(self, url: str, name: str, *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._engine = t.open_engine(url)
        self._clock = clock
        self._epoch = -1
        self._claimed = self._spent_before = 0.0
        self.wish: str | None = None

    @staticmethod
    def create(url: str, name: str, record: Mapping[str, Any]) -> None:
        """Begin a sweep: `record` has its `spec` (YAML), `root`, declared `metrics`, and `shapes`. Not claimed yet.

        Raises `SweepLive` when another driver has just done so.
        """
        engine = t.open_engine(url, create=True)
        row = {"amendments": [], "epoch": 0, "heartbeat": 0.0, "owner": {}, "status": "new", "commits": 0, "leases": 0}
        reach("ledger.made")
        try:
            with engine.begin() as connection:
                connection.execute(sa.insert(t.sweep).values(name=name, created=time.time(), **row, **record))
        except IntegrityError:
            raise SweepLive(
                f"sweep {name} was begun by another driver at this moment; look at it with `swathe status {name}`, "
                "or replace it with --takeover"
            ) from None
        finally:
            engine.dispose()
        reach("ledger.created")

    def claim(self, owner: Owner, *, force: bool = False) -> None:
        """Become the one writer. Raises `SweepLive` when another driver is alive, unless `force`."""
        with self._engine.begin() as connection:
            # The write lock is taken by the update, before the owner is read, so two claims cannot both pass.
            connection.execute(sa.update(t.sweep).where(t.sweep.c.name == self.name).values(name=self.name))
            row = connection.execute(sa.select(t.sweep).where(t.sweep.c.name == self.name)).one()
            if not force:
                refuse_live(self.name, row.owner if row.status == "running" else {}, row.heartbeat, self._clock())
            self._epoch = row.epoch + 1
            self._claimed, self._spent_before = self._clock(), row.spent
            values = {"epoch": self._epoch, "owner": asdict(owner), "heartbeat": self._claimed, "status": "running"}
            # What was asked of an earlier driver is not asked of this one.
            connection.execute(sa.update(t.sweep).where(t.sweep.c.name == self.name).values(wish=None, **values))
        reach("ledger.claimed")

    @property
    def epoch(self) -> int:
        """How many times the sweep has been taken over, this one included."""
        return self._epoch

    @property
    def spent(self) -> float:
        """Seconds that drivers have worked on this sweep, this one included."""
        return self._spent_before + max(0.0, self._clock() - self._claimed)

    def snapshot(self, others: Sequence[str] = ()) -> Snapshot:
        """What is needed to go on: see `Snapshot`. `others` are the names of further objectives."""
        with self._engine.connect() as connection:
            return _read_snapshot(connection, self.name, others)

    def partial_trials(self) -> set[TrialKey]:
        """Trials with acknowledged rows and no outcome yet."""
        named = sa.select(t.rows.c.trial).where(t.rows.c.sweep == self.name, t.rows.c.commit.is_(None)).distinct()
        with self._engine.connect() as connection:
            return {TrialKey.parse(text) for text in connection.execute(named).scalars()}

    def commit(self, batch: Batch) -> None:
        """Write a tick. Raises `OwnershipLost`, having written nothing, when a later driver has taken over."""
        with self._engine.begin() as connection:
            number = self._fence(connection, leases=batch.leases, status=batch.status)
            _insert(connection, t.generation, [r.generation_row(self.name, *each) for each in batch.proposals])
            _insert(connection, t.trial, [r.trial_row(self.name, number, *each) for each in batch.outcomes])
            _insert(connection, t.pause, [r.pause_row(self.name, each) for each in batch.pauses])
            _insert(connection, t.attempt, [r.attempt_row(self.name, self._clock(), each) for each in batch.attempts])
            _insert(connection, t.attempt, [r.late_row(self.name, self._clock(), each) for each in batch.late])
            _insert(
                connection, t.capacity, [r.capacity_row(self.name, self._clock(), each) for each in batch.capacities]
            )
            if batch.capacities:
                reach("ledger.capacity")
            _insert(connection, t.rows, [r.blob_row(self.name, number, *each) for each in batch.rows])
            hear(connection, self.name, batch.heard)
            for record, _ in batch.outcomes:
                if record.outcome.trial in batch.partial:
                    self._settle_rows(connection, record, number)
            reach("ledger.commit.before")
        reach("ledger.commit.after")

    def heartbeat(self, crew: Mapping[str, Any] | None = None) -> None:
        """Say that this driver lives, and, on a cluster, what its `crew` does."""
        with self._engine.begin() as connection:
            self._fence(connection, advance=0)
            if crew is not None:
                connection.execute(sa.update(t.sweep).where(t.sweep.c.name == self.name).values(crew=dict(crew)))

    def heard(self) -> dict[str, int]:
        """Of each worker the last push that is in the ledger."""
        return heard(self._engine, self.name)

    def plan_part(self) -> PartRange | None:
        """The next part to be written, recorded before it is: an unfinished one first, else all new commits.

        None when no trial has ended since the last one.
        """
        with self._engine.begin() as connection:
            self._fence(connection, advance=0)
            mine = t.part.c.sweep == self.name
            begun = connection.execute(sa.select(t.part).where(mine, ~t.part.c.done)).first()
            if begun is not None:
                return PartRange(begun.first, begun.last)
            first = 1 + (connection.execute(sa.select(sa.func.max(t.part.c.last)).where(mine)).scalar() or 0)
            last = connection.execute(sa.select(t.sweep.c.commits).where(t.sweep.c.name == self.name)).scalar_one()
            ended = sa.select(t.trial.c.commit).where(t.trial.c.sweep == self.name, t.trial.c.commit >= first)
            if connection.execute(ended.limit(1)).first() is None:
                return None
            connection.execute(sa.insert(t.part).values(sweep=self.name, first=first, last=last, done=False))
            return PartRange(first, last)

    def finish_part(self, part: PartRange) -> None:
        """The part is durable: count it, and let go of the blobs that it holds."""
        with self._engine.begin() as connection:
            self._fence(connection, advance=0)
            mine = sa.and_(t.part.c.sweep == self.name, t.part.c.first == part.first)
            connection.execute(sa.update(t.part).where(mine).values(done=True))
            held = sa.and_(t.rows.c.sweep == self.name, t.rows.c.commit.between(*part))
            connection.execute(sa.delete(t.rows).where(held))

    def retired(self) -> dict[PartRange, frozenset[str]]:
        """The finished parts that hold rows of outcomes taken back, with the names of their trials."""
        inside = sa.and_(t.part.c.sweep == t.retired.c.sweep, t.retired.c.commit.between(t.part.c.first, t.part.c.last))
        chosen = sa.select(t.part.c.first, t.part.c.last, t.retired.c.trial).join(t.retired, inside)
        found: dict[PartRange, set[str]] = {}
        with self._engine.connect() as connection:
            for first, last, trial in connection.execute(chosen.where(t.part.c.sweep == self.name, t.part.c.done)):
                found.setdefault(PartRange(first, last), set()).add(trial)
        return {part: frozenset(trials) for part, trials in found.items()}

    def forget_retired(self, part: PartRange) -> None:
        """The part has been written without the rows of outcomes taken back."""
        with self._engine.begin() as connection:
            self._fence(connection, advance=0)
            inside = t.retired.c.commit.between(*part)
            connection.execute(sa.delete(t.retired).where(t.retired.c.sweep == self.name, inside))

    def close(self) -> None:
        """Let go of the database; the write-ahead log is folded into the file."""
        self._engine.dispose()

    def _fence(self, connection: sa.Connection, *, advance: int = 1, leases: int = 0, status: str | None = None) -> int:
        """The number of this commit. What others wish of this driver comes back with it, in `wish`."""
        values: dict[str, Any] = {"heartbeat": self._clock(), "commits": t.sweep.c.commits + advance}
        values["spent"] = self.spent
        if leases:
            values["leases"] = leases
        if status:
            values["status"] = status
        fence = sa.update(t.sweep).where(t.sweep.c.name == self.name, t.sweep.c.epoch == self._epoch)
        row = connection.execute(fence.values(values).returning(t.sweep.c.commits, t.sweep.c.wish)).one_or_none()
        if row is None:
            raise OwnershipLost(
                f"sweep {self.name} was taken over by another driver; this one has stopped and written nothing more. "
                f"Watch the other with `swathe status {self.name}`"
            )
        self.wish = row.wish
        return row.commits

    def _settle_rows(self, connection: sa.Connection, record: RecordOutcome, number: int) -> None:
        """Rows of the leases that led to the outcome count from now on; those of lost leases never will."""
        mine = sa.and_(t.rows.c.sweep == self.name, t.rows.c.trial == str(record.outcome.trial))
        connection.execute(sa.delete(t.rows).where(mine, t.rows.c.lease.not_in(record.lineage)))
        connection.execute(sa.update(t.rows).where(mine).values(commit=number, trial=None))


def refuse_live(name: str, owner: Mapping[str, Any], heartbeat: float, now: float) -> None:
    """Raise `SweepLive` when `owner` may still be driving the sweep; an empty owner drives nothing."""
    if not owner or now - heartbeat > HEARTBEAT_LIMIT or Owner(**owner).gone():
        return
    raise SweepLive(
        f"sweep {name} is being driven by process {owner['pid']} on {owner['host']}, which was alive "
        f"{max(0.0, now - heartbeat):.0f} s ago; look at it with `swathe status {name}`, or replace it with --takeover"
    )


def _read_snapshot(connection: sa.Connection, name: str, others: Sequence[str]) -> Snapshot:
    row = connection.execute(sa.select(t.sweep).where(t.sweep.c.name == name)).one_or_none()
    if row is None:
        raise LedgerError(f"the ledger holds no sweep named {name}")
    order = (t.generation.c.generation, t.generation.c.cell)
    proposals = tuple(
        (each.cell, each.generation, r.decode_suggestions(each.suggestions))
        for each in connection.execute(sa.select(t.generation).where(t.generation.c.sweep == name).order_by(*order))
    )
    c = t.trial.c
    columns = (c.cell, c.configuration, c.replicate, c.state, c.cause, c.value, c.steps, c.metrics)
    decided = connection.execute(sa.select(*columns).where(c.sweep == name))
    decisions = {
        TrialKey(cell, number, replicate): Decision(
            State(state), Cause(cause) if cause else None, value, steps, _values(metrics, others)
        )
        for cell, number, replicate, state, cause, value, steps, metrics in decided
    }
    key = (t.attempt.c.cell, t.attempt.c.configuration, t.attempt.c.replicate)
    charged = sa.and_(t.attempt.c.sweep == name, ~t.attempt.c.late, t.attempt.c.cause != Cause.PREEMPTED.value)
    charged = sa.and_(charged, ~t.attempt.c.forgiven)
    failed = sa.select(*key, sa.func.max(t.attempt.c.attempt)).where(charged).group_by(*key)
    charges = {TrialKey(c, n, r): count for c, n, r, count in connection.execute(failed)}
    open_charges = {trial: count for trial, count in charges.items() if trial not in decisions}
    paused = connection.execute(sa.select(t.pause).where(t.pause.c.sweep == name).order_by(t.pause.c.id))
    measured = connection.execute(sa.select(t.capacity).where(t.capacity.c.sweep == name).order_by(t.capacity.c.id))
    lanes = {each.shape: each.lanes for each in measured}
    return Snapshot(proposals, decisions, tuple(map(r.decode_pause, paused)), open_charges, row.leases, lanes)


def _insert(connection: sa.Connection, table: sa.Table, values: list[dict[str, Any]]) -> None:
    if values:
        connection.execute(sa.insert(table), values)


def _values(metrics: str, names: Sequence[str]) -> tuple[float | None, ...]:
    """The metrics of these names, of JSON that is only read where there are any."""
    told = json.loads(metrics) if names else {}
    return tuple(told.get(name) for name in names)
