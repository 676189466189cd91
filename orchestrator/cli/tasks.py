"""`swathe tasks`: the bundled papers, what each claims, and what came out."""

from __future__ import annotations

from importlib import import_module
from itertools import groupby
from typing import Any

import click

from ... import tasks
from ..spec.parameters import plain_parameter
from ..task import Task
from .claims_page import NAME, in_words, statuses
from .options import json_option
from .printing import as_json, settings

WIDEST = 90


@click.command("tasks")
@click.argument("name", required=False)
@json_option
def command(name: str | None, json: bool) -> None:
    """List the bundled papers by theme, with the outcomes of their claims, or describe the one called NAME.

    Each is a task that a spec may name, as in `task: lr-transfer`. `swathe verify NAME` measures its claims.
    """
    if name is not None:
        task = tasks.find(name)
        click.echo(as_json(described(task)) if json else card(task))
    elif json:
        click.echo(as_json(_listed()))
    else:
        _list()


def _listed() -> list[dict[str, Any]]:
    known = statuses(tasks.FOLDER / NAME)
    return [
        {"name": each.slug, "theme": each.theme, "title": each.title, "claims": dict(known.get(each.slug, {}))}
        for each in tasks.entries()
    ]


def _list() -> None:
    listed = _listed()
    widest = max(len(each["name"]) for each in listed)
    for theme, papers in groupby(listed, key=lambda each: each["theme"]):
        click.echo(f"{theme}: {import_module(f'{tasks.__name__}.{theme}').__doc__ or ''}")
        for each in papers:
            title = each["title"] if len(each["title"]) <= WIDEST else each["title"][: WIDEST - 1] + "…"
            click.echo(f"  {each['name']:<{widest}}  {title} [{in_words(each['claims'])}]")


def described(task: Task) -> dict[str, Any]:
    """All that is known of a task, for machines."""
    paper = task.paper
    return {
        "name": task.name,
        "summary": task.summary,
        "paper": paper and {"title": paper.title, "authors": paper.authors, "year": paper.year, "arxiv": paper.arxiv},
        "metrics": task.metrics,
        "space": {name: plain_parameter(parameter) for name, parameter in task.space.items()},
        "defaults": task.defaults,
        "smallest": task.smallest,
        "paper_scale": task.paper_scale,
        "claims": [
            {
                "statement": claim.statement,
                "direction": claim.direction,
                "threshold": claim.threshold,
                "sweep": claim.sweep,
                "remark": claim.remark,
            }
            for claim in task.claims
        ],
    }


def card(task: Task) -> str:
    """A task on a page, for people."""
    lines = [f"{task.name}: {task.summary}"]
    if task.paper is not None:
        lines.append(f"paper     {task.paper}")
    lines.append(f"metrics   {', '.join(task.metrics)}")
    space = {name: settings(plain_parameter(parameter)) for name, parameter in task.space.items()}
    for title, values in (("searched", space), ("defaults", task.defaults), ("smallest", task.smallest)):
        lines += _block(title, [f"{name} {_word(value)}" for name, value in values.items()])
    lines += _block("at paper", [f"--set '{path}={value}'" for path, value in task.paper_scale.items()])
    claims = [f"{claim.statement}: {claim.direction} {claim.threshold:g}" for claim in task.claims]
    return "\n".join([*lines, *_block("claims", claims)])


def _word(value: Any) -> str:
    return settings({"": value}).removeprefix("=")


def _block(title: str, entries: list[str]) -> list[str]:
    return [f"{title if not place else '':<10}{entry}" for place, entry in enumerate(entries)]
