"""Opening the database of a ledger, and insisting on it when it is away for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ..errors import LedgerAway, LedgerError
from ..sanitizing import masked
from . import postgres, sqlite
from . import tables as t

# As long as a worker waits for its scheduler by default.
PATIENCE_SECONDS = 600.0
OPENING_SECONDS = 5.0
_SHORTEST, _LONGEST = 0.05, 5.0
# Of all transactions that make tables in a database, one at a time.
_MAKING = 0x5377617468

Result = TypeVar("Result")


Use = Literal["read", "write", "create"]


def open_engine(url: str, use: Use = "read") -> sa.Engine:
    """An engine for `url`: to read, to write, or to write into tables that are made where there are none.

    Only those who write bring a ledger of an earlier version up to this one. Raises `LedgerError` when it cannot be
    used, as one of a later version cannot.
    """
    engine = _engine_of(url, use)
    try:
        insist(lambda: _ready(engine, use, shown(url)), OPENING_SECONDS)
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


def file_presence(url: str) -> Callable[[], None]:
    """A check that raises `LedgerError` once the file of a ledger is gone or another one; of a server it says nothing.

    Costs a look at the folder, some microseconds.
    """
    return sqlite.presence(sqlite.path_of(url)) if url.startswith("sqlite") else lambda: None


def stamp_of(url: str) -> Callable[[], sqlite.Stamp | None]:
    """What tells whether a ledger in a file was written to; None of a server."""
    path = sqlite.path_of(url) if url.startswith("sqlite") else None
    return lambda: None if path is None else sqlite.stamp(path)


def shown(url: str) -> str:
    """A ledger's URL as it may be shown, without a password."""
    return masked(url)


def _engine_of(url: str, use: Use) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise LedgerError("the ledger's URL cannot be read; write postgresql://USER@HOST:5432/DATABASE") from None
    match parsed.drivername.partition("+")[0]:
        case "sqlite":
            return sqlite.reading_engine_of(url) if use == "read" else sqlite.engine_of(url, create=use == "create")
        case "postgresql" | "postgres":
            return postgres.engine_of(parsed)
        case other:
            raise LedgerError(
                f"ledger {masked(url)} is in {other}, where none can be; write "
                "postgresql://USER@HOST:5432/DATABASE, or leave it out for a SQLite file"
            )


def _ready(engine: sa.Engine, use: Use, place: str) -> None:
    if use == "create":
        with engine.execution_options(writing=True).begin() as connection:
            _lock(connection)
            new = not sa.inspect(connection).has_table(t.sweep.name)
            sqlite.refuse_newer(place, _version(connection))
            t.metadata.create_all(connection)
            if new:
                _note_version(connection)
    if use != "read" or engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            version = _version(connection)
            sqlite.refuse_newer(place, version)
            outdated = (version < t.VERSION or use != "read") and _is_outdated(connection)
        if outdated and use == "read":
            raise LedgerError(
                f"ledger {place} was made by an earlier Swathe; `swathe run` of a sweep in it brings it up to date"
            )
        if outdated or (use != "read" and version < t.VERSION):
            with engine.execution_options(writing=True).begin() as connection:
                _lock(connection)
                _add_what_is_new(connection)
    with engine.connect() as connection:
        connection.execute(sa.select(t.sweep.c.name).limit(1))


def _lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))


def _version(connection: sa.Connection) -> int:
    """The version of the tables; 0 before there were versions."""
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if not sa.inspect(connection).has_table(t.schema_version.name):
        return 0
    return connection.execute(sa.select(sa.func.max(t.schema_version.c.number))).scalar() or 0


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
    _note_version(connection)


def _note_version(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {t.VERSION}")
    else:
        t.schema_version.create(connection, checkfirst=True)
        connection.execute(sa.delete(t.schema_version))
        connection.execute(sa.insert(t.schema_version).values(number=t.VERSION))
