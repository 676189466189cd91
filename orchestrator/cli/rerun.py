"""`swathe rerun`: one trial again, in this process."""

from __future__ import annotations

import math
import pdb
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from ...analysis import load
from ..errors import Interrupted, SwatheError
from ..isolation import pinned_threads
from ..loading import task_of
from ..messages import Assignment, Cause, Outcome, TrialKey
from ..packing import Fusing
from ..runner import RunContext, Runner
from ..schema import METRIC
from ..spec import Cell, Sweep
from ..task import Trial
from .opening import Opened, opened
from .options import directory_option, name_argument
from .printing import settings, show, table

DIFFERENT = 1


class UnknownTrial(SwatheError):
    """The sweep has no such trial, or has not come to it."""


@click.command("rerun")
@name_argument
@click.argument("trial")
@directory_option
@click.option("--debug", is_flag=True, help="Drop into the debugger where an exception is raised.")
@click.pass_context
def command(context: click.Context, name: str, trial: str, directory: Path, debug: bool) -> None:
    """Run one trial of a sweep again, in this process, with its parameters, its seeds and its output shown.

    TRIAL is cell/configuration/replicate as `swathe results` shows it; the beginning of the cell's key will do. The
    sweep keeps its record; artifacts go to a temporary folder. The exit code is 1 when the outcome differs.
    """
    with opened(name, directory) as sweep:
        key = find_trial(sweep.sweep, trial)
        assignment = Assignment(key, 1, _params(sweep, key))
        recorded, fused = _recorded(sweep, key), _is_fused(sweep, assignment)
    click.echo(f"{key}  {settings(assignment.params)}\n")
    outcome = _run(sweep.sweep, assignment, debug, fused)
    context.exit(_compare(recorded, outcome))


def find_trial(sweep: Sweep, text: str) -> TrialKey:
    """The trial that `text` names. Raises `UnknownTrial`."""
    prefix, *numbers = text.split("/")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise UnknownTrial(
            f"{text!r} is no trial; write cell/configuration/replicate, such as {sweep.cells[0].key}/0/0"
        )
    cell = _find_cell(sweep, prefix)
    trial = TrialKey(cell.key, *map(int, numbers))
    for name, end in (("configuration", sweep.per_cell), ("replicate", sweep.seeds)):
        if getattr(trial, name) >= end:
            raise UnknownTrial(f"{text!r} is no trial: its {name} is above {end - 1}, the last one of this sweep")
    return trial


def _find_cell(sweep: Sweep, prefix: str) -> Cell:
    found = [cell for cell in sweep.cells if cell.key.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(f"{cell.key} ({settings(cell.values)})" for cell in found[:5])
        raise UnknownTrial(f"{len(found)} cells begin with {prefix!r}: {named}; write more of the key")
    near = get_close_matches(prefix, [cell.key for cell in sweep.cells], n=1, cutoff=0.0)[0]
    raise UnknownTrial(f"no cell begins with {prefix!r}; did you mean {near}? `swathe status {sweep.name}` shows all")


def _params(opened: Opened, trial: TrialKey) -> dict[str, Any]:
    searched = opened.reader.suggestion(trial)
    if searched is None:
        raise UnknownTrial(
            f"configuration {trial.configuration} of cell {trial.cell} has not been proposed yet; "
            f"`swathe results {opened.handle}` shows the trials that have ended"
        )
    cell = next(cell for cell in opened.sweep.cells if cell.key == trial.cell)
    return {**cell.values, **opened.sweep.fixed, **searched}


def _recorded(opened: Opened, trial: TrialKey) -> Mapping[str, Any] | None:
    """The trial's row of the results, or None when it has not ended."""
    trials = load.tables(opened.home)[0]
    names = trials["trial"].to_pylist()
    return trials.slice(names.index(str(trial)), 1).to_pylist()[0] if str(trial) in names else None


def _is_fused(opened: Opened, assignment: Assignment) -> bool:
    """Whether trials of its shape run in lanes, whose last bits differ from those of plain trials."""
    shapes = opened.record.shapes
    lanes = {} if shapes is None else opened.reader.capacities()
    known = lanes.get(Fusing(shapes or {}).shape(assignment.params))
    return known is not None and known.lanes > 0


def _run(sweep: Sweep, assignment: Assignment, debug: bool, fused: bool) -> Outcome:
    """A trial of a pack runs as a pack of its own: on a CPU no lane depends on the others, to the bit."""
    task = task_of(sweep)
    if fused and (fusible := task.fusible) is not None:
        task = replace(task, train=lambda trial: fusible.train_pack([trial])[0])
    folder = Path(tempfile.mkdtemp(prefix="swathe-rerun-"))
    share = sweep.occupied(assignment.trial.cell)
    watched = replace(task, train=_watched(task.train, debug))
    context = replace(RunContext.of(sweep, watched, folder, share=share), quiet=False)
    with pinned_threads(share.threads):
        outcome, _ = Runner(context).run(assignment, lambda row: None)
    if any(folder.iterdir()):
        click.echo(f"\nartifacts: {folder}")
    else:
        folder.rmdir()
    return outcome


def _watched(train: Callable[[Trial], Any], debug: bool) -> Callable[[Trial], Any]:
    """`train`, which Ctrl-C ends for good, and which opens the debugger where it raises when `debug`."""

    def watched(trial: Trial) -> Any:
        try:
            return train(trial)
        except KeyboardInterrupt:
            raise Interrupted from None
        except Exception as error:
            if debug:
                traceback.print_exc()
                pdb.post_mortem(error.__traceback__)
            raise

    return watched


def _compare(recorded: Mapping[str, Any] | None, outcome: Outcome) -> int:
    """Print both outcomes side by side and whether they agree; returns the exit code."""
    now = _facts(outcome)
    then = {name: recorded.get(name) for name in now} if recorded else {}
    shown = table("", "now", *(["recorded"] if recorded else []))
    for name, value in now.items():
        shown.add_row(name, _text(value), *([_text(then[name])] if recorded else []))
    click.echo(f"\n{outcome.error}", err=True, nl=False)
    click.echo()
    show(shown)
    if recorded is None:
        click.echo("\nThis trial has no recorded outcome yet.")
    elif recorded["cause"] and not Cause(recorded["cause"]).deterministic:
        click.echo(f"\nIt is recorded as {recorded['cause']}, which says nothing of the trial itself.")
    elif differing := [name for name in now if not _same(now[name], then[name])]:
        click.echo(f"\ndifferent: {', '.join(differing)}. Equal results need the same code, packages and hardware.")
        return DIFFERENT
    else:
        click.echo("\nequal")
    return 0


def _facts(outcome: Outcome) -> dict[str, Any]:
    """What follows from the trial alone, by column of the results."""
    return {
        "state": outcome.state.value,
        "cause": outcome.cause.value if outcome.cause else None,
        "value": outcome.value,
        "steps": outcome.steps,
        **{METRIC + name: value for name, value in outcome.metrics.items()},
    }


def _text(value: Any) -> str:
    # Floats with all their digits: a difference may be in the last.
    return "-" if value is None else repr(value) if isinstance(value, float) else str(value)


def _same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or one == other
