"""Arguments and options that several verbs take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DIRECTORY = Path("sweeps")

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_LEDGER = "swathe.ledger"


def chosen_ledger() -> str | None:
    """The URL of the shared ledger that the command at hand was given, by `--ledger` or by `choose_ledger`."""
    context = click.get_current_context(silent=True)
    return context.meta.get(_LEDGER) if context else None


def choose_ledger(url: str | None) -> None:
    """The command at hand is about sweeps of this ledger."""
    click.get_current_context().meta[_LEDGER] = url


def directory_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where sweeps are: the folder becomes an argument, the ledger goes to `chosen_ledger`."""
    folder = click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        default=DIRECTORY,
        show_default=True,
        help="The folder that holds sweeps.",
    )
    ledger = click.option(
        "--ledger",
        envvar="SWATHE_LEDGER",
        metavar="URL",
        expose_value=False,
        callback=lambda context, parameter, value: choose_ledger(value) if value else None,
        help="The PostgreSQL database that holds the ledger; or in SWATHE_LEDGER.",
    )
    return folder(ledger(command))


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
