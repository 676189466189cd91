"""Arguments and options that several verbs take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DIRECTORY = Path("sweeps")

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_LEDGER = "swathe.ledger"
_RESULTS = "swathe.results"
CLUSTER = "swathe.cluster"


def chosen_ledger() -> str | None:
    """The URL of the shared ledger that the command at hand was given, by `--ledger` or by `choose_ledger`."""
    context = click.get_current_context(silent=True)
    return context.meta.get(_LEDGER) if context else None


def choose_ledger(url: str | None) -> None:
    """The command at hand is about sweeps of this ledger."""
    click.get_current_context().meta[_LEDGER] = url


def _choose_cluster(context: click.Context, _: click.Parameter, cluster: str | None) -> None:
    """Keep the folder of the cluster's sweeps for `_directory`, which is asked later, and choose its ledger."""
    if cluster is not None:
        # Reading profiles takes a moment that others need not wait for.
        from .remote import existing

        profile = existing(cluster)
        context.meta[_RESULTS] = profile.directory
        choose_ledger(profile.ledger)
        context.meta[CLUSTER] = cluster


def _directory(context: click.Context, _: click.Parameter, directory: Path) -> Path:
    return context.meta.get(_RESULTS, directory)


_dir_option: _Decorator = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=DIRECTORY,
    show_default=True,
    callback=_directory,
    help="The folder that holds sweeps.",
)
_ledger_option: _Decorator = click.option(
    "--ledger",
    envvar="SWATHE_LEDGER",
    metavar="URL",
    expose_value=False,
    callback=lambda context, parameter, value: choose_ledger(value) if value else None,
    help="The PostgreSQL database that holds the ledger; or in SWATHE_LEDGER.",
)
_cluster_option: _Decorator = click.option(
    "--cluster",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_choose_cluster,
    help="Instead of --dir: sweeps of this cluster.",
)


def folder_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """For verbs that run trials here: the folder becomes an argument, the ledger goes to `chosen_ledger`."""
    return _dir_option(_ledger_option(command))


def directory_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--dir`, `--ledger` and `--cluster`, which say where sweeps are."""
    return folder_option(_cluster_option(command))


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
