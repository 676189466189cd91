"""`swathe plan`: what a spec would run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SpecError
from ..spec import Sweep, load
from .options import folder_option, json_option, set_option, spec_argument
from .packs import Group, groups
from .printing import as_json, duration, goal, number, settings, show, table, warn, word
from .shares import share_lines, shares_json
from .study import study_json, study_lines

if TYPE_CHECKING:
    from ..simulation.forecast import Forecast, Range

MOST_VALUES = 12
CLEAR_POWER = 0.1


@click.command("plan")
@spec_argument
@click.option("--pilot", metavar="NAME", help="Predict time from this sweep, an earlier or a small one.")
@click.option("--workers", type=click.IntRange(min=1), help="On how many workers; as many as `run` would start.")
@folder_option
@set_option
@json_option
def command(
    spec: Path, overrides: tuple[str, ...], json: bool, pilot: str | None, workers: int | None, directory: Path
) -> None:
    """Say what a spec would run, and with --pilot how long that would take. Runs nothing and writes nothing.

    A good pilot is the same spec under another name with fewer configurations and one seed, run on as many workers:
    a twentieth of the work is enough.
    """
    sweep = load(spec, overrides)
    prediction = _forecast(sweep, pilot, workers, directory)
    packs = groups(sweep, directory)
    if json:
        told: dict[str, Any] = {} if prediction is None else {"forecast": asdict(prediction)}
        told |= {"packs": [asdict(each) for each in packs], **study_json(sweep)}
        click.echo(as_json({**_described(sweep), **told}))
        return
    _show(sweep, packs)
    if prediction is not None:
        _show_forecast(sweep, prediction)
    for text in [*sweep.warnings, *(prediction.notes if prediction else ())]:
        warn(text)


def trials(sweep: Sweep) -> int:
    """All trials of a sweep."""
    return len(sweep.cells) * sweep.per_cell * sweep.seeds


def modelled(sweep: Sweep) -> int:
    """How many configurations of a cell a model proposes."""
    return round(sweep.model_share * sweep.per_cell)


def at_once(sweep: Sweep) -> int:
    """How many trials can run at the same time: where generations wait for earlier ones, those that may be open."""
    if not sweep.waits:
        return trials(sweep)
    opened = min(sweep.per_cell, sweep.generation_size * (sweep.lag + 1))
    return len(sweep.cells) * opened * sweep.seeds


def _forecast(sweep: Sweep, pilot: str | None, workers: int | None, directory: Path) -> Forecast | None:
    if pilot is None:
        if workers is not None:
            raise SpecError(
                f"--workers {workers} matters only with a pilot; add --pilot NAME, or use `swathe simulate`"
            )
        return None
    # Costs an import of Arrow and numpy, which a plain plan does without.
    from ..simulation.forecast import forecast
    from ..simulation.pilot import Pilot
    from .opening import find

    most = max(share.cpus for share in sweep.shares.values())
    chosen = workers or sweep.limits.workers or max(1, int((os.cpu_count() or 1) / most))
    return forecast(sweep, Pilot.read(find(pilot, directory)), chosen)


def _show_forecast(sweep: Sweep, told: Forecast) -> None:
    from ..simulation.forecast import Range

    occupied, *others = sweep.shares.values()
    device, share = ("gpu", occupied.gpus) if occupied.gpus else ("cpu core", occupied.cpus)
    device, share = ("worker", 1.0) if others else (device, share)
    shown = table("what", "amount", "how", right=("amount",), folding=("how",))
    shown.show_header = False
    crowd = f"{told.workers} workers" if told.workers > 1 else "one worker"
    work = Range(*(share * seconds for seconds in (told.work.low, told.work.middle, told.work.high)))
    shown.add_row("wall time", duration(told.wall.middle), f"{_between(told.wall, duration)} on {crowd}")
    shown.add_row("training", hours(work.middle), f"{_between(work, hours)} of {device}s")
    shown.add_row("busy", f"{told.utilisation:.0%}", "of the workers' time, once they have started")
    shown.add_row("pilot", f"{told.share:.1%}", f"of that work was spent on it{_effects(told)}")
    click.echo()
    show(shown)


def hours(seconds: float) -> str:
    """What a device is billed for: `12.5 h`, or a length of time where that is short."""
    return duration(seconds) if seconds < 360 else f"{number(seconds / 3600, digits=3)} h"


def _between(told: Range, text: Callable[[float], str]) -> str:
    return f"{text(told.low)} to {text(told.high)} (90%)"


def _effects(told: Forecast) -> str:
    """By how much the time grows with parameters that clearly matter."""
    shown = [f"{name} x {2**power:.2g}" for name, power in told.effects.items() if abs(power) >= CLEAR_POWER]
    return f"; doubling a parameter costs: {', '.join(shown)}" if shown else ""


def _described(sweep: Sweep) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "task": sweep.task or sweep.command,
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
        "shares": shares_json(sweep),
        "warnings": sweep.warnings,
    }


def _show(sweep: Sweep, packs: Sequence[Group]) -> None:
    click.echo(f"{sweep.name}: {sweep.task or sweep.command}, {goal(sweep)}\n")
    shown = table("what", "count", "how", right=("count",), folding=("how",))
    shown.show_header = False
    for line in [*_lines(sweep), *share_lines(sweep), *_packs(packs), *study_lines(sweep)]:
        shown.add_row(*line)
    show(shown)


def _lines(sweep: Sweep) -> list[tuple[str, str, str]]:
    axes = [f"{name}: {_listed([word(value) for value in values])}" for name, values in sweep.grid.items()]
    bound = "cells x generation x (lag + 1) x seeds" if sweep.waits else "all trials, none waits for another"
    return [
        ("cells", str(len(sweep.cells)), axes[0] if axes else "no grid"),
        *(("", "", axis) for axis in axes[1:]),
        ("configurations", str(sweep.per_cell), _proposals(sweep)),
        ("seeds", str(sweep.seeds), "replicates of each configuration"),
        ("trials", str(trials(sweep)), "cells x configurations x seeds"),
        ("at once", str(at_once(sweep)), f"at most: {bound}"),
    ]


def _packs(packs: Sequence[Group]) -> list[tuple[str, str, str]]:
    """A line for each shape: how many trials can be lanes of one program, and how many will be."""
    told = [
        {name: each.shape[name] for name in each.shape if len({p.shape[name] for p in packs}) > 1} for each in packs
    ]
    lines: list[tuple[str, str, str]] = []
    for each, shape in zip(packs, told, strict=True):
        lanes = "as many as pay, measured at the start" if each.lanes is None else f"at most {each.lanes} in a pack"
        how = "run one by one, since lanes do not pay" if each.lanes == 0 else f"of one program: {lanes}"
        lines.append(("" if lines else "lanes", str(each.available), f"{settings(shape) or 'all trials'}; {how}"))
    return lines


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
