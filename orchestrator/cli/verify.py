"""`swathe verify`: run what a paper's claims ask for, and say which of them hold."""

from __future__ import annotations

import json
import time
from math import inf
from pathlib import Path
from typing import Any

import click

from ... import tasks
from ...analysis import load
from .. import driver
from ..claims import Claim, Estimate, Frames
from ..driver import Launch
from ..errors import SwatheError, TaskError
from ..home import Home
from ..resuming import PROVENANCE
from ..spec import Sweep
from ..spec.values import seconds
from . import INTERRUPTED, claims_page
from .claims_page import Checked, Verified
from .live import Display
from .opening import opened_home
from .options import folder_option
from .plan import trials
from .printing import as_json, near, number
from .run import workers_of
from .studies import Subject, subject

UNFINISHED = "unfinished"
INTERRUPTIONS = ("drained", "cancelled")


@click.command("verify")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All bundled papers.")
@click.option("--budget", metavar="TIME", help="Begin nothing after this long, as in 1h, and drain what runs.")
@click.option(
    "--write",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep outcomes and figures there.",
)
@click.option("--cluster", default="embedded", show_default=True, help="As in `swathe run`.")
@click.option("--workers", type=int, help="As in `swathe run`.")
@folder_option
@click.option("--json", "as_data", is_flag=True, help="For machines.")
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    everything: bool,
    budget: str | None,
    target: Path | None,
    directory: Path,
    as_data: bool,
    **launch: Any,
) -> None:
    """Run the sweeps of the claims of the tasks NAMES, and say what came out.

    A task is a bundled paper's slug, or one of your own as file.py:TASK. Sweeps are kept in the folder `verify` of
    --dir, one for each state of the task's code; the same command goes on with them, or reads what is there.

    With --write outcomes go to FOLDER/CLAIMS.md, figures to FOLDER/gallery, and the gallery into FOLDER/README.md
    below its line "<!-- gallery -->", where it has one.

    Exit codes: 0 all claims reproduced, 1 some not or not decided, 2 a mistake, 130 interrupted.
    """
    if bool(names) == everything:
        raise click.UsageError("name the tasks to verify, or say --all; `swathe tasks` lists the bundled ones")
    names = tasks.slugs() if everything else names
    subjects = [subject(name) for name in dict.fromkeys(names)]
    deadline = time.monotonic() + _seconds(budget)
    options = Launch(directory=directory / "verify", accept=lambda changed: True, **launch)
    done: list[Checked] = []
    for each in subjects:
        done.append(check(each, options, deadline, quiet=as_data))
        if not as_data:
            _tell(done[-1])
        if target is not None:
            claims_page.write(done[-1], target)
        if done[-1].interrupted:
            break
    if as_data:
        click.echo(as_json([claims_page.described(each) for each in done]))
    context.exit(_exit_code(done))


def _seconds(budget: str | None) -> float:
    try:
        return inf if budget is None else float(seconds(budget))
    except (TypeError, ValueError):
        raise click.BadParameter(f"{budget!r} is no time; write 90s, 10m or 1.5h", param_hint="--budget") from None


def check(asked: Subject, launch: Launch, deadline: float = inf, *, quiet: bool = True) -> Checked:
    """Run a task's studies as far as they are not there, and judge its claims."""
    frames: list[Frames] = []
    found: dict[int, Verified] = {}
    record: dict[str, Any] = {}
    reason = "finished"
    for study in asked.studies:
        reason = _run(study.sweep, launch, deadline, quiet) if reason not in INTERRUPTIONS else reason
        if reason == "finished":
            folder = launch.directory / study.sweep.name
            frames.append(Frames(load.trials(folder), load.metrics(folder)))
            record = record or _provenance(folder)
            found |= {id(claim): judge(claim, frames[-1]) for claim in study.claims}
    verified = tuple(found.get(id(claim), Verified(claim, None, UNFINISHED)) for claim in asked.task.claims)
    whole = tuple(frames) if len(frames) == len(asked.studies) else ()
    return Checked(asked.slug, asked.task, verified, whole, record, reason in INTERRUPTIONS)


def judge(claim: Claim, frames: Frames) -> Verified:
    """What the estimator of a claim finds. Raises `TaskError` when it breaks."""
    try:
        found = claim.estimator(frames)
    except SwatheError:
        raise
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        at = "" if place is None else f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
        raise TaskError(
            f"the estimator of the claim {claim.statement!r} failed: {type(error).__name__}: {error}{at}; mend it"
        ) from error
    if not isinstance(found, Estimate):
        raise TaskError(
            f"the estimator of the claim {claim.statement!r} returned a {type(found).__name__}; return an Estimate"
        )
    return Verified(claim, found, claim.outcome(found))


def _run(sweep: Sweep, launch: Launch, deadline: float, quiet: bool) -> str:
    """Run a sweep to its end or to the deadline; how it ended, "budget" where there was no time to begin."""
    left = deadline - time.monotonic()
    if left <= 0:
        return "budget"
    home = launch.home(sweep.name)
    if left < inf:
        limits = sweep.limits.model_copy(update={"sweep": _spent(home) + left})
        sweep = sweep.model_copy(update={"limits": limits.model_dump(exclude_none=True)})
    click.echo(f"{trials(sweep)} trials in {near(home.folder)}", err=True)
    if quiet:
        return driver.run(sweep, launch).reason
    with Display(sweep, workers_of(sweep, launch)) as display:
        return driver.run(sweep, launch, display.started, display.stopping).reason


def _spent(home: Home) -> float:
    """Seconds that earlier sessions of a sweep have taken."""
    if not home.exists():
        return 0.0
    with opened_home(home) as there:
        return there.record.spent


def _provenance(folder: Path) -> dict[str, Any]:
    return json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))


def _tell(done: Checked) -> None:
    click.echo(f"\n{done.slug}: {done.task.paper or done.task.summary}\n")
    for each in done.verified:
        claim = each.claim
        measured = "" if each.found is None else f"{claims_page.measured(each.found)}, "
        click.echo(f"  {each.outcome:<14}  {claim.statement}")
        click.echo(f"  {'':<14}  {measured}claimed {claim.direction} {number(claim.threshold)}")
        notes = () if each.found is None else each.found.reasons
        for note in notes if each.outcome == "undecided" else ():
            click.echo(f"  {'':<14}  {note}")
        if claim.remark and each.outcome != "reproduced":
            click.echo(f"  {'':<14}  {claim.remark}")
    click.echo()


def _exit_code(done: list[Checked]) -> int:
    if any(each.interrupted for each in done):
        return INTERRUPTED
    return 0 if all(claim.outcome == "reproduced" for each in done for claim in each.verified) else 1
