"""`swathe run`: run a sweep, or go on with it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from ...clusters import finding
from .. import driver
from ..changes import Changes
from ..driver import CLUSTERS, Launch
from ..errors import NotYetSupported
from ..home import Home
from ..looking import Look
from ..spec import Sweep, load
from . import INTERRUPTED
from .live import Display
from .opening import opened_home
from .options import chosen_ledger, folder_option, set_option, spec_argument
from .plan import trials
from .printing import near, warn
from .standing import standing

MOST_CHANGES = 20


@click.command("run")
@spec_argument
@click.option(
    "--cluster",
    default="embedded",
    show_default=True,
    help="embedded: on this machine's cores; inline: in this process.",
)
@click.option("--workers", type=int, help="How many workers; as many as fit when left out.")
@folder_option
@click.option("--results", metavar="URI", help="Where results go instead of the folder, such as s3://bucket/prefix.")
@set_option
@click.option("--takeover", is_flag=True, help="Replace another driver of the sweep, though it may be alive.")
@click.option("--accept-changes", is_flag=True, help="Go on though code or packages have changed; this is noted.")
@click.option("--branch", metavar="NEW", help="Begin a sweep NEW with what is still valid of this one's results.")
@click.pass_context
def command(
    context: click.Context,
    spec: Path,
    overrides: tuple[str, ...],
    accept_changes: bool,
    branch: str | None,
    **launch: object,
) -> None:
    """Run the sweep that the file SPEC asks for, or go on with it.

    A sweep grows when its spec asks for more configurations, seeds or grid values; other changes make another sweep.
    Ctrl-C lets running trials finish and ends the sweep there; the same command goes on later. A second Ctrl-C ends
    it at once. Exit codes: 0 finished, 1 more failures than limits.failures, 2 a mistake, 130 interrupted.
    """
    sweep = load(spec, overrides)
    for text in sweep.warnings:
        warn(text)
    _refuse_remote(str(launch["cluster"]), spec)
    launch["decide"] = _decide
    launch["ledger"] = chosen_ledger()
    launch["accept"] = (lambda changed: True) if accept_changes else _ask
    if branch is not None:
        launch["origin"] = sweep.name
        sweep = sweep.model_copy(update={"name": branch})
    context.exit(run(sweep, Launch(**launch)))  # type: ignore[arg-type]


def _decide(home: Home, sweep: Sweep) -> Look:
    """Look whether the sweep is decided, and say so."""
    # Pandas takes a second to import, and most sweeps are never looked at.
    from ...analysis.deciding import decide

    seen = decide(home, sweep)
    words = ", ".join(f"{group} {verdict}" for group, verdict in seen.verdicts.items())
    ends = "decided" if seen.decided else "the last look" if seen.seeds == sweep.most_seeds else "more seeds"
    click.echo(f"look after {seen.seeds} of at most {sweep.most_seeds} seeds: {words}; {ends}")
    return seen


def _refuse_remote(cluster: str, spec: Path) -> None:
    """Raise `NotYetSupported` for a cluster that sweeps are sent to."""
    if cluster not in CLUSTERS and cluster in finding.profiles():
        raise NotYetSupported(f"cluster {cluster} takes sweeps; use `swathe submit {spec} --cluster {cluster}`")


def _ask(changed: Changes) -> bool:
    """Whether to go on with changed code, as far as there is somebody to ask."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    click.echo("Since the results there are were computed, this has changed:")
    for kind, each in (("file", changed.files), ("package", changed.packages)):
        for name, old, new in each[:MOST_CHANGES]:
            click.echo(f"  {kind} {name}: {old or 'absent'} -> {new or 'absent'}")
    return click.confirm("Go on with it? It will be noted.", default=False)


def run(sweep: Sweep, launch: Launch) -> int:
    """Run `sweep` and show it; returns the exit code."""
    with Display(sweep, workers_of(sweep, launch)) as display:
        home = _resolved(launch.home(sweep.name))

        def started(_: Home) -> None:
            _introduce(sweep, home, launch.origin)
            display.started(home)

        try:
            finished = driver.run(sweep, launch, started, display.stopping)
        except KeyboardInterrupt:
            finished = None
    if finished is None:
        click.echo(f"{sweep.name}: stopped at once; the same command goes on from here")
        return INTERRUPTED
    # Pandas and the figures of the report take seconds to import, and trials need not wait for them.
    from .ending import tell_ending

    with opened_home(home) as opened:
        tell_ending(opened, finished)
    return finished.exit_code


def _resolved(home: Home) -> Home:
    return replace(home, folder=home.folder.resolve()) if not home.in_folder else Home.of(home.folder.resolve())


def _introduce(sweep: Sweep, home: Home, origin: str | None) -> None:
    size = f"{len(sweep.cells)} cells x {sweep.per_cell} configurations x {sweep.seeds} seeds = {trials(sweep)} trials"
    click.echo(f"{sweep.name}: {size}, in {near(home.folder)}")
    with opened_home(home) as opened:
        decided = standing(sweep, opened.reader.progress()).counts.decided
    if origin is not None and not decided:
        click.echo(f"nothing of {origin} is reused: its code, packages or spec were others")
    if decided:
        click.echo(f"going on: {decided} of {trials(sweep)} trials were decided before")


def workers_of(sweep: Sweep, launch: Launch) -> int | None:
    """How many workers there will be; None where only the machine's GPUs know, or trials differ."""
    if launch.cluster == "inline" or launch.workers is not None:
        return launch.workers or 1
    (share, *others) = sweep.shares.values()
    return None if others or share.gpus else int((os.cpu_count() or 1) / share.cpus)
