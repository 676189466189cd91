"""Arguments and options that several verbs take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DIRECTORY = Path("sweeps")

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_RESULTS = "swathe.results"
CLUSTER = "swathe.cluster"


def _remember(context: click.Context, _: click.Parameter, cluster: str | None) -> None:
    """Keep the folder of the cluster's sweeps for `_directory`, which is asked later."""
    if cluster is not None:
        # Reading profiles takes a moment that others need not wait for.
        from ...clusters.submission import results_of
        from .submit import existing

        context.meta[_RESULTS] = results_of(existing(cluster))
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
_cluster_option: _Decorator = click.option(
    "--cluster",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_remember,
    help="Instead of --dir: sweeps of this cluster.",
)


def directory_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--dir` and `--cluster`, which say where sweeps are; the verb is told `directory`."""
    return _dir_option(_cluster_option(function))


# For verbs that run trials here.
folder_option = _dir_option
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
