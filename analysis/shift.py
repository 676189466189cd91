"""How much worse things get under attack, corruption and in other domains.

Of several configurations one is chosen, and the rule by which it was is part of every answer: results for other
domains mean little without it (Gulrajani and Lopez-Paz, 2021, arXiv 2007.01434).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..orchestrator.errors import SwatheError
from .estimates import SEEDS, Estimate, from_jackknife, from_values
from .outcomes import Cube, Names, cubes, outcomes, sign_of

Array = NDArray[np.float64]

RULES = ("validation", "leave-one-domain-out", "oracle")


@dataclass(frozen=True, slots=True)
class StrengthCurve:
    """One method's metric against the strength of an attack or corruption, with 95% t intervals over `n` seeds (None
    with too few). `area` is the mean over the range of strengths. `selection` says how the configuration was chosen."""

    method: str
    strengths: tuple[float, ...]
    points: tuple[Estimate, ...]
    area: Estimate
    selection: str
    n: int
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CorruptionError:
    """The mean corruption error of a method, relative to `reference` when there is one, and each corruption's part."""

    method: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    by_corruption: Mapping[str, float]
    reference: str | None
    selection: str
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DomainShift:
    """A method's metric in its worst domain, which is `worst`, on average, and in each. `rule` is how configurations
    were chosen, in the words of `selection`."""

    method: str
    worst: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    average: Estimate
    by_domain: Mapping[str, Estimate]
    rule: str
    selection: str
    reasons: tuple[str, ...]
    excluded: Mapping[str, int]


def strength_curves(
    trials: pd.DataFrame,
    strengths: Mapping[float, str],
    *,
    method: Names = None,
    by: str = "value",
    by_direction: str = "minimize",
    direction: str = "maximize",
) -> tuple[StrengthCurve, ...]:
    """A curve for each method over `strengths` (strength -> metric), accuracies by default.

    Of several configurations the best by the metric `by` is taken. A curve that gets better as the attack gets
    stronger is told: then the attack is at fault. Raises `SwatheError` with fewer than two strengths.
    """
    if len(strengths) < 2:
        raise SwatheError(f"{len(strengths)} strength(s) make no curve; give two or more")
    x = np.array(sorted(strengths))
    over = {f"{strength:g}": strengths[strength] for strength in sorted(strengths)}
    chosen, excluded = _chosen(trials, method, by, by_direction)
    sign, curves = sign_of(direction), []
    for name, cube in cubes(trials, over, method, direction).items():
        unit, selection = chosen[name]
        values = sign * cube.of(unit)
        points = tuple(from_values(column) for column in values.T)
        area = from_values(np.trapezoid(values, x, axis=1) / (x[-1] - x[0])) if len(values) else from_values(x[:0])
        reasons = (*_improvements(sign * values, list(over)), *points[0].reasons)
        curves.append(
            StrengthCurve(name, tuple(map(float, x)), points, area, selection, len(values), reasons, excluded)
        )
    return tuple(curves)


def _improvements(cost: Array, labels: Sequence[str]) -> list[str]:
    """Where `cost` (seeds, strengths) falls for certain from one strength to the next."""
    if len(cost) < SEEDS or not np.isfinite(cost).all():
        return []
    notes = []
    for (k, weak), (j, strong) in pairwise(enumerate(labels)):
        step = from_values(cost[:, j] - cost[:, k])
        if step.high is not None and step.high < 0:
            notes.append(f"Better at strength {strong} than at {weak}: a stronger attack cannot help, so check it.")
    return notes


def mean_corruption_error(
    trials: pd.DataFrame,
    corruptions: Mapping[str, Sequence[str]],
    *,
    method: Names = None,
    reference: str | None = None,
    by: str = "value",
    by_direction: str = "minimize",
    direction: str = "minimize",
) -> tuple[CorruptionError, ...]:
    """The mean over corruptions of the error summed over severities, as a share of that of the method `reference`.

    `corruptions` maps a corruption to its metrics, one a severity (Hendrycks and Dietterich, 2019, arXiv 1903.12261).
    Without a reference it is the plain mean error. Metrics are error rates, or accuracies when `direction` is
    maximize, whose error is 1 minus them. Intervals leave out one seed at a time, in method and reference alike.
    """
    over = {f"{name}/{k}": metric for name, metrics in corruptions.items() for k, metric in enumerate(metrics)}
    chosen, excluded = _chosen(trials, method, by, by_direction)
    offset = 0.0 if sign_of(direction) > 0 else 1.0
    found = cubes(trials, over, method, direction)
    if reference is not None and reference not in found:
        raise SwatheError(f"there are no trials of {reference!r}; there are {', '.join(found) or 'none at all'}")
    groups = np.array([label.rpartition("/")[0] for label in over])
    base = None if reference is None else offset + found[reference].of(chosen[reference][0])
    answers = []
    for name, cube in found.items():
        errors = offset + cube.of(chosen[name][0])
        if base is not None and len(base) != len(errors):
            raise SwatheError(f"{name} has {len(errors)} seeds and {reference} {len(base)}; give both the same ones")
        parts = _relative(errors, base, groups, list(corruptions))
        known = from_jackknife(float(parts.mean()), _without_each(errors, base, groups, list(corruptions)))
        how = f"relative to {reference}" if reference else "plain mean of error rates, no reference"
        answers.append(
            CorruptionError(
                method=name,
                estimate=known.estimate,
                low=known.low,
                high=known.high,
                n=len(errors),
                by_corruption=dict(zip(corruptions, map(float, parts), strict=True)),
                reference=reference,
                selection=chosen[name][1],
                reasons=(f"Mean over {len(corruptions)} corruptions, {how}.", *known.reasons),
                excluded=excluded,
            )
        )
    return tuple(answers)


def _without_each(errors: Array, base: Array | None, groups: NDArray[np.str_], names: Sequence[str]) -> Array:
    """The mean corruption error without each seed (seeds,); NaN for a single one."""
    if len(errors) < 2:
        return np.full(len(errors), np.nan)
    pairs = [
        (np.delete(errors, k, axis=0), None if base is None else np.delete(base, k, axis=0)) for k in range(len(errors))
    ]
    return np.array([_relative(one, other, groups, names).mean() for one, other in pairs])


def _relative(errors: Array, base: Array | None, groups: NDArray[np.str_], names: Sequence[str]) -> Array:
    """The error (corruptions,) of `errors` (seeds, metrics), summed over severities and divided by that of `base`."""
    sums = np.array([errors[:, groups == name].mean() for name in names])
    if base is None:
        return sums
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums / np.array([base[:, groups == name].mean() for name in names])


def worst_domain(
    trials: pd.DataFrame,
    domains: Mapping[str, str],
    rule: str,
    *,
    method: Names = None,
    by: str = "value",
    by_direction: str = "minimize",
    direction: str = "maximize",
) -> tuple[DomainShift, ...]:
    """Each method's metric in its worst of `domains` (domain -> metric), accuracies by default.

    `rule` says how a configuration is chosen. "validation": the best by the metric `by`, one that knows nothing of
    the domains. "leave-one-domain-out": for each domain the best on the mean of the others. "oracle": for each domain
    the best on that domain itself, which no one could do in earnest. Raises `SwatheError` for another rule.
    """
    if rule not in RULES:
        raise SwatheError(f"rule {rule!r} is unknown; it is {', '.join(RULES)}, and results must say which")
    if rule == "leave-one-domain-out" and len(domains) < 2:
        raise SwatheError("with one domain none is left to choose on; use the rule validation")
    chosen, excluded = _chosen(trials, method, by, by_direction)
    answers = []
    for name, cube in cubes(trials, domains, method, direction).items():
        units = [chosen[name][0]] * len(domains) if rule == "validation" else _by_domain(cube, rule)
        costs = np.stack([cube.cost[cube.units.index(unit), :, k] for k, unit in enumerate(units)], axis=1)
        costs = costs[~np.isnan(costs).any(axis=1)]
        selection = chosen[name][1] if rule == "validation" else _rule_words(rule, len(cube.units))
        answers.append(_shift(name, costs, (rule, selection), list(domains), sign_of(direction), excluded))
    return tuple(answers)


def _by_domain(cube: Cube, rule: str) -> list[str]:
    """The configuration chosen for each domain."""
    means = np.nan_to_num(np.nanmean(cube.cost, axis=1), nan=np.inf)
    if rule == "oracle":
        return [cube.units[k] for k in means.argmin(axis=0)]
    places = range(means.shape[1])
    return [cube.units[int(np.delete(means, k, axis=1).mean(axis=1).argmin())] for k in places]


def _rule_words(rule: str, tried: int) -> str:
    how = "on the mean of the other domains" if rule != "oracle" else "on the domain itself (oracle: optimistic)"
    return f"For each domain the best of {tried} configuration(s) {how}."


def _shift(
    name: str,
    costs: Array,
    chosen: tuple[str, str],
    domains: Sequence[str],
    sign: float,
    excluded: Mapping[str, int],
) -> DomainShift:
    rule, selection = chosen
    means = costs.mean(axis=0) if len(costs) else np.full(len(domains), np.nan)
    worst = int(np.argmax(np.nan_to_num(means, nan=-np.inf)))
    without = [np.delete(costs, k, axis=0).mean(axis=0).max() for k in range(len(costs))] if len(costs) > 1 else means
    known = from_jackknife(sign * float(means[worst]), sign * np.array(without)[: len(costs)])
    by_domain = {domain: from_values(sign * costs[:, k]) for k, domain in enumerate(domains)}
    return DomainShift(
        method=name,
        worst=domains[worst],
        estimate=known.estimate,
        low=known.low,
        high=known.high,
        n=len(costs),
        average=replace(from_values(sign * costs.mean(axis=1)), excluded=dict(excluded)),
        by_domain=by_domain,
        rule=rule,
        selection=selection,
        reasons=known.reasons,
        excluded=excluded,
    )


def _chosen(
    trials: pd.DataFrame, method: Names, by: str, direction: str
) -> tuple[dict[str, tuple[str, str]], Mapping[str, int]]:
    """For each method its best configuration by the metric `by`, and a sentence on how it was chosen."""
    found = outcomes(trials, by, direction, method)
    answers = {}
    for name in found.methods:
        rows = found.table.loc[found.table["method"] == name]
        means = {unit: costs.mean() for unit, costs in rows.groupby("unit")["cost"]}
        words = (
            f"Chosen as the best of {len(means)} configurations by {by}." if len(means) > 1 else "One configuration."
        )
        answers[name] = (str(min(means, key=lambda unit: means[unit])), words)
    return answers, found.excluded
