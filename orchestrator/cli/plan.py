"""`swathe plan`: what a spec would run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..spec import Sweep, load
from .options import json_option, set_option, spec_argument
from .printing import as_json, show, table, warn, word

MOST_VALUES = 12


@click.command("plan")
@spec_argument
@set_option
@json_option
def command(spec: Path, overrides: tuple[str, ...], json: bool) -> None:
    """Say what a spec would run. Runs nothing and writes nothing."""
    sweep = load(spec, overrides)
    if json:
        click.echo(as_json(_described(sweep)))
        return
    _show(sweep)
    for text in sweep.warnings:
        warn(text)


def trials(sweep: Sweep) -> int:
    """All trials of a sweep."""
    return len(sweep.cells) * sweep.per_cell * sweep.seeds


def modelled(sweep: Sweep) -> int:
    """How many configurations of a cell a model proposes."""
    return round(sweep.model_share * sweep.per_cell)


def at_once(sweep: Sweep) -> int:
    """How many trials can run at the same time: with a model, the generations that it lets be open."""
    if not modelled(sweep):
        return trials(sweep)
    opened = min(sweep.per_cell, sweep.generation_size * (sweep.lag + 1))
    return len(sweep.cells) * opened * sweep.seeds


def _described(sweep: Sweep) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "task": sweep.task,
        "metric": sweep.metric,
        "direction": sweep.direction,
        "grid": sweep.grid,
        "search": sorted(sweep.search),
        "cells": [{"cell": cell.key, "values": cell.values} for cell in sweep.cells],
        "configurations": sweep.per_cell,
        "seeds": sweep.seeds,
        "trials": trials(sweep),
        "sampler": sweep.sampler.name,
        "generation": sweep.generation_size,
        "lag": sweep.lag,
        "modelled": modelled(sweep),
        "parallelism": at_once(sweep),
        "warnings": sweep.warnings,
    }


def _show(sweep: Sweep) -> None:
    click.echo(f"{sweep.name}: {sweep.task}, {sweep.direction} {sweep.metric}\n")
    shown = table("what", "count", "how", right=("count",), folding=("how",))
    shown.show_header = False
    for line in _lines(sweep):
        shown.add_row(*line)
    show(shown)


def _lines(sweep: Sweep) -> list[tuple[str, str, str]]:
    axes = [f"{name}: {_listed([word(value) for value in values])}" for name, values in sweep.grid.items()]
    bound = "cells x generation x (lag + 1) x seeds" if modelled(sweep) else "all trials, none waits for another"
    return [
        ("cells", str(len(sweep.cells)), axes[0] if axes else "no grid"),
        *(("", "", axis) for axis in axes[1:]),
        ("configurations", str(sweep.per_cell), _proposals(sweep)),
        ("seeds", str(sweep.seeds), "replicates of each configuration"),
        ("trials", str(trials(sweep)), "cells x configurations x seeds"),
        ("at once", str(at_once(sweep)), f"at most: {bound}"),
    ]


def _proposals(sweep: Sweep) -> str:
    if not sweep.search:
        return "a cell: nothing is searched"
    how = f"a cell: {', '.join(sorted(sweep.search))} by {sweep.sampler.name}"
    if not modelled(sweep):
        return how
    return f"{how} in generations of {sweep.generation_size}, lag {sweep.lag}; {modelled(sweep)} see a model"


def _listed(words: list[str]) -> str:
    if len(words) <= MOST_VALUES:
        return ", ".join(words)
    return f"{', '.join(words[: MOST_VALUES - 1])}, ... {words[-1]} ({len(words)} values)"
