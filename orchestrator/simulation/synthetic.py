"""Synthetic trials whose truth is known: final values from a test function, learning curves of known families.

    y(x, t) = y_end(x) + (y_start - y_end(x)) g(t; speed(x)) + noise

(the synthetic curve benchmark of the science brief, section 4). Everything is a pure function of the seed and the
parameters, so trials can be asked for in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean, pstdev

from ..messages import Cause, Scalar
from ..search import Space
from ..search.points import place, uniform
from ..task import Choice, Float, Int, Lattice, Parameter
from .course import Course
from .growth import TYPICAL_SPEED, left
from .surfaces import Surface, surface

_START = 1.2
_TUNED = 512
_normal = NormalDist().inv_cdf


@dataclass(frozen=True, slots=True)
class Knobs:
    """What makes a synthetic workload hard. Times are seconds, shares lie in [0, 1].

    `steps` reports a trial, `step_seconds` apart in the median, after `setup_seconds`. `crossing` in [-1, 1] is the
    correlation of a configuration's speed with its final value: above 0 those that end worst are ahead at first.
    `noise` is the deviation of a report, larger early and unequal between configurations; `replicates` that of a
    trial's final value between seeds. Beyond `cliff` of the range of the first logarithmic parameter trials diverge.
    `plateau` is the share of training before anything is learned, `drop` the share of the way that is made in the
    last fifth. `tail` is the deviation of a trial's log cost: at 1.0 the slowest of 1,000 takes twenty times the
    median.
    """

    steps: int = 81
    step_seconds: float = 1.0
    setup_seconds: float = 0.0
    crossing: float = 0.0
    noise: float = 0.01
    replicates: float = 0.005
    cliff: float = 1.0
    plateau: float = 0.0
    drop: float = 0.0
    tail: float = 0.5


class Synthetic:
    """A workload whose curves are of one kind (see `growth`), over the searched parameters of a space.

    `ends` are the final values, 0 for the best and about 1 for bad ones; by default a test function's. `typical` is
    their mean over the space.
    """

    def __init__(
        self,
        kind: str,
        space: Space,
        seed: int,
        knobs: Knobs = Knobs(),
        *,
        minimize: bool = True,
        ends: Callable[[Mapping[str, Scalar]], float] | None = None,
    ) -> None:
        self._kind = kind
        self._space = space
        self._seed = seed
        self._knobs = knobs
        self._sign = 1.0 if minimize else -1.0
        self._end = ends or _function(surface(len(space)), space, seed)
        self._steep = next((name for name, each in space.items() if _logarithmic(each)), next(iter(space), None))
        drawn = [place(space, lambda name, n=n: uniform(seed, n, name, "tune")) for n in range(_TUNED)]
        values = [self._end(point) for point in drawn]
        self.typical, self._spread = fmean(values), pstdev(values) or 1.0

    @property
    def optimum(self) -> float | None:
        """The lowest (highest) value of the surface."""
        return 0.0

    def truth(self, params: Mapping[str, Scalar]) -> float | None:
        """The final value without noise; None beyond the cliff."""
        return None if self._diverges(params) is not None else self._sign * self._end(params)

    def course(self, params: Mapping[str, Scalar], replicate: int) -> Course:
        """The course of one trial; it reports at steps 1, 2, ... `steps`."""
        knobs, key = self._knobs, self._key(params)
        end = self._end(params) + knobs.replicates * self._gauss(key, replicate, "replicate")
        speed = TYPICAL_SPEED[self._kind] * math.exp(0.6 * self._speed(params, key))
        loud = knobs.noise * math.exp(0.5 * self._gauss(key, "loud"))

        def value(step: int) -> float:
            t = step / knobs.steps
            clean = end + (_START - end) * self._left(t, speed)
            noise = loud * (1.0 + 2.0 * (1.0 - t)) * self._gauss(key, replicate, step) if loud else 0.0
            return self._sign * (clean + noise)

        pace = knobs.step_seconds * math.exp(knobs.tail * self._gauss(key, "cost"))
        last = self._diverges(params)
        steps = knobs.steps if last is None else last
        return Course(
            reports=range(1, steps + 1) if last is None else range(1, steps),
            value=value,
            seconds=lambda step: knobs.setup_seconds + pace * step,
            total=knobs.setup_seconds + pace * steps,
            last=steps,
            final=value(steps) if last is None else None,
            cause=None if last is None else Cause.DIVERGED,
        )

    def _left(self, t: float, speed: float) -> float:
        """The share of the way ahead at t, with the plateau before it and the drop at its end."""
        knobs = self._knobs
        active = max(0.0, t - knobs.plateau) / (1.0 - knobs.plateau)
        late = max(0.0, (t - 0.8) / 0.2)
        return (1.0 - knobs.drop) * left(self._kind, active, speed) + knobs.drop * (1.0 - late)

    def _speed(self, params: Mapping[str, Scalar], key: str) -> float:
        """A standard normal number whose correlation with the final value is `crossing`."""
        rho = self._knobs.crossing
        score = (self._end(params) - self.typical) / self._spread
        return rho * score + math.sqrt(1.0 - rho**2) * self._gauss(key, "speed")

    def _diverges(self, params: Mapping[str, Scalar]) -> int | None:
        """The step at which the trial diverges: the sooner, the further beyond the cliff."""
        if self._steep is None or self._knobs.cliff >= 1.0:
            return None
        beyond = coordinate(self._space[self._steep], params.get(self._steep)) - self._knobs.cliff
        if beyond <= 0:
            return None
        return max(1, round(0.2 * self._knobs.steps * (1.0 - beyond / (1.0 - self._knobs.cliff))))

    def _key(self, params: Mapping[str, Scalar]) -> str:
        return ",".join(f"{name}={params[name]!r}" for name in sorted(params))

    def _gauss(self, *parts: object) -> float:
        return _normal(max(1e-12, uniform(self._seed, *parts)))


def _function(landscape: Surface, space: Space, seed: int) -> Callable[[Mapping[str, Scalar]], float]:
    """The final value as a function of all parameters; without search, a number drawn for each cell."""

    def end(params: Mapping[str, Scalar]) -> float:
        if not space:
            return uniform(seed, *sorted(params.items()), "end")
        return landscape.value([coordinate(each, params.get(name)) for name, each in space.items()])

    return end


def coordinate(parameter: Parameter, value: Scalar | None) -> float:
    """Where `value` lies in the range of `parameter`, in [0, 1]; 0.5 for a parameter that is absent."""
    match parameter:
        case _ if value is None:
            return 0.5
        case Float(low=low, high=high, log=log) | Int(low=low, high=high, log=log):
            ends = (math.log(low), math.log(high)) if log else (float(low), float(high))
            at = math.log(float(value)) if log else float(value)
            return (at - ends[0]) / ((ends[1] - ends[0]) or 1.0)
        case Lattice(low=low, high=high):
            return (math.log2(float(value)) - low) / ((high - low) or 1.0)
        case Choice(choices=choices):
            return (choices.index(value) + 0.5) / len(choices)


def _logarithmic(parameter: Parameter) -> bool:
    return isinstance(parameter, Lattice) or (isinstance(parameter, Float | Int) and parameter.log)
