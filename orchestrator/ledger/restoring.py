"""What a driver needs of a ledger to go on with its sweep."""

from __future__ import annotations

from collections.abc import Sequence
from json import loads

import sqlalchemy as sa

from ..errors import LedgerError
from ..messages import Cause, State, TrialKey
from ..schedule import Decision, Snapshot
from . import rows as r
from . import tables as t


def read_snapshot(connection: sa.Connection, name: str, others: Sequence[str]) -> Snapshot:
    """The state of the sweep `name`; `others` are the names of further objectives."""
    row = connection.execute(sa.select(t.sweep).where(t.sweep.c.name == name)).one_or_none()
    if row is None:
        raise LedgerError(f"the ledger holds no sweep named {name}")
    order = (t.generation.c.generation, t.generation.c.cell)
    proposals = tuple(
        (each.cell, each.generation, r.decode_suggestions(each.suggestions))
        for each in connection.execute(sa.select(t.generation).where(t.generation.c.sweep == name).order_by(*order))
    )
    c = t.trial.c
    columns = (c.cell, c.configuration, c.replicate, c.state, c.cause, c.value, c.steps, c.metrics)
    order = (c.cell, c.configuration, c.replicate)
    decided = connection.execute(sa.select(*columns).where(c.sweep == name).order_by(*order))
    decisions = {
        TrialKey(cell, number, replicate): Decision(
            State(state), Cause(cause) if cause else None, value, steps, _values(metrics, others)
        )
        for cell, number, replicate, state, cause, value, steps, metrics in decided
    }
    key = (t.attempt.c.cell, t.attempt.c.configuration, t.attempt.c.replicate)
    charged = sa.and_(t.attempt.c.sweep == name, ~t.attempt.c.late, t.attempt.c.cause != Cause.PREEMPTED.value)
    charged = sa.and_(charged, ~t.attempt.c.forgiven)
    failed = sa.select(*key, sa.func.max(t.attempt.c.attempt)).where(charged).group_by(*key)
    charges = {TrialKey(c, n, r): count for c, n, r, count in connection.execute(failed)}
    open_charges = {trial: count for trial, count in charges.items() if trial not in decisions}
    paused = connection.execute(sa.select(t.pause).where(t.pause.c.sweep == name).order_by(t.pause.c.id))
    measured = connection.execute(sa.select(t.capacity).where(t.capacity.c.sweep == name).order_by(t.capacity.c.id))
    lanes = {each.shape: each.lanes for each in measured}
    return Snapshot(proposals, decisions, tuple(map(r.decode_pause, paused)), open_charges, row.leases, lanes)


def _values(metrics: str, names: Sequence[str]) -> tuple[float | None, ...]:
    """The metrics of these names, of JSON that is only read where there are any."""
    told = loads(metrics) if names else {}
    return tuple(told.get(name) for name in names)
