"""Arguments and options that several verbs take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DIRECTORY = Path("sweeps")

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

directory_option: _Decorator = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="The folder that holds sweeps.",
)
json_option: _Decorator = click.option("--json", "json", is_flag=True, help="For machines.")
set_option: _Decorator = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override the spec, as in search.lr.low=1e-5; may be repeated.",
)
spec_argument: _Decorator = click.argument("spec", type=click.Path(path_type=Path))
name_argument: _Decorator = click.argument("name")
