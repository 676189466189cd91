"""What earlier sweeps have found out, for the model of a new one: copied once, when the new sweep begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .compaction import Shape, Tables, read_tables, row_params
from .errors import SpecError
from .home import Home
from .ledger import Reader, shown
from .messages import Cause, Scalar, State
from .schedule import Decision, Observation, observed
from .schema import METRIC
from .search import active
from .spec import Cell, Sweep
from .spec.known import misfit
from .spec.parameters import same
from .task import Float


class Found(NamedTuple):
    """One configuration of an earlier sweep with its result: all its parameters, and what a view would show of it."""

    params: Mapping[str, Scalar]
    seen: Observation


def copy(sweep: Sweep, home: Home) -> list[dict[str, Any]]:
    """The results of the sweeps beside `home` that `sweep` starts from, ready for JSON.

    Raises `SpecError` for a sweep that is not there, measured something else, or has nothing in the space of this one.
    """
    copied: list[dict[str, Any]] = []
    for name in sweep.warm_start or ():
        found = list(_findings(sweep, home.sibling(name)))
        if not any(_point(sweep, cell, each.params) for cell in sweep.cells for each in found):
            raise SpecError(
                f"warm_start names {name}, but none of its {len(found)} configurations with a result lies in the space "
                f"of {sweep.name}; give the parameters the same names and ranges, or leave it out"
            )
        copied += ({"params": dict(each.params), **_as_plain(each.seen)} for each in found)
    return copied


def remembered(sweep: Sweep, copied: Iterable[Mapping[str, Any]]) -> dict[str, list[Found]]:
    """By cell the copied configurations that say something about it, as points of the searched space.

    Those that agree with the cell in every parameter that both have, and have all that is searched.
    """
    found = [Found(each["params"], _from_plain(each)) for each in copied]
    known: dict[str, list[Found]] = {}
    for cell in sweep.cells:
        points = ((_point(sweep, cell, each.params), each.seen) for each in found)
        known[cell.key] = [Found(point, seen) for point, seen in points if point]
    return known


def _findings(sweep: Sweep, home: Home) -> Iterable[Found]:
    if not home.exists():
        place = home.folder if home.in_folder else shown(home.ledger)
        raise SpecError(f"warm_start names {home.name}, but there is no sweep in {place}; check the name, or --dir")
    reader = Reader(home.ledger, None if home.in_folder else home.name)
    try:
        shape = Shape.read(reader.sweep())
    finally:
        reader.close()
    columns = [_column(sweep, shape, objective, home.name) for objective in sweep.objectives]
    return _grouped(read_tables(home), shape, columns)


def _column(sweep: Sweep, shape: Shape, objective: str, name: str) -> str:
    if objective == shape.sweep.objective:
        return "value"
    if objective in shape.metrics:
        return METRIC + objective
    raise SpecError(
        f"warm_start names {name}, whose metrics are {', '.join(shape.metrics)}, but {sweep.name} optimises "
        f"{objective}; leave it out, or optimise one of those"
    )


def _grouped(tables: Tables, shape: Shape, columns: Sequence[str]) -> Iterable[Found]:
    """The configurations in order, each over its replicates that have ended, as a view shows them."""
    kinds = shape.sweep.parameter_kinds()
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in tables.trials.to_pylist():
        if row["cause"] is None or Cause(row["cause"]).deterministic:
            groups[row["cell"], row["configuration"]].append(row)
    for _, rows in sorted(groups.items()):
        seen = observed([_decision(row, columns) for row in rows])
        if seen.cause is not Cause.USER_ERROR:
            yield Found(row_params(rows[0], kinds), seen)


def _decision(row: Mapping[str, Any], columns: Sequence[str]) -> Decision:
    value, *others = (row[column] for column in columns)
    cause = Cause(row["cause"]) if row["cause"] else None
    return Decision(State(row["state"]), cause, value, row["steps"], tuple(others))


def _point(sweep: Sweep, cell: Cell, params: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
    """What was searched, as a point of this sweep's space in `cell`; None when it lies elsewhere."""
    given = {**sweep.fixed, **cell.values}
    if not all(same(params[name], value) for name, value in given.items() if name in params):
        return None
    point: dict[str, Scalar] = {}
    for name, parameter in sweep.search.items():
        if active(parameter, point):
            if name not in params or misfit(parameter, params[name]) is not None:
                return None
            point[name] = float(params[name]) if isinstance(parameter, Float) else params[name]
    return point


def _as_plain(seen: Observation) -> dict[str, Any]:
    return {"state": seen.state, "cause": seen.cause, "steps": seen.steps, "values": [seen.value, *seen.others]}


def _from_plain(told: Mapping[str, Any]) -> Observation:
    value, *others = told["values"]
    return Observation(
        State(told["state"]), Cause(told["cause"]) if told["cause"] else None, value, told["steps"], tuple(others)
    )
