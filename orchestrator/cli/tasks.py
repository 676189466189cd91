"""`swathe tasks`: the bundled papers."""

from __future__ import annotations

from typing import Any

import click

from ... import tasks
from ..spec.parameters import plain_parameter
from ..task import Task
from .options import json_option
from .printing import as_json, settings


@click.command("tasks")
@click.argument("name", required=False)
@json_option
def command(name: str | None, json: bool) -> None:
    """List the bundled papers, or describe the one called NAME.

    Each is a task that a spec may name, as in `task: lr-transfer`.
    """
    if name is None:
        slugs = list(tasks.slugs())
        click.echo(as_json(slugs) if json else "\n".join(slugs))
        return
    described = _described(tasks.find(name))
    if json:
        click.echo(as_json(described))
    else:
        _show(described)


def _described(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "summary": task.summary,
        "paper": task.paper,
        "metrics": task.metrics,
        "space": {name: plain_parameter(parameter) for name, parameter in task.space.items()},
        "defaults": task.defaults,
        "smallest": task.smallest,
        "claims": [
            {"statement": claim.statement, "threshold": claim.threshold, "direction": claim.direction}
            for claim in task.claims
        ],
    }


def _show(task: dict[str, Any]) -> None:
    click.echo(f"{task['name']}: {task['summary']}")
    if task["paper"]:
        click.echo(f"paper     {task['paper']}")
    click.echo(f"metrics   {', '.join(task['metrics'])}")
    for title, values in (("searched", task["space"]), ("defaults", task["defaults"]), ("smallest", task["smallest"])):
        for index, (name, value) in enumerate(values.items()):
            shown = settings(value) if isinstance(value, dict) else settings({name: value}).partition("=")[2]
            click.echo(f"{title if not index else '':<10}{name} {shown}")
    for claim in task["claims"]:
        click.echo(f"claims    {claim['statement']} ({claim['direction']} {claim['threshold']:g})")
