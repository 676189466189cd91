"""`swathe submit`: run a sweep on a cluster, and return at once."""

from __future__ import annotations

from pathlib import Path

import click

from ...clusters import submission
from ...clusters.submission import Asked
from ..errors import SpecError
from ..spec import load
from ..spec.values import seconds
from .options import set_option, spec_argument
from .plan import trials
from .printing import warn
from .remote import existing


@click.command("submit")
@spec_argument
@click.option("--cluster", required=True, metavar="NAME", help="A profile: see clusters/README.md.")
@click.option("--workers", type=click.IntRange(min=1), help="Most workers; limits.workers when left out.")
@set_option
@click.option("--takeover", is_flag=True, help="Replace another driver of the sweep, though it may be alive.")
@click.option("--accept-changes", is_flag=True, help="Go on though code or packages have changed; this is noted.")
@click.option("--wait", is_flag=True, help="Show it until it ends, as `swathe watch` does.")
@click.option("--branch", metavar="NEW", help="Begin a sweep NEW with what is still valid of this one's results.")
@click.option("--timeout", default="10m", show_default=True, help="How long the cluster has to take it: 90s, 10m.")
@click.pass_context
def command(
    context: click.Context,
    spec: Path,
    cluster: str,
    workers: int | None,
    overrides: tuple[str, ...],
    takeover: bool,
    accept_changes: bool,
    branch: str | None,
    wait: bool,
    timeout: str,
) -> None:
    """Send the sweep that the file SPEC asks for to a Ray cluster, or go on with it there.

    A snapshot of the code is shipped. The sweep runs on when this machine is switched off.
    """
    profile = existing(cluster)
    sweep = load(spec, overrides)
    for text in sweep.warnings:
        warn(text)
    origin = None
    if branch is not None:
        origin, sweep = sweep.name, sweep.model_copy(update={"name": branch})
    ended = submission.submit(profile, sweep, Asked(workers, takeover, accept_changes, origin, _seconds(timeout)))
    if ended == "finished":
        click.echo(f"{sweep.name}: finished already, nothing is left to run")
    else:
        click.echo(f"{sweep.name}: {trials(sweep)} trials, on {cluster}; it goes on without this terminal")
    if wait and ended != "finished":
        from .watch import watch

        context.exit(watch(profile.home(sweep.name)))
    click.echo("\nnext:")
    verbs = {"watch": "as it goes on", "status": "counts and failures", "best": "the best configurations"}
    verbs |= {"stop": "let running trials finish, and no more"} if ended != "finished" else {}
    commands = {f"swathe {verb} {sweep.name} --cluster {cluster}": what for verb, what in verbs.items()}
    for typed, what in commands.items():
        click.echo(f"  {typed:<{max(map(len, commands))}}  {what}")


def _seconds(text: str) -> float:
    try:
        return float(seconds(text))
    except ValueError as error:
        raise SpecError(f"--timeout is {text!r}, but {error}; write for example --timeout 10m") from None
