"""A ledger in a PostgreSQL database, which sweeps share: how to open it, and what its errors mean.

The password need not be in the URL: libpq takes it from PGPASSWORD or ~/.pgpass.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import event

from ..errors import LedgerAway, LedgerEmpty, LedgerError
from ..sanitizing import masked

LOCK_SECONDS = 30.0
# How long a driver may sleep in a transaction, below the patience of the one that waits for it.
ASLEEP_SECONDS = 20.0
CONNECT_SECONDS = 10

# Classes of SQLSTATE that pass by themselves: connections, shutdowns and crashes, resources, conflicts.
_PASSING = ("08", "57P", "53", "40", "25P03")
# What a server that cannot be asked yet says before a connection has a state.
_NOT_YET = ("starting up", "shutting down", "recovery", "too many clients", "terminating connection")
_NO_TABLE, _LOCKED = "42P01", "55P03"


def engine_of(url: sa.URL) -> sa.Engine:
    """An engine for the database. Raises `LedgerError` when the driver is not installed."""
    url = url.set(drivername="postgresql+psycopg")
    try:
        # TCP tells within half a minute that the other side has gone.
        watched = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
        engine = sa.create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_size=2,
            connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "swathe", **watched},
        )
    except ModuleNotFoundError:
        raise LedgerError(
            f"ledger {_shown(url)} needs the package psycopg, which is not installed; `pip install swathe[postgres]`"
        ) from None
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "handle_error", lambda context: _explain(url, context.original_exception))
    return engine


def _shown(url: sa.URL) -> str:
    return masked(url.render_as_string(hide_password=False))


def _prepare(connection: object, _record: object) -> None:
    # A driver that sleeps in a transaction loses its session, so that its successor need not wait for it.
    settings = {"lock_timeout": LOCK_SECONDS, "idle_in_transaction_session_timeout": ASLEEP_SECONDS}
    with connection.cursor() as cursor:  # type: ignore[attr-defined]
        for name, seconds in settings.items():
            cursor.execute(f"SET {name} = '{seconds:.0f}s'")
        # A commit that has returned survives a crash of the server, whatever its own settings say.
        cursor.execute("SET synchronous_commit = on")
    connection.commit()  # type: ignore[attr-defined]


def _explain(url: sa.URL, error: BaseException) -> None:
    """Raise `LedgerAway` for what may pass, `LedgerError` for what the user can mend; a defect stays as it is."""
    import psycopg

    if not isinstance(error, psycopg.Error):
        return
    state, said = error.sqlstate or "", masked(" ".join(str(error).split()))
    place = _shown(url)
    if state == _NO_TABLE:
        raise LedgerEmpty(f"ledger {place} has no tables; `swathe run` makes them when it starts a sweep") from None
    if state == _LOCKED:
        raise LedgerError(
            f"ledger {place} has been locked by another session for {LOCK_SECONDS:.0f} s; end that one "
            "(pg_stat_activity names it), and the same command goes on"
        ) from None
    passing = state.startswith(_PASSING)
    if not passing and not isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.errors.InsufficientPrivilege
    ):
        return
    refused = "FATAL" in said and not any(words in said for words in _NOT_YET)
    if passing or (not state and not refused):
        raise LedgerAway(
            f"ledger {place} cannot be reached: {said}; check host and port and that the server runs, and the same "
            "command goes on"
        ) from None
    raise LedgerError(
        f"ledger {place} cannot be used: {said}; check user, database and rights in the URL, and the password in "
        "PGPASSWORD or ~/.pgpass"
    ) from None
