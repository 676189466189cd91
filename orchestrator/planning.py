"""A sweep as the schedule and the search see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import amending
from .cutoffs import Cutoffs
from .messages import Scalar
from .packing import Fusing
from .schedule import CellPlan, Percentile, Plan, Rungs
from .search import Search
from .spec import Sweep

_HALF = 50.0


def plan_of(sweep: Sweep, amendments: Sequence[str] = (), shapes: Mapping[str, Scalar | None] | None = None) -> Plan:
    """What has to be done, `sweep` having grown by `amendments`; `shapes` are its task's, None for most."""
    watched = sweep.watched
    return Plan(
        cells=tuple(
            CellPlan(cell.key, {**cell.values, **sweep.fixed}, sweep.share(cell.values)) for cell in sweep.cells
        ),
        configurations=sweep.per_cell,
        replicates=sweep.seeds,
        generation=sweep.generation_size,
        lag=sweep.lag,
        sequential=search_of(sweep).sequential or percentile_of(sweep) is not None,
        attempts=sweep.limits.attempts,
        minimize=sweep.directions[watched] == "minimize",
        rungs=rungs_of(sweep),
        cutoffs=cutoffs_of(sweep),
        watched=None if watched == sweep.objective else watched,
        others=sweep.objectives[1:],
        failures=sweep.limits.failures,
        views=amending.views(sweep, amendments),
        fusing=None if shapes is None else Fusing(shapes, lanes_of(sweep)),
    )


def lanes_of(sweep: Sweep) -> int | None:
    """The lanes of each pack, 0 for plain trials, None where a measurement decides."""
    if sweep.fuse == "off" or sweep.isolate is not None:
        return 0
    return None if isinstance(sweep.fuse, str) else sweep.fuse


def search_of(sweep: Sweep) -> Search:
    """The sweep's sampler."""
    minimize = tuple(each == "minimize" for each in sweep.directions.values())
    return Search(sweep.sampler.name, sweep.search, sweep.seed, minimize, sweep.startup, sweep.enqueue or ())


def rungs_of(sweep: Sweep) -> Rungs | None:
    """Where and how the configurations of a generation are compared, if they are."""
    pruner = sweep.pruner
    if pruner is None or pruner.by_curve:
        return None
    if pruner.name == "top":
        return Rungs(pruner.min_step, keep=pruner.keep, limit=1)
    return Rungs(pruner.min_step, pruner.reduction or 3)


def cutoffs_of(sweep: Sweep) -> Cutoffs | None:
    """How a trial's own curve ends it, if it does; the table comes with each generation."""
    pruner = sweep.pruner
    if pruner is None or not pruner.by_curve:
        return None
    return Cutoffs(
        minimize=sweep.directions[sweep.watched] == "minimize",
        lower=pruner.lower,
        upper=pruner.upper,
        patience=pruner.patience,
        min_delta=pruner.min_delta or 0.0,
        min_step=pruner.min_step,
        interval=pruner.interval or 1,
        votes=sweep.seeds > 1,
    )


def percentile_of(sweep: Sweep) -> Percentile | None:
    """The rule by which cutoffs are made of earlier curves, if they are."""
    pruner = sweep.pruner
    if pruner is None or not pruner.compares_curves:
        return None
    return Percentile(_HALF if pruner.percentile is None else pruner.percentile, pruner.startup or 5)
