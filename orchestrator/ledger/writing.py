"""The one writer of a ledger: takes a sweep over, commits a tick at a time, and is fenced off by its successor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import time
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..errors import LedgerError, OwnershipLost, SweepLive
from ..events import DiscardOutcome, RecordAttempt, RecordOutcome
from ..faultpoints import reach
from ..messages import Capacity, Pause, RowBlob, Suggestion, TrialKey, WorkerInfo
from ..schedule import Snapshot
from . import rows as r
from . import tables as t
from .hearing import hear, heard
from .opening import clock_of, file_presence, insist, one_moment, open_engine
from .owner import Owner, refuse_live
from .restoring import read_snapshot

Result = TypeVar("Result")


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
    """The writing side of one sweep's ledger, from `claim` on.

    Each method that writes is one transaction. While the database is away the whole of it is tried again, and one whose
    acknowledgement was lost is not written twice: every tick advances the number of commits, which tells. `clock` is
    for files; a server has its own.
    """

    def __init__(self, url: str, name: str, *, clock: Callable[[], float] = time) -> None:
        self.name = name
        self._engine = open_engine(url, "write")
        self._url = url
        self._present: Callable[[], None] = lambda: None
        self._clock = clock
        self._epoch = self._commits = -1
        self._token, self._process = "", os.getpid()
        self._claimed = self._spent_before = 0.0
        self.wish: str | None = None

    @staticmethod
    def create(url: str, name: str, record: Mapping[str, Any]) -> None:
        """Begin a sweep: `record` has its `spec` (YAML), `root`, declared `metrics`, and `shapes`. Not claimed yet.

        Raises `SweepLive` when another driver has just done so.
        """
        engine = open_engine(url, "create")
        row = {"amendments": [], "epoch": 0, "heartbeat": 0.0, "owner": {}, "status": "new", "commits": 0, "leases": 0}
        row = {"name": name, "created": time(), **row, **record}
        reach("ledger.made")
        try:
            insist(lambda: _begin_sweep(engine, row))
        finally:
            engine.dispose()
        reach("ledger.created")

    def claim(self, owner: Owner, *, force: bool = False) -> None:
        """Become the one writer. Raises `SweepLive` when another driver is alive, unless `force`."""
        insist(lambda: self._claim(owner, force))
        self._present = file_presence(self._url)
        reach("ledger.claimed")

    def _claim(self, owner: Owner, force: bool) -> None:
        mine = t.sweep.c.name == self.name
        with self._engine.begin() as connection:
            # The write lock is taken by the update, before the owner is read, so two claims cannot both pass.
            connection.execute(sa.update(t.sweep).where(mine).values(name=self.name))
            row = connection.execute(sa.select(t.sweep, clock_of(self._engine, self._clock)).where(mine)).one()
            now = float(row[-1])
            # A claim whose acknowledgement was lost is this one.
            again = self._epoch == row.epoch and self._token == row.token
            if not force and not again:
                refuse_live(self.name, row.owner if row.status == "running" else {}, row.heartbeat, now)
            self._epoch, self._commits = row.epoch + 1, row.commits
            self._token, self._process = uuid4().hex, os.getpid()
            self._claimed, self._spent_before = self._clock(), row.spent
            values = {"epoch": self._epoch, "token": self._token, "owner": asdict(owner)}
            values |= {"heartbeat": now, "status": "running"}
            # What was asked of an earlier driver is not asked of this one.
            connection.execute(sa.update(t.sweep).where(mine).values(wish=None, **values))

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

        def read() -> Snapshot:
            with one_moment(self._engine) as connection:
                return read_snapshot(connection, self.name, others)

        return insist(read)

    def partial_trials(self) -> set[TrialKey]:
        """Trials with acknowledged rows and no outcome yet."""
        named = sa.select(t.rows.c.trial).where(t.rows.c.sweep == self.name, t.rows.c.commit.is_(None)).distinct()

        def read() -> set[TrialKey]:
            with self._engine.connect() as connection:
                return {TrialKey.parse(text) for text in connection.execute(named).scalars()}

        return insist(read)

    def commit(self, batch: Batch) -> None:
        """Write a tick. Raises `OwnershipLost`, having written nothing, when a later driver has taken over."""
        self._write(lambda *given: self._tick(batch, *given), advance=1, leases=batch.leases, status=batch.status)
        reach("ledger.commit.after")

    def _tick(self, batch: Batch, connection: sa.Connection, number: int) -> None:
        name, now = self.name, self._clock()
        _insert(connection, t.generation, [r.generation_row(name, *each) for each in batch.proposals])
        _insert(connection, t.trial, [r.trial_row(name, number, *each) for each in batch.outcomes])
        _insert(connection, t.pause, [r.pause_row(name, each) for each in batch.pauses])
        _insert(connection, t.attempt, [r.attempt_row(name, now, each) for each in batch.attempts])
        _insert(connection, t.attempt, [r.late_row(name, now, each) for each in batch.late])
        _insert(connection, t.capacity, [r.capacity_row(name, now, each) for each in batch.capacities])
        if batch.capacities:
            reach("ledger.capacity")
        _insert(connection, t.rows, [r.blob_row(name, number, *each) for each in batch.rows])
        hear(connection, name, batch.heard)
        for record, _ in batch.outcomes:
            if record.outcome.trial in batch.partial:
                self._settle_rows(connection, record, number)
        reach("ledger.commit.before")

    def heartbeat(self, crew: Mapping[str, Any] | None = None) -> None:
        """Say that this driver lives, and, on a cluster, what its `crew` does."""
        self._write(lambda connection, number: self._tell(connection, crew))

    def _tell(self, connection: sa.Connection, crew: Mapping[str, Any] | None) -> None:
        if crew is not None:
            connection.execute(sa.update(t.sweep).where(t.sweep.c.name == self.name).values(crew=dict(crew)))

    def heard(self) -> dict[str, int]:
        """Of each worker the last push that is in the ledger."""
        return heard(self._engine, self.name)

    def plan_part(self) -> PartRange | None:
        """The next part to be written, recorded before it is: an unfinished one first, else all new commits.

        None when no trial has ended since the last one.
        """
        return self._write(lambda connection, number: self._plan(connection))

    def _plan(self, connection: sa.Connection) -> PartRange | None:
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
        mine = sa.and_(t.part.c.sweep == self.name, t.part.c.first == part.first)
        held = sa.and_(t.rows.c.sweep == self.name, t.rows.c.commit.between(*part))

        def finish(connection: sa.Connection, number: int) -> None:
            connection.execute(sa.update(t.part).where(mine).values(done=True))
            connection.execute(sa.delete(t.rows).where(held))

        self._write(finish)

    def retired(self) -> dict[PartRange, frozenset[str]]:
        """The finished parts that hold rows of outcomes taken back, with the names of their trials."""
        inside = sa.and_(t.part.c.sweep == t.retired.c.sweep, t.retired.c.commit.between(t.part.c.first, t.part.c.last))
        chosen = sa.select(t.part.c.first, t.part.c.last, t.retired.c.trial).join(t.retired, inside)
        chosen = chosen.where(t.part.c.sweep == self.name, t.part.c.done)

        def read() -> dict[PartRange, set[str]]:
            found: dict[PartRange, set[str]] = {}
            with self._engine.connect() as connection:
                for first, last, trial in connection.execute(chosen):
                    found.setdefault(PartRange(first, last), set()).add(trial)
            return found

        return {part: frozenset(trials) for part, trials in insist(read).items()}

    def forget_retired(self, part: PartRange) -> None:
        """The part has been written without the rows of outcomes taken back."""
        inside = sa.and_(t.retired.c.sweep == self.name, t.retired.c.commit.between(*part))
        self._write(lambda connection, number: connection.execute(sa.delete(t.retired).where(inside)))

    def close(self) -> None:
        """Let go of the database; the write-ahead log is folded into the file."""
        self._engine.dispose()

    def _write(
        self,
        work: Callable[[sa.Connection, int], Result],
        *,
        advance: int = 0,
        leases: int = 0,
        status: str | None = None,
    ) -> Result:
        """Do `work` with the number of its commit, in one transaction, as the sweep's owner.

        What can be done twice without harm needs no commit of its own (`advance` 0).
        """

        if os.getpid() != self._process:
            raise OwnershipLost(
                f"process {os.getpid()} is a copy of the driver of sweep {self.name}; it writes nothing"
            )

        def attempt() -> Any:
            # A file that was deleted takes commits as before, and they are lost with it.
            self._present()
            with self._engine.begin() as connection:
                number = self._fence(connection, advance, {"leases": leases} if leases else {}, status)
                return None if number is None else work(connection, number)

        result = insist(attempt)
        self._commits += advance
        return result

    def _fence(self, connection: sa.Connection, advance: int, values: dict[str, Any], status: str | None) -> int | None:
        """The number of this commit, or None when it has been made and only its acknowledgement was lost.

        What others wish of this driver comes back with it, in `wish`.
        """
        values |= {"heartbeat": clock_of(self._engine, self._clock), "commits": t.sweep.c.commits + advance}
        values |= {"spent": self.spent, **({"status": status} if status else {})}
        # Another sweep of this name may have come to the same epoch, but never to the same token.
        mine = sa.and_(t.sweep.c.name == self.name, t.sweep.c.epoch == self._epoch, t.sweep.c.token == self._token)
        following = mine if not advance else sa.and_(mine, t.sweep.c.commits == self._commits)
        fence = sa.update(t.sweep).where(following).values(values).returning(t.sweep.c.commits, t.sweep.c.wish)
        row = connection.execute(fence).one_or_none()
        if row is not None:
            self.wish = row.wish
            return row.commits
        if advance and connection.execute(sa.select(t.sweep.c.commits).where(mine)).scalar() == self._commits + advance:
            return None
        if connection.execute(sa.select(t.sweep.c.name).where(t.sweep.c.name == self.name)).first() is None:
            raise LedgerError(
                f"sweep {self.name} is gone from its ledger while it ran, so nothing more is written; restore it, and "
                "the same command goes on"
            )
        raise OwnershipLost(
            f"sweep {self.name} was taken over by another driver; this one has stopped and written nothing more. "
            f"Watch the other with `swathe status {self.name}`"
        )

    def _settle_rows(self, connection: sa.Connection, record: RecordOutcome, number: int) -> None:
        """Rows of the leases that led to the outcome count from now on; those of lost leases never will."""
        mine = sa.and_(t.rows.c.sweep == self.name, t.rows.c.trial == str(record.outcome.trial))
        connection.execute(sa.delete(t.rows).where(mine, t.rows.c.lease.not_in(record.lineage)))
        connection.execute(sa.update(t.rows).where(mine).values(commit=number, trial=None))


def _begin_sweep(engine: sa.Engine, row: Mapping[str, Any]) -> None:
    try:
        with engine.begin() as connection:
            connection.execute(sa.insert(t.sweep).values(row))
    except IntegrityError:
        with engine.connect() as connection:
            made = connection.execute(sa.select(t.sweep).where(t.sweep.c.name == row["name"])).one()
        if (made.created, made.spec, made.epoch) == (row["created"], row["spec"], 0):
            # By this call, whose acknowledgement was lost.
            return
        raise SweepLive(
            f"sweep {made.name} was begun by another driver at this moment; look at it with `swathe status "
            f"{made.name}`, or replace it with --takeover"
        ) from None


def _insert(connection: sa.Connection, table: sa.Table, values: list[dict[str, Any]]) -> None:
    if values:
        connection.execute(sa.insert(table), values)
