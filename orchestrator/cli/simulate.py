"""`swathe simulate`: the real schedule under a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from ..errors import NotYetSupported, SpecError
from ..planning import plan_of, search_of
from ..simulation import Cluster, Knobs, Synthetic, Workload, simulate
from ..simulation.growth import KINDS
from ..simulation.pilot import Pilot
from ..simulation.recorded import Recorded
from ..simulation.summary import Summary
from ..spec import Sweep, load
from .opening import find
from .options import folder_option, json_option, set_option, spec_argument
from .plan import trials
from .printing import as_json, duration, number, show, table, warn

CURVE_KNOBS = tuple(each.name for each in fields(Knobs))
CLUSTER_KNOBS = tuple(each.name for each in fields(Cluster) if each.name not in ("workers", "checkpoints"))
LIMITS = {"crossing": (-1, 1), "cliff": (0, 1), "plateau": (0, 0.99), "drop": (0, 1), "stragglers": (0, 1)}
LEAST = {"steps": 1, "messages": 1, "push": 0.01, "slowdown": 1}
STEPS = ("steps", "epochs", "max_steps", "max_epochs")
CROWDED = 0.7


@click.command("simulate")
@spec_argument
@click.option("--workers", multiple=True, type=click.IntRange(min=1), help="How many; may be repeated.  [default: 2]")
@click.option("--curves", metavar="NAME", help="Trials as they were recorded in this sweep.")
@click.option("--synthetic", type=click.Choice(KINDS), help="Trials with curves of this family.  [default: pow3]")
@click.option("--without-checkpoints", is_flag=True, help="Trials keep no state: one that goes on starts again.")
@click.option("--knob", "knobs", multiple=True, metavar="NAME=VALUE", help="As in noise=0.05; may be repeated.")
@click.option("--draw", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of what is simulated.")
@folder_option
@set_option
@json_option
def command(spec: Path, overrides: tuple[str, ...], json: bool, workers: tuple[int, ...], **options: Any) -> None:
    """Say how the sweep of SPEC would go on some workers. Runs nothing and writes nothing.

    The schedule and the search are the real ones; the clock and the trials are simulated.

    Knobs of synthetic trials: steps, step_seconds, setup_seconds, crossing, noise, replicates, cliff, plateau, drop,
    tail. Knobs of the workers: startup, latency, messages (a second), push, overhead, proposal, deaths (in an hour of
    work), recovery, stragglers, slowdown.
    """
    sweep = load(spec, overrides)
    for text in sweep.warnings:
        warn(text)
    world = _world(sweep, options)
    done = [_simulated(sweep, world, count, options["draw"]) for count in workers or (2,)]
    if json:
        shown = {"name": sweep.name, "trials": trials(sweep), "source": world.source}
        click.echo(as_json({**shown, "simulated": [_described(each) for each in done]}))
        return
    _show(sweep, world, done)
    for text in _remarks(sweep, world, done):
        warn(text)


@dataclass(frozen=True, slots=True)
class World:
    """What a sweep is simulated on: its trials, a cluster (workers left open), and both in words."""

    workload: Workload
    cluster: Cluster
    source: str


def _simulated(sweep: Sweep, world: World, workers: int, draw: int) -> Summary:
    cluster = replace(world.cluster, workers=workers)
    return Summary.of(
        simulate(plan_of(sweep).unshared(), search_of(sweep), world.workload, cluster, draw), world.workload
    )


def _world(sweep: Sweep, options: Mapping[str, Any]) -> World:
    if sweep.pruner is not None and plan_of(sweep).rungs is None:
        raise NotYetSupported(f"pruner {sweep.pruner.name} cannot be simulated yet; add --set pruner=null")
    if options["curves"] and options["synthetic"]:
        raise SpecError("--curves and --synthetic are two sources of trials; leave one of them out")
    knobs = parse_knobs(options["knobs"])
    shape = {name: knobs.pop(name) for name in CURVE_KNOBS if name in knobs}
    world = _recorded(shape, options) if options["curves"] else _synthetic(sweep, shape, options)
    return replace(world, cluster=replace(world.cluster, checkpoints=not options["without_checkpoints"], **knobs))


def _recorded(shape: Mapping[str, Any], options: Mapping[str, Any]) -> World:
    """The trials of an earlier sweep, and what its cluster took beside them."""
    if shape:
        raise SpecError(f"--knob {min(shape)} shapes synthetic trials, and --curves takes recorded ones; leave it out")
    pilot = Pilot.read(find(options["curves"], options["directory"]))
    cluster = Cluster(startup=pilot.startup, overhead=pilot.overhead)
    source = f"{len(pilot.trials)} recorded trials of {pilot.sweep.name}"
    return World(Recorded(pilot.trials, list(pilot.sweep.grid)), cluster, source)


def _synthetic(sweep: Sweep, shape: Mapping[str, Any], options: Mapping[str, Any]) -> World:
    kind, knobs = options["synthetic"] or KINDS[0], Knobs(**{"steps": _steps(sweep), **shape})
    workload = Synthetic(
        kind, sweep.search, options["draw"], knobs, minimize=sweep.directions[sweep.objective] == "minimize"
    )
    return World(workload, Cluster(), f"synthetic {kind} curves of {knobs.steps} steps")


def parse_knobs(texts: Sequence[str]) -> dict[str, Any]:
    """Knobs by name. Raises `SpecError` for an unknown one, a value that is no number or one out of range."""
    known = [*CURVE_KNOBS, *CLUSTER_KNOBS]
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise SpecError(f"--knob {text}: there is no knob {name!r}; did you mean {near}=...?")
        try:
            found[name] = int(value) if name == "steps" else float(value)
        except ValueError:
            raise SpecError(f"--knob {text}: {value!r} is no number; write for example {name}=1") from None
        low, high = LIMITS.get(name, (LEAST.get(name, 0), float("inf")))
        if not low <= found[name] <= high:
            raise SpecError(f"--knob {text}: {name} lies between {low:g} and {high:g}")
    return found


def _steps(sweep: Sweep) -> int:
    """How many reports a synthetic trial makes: what the spec fixes, or the usual 81."""
    fixed = (sweep.fixed.get(name) for name in STEPS)
    return next((each for each in fixed if isinstance(each, int) and each > 0), Knobs().steps)


# What is shown

ROWS: tuple[tuple[str, Callable[[Summary], str], str], ...] = (
    ("makespan", lambda each: duration(each.makespan), ""),
    ("at best", lambda each: duration(each.bound), "no schedule of these trials is shorter"),
    ("workers busy", lambda each: f"{each.utilisation:.1%}", "with training that counts"),
    ("mailbox busy", lambda each: f"{each.mailbox:.1%}", "of the scheduler"),
    ("training", lambda each: duration(each.work), "of all workers together"),
    ("lost with workers", lambda each: duration(each.lost), ""),
    ("attempts retried", lambda each: str(each.retried), ""),
    ("complete", lambda each: str(each.states.get("COMPLETE", 0)), "trials"),
    ("pruned", lambda each: str(each.states.get("PRUNED", 0)), "trials"),
    ("failed", lambda each: str(each.states.get("FAIL", 0)), "trials"),
    ("without pruning", lambda each: duration(each.unpruned), "of all workers together"),
    ("best ones pruned", lambda each: _share(each.quality.mispruned), "of the truly best hundredth"),
    ("regret", lambda each: number(each.quality.regret, digits=3), "against the best configuration tried"),
    ("gap", lambda each: number(each.quality.gap, digits=3), "to the best of the whole space"),
)
PRUNING = ("pruned", "without pruning", "best ones pruned")
LOSSES = ("lost with workers", "attempts retried")


def _show(sweep: Sweep, world: World, done: Sequence[Summary]) -> None:
    pruner = f", pruned by {sweep.pruner.name}" if sweep.pruner else ""
    click.echo(f"{sweep.name}: {trials(sweep)} trials, {sweep.sampler.name}{pruner}; {world.source}\n")
    columns = [f"{each.workers} workers" if each.workers > 1 else "1 worker" for each in done]
    shown = table("", *columns, "what", right=columns)
    for name, text, meaning in ROWS:
        hidden = (name in PRUNING and not sweep.pruner) or (name in LOSSES and not any(each.lost for each in done))
        texts = [text(each) for each in done]
        if not hidden and set(texts) != {"-"}:
            shown.add_row(name, *texts, meaning)
    show(shown)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _remarks(sweep: Sweep, world: World, done: Sequence[Summary]) -> Iterator[str]:
    """What stands out in the numbers, with a remedy."""
    if len(sweep.shares) > 1:
        yield "resources differ by cell, and simulated workers run the trials of every cell"
    for name in ("trial", "stall", "sweep"):
        if getattr(sweep.limits, name) is not None:
            yield f"limits.{name} is set and is not simulated"
    for each in done:
        if each.mailbox > CROWDED:
            yield (
                f"with {each.workers} workers the scheduler's mailbox is the bottleneck; "
                "fewer workers or longer trials keep it free"
            )
        if killed := each.causes.get("worker_lost"):
            yield f"with {each.workers} workers {killed} trials fail with their workers; raise limits.attempts"
        if each.closed != "finished":
            yield f"with {each.workers} workers the sweep ends early: {each.closed}"
    if isinstance(world.workload, Recorded):
        yield from _recorded_remarks(world.workload)


def _recorded_remarks(workload: Recorded) -> Iterator[str]:
    if workload.near:
        share = workload.near / (workload.near + workload.exact)
        yield f"{share:.0%} of the trials stand for others: their configuration was not recorded, the nearest one was"
    if workload.pruned:
        yield f"{workload.pruned} of the recorded trials were pruned, and are taken to stay where they were"


def _described(summary: Summary) -> dict[str, Any]:
    return {**asdict(summary), "quality": summary.quality._asdict()}
