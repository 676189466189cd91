"""Changing a sweep between sessions (it grows, failed trials wait again, a copy of it begins); asking its driver."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import sqlalchemy as sa

from ..messages import Suggestion, TrialKey
from . import rows as r
from . import tables as t
from .opening import OPENING_SECONDS, insist, open_engine
from .owner import Owner
from .writing import Ledger

DRAIN: Literal["drain"] = "drain"
CANCEL: Literal["cancel"] = "cancel"

# Between two drivers: neither at work nor finished.
_STOPPED = "drained"


@dataclass(frozen=True, slots=True)
class Revision:
    """A sweep's new spec (YAML) and root; `amendments` are all of them, in order.

    `reopened` says that there are trials to run again; `generations` are suggestions of generations that have grown.
    """

    spec: str
    root: str
    amendments: Sequence[str]
    reopened: bool
    generations: Sequence[tuple[str, int, tuple[Suggestion, ...]]] = ()


class Editor(Ledger):
    """The writer of a sweep that nobody drives; made by `editing`."""

    _status = _STOPPED

    def open_for_edit(self, *, force: bool) -> None:
        """Claim the sweep. Raises `SweepLive` when a driver is alive, unless `force`."""
        status = sa.select(t.sweep.c.status).where(t.sweep.c.name == self.name)
        with self._engine.connect() as connection:
            before = connection.execute(status).scalar_one()
        self._status = _STOPPED if before in ("new", "running") else before
        self.claim(Owner.here(), force=force)

    def release(self) -> None:
        """Nobody drives the sweep any more."""
        self._write(lambda connection, number: None, status=self._status)

    def revise(self, revision: Revision) -> None:
        """Take in a new spec, with what follows from it, in one transaction."""
        self._write(lambda connection, number: self._revise(connection, revision))
        if revision.reopened:
            self._status = _STOPPED

    def _revise(self, connection: sa.Connection, revision: Revision) -> None:
        values = {"spec": revision.spec, "root": revision.root, "amendments": list(revision.amendments)}
        connection.execute(sa.update(t.sweep).where(t.sweep.c.name == self.name).values(values))
        for cell, number, suggestions in revision.generations:
            row = r.generation_row(self.name, cell, number, suggestions)
            same = (t.generation.c.cell == cell, t.generation.c.generation == number)
            mine = sa.update(t.generation).where(t.generation.c.sweep == self.name, *same)
            connection.execute(mine.values(suggestions=row["suggestions"]))

    def retry(self, trials: Iterable[TrialKey]) -> None:
        """Take back the outcomes of these failed trials, in one transaction: they wait, with all their attempts.

        Every outcome must lie in a finished part already; the part is written anew afterwards.
        """
        chosen = tuple(trials)

        def take_back(connection: sa.Connection, number: int) -> None:
            for trial in chosen:
                self._take_back(connection, trial)

        # Not to be done twice, so it has a commit of its own.
        self._write(take_back, advance=1)
        self._status = _STOPPED

    def _take_back(self, connection: sa.Connection, trial: TrialKey) -> None:
        row = connection.execute(sa.select(t.trial).where(*self._of(t.trial, trial))).one()
        spent = {"attempt": row.attempt, "cause": row.cause, "lease": row.lease, "worker": row.worker}
        ended = {"sweep": self.name, **trial._asdict(), **spent, "late": False, "at": row.ended}
        connection.execute(sa.insert(t.attempt).values(ended))
        connection.execute(sa.update(t.attempt).where(*self._of(t.attempt, trial)).values(forgiven=True))
        connection.execute(sa.delete(t.pause).where(*self._of(t.pause, trial)))
        connection.execute(sa.delete(t.trial).where(*self._of(t.trial, trial)))
        connection.execute(sa.insert(t.retired).values(sweep=self.name, trial=str(trial), commit=row.commit))

    def _of(self, table: sa.Table, trial: TrialKey) -> tuple[sa.ColumnElement[bool], ...]:
        same = (table.c[name] == value for name, value in trial._asdict().items())
        return table.c.sweep == self.name, *same


@contextmanager
def editing(url: str, name: str, *, force: bool = False) -> Iterator[Editor]:
    """The sweep's writer for a moment. Raises `SweepLive` when a driver is alive, unless `force`."""
    editor = Editor(url, name)
    try:
        editor.open_for_edit(force=force)
        try:
            yield editor
        finally:
            editor.release()
    finally:
        editor.close()


def ask_driver(url: str, name: str, wish: Literal["drain", "cancel"]) -> None:
    """Leave a wish for the driver of a sweep, which sees it at its next commit or heartbeat."""
    engine = open_engine(url, "write")

    def ask() -> None:
        with engine.begin() as connection:
            connection.execute(sa.update(t.sweep).where(t.sweep.c.name == name).values(wish=wish))

    try:
        insist(ask, OPENING_SECONDS)
    finally:
        engine.dispose()


def copy_as(url: str, to: Path, name: str) -> None:
    """Copy a ledger that holds one sweep to the file `to`, where the sweep is called `name` and begins anew."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection, closing(sqlite3.connect(to)) as copied:
            cast(sqlite3.Connection, connection.connection.driver_connection).backup(copied)
    finally:
        engine.dispose()
    engine = open_engine(t.url_of_file(to), "write")
    fresh: Mapping[str, Any] = {"status": _STOPPED, "owner": {}, "spent": 0.0, "wish": None, "created": time.time()}
    try:
        with engine.begin() as connection:
            connection.execute(sa.update(t.sweep).values(name=name, **fresh))
            for table in (each for each in t.metadata.sorted_tables if each is not t.sweep):
                connection.execute(sa.update(table).values(sweep=name))
    finally:
        engine.dispose()
