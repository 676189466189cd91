"""A ledger in a SQLite file: how to open it, and what has happened to the file when that fails.

Reading never writes, nor leaves a file behind. A ledger that nobody writes to is opened as immutable, without locks,
and a read during which that changed is done again (see `stamp`). One whose write-ahead log was copied with it, or left
by a driver that died, is read from a copy of one's own where SQLite would have to make a file beside it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import psutil
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import NullPool, QueuePool

from ..errors import LedgerEmpty, LedgerError
from . import tables as t

LOCK_SECONDS = 30.0

_DEFECTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InternalError, sqlite3.NotSupportedError)
_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "glusterfs", "9p"}


class Stamp(NamedTuple):
    """What tells that a file was not written to: which file it is, its size and time, and that of its log."""

    file: tuple[int, int, int, int]
    log: int

    @property
    def still(self) -> bool:
        """Whether there is nothing in the write-ahead log, so that the file is the whole ledger."""
        return self.log == 0


def path_of(url: str) -> Path:
    """The file of a ledger, absolute. In a URL `?`, `%` and `#` are written as %3F, %25 and %23."""
    # Not by SQLAlchemy: its versions differ in whether they undo the quoting of a database's name.
    name = url.partition("://")[2].partition("/")[2].partition("?")[0]
    return Path(unquote(name, errors="surrogateescape")).absolute()


def stamp(path: Path) -> Stamp | None:
    """The ledger as it is on the disk now; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    try:
        log = _beside(path, "-wal").stat().st_size
    except FileNotFoundError:
        log = 0
    return Stamp((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns), log)


def engine_of(url: str, *, create: bool) -> sa.Engine:
    """An engine that writes; raises `LedgerError` when there is no file, or where it would not be safe."""
    path = path_of(url)
    if not create:
        _refuse_missing(path)
    else:
        _refuse_network_filesystem(path)

    def connect() -> sqlite3.Connection:
        # Never made by connecting to it: a ledger that was deleted or moved would begin anew, in silence.
        mode = "rwc" if create else "rw"
        return sqlite3.connect(_uri(path, mode), uri=True, timeout=LOCK_SECONDS, check_same_thread=False)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "connect", _prepare_new if create else _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", lambda context: _explain(path, context.original_exception))
    return engine


def reading_engine_of(url: str) -> sa.Engine:
    """An engine that reads, and writes nothing; raises `LedgerError` when there is no file."""
    path = path_of(url)
    _refuse_missing(path)
    copies = _Copies(path)
    engine = sa.create_engine("sqlite://", creator=lambda: _connected_to_read(path, copies), poolclass=NullPool)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "engine_disposed", lambda _: copies.remove())
    event.listen(engine, "handle_error", lambda context: _explain(path, context.original_exception))
    return engine


class _Copies:
    """A copy of a ledger and its write-ahead log, made when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: str | None = None

    def path(self) -> Path:
        """Where the copy is, in a folder that only this user can enter."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="swathe-ledger-")
            for each in (self._path, _beside(self._path, "-wal")):
                shutil.copyfile(each, Path(self._folder, each.name))
        return Path(self._folder, self._path.name)

    def remove(self) -> None:
        """Delete it, if it was made."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _connected_to_read(path: Path, copies: _Copies) -> sqlite3.Connection:
    try:
        connection = _opened_to_read(path, copies)
        try:
            connection.isolation_level = None
            _fill_in(path, connection)
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite3.Error as error:
        _explain(path, error)
        raise


def _opened_to_read(path: Path, copies: _Copies) -> sqlite3.Connection:
    found = stamp(path)
    given: dict[str, Any] = {"uri": True, "timeout": LOCK_SECONDS, "check_same_thread": False}
    if found is not None and found.still:
        return sqlite3.connect(_uri(path, "ro", "&immutable=1"), **given)
    if found is not None and not _beside(path, "-shm").exists():
        # Whoever writes to it now has that file.
        return sqlite3.connect(_uri(copies.path(), "rw"), **given)
    return sqlite3.connect(_uri(path, "ro"), **given)


def _fill_in(path: Path, connection: sqlite3.Connection) -> None:
    """For this connection alone give a ledger of an earlier version what it lacks: tables and columns."""
    refuse_newer(path, connection.execute("PRAGMA user_version").fetchone()[0])
    found = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
    tables = {name for (name,) in found}
    if t.sweep.name not in tables:
        return
    connection.execute("PRAGMA temp_store=MEMORY")
    dialect = sa.create_mock_engine("sqlite://", lambda *_: None).dialect
    for table in t.metadata.sorted_tables:
        names = [column.name for column in table.columns]
        have = {row[1] for row in connection.execute(f"PRAGMA main.table_info({table.name})")}
        if table.name not in tables:
            text = str(sa.schema.CreateTable(table).compile(dialect=dialect))
            connection.execute(text.replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
        elif not have.issuperset(names):
            columns = [f'"{name}"' if name in have else f'{_default(table.c[name])} AS "{name}"' for name in names]
            connection.execute(
                f'CREATE TEMP VIEW "{table.name}" AS SELECT {", ".join(columns)} FROM main."{table.name}"'
            )


def _default(column: sa.Column[Any]) -> str:
    """What a row of an earlier version has in a column, as SQL."""
    default = column.server_default
    if not isinstance(default, sa.DefaultClause):
        return "NULL"
    text = str(default.arg)
    if isinstance(column.type, sa.Float | sa.Integer | sa.Boolean):
        return "0" if text == "false" else text
    return "'" + text.replace("'", "''") + "'"


def refuse_newer(place: Path | str, version: int) -> None:
    """Raise `LedgerError` for a ledger of a later version."""
    if version > t.VERSION:
        raise LedgerError(
            f"ledger {place} was written by a newer Swathe (version {version} of its tables, and this one knows "
            f"{t.VERSION}); install that one here: `pip install --upgrade swathe`"
        )


def _refuse_missing(path: Path) -> None:
    try:
        there = path.exists()
    except PermissionError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}; ask its owner for the rights") from None
    if not there:
        raise LedgerError(f"{path} does not exist; `swathe run` makes it when it starts a sweep")


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


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _uri(path: Path, mode: str, more: str = "") -> str:
    """The file as SQLite names it, whatever characters its path has."""
    return f"file:{quote(os.fsencode(path))}?mode={mode}{more}"


def presence(path: Path) -> Callable[[], None]:
    """A check that raises `LedgerError` once the file is another one than now, or is gone."""

    def identity() -> tuple[int, int] | None:
        try:
            found = os.stat(path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    known = identity()

    def check() -> None:
        if (now := identity()) != known:
            what = "is gone" if now is None else "is another file now"
            raise LedgerError(
                f"{path} {what}: it was deleted, moved or replaced while the sweep ran, so nothing more is written; "
                "put it back where it was, and the same command goes on"
            )

    return check
