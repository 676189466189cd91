"""The ledger's tables and how to open its database."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy import event

from ..errors import LedgerEmpty, LedgerError

LOCK_SECONDS = 30.0

_DEFECTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InternalError, sqlite3.NotSupportedError)
_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "glusterfs", "9p"}

metadata = sa.MetaData()

sweep = sa.Table(
    "sweep",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("amendments", sa.JSON, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("heartbeat", sa.Float, nullable=False),
    sa.Column("owner", sa.JSON, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("commits", sa.Integer, nullable=False),
    sa.Column("leases", sa.Integer, nullable=False),
    # Seconds that drivers have worked on it, over all sessions; what another process asks of the driver at work.
    sa.Column("spent", sa.Float, nullable=False, server_default="0"),
    sa.Column("wish", sa.String),
    # What earlier sweeps have found out, copied when this one began.
    sa.Column("warm", sa.JSON, nullable=False, server_default="[]"),
    # Parameters that decide the shapes of a task's tensors, with defaults; null for tasks that cannot be fused.
    sa.Column("shapes", sa.JSON),
    # The workers of a sweep on a cluster as its scheduler last saw them, for `status` and `watch`.
    sa.Column("crew", sa.JSON),
)

generation = sa.Table(
    "generation",
    metadata,
    sa.Column("sweep", sa.String, primary_key=True),
    sa.Column("cell", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("suggestions", sa.Text, nullable=False),
)

trial = sa.Table(
    "trial",
    metadata,
    sa.Column("sweep", sa.String, primary_key=True),
    sa.Column("cell", sa.String, primary_key=True),
    sa.Column("configuration", sa.Integer, primary_key=True),
    sa.Column("replicate", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("proposed_by", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("cause", sa.String),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("steps", sa.Integer),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float, nullable=False),
    sa.Column("worker", sa.String, nullable=False),
    sa.Column("node", sa.String, nullable=False),
    sa.Column("device", sa.String, nullable=False),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("lease", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("commit", sa.Integer, nullable=False, index=True),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sweep", sa.String, nullable=False, index=True),
    sa.Column("cell", sa.String, nullable=False),
    sa.Column("configuration", sa.Integer, nullable=False),
    sa.Column("replicate", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("cause", sa.String),
    sa.Column("late", sa.Boolean, nullable=False),
    sa.Column("lease", sa.Integer, nullable=False),
    sa.Column("worker", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    # Forgiven: a later `swathe retry` has given the trial all its attempts back.
    sa.Column("forgiven", sa.Boolean, nullable=False, server_default="0"),
)

# Outcomes that `swathe retry` has taken back, while the part of that commit still holds their rows.
retired = sa.Table(
    "retired",
    metadata,
    sa.Column("sweep", sa.String, primary_key=True),
    sa.Column("trial", sa.String, primary_key=True),
    sa.Column("commit", sa.Integer, primary_key=True),
)

# Trials that gave their worker away, in order; `outcome` and `lineage` are JSON.
pause = sa.Table(
    "pause",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sweep", sa.String, nullable=False, index=True),
    sa.Column("cell", sa.String, nullable=False),
    sa.Column("configuration", sa.Integer, nullable=False),
    sa.Column("replicate", sa.Integer, nullable=False),
    sa.Column("lease", sa.Integer, nullable=False),
    sa.Column("worker", sa.String, nullable=False),
    sa.Column("lineage", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
)

# How many lanes the packs of a shape have, in the order of decisions; the last one holds. `measured` is JSON.
capacity = sa.Table(
    "capacity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sweep", sa.String, nullable=False, index=True),
    sa.Column("shape", sa.Text, nullable=False),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("device", sa.String, nullable=False),
    sa.Column("measured", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# `trial` is the name of a trial whose end has not been seen; `commit` is null until its rows are known to count.
rows = sa.Table(
    "rows",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sweep", sa.String, nullable=False),
    sa.Column("trial", sa.String),
    sa.Column("lease", sa.Integer, nullable=False),
    sa.Column("commit", sa.Integer),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Index("rows_by_commit", "sweep", "commit"),
    sa.Index("rows_by_trial", "sweep", "trial"),
)

# The last push of a worker that is in the ledger; one whose reply was lost is not to be taken in twice.
heard = sa.Table(
    "heard",
    metadata,
    sa.Column("sweep", sa.String, primary_key=True),
    sa.Column("worker", sa.String, primary_key=True),
    sa.Column("push", sa.Integer, nullable=False),
)

# A part of Parquet that holds the commits first..last; `done` when both of its files are durable.
part = sa.Table(
    "part",
    metadata,
    sa.Column("sweep", sa.String, primary_key=True),
    sa.Column("first", sa.Integer, primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
)


def url_of(folder: Path) -> str:
    """The URL of the SQLite ledger in a sweep's folder."""
    return f"sqlite:///{folder / 'ledger.db'}"


def open_engine(url: str, *, create: bool = False) -> sa.Engine:
    """An engine for `url`; makes the tables when `create`. Raises `LedgerError` when it cannot be used."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise LedgerError(f"ledger {parsed.render_as_string()} is no SQLite file; only SQLite works in this version")
    path = Path(parsed.database or "")
    if not create and not path.exists():
        raise LedgerError(f"{path} does not exist; `swathe run` makes it when it starts a sweep")
    if create:
        _refuse_network_filesystem(path)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_SECONDS})
    event.listen(engine, "connect", _prepare_new if create else _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", lambda context: _explain(path, context.original_exception))
    try:
        if create:
            with engine.execution_options(writing=True).begin() as connection:
                metadata.create_all(connection)
        with engine.connect() as connection:
            outdated = _is_outdated(connection)
        if outdated:
            with engine.execution_options(writing=True).begin() as connection:
                _add_what_is_new(connection)
        with engine.connect() as connection:
            connection.execute(sa.select(sweep.c.name).limit(1))
    except LedgerError:
        engine.dispose()
        raise
    return engine


def _is_outdated(connection: sa.Connection) -> bool:
    """Whether an earlier version has made the ledger; one without any tables is new instead."""
    have = sa.inspect(connection)
    names = set(have.get_table_names())
    if sweep.name not in names:
        return False
    known = {name: {each["name"] for each in have.get_columns(name)} for name in names}
    return any(not known.get(table.name, set()) >= set(table.c.keys()) for table in metadata.sorted_tables)


def _add_what_is_new(connection: sa.Connection) -> None:
    """Bring a ledger of an earlier version up to this one: its tables and columns are a subset of ours."""
    have = sa.inspect(connection)
    names = set(have.get_table_names())
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        known = {each["name"] for each in have.get_columns(table.name)} if table.name in names else set(table.c.keys())
        for column in table.columns:
            if column.name not in known:
                text = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {text}")


def _explain(path: Path, error: BaseException) -> None:
    """Raise `LedgerError` for what has happened to the file; what is a defect of Swathe stays as it is."""
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, _DEFECTS):
        return
    if "no such table" in str(error):
        raise LedgerEmpty(f"{path} has no tables; `swathe run` makes them when it starts a sweep") from None
    if "locked" in str(error):
        raise LedgerError(
            f"{path} has been locked by another process for {LOCK_SECONDS:.0f} s; end that one (`fuser {path}` names "
            "it), and the same command goes on"
        ) from None
    if isinstance(error, sqlite3.OperationalError):
        raise LedgerError(f"{path} cannot be used: {error}; mend that, and the same command goes on") from None
    raise LedgerError(f"{path} cannot be used as a ledger: {error}; restore it from a copy") from None


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    # A commit is on the disk when it returns.
    connection.execute("PRAGMA synchronous=FULL")


def _prepare_new(connection: sqlite3.Connection, record: object) -> None:
    _prepare(connection, record)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            # Readers never wait for the writer. The file remembers it.
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            # Another driver makes the same file, and here SQLite does not wait by itself.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: sa.Connection) -> None:
    # The driver's own transaction control begins one only at the first write, so reads would not be of one moment.
    # One that reads before it writes must be the writer from the start, or it fails when another comes in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writing") else "BEGIN")


def _refuse_network_filesystem(path: Path) -> None:
    folder = path.resolve().parent
    mounts = [each for each in psutil.disk_partitions(all=True) if folder.is_relative_to(each.mountpoint)]
    if not mounts:
        return
    nearest = max(mounts, key=lambda each: len(each.mountpoint))
    if nearest.fstype in _NETWORK_FILESYSTEMS:
        raise LedgerError(
            f"{folder} lies on {nearest.fstype} ({nearest.mountpoint}), where SQLite's write-ahead log is not safe; "
            "name a folder on a local disk with --dir"
        )
