"""What a trial costs, learned from the trials of a pilot.

The logarithm of a trial's seconds is regressed on its parameters (numbers by their logarithm where they are positive,
words by indicators), robustly, by Huber's weights. Only parameters that pay by Akaike's criterion for small samples
(Hurvich and Tsai, 1989) enter, the best one first: most parameters cost nothing, and a pilot has few trials. What a
whole cell of the pilot lies off the line is added, so that a curve bent over the cells of a grid is followed where the
pilot has seen it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from ..messages import Scalar
from ..search.points import uniform
from .neighbours import is_number
from .recorded import RecordedTrial

_HUBER = 1.345
_SHORTEST = 1e-4
# No fit is better than the clock: deviations of 1% in seconds count as none.
_PRECISION = 0.01
# How much the first trial of a cell is trusted against the line: the share of it that is taken for chance.
_DOUBT = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the regression: a number, standardised by `centre` and `spread`, or whether it is `word`."""

    name: str
    word: str | None = None
    log: bool = False
    centre: float = 0.0
    spread: float = 1.0

    def of(self, params: Mapping[str, Scalar]) -> float:
        """Its value for these parameters; 0, the mean, where a number is absent."""
        value = params.get(self.name)
        if self.word is not None:
            return float(repr(value) == self.word)
        return (self.raw(float(value)) - self.centre) / self.spread if is_number(value) else 0.0

    def raw(self, number: float) -> float:
        """The number before it is standardised."""
        return math.log(max(number, 1e-300)) if self.log else number


@dataclass(frozen=True, slots=True)
class Cost:
    """The seconds of a trial as a function of its parameters.

    `offsets` are what cells of the pilot lie off the line, by their values of the `axes`; `residuals` what is left
    of each trial, in logarithms of seconds; `seed` says which trial gets which.
    """

    features: tuple[Feature, ...]
    weights: tuple[float, ...]
    axes: tuple[str, ...]
    offsets: Mapping[tuple[str, ...], float]
    residuals: tuple[float, ...]
    seed: int

    def seconds(self, params: Mapping[str, Scalar]) -> float:
        """The median seconds of a trial that is trained to its end."""
        line = sum(weight * each.of(params) for each, weight in zip(self.features, self.weights[1:], strict=True))
        return math.exp(self.weights[0] + line + self.offsets.get(_cell(params, self.axes), 0.0))

    def drawn(self, params: Mapping[str, Scalar], replicate: int) -> float:
        """The seconds of one trial: the median times what chance adds, a pure function of the arguments."""
        place = int(uniform(self.seed, replicate, *sorted(params.items())) * len(self.residuals))
        return self.seconds(params) * math.exp(self.residuals[place])

    def effects(self) -> dict[str, float]:
        """By how much the seconds grow when a number doubles (a power of two), for numbers on a logarithmic scale."""
        pairs = zip(self.features, self.weights[1:], strict=True)
        return {each.name: weight / each.spread for each, weight in pairs if each.log}


def fit(trials: Sequence[RecordedTrial], axes: Sequence[str], seed: int = 0) -> Cost:
    """Learn the cost from trials that were trained to their end; `axes` are the parameters that make a cell."""
    assert trials, "a cost is learned from at least one trial"
    logs = np.array([math.log(max(_SHORTEST, each.total)) for each in trials])
    features = _chosen(_features(trials), trials, logs)
    design = _design(features, trials)
    weights = _robust(design, logs)
    left = logs - design @ weights
    by_cell: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for each, residual in zip(trials, left, strict=True):
        by_cell[_cell(each.params, axes)].append(float(residual))
    offsets = {cell: median(each) * len(each) / (len(each) + _DOUBT) for cell, each in by_cell.items()}
    own = (float(r) - offsets[_cell(each.params, axes)] for each, r in zip(trials, left, strict=True))
    return Cost(features, tuple(weights.tolist()), tuple(axes), offsets, tuple(own), seed)


def share(trial: RecordedTrial, cost: Cost) -> float:
    """How much of a whole trial's seconds this one took, at most 1."""
    return min(1.0, trial.total / cost.seconds(trial.params))


def _features(trials: Sequence[RecordedTrial]) -> tuple[Feature, ...]:
    """One feature for each number that varies, and one for each word but the first of those that vary."""
    found: list[Feature] = []
    for name in sorted({name for each in trials for name in each.params}):
        values = [each.params.get(name) for each in trials]
        words = sorted({repr(value) for value in values})
        if len(words) < 2:
            continue
        if all(is_number(value) for value in values):
            found.append(_number(name, [float(value) for value in values if is_number(value)]))
        else:
            found.extend(Feature(name, word) for word in words[1:])
    return tuple(found)


def _number(name: str, values: Sequence[float]) -> Feature:
    plain = Feature(name, log=min(values) > 0)
    raw = [plain.raw(value) for value in values]
    return Feature(name, None, plain.log, fmean(raw), float(np.std(raw)))


def _design(features: Sequence[Feature], trials: Sequence[RecordedTrial]) -> Floats:
    return np.array([[1.0, *(feature.of(each.params) for feature in features)] for each in trials])


def _chosen(features: Sequence[Feature], trials: Sequence[RecordedTrial], target: Floats) -> tuple[Feature, ...]:
    """The features that pay, found one by one."""
    chosen: tuple[Feature, ...] = ()
    best = _criterion(_design(chosen, trials), target)
    while left := [each for each in features if each not in chosen]:
        scores = [_criterion(_design((*chosen, each), trials), target) for each in left]
        if min(scores) >= best:
            break
        best = min(scores)
        chosen = (*chosen, left[scores.index(best)])
    return chosen


def _criterion(design: Floats, target: Floats) -> float:
    """Akaike's criterion, corrected for small samples, of a robust fit; lower is better.

    Deviations count by their size and not their square (Laplace's likelihood), so that one slow trial cannot choose.
    """
    count, free = len(target), design.shape[1] + 1
    if count - free - 1 <= 0:
        return math.inf if design.shape[1] > 1 else 1e300
    size = float(np.mean(np.abs(target - design @ _robust(design, target)))) + _PRECISION
    return 2.0 * count * math.log(size) + 2.0 * free + 2.0 * free * (free + 1) / (count - free - 1)


def _robust(design: Floats, target: Floats) -> Floats:
    """Least squares with Huber's weights."""
    trust = np.ones(len(target))
    weights = _solved(design, target, trust)
    for _ in range(20):
        left = np.abs(target - design @ weights)
        scale = max(1.4826 * float(np.median(left)), _PRECISION)
        trust = np.minimum(1.0, _HUBER * scale / np.maximum(left, 1e-12))
        weights = _solved(design, target, trust)
    return weights


def _solved(design: Floats, target: Floats, trust: Floats) -> Floats:
    root = np.sqrt(trust)
    return np.asarray(np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0], dtype=np.float64)


def _cell(params: Mapping[str, Scalar], axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(params.get(name)) for name in axes)
