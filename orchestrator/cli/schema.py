"""`swathe schema`: the grammar of specs."""

from __future__ import annotations

import click

from ..spec import json_schema
from .printing import as_json


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of specs.

    Editors complete and check from it: `swathe schema > swathe.schema.json`.
    """
    click.echo(as_json(json_schema()))
