"""Which method is best, how sure the order is, and which differences are more than chance among many comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ..orchestrator.errors import SwatheError
from .estimates import SEEDS, too_few
from .outcomes import Names
from .reliability import Runs, gather_runs
from .statistics import holm

Array = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Rank:
    """The mean rank over tasks of a method, 1 being best, with the 95% range over resampled seeds (None with too few).

    `first` is the share of resamples in which it leads, ties shared. `n` counts the fewest runs of a task.
    """

    method: str
    estimate: float
    low: float | None
    high: float | None
    first: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Stability:
    """The order of methods, best first. `agreement` is Kendall's tau-b between it and the order in a resample, on
    average: 1 when it never changes."""

    ranks: tuple[Rank, ...]
    agreement: float | None
    n: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Pair:
    """A difference of mean ranks (`better` has the lower one) with two p-values that are corrected for all pairs.

    `nemenyi` follows from the ranks of all methods and decides where there are three or more; `holm` from exact
    signed-rank tests of each pair, which decide between two.
    """

    better: str
    worse: str
    estimate: float
    nemenyi: float
    holm: float
    different: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All methods against one another over `n` blocks, which are tasks, or paired seeds of a single task.

    `p_value` is Friedman's. `critical` is Nemenyi's critical difference of mean ranks at 5%. No pair is `different`
    unless Friedman's test rejects too. `verdict` is "differ", "no difference shown" or "undecided".
    """

    verdict: str
    p_value: float | None
    critical: float | None
    ranks: Mapping[str, float]
    pairs: tuple[Pair, ...]
    blocks: str
    n: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


def rank_stability(
    trials: pd.DataFrame,
    *,
    method: Names,
    task: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    choose_on: Sequence[int] = (),
    seed: int = 0,
) -> Stability:
    """How the order of methods by their mean over seeds changes when the seeds of each task are drawn anew."""
    runs = gather_runs(trials, method, task, metric, direction, None, choose_on)
    names = list(runs.scores)
    fewest = min((len(each) for scores in runs.scores.values() for each in scores), default=0)
    means = np.array([[each.mean() for each in runs.scores[name]] for name in names])
    whole = mean_ranks(means)
    reasons = tuple(reason for reason in runs.reasons if not reason.startswith("Tasks are pooled"))
    if fewest < SEEDS or len(names) < 2:
        note = too_few(fewest) or ("One method has no rank.",)
        ranks = [Rank(name, float(r), None, None, None, fewest) for name, r in zip(names, whole, strict=True)]
        return Stability(_sorted(ranks), None, fewest, (*reasons, *note), runs.excluded)
    drawn = _resampled_ranks(runs, names, np.random.default_rng(seed))
    first = drawn == drawn.min(axis=1, keepdims=True)
    leads = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    lows, highs = np.percentile(drawn, (2.5, 97.5), axis=0)
    ranks = [
        Rank(name, float(whole[k]), float(lows[k]), float(highs[k]), float(leads[k]), fewest)
        for k, name in enumerate(names)
    ]
    note = f"{RESAMPLES} resamples of {fewest} or more seeds a task; so few seeds make the range too narrow."
    return Stability(
        _sorted(ranks),
        _agreement(whole, drawn),
        fewest,
        (*reasons, *((note,) if fewest < 10 else ())),
        runs.excluded,
    )


def mean_ranks(scores: Array) -> Array:
    """The mean over tasks of the ranks (methods, ...) of `scores` (methods, tasks, ...), 1 for the highest."""
    return np.asarray(stats.rankdata(-scores, axis=0)).mean(axis=1)


def _resampled_ranks(runs: Runs, names: Sequence[str], rng: np.random.Generator) -> Array:
    """Mean ranks (resamples, methods) under seeds drawn anew, every method and task by itself."""
    means = [
        [each[rng.integers(len(each), size=(RESAMPLES, len(each)))].mean(axis=1) for each in runs.scores[name]]
        for name in names
    ]
    return mean_ranks(np.array(means)).T


def _agreement(whole: Array, drawn: Array) -> float | None:
    taus = [_tau(whole, row) for row in np.unique(drawn, axis=0)]
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    known = ~np.isnan(taus)
    return float(np.average(np.array(taus)[known], weights=counts[known])) if known.any() else None


def _tau(one: Array, other: Array) -> float:
    found: Any = stats.kendalltau(one, other)
    return float(found.statistic)


def _sorted(ranks: Sequence[Rank]) -> tuple[Rank, ...]:
    return tuple(sorted(ranks, key=lambda rank: (rank.estimate, rank.method)))


def compare_methods(
    trials: pd.DataFrame,
    *,
    method: Names,
    task: Names = None,
    metric: str = "value",
    direction: str = "minimize",
    choose_on: Sequence[int] = (),
) -> Comparison:
    """Friedman's test over tasks (over paired seeds when there is one task), then every pair, corrected (Demsar, 2006).

    Diverged runs rank last. Raises `SwatheError` for fewer than two methods.
    """
    runs = gather_runs(trials, method, task, metric, direction, None, choose_on)
    names = list(runs.scores)
    if len(names) < 2:
        raise SwatheError(f"{len(names)} method(s) cannot be compared; name a parameter that takes several values")
    scores, blocks = _blocks(runs)
    reasons = [reason for reason in runs.reasons if not reason.startswith("Tasks are pooled")]
    reasons += [_reach(scores.shape[1], blocks)] if scores.shape[1] < 6 else []
    ranks = mean_ranks(scores)
    count, n = scores.shape
    p_value = friedman(scores) if n >= SEEDS else None
    shown = p_value is not None and p_value < LEVEL
    if p_value is None:
        reasons = [*reasons, *too_few(n, blocks.removesuffix("s"))]
    return Comparison(
        verdict="undecided" if p_value is None else "differ" if shown else "no difference shown",
        p_value=p_value,
        critical=critical_difference(count, n) if n else None,
        ranks=dict(zip(names, map(float, ranks), strict=True)),
        pairs=_pairs(names, scores, ranks, shown),
        blocks=blocks,
        n=n,
        reasons=tuple(reasons),
        excluded=runs.excluded,
    )


def _pairs(names: Sequence[str], scores: Array, ranks: Array, shown: bool) -> tuple[Pair, ...]:
    """Every pair of methods, the surest difference first; none is `different` unless `shown`."""
    count, n = scores.shape
    order = list(combinations(range(count), 2))
    differences = np.array([abs(ranks[i] - ranks[j]) for i, j in order])
    by_rank = nemenyi(differences, count, n) if n else np.ones(len(order))
    paired = holm(np.array([signed_rank(scores[i], scores[j]) for i, j in order]))
    pairs: list[Pair] = []
    for (i, j), difference, one, other in zip(order, differences, by_rank, paired, strict=True):
        better, worse = (i, j) if ranks[i] <= ranks[j] else (j, i)
        decisive = shown and (one if count > 2 else other) < LEVEL
        pairs.append(Pair(names[better], names[worse], float(difference), float(one), float(other), bool(decisive)))
    return tuple(sorted(pairs, key=lambda pair: pair.nemenyi))


def _blocks(runs: Runs) -> tuple[Array, str]:
    """Scores (methods, blocks): means over seeds of each task, or the seeds of the only task that all methods have."""
    if len(runs.tasks) > 1:
        return np.array([[each.mean() for each in scores] for scores in runs.scores.values()]), "tasks"
    seeds = {name: np.asarray(replicates[0]) for name, replicates in runs.replicates.items()}
    shared = sorted(set.intersection(*(set(each.tolist()) for each in seeds.values())))
    return np.array([scores[0][np.isin(seeds[name], shared)] for name, scores in runs.scores.items()]), "seeds"


def friedman(scores: Array) -> float:
    """The p-value of Friedman's test for `scores` (methods, blocks); of two methods the exact signed-rank test."""
    if len(scores) == 2:
        return signed_rank(scores[0], scores[1])
    ranks = np.asarray(stats.rankdata(-scores, axis=0))
    if (ranks == ranks[:, :1]).all() and len(set(ranks[:, 0])) == 1:
        return 1.0
    return float(stats.friedmanchisquare(*ranks).pvalue)


def nemenyi(differences: Array, methods: int, blocks: int) -> Array:
    """p-values of `differences` of mean ranks, corrected for all pairs of `methods` over `blocks` (Nemenyi, 1963)."""
    q = differences / np.sqrt(methods * (methods + 1) / (6 * blocks))
    return np.clip(np.asarray(stats.studentized_range.sf(q * np.sqrt(2), methods, np.inf)), 0.0, 1.0)


def critical_difference(methods: int, blocks: int, level: float = LEVEL) -> float:
    """How far apart two mean ranks must lie for Nemenyi's test to reject at `level`."""
    q = float(stats.studentized_range.ppf(1 - level, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def signed_rank(one: Array, other: Array) -> float:
    """The p-value of Wilcoxon's signed-rank test for paired scores (blocks,), exact for few; both infinite is a tie."""
    with np.errstate(invalid="ignore"):
        differences = np.where(one == other, 0.0, one - other)
    if not differences.any():
        return 1.0
    found: Any = stats.wilcoxon(np.clip(differences, -1e300, 1e300), zero_method="pratt")
    return float(found.pvalue)


def _reach(n: int, blocks: str) -> str:
    return f"{n} {blocks}: a signed-rank test cannot give a p-value below {2.0 ** (1 - n):.3g}, whatever they show."
