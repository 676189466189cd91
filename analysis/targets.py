"""How long training takes to reach a target: scores and performance profiles as in AlgoPerf's external tuning track.

Dahl et al., 2023, arXiv 2306.07179, and the rules of the benchmark (mlcommons/algorithmic-efficiency, DOCUMENTATION.md
of September 2025): a study is a few trials, scored by the fastest to the target; a workload by the median of its
studies; what misses the target takes infinitely long. r is a method's time over the best method's on a workload, its
profile the share of workloads with r <= tau, its score the profile's mean over 1 <= tau <= 4. Here a replicate is a
study and its configurations are the trials, so that studies share their configurations, and time is counted in steps
or seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..orchestrator.errors import SwatheError
from .aggregates import percentiles
from .curves import numbers, text
from .estimates import CONFIDENCE, SEEDS, too_few
from .outcomes import Names, labels, natural, sign_of

Array = NDArray[np.float64]

LARGEST_RATIO = 4.0
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Speed:
    """One method's AlgoPerf score, from 0 (never within four times the best) to 1 (always the fastest).

    The 95% range is over studies drawn anew, None with fewer than three. `taus`, `profile` are the steps of the
    performance profile; `times` the workload scores, infinite where the target was missed. `n` counts studies.
    """

    method: str
    estimate: float
    low: float | None
    high: float | None
    n: int
    taus: tuple[float, ...]
    profile: tuple[float, ...]
    times: Mapping[str, float]
    unit: str
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


def time_to_target(
    trials: pd.DataFrame, metrics: pd.DataFrame, metric: str, target: float, direction: str, unit: str = "step"
) -> Array:
    """When each trial (rows of `trials`,) first reported `metric` at or beyond `target`, infinite when never.

    In steps, or with `unit` "seconds" in seconds since the trial's `started`. Diverged trials and those that fail
    later may have reached it before: they count by what they reported, in their last attempt. Raises `SwatheError`
    for another unit.
    """
    if unit not in ("step", "seconds"):
        raise SwatheError(f"time cannot be counted in {unit!r}; it is step or seconds")
    sign = sign_of(direction)
    rows = metrics.loc[text(metrics, "metric") == metric]
    if "attempt" in rows.columns and "attempt" in trials.columns:
        last = dict(zip(text(trials, "trial"), numbers(trials, "attempt"), strict=True))
        rows = rows.loc[numbers(rows, "attempt") == [last.get(trial, np.nan) for trial in text(rows, "trial")]]
    with np.errstate(invalid="ignore"):
        reached = rows.loc[sign * numbers(rows, "value") <= sign * target]
    if unit == "step":
        first = reached.loc[reached["step"].notna()].groupby("trial")["step"].min()
        return np.array([float(first.get(trial, inf)) for trial in text(trials, "trial")])
    first = reached.groupby("trial")["time"].min()
    starts = zip(text(trials, "trial"), trials["started"], strict=True)
    waits = ((first[trial] - start).total_seconds() if trial in first.index else inf for trial, start in starts)
    return np.array(list(waits), dtype=float)


def speeds(
    trials: pd.DataFrame,
    metrics: pd.DataFrame,
    *,
    metric: str,
    target: float | Mapping[str, float],
    method: Names,
    workload: Names = None,
    direction: str = "minimize",
    unit: str = "step",
    seed: int = 0,
) -> tuple[Speed, ...]:
    """The score of each method over workloads, fastest first. `target` may differ by workload.

    Raises `SwatheError` when a workload has no target or a method was not run on every workload.
    """
    frame = pd.DataFrame(
        {
            "method": labels(trials, method),
            "workload": labels(trials, workload),
            "study": numbers(trials, "replicate"),
            "time": np.full(len(trials), inf),
        }
    )
    for name in sorted(set(frame["workload"]), key=natural):
        mine = (frame["workload"] == name).to_numpy()
        aim = target.get(name) if isinstance(target, Mapping) else target
        if aim is None:
            raise SwatheError(f"workload {name!r} has no target; give one for each workload")
        frame.loc[mine, "time"] = time_to_target(trials.loc[mine], metrics, metric, float(aim), direction, unit)
    studies = _studies(frame)
    methods, workloads = (sorted({key[k] for key in studies}, key=natural) for k in (0, 1))
    fewest = min((len(times) for times in studies.values()), default=0)
    for name, each in ((name, each) for name in methods for each in workloads):
        if (name, each) not in studies:
            raise SwatheError(f"{name!r} has no trials on {each!r}; compare methods on workloads that all were run on")
    whole = np.array([[np.median(studies[name, each]) for each in workloads] for name in methods])
    drawn = _resampled(studies, methods, workloads, np.random.default_rng(seed)) if fewest >= SEEDS else None
    answers = [_speed(name, k, (whole, drawn), workloads, fewest, (metric, unit)) for k, name in enumerate(methods)]
    return tuple(sorted(answers, key=lambda answer: -answer.estimate))


def _studies(frame: pd.DataFrame) -> dict[tuple[str, str], Array]:
    """The fastest time of each study, by method and workload."""
    found: dict[tuple[str, str], Array] = {}
    for key, rows in frame.groupby(["method", "workload"]):
        name, each = map(str, cast(tuple[str, str], key))
        found[name, each] = np.array([times.min() for _, times in rows.groupby("study")["time"]])
    return found


def _resampled(
    studies: Mapping[tuple[str, str], Array], methods: Sequence[str], workloads: Sequence[str], rng: np.random.Generator
) -> Array:
    """Scores (resamples, methods) when the studies of each method and workload are drawn anew."""
    times = [
        [
            np.median(own[rng.integers(len(own), size=(RESAMPLES, len(own)))], axis=1)
            for own in (studies[name, each] for each in workloads)
        ]
        for name in methods
    ]
    return np.array([score(ratios(draw)) for draw in np.moveaxis(np.array(times), -1, 0)])


def ratios(times: Array) -> Array:
    """`times` (methods, workloads) over the best of each workload; infinite where the target was missed."""
    best = times.min(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isfinite(times), np.where(times == best, 1.0, times / best), inf)


def score(found: Array, largest: float = LARGEST_RATIO) -> Array:
    """The mean of the profile over 1 <= tau <= `largest`, from ratios (methods, workloads): (methods,).

    The profile is a step function, so its integral is the mean over workloads of what lies right of each ratio.
    """
    return np.clip(largest - found, 0.0, largest - 1).mean(axis=1) / (largest - 1)


def _speed(
    name: str,
    place: int,
    times: tuple[Array, Array | None],
    workloads: Sequence[str],
    studies: int,
    asked: tuple[str, str],
) -> Speed:
    whole, drawn = times
    metric, unit = asked
    found = ratios(whole)
    taus = np.array(sorted({1.0, LARGEST_RATIO, *found[np.isfinite(found) & (found <= LARGEST_RATIO)].tolist()}))
    missed = [each for each, time in zip(workloads, whole[place], strict=True) if np.isinf(time)]
    counted = "steps" if unit == "step" else unit
    reasons = [f"Time in {counted} until {metric} reaches its target, on {len(workloads)} workload(s)."]
    reasons += [f"The target was missed on {', '.join(missed) or 'the workload'}."] if missed else []
    few = "So few studies make the range too narrow."
    low, high = (None, None) if drawn is None else (float(each) for each in percentiles(drawn[:, place], CONFIDENCE))
    return Speed(
        method=name,
        estimate=float(score(found)[place]),
        low=low,
        high=high,
        n=studies,
        taus=tuple(map(float, taus)),
        profile=tuple(float((found[place] <= tau).mean()) for tau in taus),
        times=dict(zip(workloads, map(float, whole[place]), strict=True)),
        unit=unit,
        reasons=(*reasons, *(too_few(studies, "study") or (few,) * (studies < 10))),
        excluded={},
    )
