"""Whether a ledger would take a sweep, without leaving one in it."""

from __future__ import annotations

import secrets
from contextlib import closing

import sqlalchemy as sa

from . import tables as t
from .opening import open_engine, shown


class _Disposing:
    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def close(self) -> None:
        self.engine.dispose()


def try_ledger(url: str) -> str:
    """Make the tables if there are none, write a sweep and take it back; the URL without its password.

    Raises `LedgerError`, or what the database says, when any of that fails.
    """
    row = {
        "name": f"doctor-{secrets.token_hex(8)}",
        "spec": "",
        "root": "",
        "metrics": [],
        "amendments": [],
        "epoch": 0,
        "heartbeat": 0.0,
        "owner": {},
        "status": "new",
        "created": 0.0,
        "commits": 0,
        "leases": 0,
    }
    with closing(_Disposing(open_engine(url, "create"))) as opened:
        engine = opened.engine.execution_options(writing=True)
        with engine.connect() as connection, connection.begin() as transaction:
            connection.execute(sa.insert(t.sweep).values(row))
            transaction.rollback()
    return shown(url)
