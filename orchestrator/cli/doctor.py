"""`swathe doctor`: whether sweeps can run here, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from ...clusters import finding
from ...clusters.doctor.examining import examine_cluster, examine_here
from ...clusters.doctor.findings import Finding
from ..spec import load
from .options import DIRECTORY, json_option
from .printing import as_json

BROKEN = 1


@click.command("doctor")
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@click.option("--cluster", metavar="NAME", help="A profile; this machine when left out.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="The folder that holds sweeps on this machine.",
)
@json_option
@click.pass_context
def command(context: click.Context, spec: Path | None, cluster: str | None, directory: Path, json: bool) -> None:
    """Check that sweeps can run: Ray and Python, ledger, storage, clocks, GPUs, variables.

    With SPEC also that its task can be imported by a worker, and that a trial fits. Says of each fault what to do;
    ends with exit code 1 when there is one.
    """
    sweep = load(spec) if spec is not None else None
    profile = finding.profile(cluster) if cluster is not None else None
    remote = profile is not None and profile.kind == "existing"
    found: list[Finding] = []
    for each in examine_cluster(profile, sweep) if profile is not None and remote else examine_here(directory, sweep):
        found.append(each)
        if not json:
            click.echo("\n".join(_lines(each)))
    faults = [each for each in found if not each.well]
    if json:
        click.echo(as_json([{**asdict(each), "well": each.well} for each in found]))
    else:
        click.echo(f"\n{len(found)} checks, " + (f"{len(faults)} faults" if faults else "no fault"))
    context.exit(BROKEN if faults else 0)


def _lines(each: Finding) -> Iterator[str]:
    word = "ok   " if each.well else "FAULT"
    yield f"{word}  {each.check:<10} {each.place}: {each.told or each.fault}"
    if each.remedy:
        yield f"       {'':<10} to do: {each.remedy}"
