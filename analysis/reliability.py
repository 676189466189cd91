"""How good a method is over seeds and tasks, and whether another one is better: the questions that rliable answers.

Every entry compares methods on the runs of one configuration per method and task. Where several were tried the best
mean is taken, on the replicates `choose_on` alone when they are given; otherwise the reasons say that the choice and
the estimate share their seeds, which flatters all methods, and the more so the more configurations they tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..orchestrator.errors import SwatheError
from . import aggregates
from .estimates import CONFIDENCE, SEEDS, Estimate, too_few
from .outcomes import Names, Outcomes, outcomes, unit_costs
from .statistics import clopper_pearson

Array = NDArray[np.float64]

STATISTICS = {
    "iqm": aggregates.iqm,
    "mean": aggregates.mean,
    "median": aggregates.median,
    "optimality_gap": aggregates.optimality_gap,
}


@dataclass(frozen=True)
class Runs:
    """Scores (runs,) of each method on each task of `tasks`, higher is better, diverged minus infinity, and the
    replicates they belong to. `sign` times a score is in the units of the metric. `reasons` say how the configurations
    were chosen."""

    scores: Mapping[str, list[Array]]
    replicates: Mapping[str, list[Array]]
    tasks: tuple[str, ...]
    sign: float
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """The share of a method's runs that are better than each threshold, in units of the metric.

    `low`..`high` are exact 95% intervals of Clopper and Pearson at each threshold by itself. `n` runs.
    """

    method: str
    thresholds: tuple[float, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


def gather_runs(
    trials: pd.DataFrame,
    method: Names,
    task: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    references: Mapping[str, tuple[float, float]] | None = None,
    choose_on: Sequence[int] = (),
) -> Runs:
    """The runs to compare. `references` gives for each task the values of the metric that become 0 and 1.

    Raises `SwatheError` when a method was not run on every task, or a task has no reference while others have.
    """
    found = outcomes(trials, metric, direction, method, task)
    table, reasons = _one_configuration(found, choose_on)
    tasks = found.tasks
    scores: dict[str, list[Array]] = {name: [] for name in found.methods}
    replicates: dict[str, list[Array]] = {name: [] for name in found.methods}
    groups = dict(iter(table.sort_values("replicate").groupby(["method", "task"])))
    for name, each in ((name, each) for name in scores for each in tasks):
        if (name, each) not in groups:
            raise SwatheError(f"{name!r} has no runs on {each!r}; compare methods on tasks that all were run on")
        rows = groups[name, each]
        scores[name].append(_normalise(-rows["cost"].to_numpy(dtype=float), found.sign, each, references))
        replicates[name].append(rows["replicate"].to_numpy(dtype=float))
    if references is None and len(tasks) > 1:
        reasons.append("Tasks are pooled in units of the metric as it is; give references where their scales differ.")
    sign = 1.0 if references else -found.sign
    return Runs(scores, replicates, tuple(tasks), sign, tuple(reasons), found.excluded)


def _one_configuration(found: Outcomes, choose_on: Sequence[int]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the best configuration of each method and task, without the replicates it was chosen on."""
    table = found.table
    on = table.loc[table["replicate"].isin(list(choose_on))] if choose_on else table
    means = unit_costs(on)
    most = max((len(rows) for _, rows in means.groupby(["method", "task"])), default=0)
    if most <= 1:
        return table, []
    best = {key[:2]: key[2] for key in means.groupby(["method", "task"]).idxmin()}
    keys = zip(table["method"], table["task"], table["unit"], strict=True)
    kept = table.loc[[best.get((method, task)) == unit for method, task, unit in keys]]
    if choose_on:
        names = ", ".join(map(str, choose_on))
        note = f"The best of up to {most} configurations was chosen on replicates {names}, which are left out."
        return kept.loc[~kept["replicate"].isin(list(choose_on))], [note]
    return kept, [f"The best of up to {most} configurations was chosen on the same seeds, so values are optimistic."]


def _normalise(scores: Array, sign: float, task: str, references: Mapping[str, tuple[float, float]] | None) -> Array:
    if references is None:
        return scores
    if task not in references:
        raise SwatheError(f"task {task!r} has no reference; give the values of the metric that become 0 and 1")
    zero, one = references[task]
    return (scores + sign * zero) / (sign * (zero - one))


def aggregate(
    trials: pd.DataFrame,
    *,
    method: Names = None,
    task: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    statistic: str = "iqm",
    references: Mapping[str, tuple[float, float]] | None = None,
    choose_on: Sequence[int] = (),
    seed: int = 0,
) -> dict[str, Estimate]:
    """One number for each method over all its runs, with an interval from a bootstrap within tasks.

    `statistic` is iqm, mean, median or optimality_gap. Percentile intervals of a bootstrap over 3 runs cover 70-86%
    at nominal 95%; these are widened for the number of runs and cover 94-98% in simulation (87% for 3 exponential
    runs of one task). `n` counts the fewest runs of a task. `seed` fixes the resamples.
    """
    if statistic not in STATISTICS:
        raise SwatheError(f"statistic {statistic!r} is unknown; it is {', '.join(STATISTICS)}")
    if statistic == "optimality_gap" and references is None:
        raise SwatheError("an optimality gap is measured from 1, so give references that say what 0 and 1 are")
    runs = gather_runs(trials, method, task, metric, direction, references, choose_on)
    sign = 1.0 if statistic == "optimality_gap" else runs.sign
    return {
        name: _interval(scores, STATISTICS[statistic], sign, runs, np.random.default_rng(seed))
        for name, scores in runs.scores.items()
    }


def _interval(
    scores: list[Array], statistic: aggregates.Statistic, sign: float, runs: Runs, rng: np.random.Generator
) -> Estimate:
    fewest = min(map(len, scores))
    diverged = sum(int(np.isinf(task).sum()) for task in scores)
    notes = [f"{diverged} of {sum(map(len, scores))} runs diverged; they count as infinitely bad."] if diverged else []
    with np.errstate(invalid="ignore"):
        value = sign * float(statistic(scores))
        if fewest < SEEDS:
            return Estimate(value, None, None, fewest, (*runs.reasons, *notes, *too_few(fewest)), runs.excluded)
        replicates = sign * statistic(aggregates.resampled(scores, rng))
    freedom = sum(len(task) - 1 for task in scores)
    low, high = aggregates.widened(replicates, np.array(value), fewest, freedom, CONFIDENCE)
    return Estimate(value, float(low), float(high), fewest, (*runs.reasons, *notes), runs.excluded)


def performance_profiles(
    trials: pd.DataFrame,
    *,
    method: Names = None,
    task: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    thresholds: Sequence[float] = (),
    references: Mapping[str, tuple[float, float]] | None = None,
    choose_on: Sequence[int] = (),
) -> tuple[Profile, ...]:
    """A profile for each method, at `thresholds` in units of the metric, by default 101 over the range of all runs."""
    runs = gather_runs(trials, method, task, metric, direction, references, choose_on)
    every = np.concatenate([task for scores in runs.scores.values() for task in scores])
    finite = every[np.isfinite(every)]
    if len(thresholds) or not len(finite):
        levels = np.array([runs.sign * each for each in thresholds])
    else:
        levels = np.linspace(finite.min(), finite.max(), 101)
    return tuple(_profile(name, scores, levels, runs) for name, scores in runs.scores.items())


def _profile(name: str, scores: list[Array], levels: Array, runs: Runs) -> Profile:
    n = sum(map(len, scores))
    shares = aggregates.profile(scores, levels)
    bounds = [clopper_pearson(round(share * n), n, CONFIDENCE) for share in shares]
    return Profile(
        method=name,
        thresholds=tuple(float(runs.sign * level) for level in levels),
        estimate=tuple(map(float, shares)),
        low=tuple(low for low, _ in bounds),
        high=tuple(high for _, high in bounds),
        n=n,
        reasons=(f"{n} runs on {len(scores)} task(s); intervals are for each threshold by itself.", *runs.reasons),
        excluded=runs.excluded,
    )


def improvement(
    trials: pd.DataFrame,
    better: str,
    worse: str,
    *,
    method: Names,
    task: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    choose_on: Sequence[int] = (),
    seed: int = 0,
) -> Estimate:
    """The probability that a run of `better` beats one of `worse`, averaged over tasks, ties counted half.

    Where every run agrees a bootstrap has no width; the interval is then that of Clopper and Pearson over pairs of
    runs. `n` counts the fewest runs of a method and task. Raises `SwatheError` when one of the two has no runs.
    """
    runs = gather_runs(trials, method, task, metric, direction, None, choose_on)
    for name in (better, worse):
        if name not in runs.scores:
            raise SwatheError(f"there are no trials of {name!r}; there are {', '.join(runs.scores) or 'none at all'}")
    ones, others = runs.scores[better], runs.scores[worse]
    fewest = min(map(len, (*ones, *others)))
    value = float(aggregates.improvement(ones, others))
    reasons = tuple(reason for reason in runs.reasons if not reason.startswith("Tasks are pooled"))
    if fewest < SEEDS:
        return Estimate(value, None, None, fewest, (*reasons, *too_few(fewest)), runs.excluded)
    rng = np.random.default_rng(seed)
    replicates = aggregates.improvement(aggregates.resampled(ones, rng), aggregates.resampled(others, rng))
    freedom = sum(min(len(one), len(other)) - 1 for one, other in zip(ones, others, strict=True))
    low, high = aggregates.widened(replicates, np.array(value), fewest, freedom, CONFIDENCE)
    if value in (0.0, 1.0):
        pairs = sum(min(len(one), len(other)) for one, other in zip(ones, others, strict=True))
        low, high = clopper_pearson(pairs if value else 0, pairs, CONFIDENCE)
    return Estimate(value, max(float(low), 0.0), min(float(high), 1.0), fewest, reasons, runs.excluded)
