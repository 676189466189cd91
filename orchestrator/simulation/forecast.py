"""Predicting what a sweep will take before it is run, from a pilot.

Trials cost what the regression on the pilot's trials says, times what chance added there; those whose nearest
neighbour in the pilot failed or diverged stop as early as it did. The schedule itself then runs them under a
simulated clock. Everything is done again for resampled pilots, each answer is spread by how much two runs of one
sweep on an idle machine differ, and what this gives is the interval. Other load on the machines is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist, fmean, median

from ..errors import SwatheError
from ..messages import Scalar
from ..planning import plan_of, search_of
from ..schedule import Plan
from ..spec import Sweep
from .cluster import Cluster
from .cost import Cost, fit, share
from .course import Course
from .engine import simulate
from .history import History
from .neighbours import is_number
from .pilot import Horizon, Pilot, horizon
from .recorded import Recorded, RecordedTrial, whole_trials

# How long a local Ray takes until its first worker runs, for pilots that ran without one, and to stop again (two
# cores, Ray 2.60: 3.4 to 8.8 s, and 1.5 s).
_RAY_STARTS = 5.0
_RAY_STOPS = 1.5
# The same sweep again on an idle machine: training takes 0.7 to 4% longer or shorter (standard deviations of three
# sweeps, five runs each), in the pilot as in the sweep, hence 4% times the root of two; starting takes 10 to 20%.
_RESTLESS = 0.057
_STARTS = 0.2
_DRAWS = 19
_SIMULATED_TRIALS = 60_000
_MOST_TRIALS = 10_000
_COVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class Range:
    """A prediction: the median, and the ends of a 90% interval."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a sweep will take. `wall` is in seconds, `work` in seconds of all workers together.

    `startup` is what starting and stopping take, `share` the pilot's work as a part of it, `effects` by which power of
    two a trial's seconds grow when a parameter doubles, `notes` what the pilot cannot know.
    """

    workers: int
    wall: Range
    work: Range
    startup: float
    utilisation: float
    trials: int
    share: float
    effects: Mapping[str, float]
    notes: tuple[str, ...]


class Predicted:
    """A workload with the pilot's curves and the durations that a cost model predicts."""

    def __init__(self, recorded: Recorded, cost: Cost, length: Horizon | None) -> None:
        self._recorded = recorded
        self._cost = cost
        self._length = length

    @property
    def optimum(self) -> float | None:
        """Unknown."""
        return None

    def truth(self, params: Mapping[str, Scalar]) -> float | None:
        """The objective of the nearest configuration of the pilot."""
        return self._recorded.truth(params)

    def course(self, params: Mapping[str, Scalar], replicate: int) -> Course:
        """The course of the pilot's nearest trial, in the time that these parameters take."""
        trial = self._recorded.trial(params, replicate)
        course = self._recorded.course(params, replicate)
        seconds = self._cost.drawn(params, replicate)
        if course.cause is not None:
            seconds *= share(trial, self._cost)
        if self._length is not None:
            seconds *= self._length.seconds(params)
            course = course.lengthened(self._length.steps(params))
        return course.stretched(seconds / course.total) if course.total else replace(course, total=seconds)


def forecast(sweep: Sweep, pilot: Pilot, workers: int) -> Forecast:
    """Predict `sweep` on `workers` workers. Raises `SwatheError` when the pilot has no complete trial."""
    trained, warmup = _warm(pilot)
    axes = list(pilot.sweep.grid)
    recorded = Recorded(pilot.trials, axes)
    length = horizon(trained)
    startup = pilot.startup + warmup
    if workers > 1 or not pilot.inline:
        startup = (_RAY_STARTS if pilot.inline else pilot.startup) + warmup + _RAY_STOPS
    cluster = Cluster(workers, startup=startup, overhead=pilot.overhead)
    plan, scale = _reduced(plan_of(sweep).unshared())
    histories = [
        _run(sweep, plan, Predicted(recorded, cost, length), replace(cluster, startup=0.0), seed)
        for seed, cost in enumerate(_costs(trained, axes, _rounds(plan)))
    ]
    spread = [NormalDist().inv_cdf((place + 0.5) / _DRAWS) for place in range(_DRAWS)]
    speeds = [math.exp(_RESTLESS * each) for each in spread]
    starts = [1.0 + _STARTS * each for each in spread]
    work = _range([scale * each.work * speed for each in histories for speed in speeds])
    return Forecast(
        workers=workers,
        wall=_range(
            [
                startup * start + scale * each.makespan * speed
                for each in histories
                for speed in speeds
                for start in starts
            ]
        ),
        work=work,
        startup=startup,
        utilisation=fmean(each.utilisation for each in histories),
        trials=plan_of(sweep).trials,
        share=pilot.work / work.middle,
        effects=fit(trained, axes).effects(),
        notes=tuple(_notes(sweep, pilot, trained, length, workers)),
    )


def _run(sweep: Sweep, plan: Plan, workload: Predicted, cluster: Cluster, seed: int) -> History:
    # Which points a model would choose matters little for their cost, and it would take longer than all the rest.
    search = replace(search_of(sweep), sampler="random") if search_of(sweep).sequential else search_of(sweep)
    return simulate(plan, search, workload, cluster, seed)


def _reduced(plan: Plan) -> tuple[Plan, float]:
    """A plan of which several simulations take seconds, and how many times as large the whole one is."""
    if plan.trials <= _MOST_TRIALS:
        return plan, 1.0
    fewer = max(plan.generation, plan.configurations * _MOST_TRIALS // plan.trials)
    small = replace(plan, configurations=min(plan.configurations, fewer))
    return small, plan.trials / small.trials


def _rounds(plan: Plan) -> int:
    return min(40, max(8, _SIMULATED_TRIALS // plan.trials))


def _warm(pilot: Pilot) -> tuple[Sequence[RecordedTrial], float]:
    """The trials to learn from, and the seconds that a worker's first trial takes longer."""
    firsts = pilot.firsts()
    if not (whole := whole_trials(pilot.trials)):
        raise SwatheError(f"no trial of {pilot.sweep.name} was trained to its end, so what one takes is unknown")
    later = [each for each in whole if each.started not in firsts]
    if len(later) < 3 + _varying(later):
        return whole, 0.0
    cost = fit(later, list(pilot.sweep.grid))
    extra = [each.total - cost.seconds(each.params) for each in whole if each.started in firsts]
    return later, max(0.0, median(extra)) if extra else 0.0


def _varying(trials: Sequence[RecordedTrial]) -> int:
    names = {name for each in trials for name in each.params}
    return sum(len({repr(each.params.get(name)) for each in trials}) > 1 for name in names)


def _costs(trials: Sequence[RecordedTrial], axes: Sequence[str], rounds: int) -> Iterator[Cost]:
    """The cost as learned from resampled pilots."""
    for seed in range(rounds):
        draw = Random(seed)
        yield fit([draw.choice(trials) for _ in trials], axes, seed)


def _range(values: Sequence[float]) -> Range:
    ordered = sorted(values)
    cut = (1.0 - _COVERAGE) / 2.0
    places = [round(each * (len(ordered) - 1)) for each in (cut, 0.5, 1.0 - cut)]
    return Range(*(ordered[place] for place in places))


def _notes(
    sweep: Sweep, pilot: Pilot, trials: Sequence[RecordedTrial], length: Horizon | None, workers: int
) -> Iterator[str]:
    """What the pilot cannot know about the sweep."""
    for name in sorted({*sweep.grid, *sweep.fixed}):
        if length is None or name != length.name:
            asked = sweep.grid.get(name) or [sweep.fixed[name]]
            yield from _beyond(name, asked, {each.params[name] for each in trials if name in each.params})
    if sweep.task != pilot.sweep.task:
        yield f"the pilot ran {pilot.sweep.task}, another task"
    if sweep.resources != pilot.sweep.resources:
        yield "the pilot's trials had other resources"
    if len(sweep.shares) > 1:
        yield "resources differ by cell, and the prediction lets every worker run every trial"
    if workers > pilot.workers:
        yield f"the pilot had {pilot.workers} worker{'s' * (pilot.workers > 1)}; more on one machine slow each other"
    if sweep.pruner is not None and plan_of(sweep).rungs is None:
        yield f"what pruner {sweep.pruner.name} saves is not predicted"


def _beyond(name: str, asked: Sequence[Scalar], seen: Set[Scalar]) -> Iterator[str]:
    if not seen:
        yield f"the pilot has no {name}; its effect on the time is unknown"
        return
    numbers, known = [each for each in asked if is_number(each)], [each for each in seen if is_number(each)]
    if len(seen) == 1 and any(value not in seen for value in asked):
        yield f"{name} is {next(iter(seen))!r} in all of the pilot; what other values cost is unknown"
    elif numbers and known and max(numbers) > max(known):
        limits = f"{name} goes up to {max(numbers)!r}, the pilot's to {max(known)!r}"
        yield f"{limits}; beyond that the time is extrapolated"
