"""Opening the database of a ledger, and insisting on it when it is away for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ..errors import LedgerAway, LedgerError
from . import postgres, sqlite
from . import tables as t

# As long as a worker waits for its scheduler by default.
PATIENCE_SECONDS = 600.0
OPENING_SECONDS = 5.0
_SHORTEST, _LONGEST = 0.05, 5.0
# Of all transactions that make tables in a database, one at a time.
_MAKING = 0x5377617468

Result = TypeVar("Result")


def open_engine(url: str, *, create: bool = False) -> sa.Engine:
    """An engine for `url`; makes the tables when `create`. Raises `LedgerError` when it cannot be used."""
    engine = _engine_of(url, create)
    try:
        insist(lambda: _ready(engine, create), OPENING_SECONDS)
    except LedgerError:
        engine.dispose()
        raise
    return engine


def insist(work: Callable[[], Result], seconds: float = PATIENCE_SECONDS) -> Result:
    """What `work` returns, tried again for so long while the database is away. Raises `LedgerAway` in the end.

    `work` is one whole transaction. It may come after one whose acknowledgement was lost, and must find that out.
    """
    deadline, pause = monotonic() + seconds, _SHORTEST
    while True:
        try:
            return work()
        except LedgerAway:
            if monotonic() + pause > deadline:
                raise
        sleep(pause)
        pause = min(2 * pause, _LONGEST)


@contextmanager
def one_moment(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose reads are all of one moment."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def clock_of(engine: sa.Engine, clock: Callable[[], float]) -> sa.ColumnElement[float]:
    """Now, in Unix seconds, by the database's clock; a file has that of this machine."""
    if engine.dialect.name == "postgresql":
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)
    return sa.literal(clock(), sa.Float)


def shown(url: str) -> str:
    """A ledger's URL as it may be shown, without a password."""
    return postgres.masked(sa.make_url(url))


def _engine_of(url: str, create: bool) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise LedgerError("the ledger's URL cannot be read; write postgresql://USER@HOST:5432/DATABASE") from None
    match parsed.drivername.partition("+")[0]:
        case "sqlite":
            return sqlite.engine_of(parsed, create=create)
        case "postgresql" | "postgres":
            return postgres.engine_of(parsed)
        case other:
            raise LedgerError(
                f"ledger {postgres.masked(parsed)} is in {other}, where none can be; write "
                "postgresql://USER@HOST:5432/DATABASE, or leave it out for a SQLite file"
            )


def _ready(engine: sa.Engine, create: bool) -> None:
    if create:
        with engine.execution_options(writing=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))
            t.metadata.create_all(connection)
    with engine.connect() as connection:
        outdated = _is_outdated(connection) if create or engine.dialect.name == "sqlite" else False
    if outdated:
        with engine.execution_options(writing=True).begin() as connection:
            _add_what_is_new(connection)
    with engine.connect() as connection:
        connection.execute(sa.select(t.sweep.c.name).limit(1))


def _is_outdated(connection: sa.Connection) -> bool:
    """Whether an earlier version has made the ledger; one without any tables is new instead."""
    have = sa.inspect(connection)
    names = set(have.get_table_names())
    if t.sweep.name not in names:
        return False
    known = {name: {each["name"] for each in have.get_columns(name)} for name in names}
    return any(not known.get(table.name, set()) >= set(table.c.keys()) for table in t.metadata.sorted_tables)


def _add_what_is_new(connection: sa.Connection) -> None:
    """Bring a ledger of an earlier version up to this one: its tables and columns are a subset of ours."""
    have = sa.inspect(connection)
    names = set(have.get_table_names())
    t.metadata.create_all(connection)
    for table in t.metadata.sorted_tables:
        known = {each["name"] for each in have.get_columns(table.name)} if table.name in names else set(table.c.keys())
        for column in table.columns:
            if column.name not in known:
                text = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {text}")
