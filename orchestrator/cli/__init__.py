"""The command line: one verb a module, imported only when it is called.

Nothing heavy may be imported here: `swathe --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

import click

from ..errors import SwatheError

INTERRUPTED = 130
BROKEN_PIPE = 141


class Verb(NamedTuple):
    """The module that holds a verb's `command`, and what `--help` says of it."""

    module: str
    summary: str


VERBS = {
    "plan": Verb("plan", "What a spec would run: cells, trials, how far it can be spread."),
    "simulate": Verb("simulate", "How a sweep would go on some workers, under a simulated clock."),
    "run": Verb("run", "Run a sweep, or go on with it."),
    "submit": Verb("submit", "Run a sweep on a cluster."),
    "watch": Verb("watch", "A sweep as it goes on, from any terminal."),
    "stop": Verb("stop", "Let a live sweep finish what it runs, and nothing more."),
    "cancel": Verb("cancel", "End a live sweep at once."),
    "retry": Verb("retry", "Let failed trials wait again."),
    "list": Verb("listing", "The sweeps of a folder."),
    "status": Verb("status", "How a sweep stands, and what failed in it."),
    "results": Verb("results", "Its trials, as a table, CSV, JSON, Parquet or a hash."),
    "best": Verb("best", "The best configuration of each cell."),
    "report": Verb("report", "Write its report, a web page."),
    "export": Verb("export", "It in MLflow, TensorBoard, Optuna, CSV, Parquet."),
    "dashboard": Verb("dashboard", "It in the browser, by optuna-dashboard."),
    "logs": Verb("logs", "What a trial has printed."),
    "rerun": Verb("rerun", "One trial again, here, with its output in the terminal."),
    "doctor": Verb("doctor", "Whether sweeps can run here, or on a cluster."),
    "tasks": Verb("tasks", "The bundled papers, and which of their claims hold."),
    "verify": Verb("verify", "Run what a paper's claims ask for, and say which of them hold."),
    "schema": Verb("schema", "The JSON Schema of specs, for editors."),
}


class Verbs(click.Group):
    """Knows all verbs by name, and a verb's module only once it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which a sweep's life needs them."""
        return [*VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command behind a verb. Raises `click.UsageError` naming the nearest one when there is none."""
        if cmd_name not in VERBS:
            near = get_close_matches(cmd_name, VERBS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(VERBS)}"
            raise click.UsageError(f"swathe has no verb {cmd_name!r}; {hint}", ctx)
        return import_module(f".{VERBS[cmd_name].module}", __name__).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of verbs, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Call the verb; what the user can mend becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except SwatheError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _forget_output()
            ctx.exit(BROKEN_PIPE)


def _forget_output() -> None:
    """Whoever read our output has gone; Python would complain about that once more when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


@click.group(cls=Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="swathe")
@click.pass_context
def swathe(context: click.Context) -> None:
    """Hyperparameter sweeps whose conclusions hold.

    A sweep is a folder. `swathe run sweep.yaml` makes it, and goes on with it when it is there already.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """The entry point of the command line."""
    swathe(prog_name="swathe")
