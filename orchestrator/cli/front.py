"""The Pareto table of a sweep with several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.padding import Padding
from rich.text import Text

from ...analysis.pareto import FrontRow
from ..spec import Sweep
from .printing import fits, number, settings, show, table, word


def described(sweep: Sweep, rows: Sequence[FrontRow]) -> dict[str, Any]:
    """The rows for a machine."""
    values = {cell.key: cell.values for cell in sweep.cells}
    return {
        "metrics": list(sweep.objectives),
        "directions": list(sweep.directions.values()),
        "front": [
            {
                "cell": row.cell,
                "values": values[row.cell],
                "configuration": row.configuration,
                "params": row.params,
                "means": row.values,
                "standard_errors": row.errors,
                "seeds": row.seeds,
            }
            for row in rows
        ],
    }


def show_front(sweep: Sweep, rows: Sequence[FrontRow]) -> None:
    """The rows as a table, or one below the other where that is too wide."""
    values = {cell.key: cell.values for cell in sweep.cells}
    numbers = [word for name in sweep.objectives for word in (name, "±")]
    shown = table(*sweep.grid, *numbers, "seeds", "trials", "parameters", right=[*numbers, "seeds"])
    for row in rows:
        told = [text for name in sweep.objectives for text in (number(row.values[name]), _error(row, name))]
        where = [word(value) for value in values[row.cell].values()]
        shown.add_row(*where, *told, f"{row.seeds}/{sweep.seeds}", _trials(row), settings(row.params))
    if fits(shown):
        show(shown)
        return
    for row in rows:
        where = f"{settings(values[row.cell])}: " if values[row.cell] else ""
        means = ", ".join(f"{name} {number(row.values[name])} ± {_error(row, name)}" for name in sweep.objectives)
        show(Text(f"{where}{means}, {row.seeds}/{sweep.seeds} seeds, trials {_trials(row)}"))
        show(Padding(Text(settings(row.params)), (0, 0, 0, 4)))


def _error(row: FrontRow, name: str) -> str:
    return number(row.errors[name], digits=2)


def _trials(row: FrontRow) -> str:
    return f"{row.cell}/{row.configuration}/*"
