"""`swathe results`: the trials of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from ...analysis import digest, load
from ..planning import plan_of
from ..schema import PARAM
from .opening import Opened, opened
from .options import directory_option, json_option, name_argument
from .printing import as_json, console, number, table, warn, word
from .saving import as_csv, save

MOST_ROWS = 50
GAP = 2
OUTCOME = 3


@click.command("results")
@name_argument
@click.option("--csv", is_flag=True, help="All columns as CSV.")
@json_option
@click.option("--parquet", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Into a Parquet file.")
@click.option("--hash", "hash", is_flag=True, help="The hash of what follows from spec, seed and recorded inputs.")
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many trials; {MOST_ROWS} on a screen.")
@directory_option
def command(name: str, directory: Path, limit: int | None, **forms: Any) -> None:
    """Show the ended trials of a sweep, as a table by default."""
    chosen = [form for form, wanted in forms.items() if wanted]
    if len(chosen) > 1:
        raise click.UsageError(
            f"--{chosen[0]} and --{chosen[1]} exclude each other; choose one".replace("hashed", "hash")
        )
    with opened(name, directory) as sweep:
        match chosen:
            case ["hash"]:
                _print_hash(sweep)
            case ["parquet"]:
                click.echo(f"{save(sweep.home, forms['parquet'])} trials in {forms['parquet']}")
            case ["csv"]:
                click.echo(as_csv(load.trials(sweep.home).iloc[:limit]), nl=False)
            case ["json"]:
                click.echo(as_json(_rows(sweep)[:limit]))
            case _:
                _show(sweep, limit)


def _rows(opened: Opened) -> list[dict[str, Any]]:
    """The ended trials as plain mappings, by cell in the order of the grid, configuration and replicate."""
    place = {cell.key: cell.index for cell in opened.sweep.cells}
    rows = load.tables(opened.home)[0].to_pylist()
    return sorted(rows, key=lambda row: (place[row["cell"]], row["configuration"], row["replicate"]))


def _print_hash(opened: Opened) -> None:
    trials, metrics = load.tables(opened.home)
    sweep = opened.sweep
    total = len(sweep.cells) * sweep.per_cell * sweep.seeds
    if opened.record.status == "budget":
        trials = digest.whole_generations(trials, plan_of(sweep).trials_of)
    click.echo(digest.digest(trials, metrics, opened.record.amendments))
    if len(trials) < total:
        warn(f"{len(trials)} of {total} trials have ended, so this is the hash of a part")


def _show(opened: Opened, limit: int | None) -> None:
    rows = _rows(opened)
    terminal = console()
    shown = rows[: limit or (MOST_ROWS if terminal.is_terminal else None)]
    columns = _columns(opened, rows)
    texts = {name: [_text(row, key) for row in shown] for name, key in columns.items()}
    fitting = _fit(texts, terminal.width)
    right = {"value", *(name for name in fitting if _numeric(rows, columns[name]))}
    if terminal.is_terminal:
        grid = table(*fitting, right=tuple(right))
        for cells in zip(*(texts[name] for name in fitting), strict=True):
            grid.add_row(*cells)
        terminal.print(grid)
    else:
        click.echo(_aligned({name: texts[name] for name in fitting}, right))
    hidden = [name for name in columns if name not in fitting]
    if len(shown) < len(rows):
        click.echo(f"and {len(rows) - len(shown)} more trials; --limit {len(rows)} or --csv shows all")
    if hidden:
        terminal.print(Text(f"not shown for want of room: {', '.join(hidden)}; --csv has all columns"))


def _aligned(texts: dict[str, list[str]], right: set[str]) -> str:
    """The same table for a pipe, which may get a hundred thousand rows: rich takes seconds for these."""
    columns = []
    for name, cells in texts.items():
        width = max(map(len, [name, *cells]))
        columns.append([f"{cell:>{width}}" if name in right else f"{cell:<{width}}" for cell in (name, *cells)])
    return "\n".join((" " * GAP).join(row).rstrip() for row in zip(*columns, strict=True))


def _columns(opened: Opened, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Headings and column names: the outcome, then the parameters that vary."""
    names = (*opened.sweep.grid, *opened.sweep.search)
    varying = [name for name in names if len({repr(row[PARAM + name]) for row in rows}) > 1]
    return {"trial": "trial", "state": "state", "value": "value", **{name: PARAM + name for name in varying}}


def _text(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if column == "state" and row["cause"]:
        return row["cause"]
    return number(None) if value is None else word(value)


def _numeric(rows: Sequence[dict[str, Any]], column: str) -> bool:
    return all(isinstance(row[column], int | float | None) for row in rows)


def _fit(texts: dict[str, list[str]], width: int) -> list[str]:
    """As many columns as the terminal holds, in their order: the outcome first, then the narrowest parameters."""
    widths = {name: max(map(len, [name, *cells])) + GAP for name, cells in texts.items()}
    outcome, parameters = [*texts][:OUTCOME], [*texts][OUTCOME:]
    chosen, room = set(outcome), width + GAP - sum(widths[name] for name in outcome)
    for name in sorted(parameters, key=widths.__getitem__):
        room -= widths[name]
        if room >= 0:
            chosen.add(name)
    return [name for name in texts if name in chosen]
