"""Which pushes of workers are in the ledger: one whose reply was lost with its scheduler is not taken in twice."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from . import tables as t


def hear(connection: sa.Connection, name: str, pushes: Mapping[str, int]) -> None:
    """Write the numbers of these pushes, by worker."""
    if pushes:
        mine = sa.and_(t.heard.c.sweep == name, t.heard.c.worker.in_(pushes))
        connection.execute(sa.delete(t.heard).where(mine))
        rows = [{"sweep": name, "worker": worker, "push": number} for worker, number in pushes.items()]
        connection.execute(sa.insert(t.heard), rows)


def heard(engine: sa.Engine, name: str) -> dict[str, int]:
    """Of each worker the last push that is in the ledger."""
    with engine.connect() as connection:
        known = connection.execute(sa.select(t.heard).where(t.heard.c.sweep == name))
        return {row.worker: row.push for row in known}
