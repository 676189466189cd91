"""A ledger in a SQLite file: how to open it, and what has happened to the file when that fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import monotonic, sleep

import psutil
import sqlalchemy as sa
from sqlalchemy import event

from ..errors import LedgerEmpty, LedgerError

LOCK_SECONDS = 30.0

_DEFECTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InternalError, sqlite3.NotSupportedError)
_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "glusterfs", "9p"}


def engine_of(url: sa.URL, *, create: bool) -> sa.Engine:
    """An engine for the file; raises `LedgerError` when there is none, or where it would not be safe."""
    path = Path(url.database or "")
    if not create and not path.exists():
        raise LedgerError(f"{path} does not exist; `swathe run` makes it when it starts a sweep")
    if create:
        _refuse_network_filesystem(path)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_SECONDS})
    event.listen(engine, "connect", _prepare_new if create else _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", lambda context: _explain(path, context.original_exception))
    return engine


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
    deadline = monotonic() + LOCK_SECONDS
    while True:
        try:
            # Readers never wait for the writer. The file remembers it.
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            # Another driver makes the same file, and here SQLite does not wait by itself.
            if monotonic() > deadline:
                raise
            sleep(0.01)


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
            "name a folder on a local disk with --dir, or a PostgreSQL ledger"
        )
