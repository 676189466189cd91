"""Suggestions as pure functions of a view: the one file that imports Optuna.

`random`, `qmc` and `grid` are indexed by the configuration's number and never look at values. `tpe` and `gp` build a
fresh Optuna study from the view, so the same view gives the same suggestions in any process (design: determinism).
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .messages import Cause, Scalar, State, Suggestion
from .schedule import Observation
from .spec.parameters import same
from .task import Choice, Float, Int, Lattice, Parameter

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Request:
    """One generation of one cell to be proposed.

    `numbers` are the configurations wanted; `history` the parameters of every lower-numbered one, `observations`
    what the view shows of them (same length, in number order). Both are empty for samplers that are indexed.
    """

    cell: str
    generation: int
    numbers: range
    history: Sequence[Mapping[str, Scalar]] = ()
    observations: Sequence[Observation] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """A sampler with its space, each parameter after those that its condition names.

    `startup` is the number of finished configurations a model needs.
    """

    sampler: str
    space: Space
    seed: int
    minimize: bool = True
    startup: int = 8

    @property
    def sequential(self) -> bool:
        """Whether suggestions depend on the values of earlier configurations."""
        return bool(self.space) and self.sampler in ("tpe", "gp")

    def propose(self, request: Request) -> tuple[Suggestion, ...]:
        """The suggestions of one generation."""
        if not self.space:
            return tuple(Suggestion(number, {}, "grid") for number in request.numbers)
        if self.sequential:
            return _propose_by_model(self, request)
        points = _INDEXED[self.sampler](self, request)
        return tuple(
            Suggestion(number, point, self.sampler) for number, point in zip(request.numbers, points, strict=True)
        )


def seed_for(*parts: object) -> int:
    """A 32-bit seed from anything that prints faithfully (SHA-256)."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


# Samplers indexed by configuration number


def _random(search: Search, request: Request) -> Iterator[dict[str, Scalar]]:
    for number in request.numbers:
        yield place(search.space, lambda name, n=number: uniform(search.seed, request.cell, n, name))


def _qmc(search: Search, request: Request) -> Iterator[dict[str, Scalar]]:
    from scipy.stats import qmc

    sobol = qmc.Sobol(len(search.space), scramble=True, rng=seed_for(search.seed, request.cell, "qmc"))
    with warnings.catch_warnings():
        # Scipy warns when a draw is no power of two; the points are taken by index, so the balance is the whole set's.
        warnings.simplefilter("ignore", UserWarning)
        if request.numbers.start:
            sobol.fast_forward(request.numbers.start)
        points = sobol.random(len(request.numbers))
    for point in points:
        at = dict(zip(search.space, map(float, point), strict=True))
        yield place(search.space, at.__getitem__)


def _grid(search: Search, request: Request) -> Iterator[dict[str, Scalar]]:
    points = lattice(search.space)
    return (points[number] for number in request.numbers)


_INDEXED: dict[str, Callable[[Search, Request], Iterable[dict[str, Scalar]]]] = {
    "random": _random,
    "qmc": _qmc,
    "grid": _grid,
}


def uniform(*parts: object) -> float:
    """A number in [0, 1) that is a pure function of its arguments, with 53 random bits."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53


def place(space: Space, at: Callable[[str], float]) -> dict[str, Scalar]:
    """The point of `space` at coordinates `at(name)` in [0, 1), with the parameters whose condition holds."""
    point: dict[str, Scalar] = {}
    for name, parameter in space.items():
        if _active(parameter, point):
            point[name] = _at(parameter, at(name))
    return point


def lattice(space: Space) -> list[dict[str, Scalar]]:
    """Every point of a finite space, the last parameter varying fastest; each active combination once."""
    points: list[dict[str, Scalar]] = [{}]
    for name, parameter in space.items():
        grown: list[dict[str, Scalar]] = []
        for point in points:
            active = _active(parameter, point)
            grown.extend({**point, name: value} for value in _values(parameter)) if active else grown.append(point)
        points = grown
    return points


def _active(parameter: Parameter, point: Mapping[str, Scalar]) -> bool:
    return all(other in point and same(point[other], value) for other, value in (parameter.when or {}).items())


def _values(parameter: Parameter) -> Sequence[Scalar]:
    match parameter:
        case Choice(choices=choices):
            return choices
        case Lattice():
            return parameter.values()
        case Int(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case Float(low=low, high=high, step=step):
            assert step is not None, "the spec refuses a continuous parameter under the grid sampler"
            return [low + step * k for k in range(1 + math.floor((high - low) / step + 1e-9))]


def _at(parameter: Parameter, u: float) -> Scalar:
    match parameter:
        case Float(low=low, high=high, log=True):
            return min(high, max(low, math.exp(math.log(low) + u * (math.log(high) - math.log(low)))))
        case Float(low=low, high=high, step=None):
            return min(high, low + u * (high - low))
        case Int(low=low, high=high, log=True):
            edges = math.log(low - 0.5), math.log(high + 0.5)
            return min(high, max(low, round(math.exp(edges[0] + u * (edges[1] - edges[0])))))
        case _:
            values = _values(parameter)
            return values[int(u * len(values))]


# Samplers that read values


def _propose_by_model(search: Search, request: Request) -> tuple[Suggestion, ...]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution(parameter) for name, parameter in search.space.items()}
    told = _told(request.observations, search.minimize)
    finished = sum(each.state in (State.COMPLETE, State.PRUNED) for each in told)
    proposed_by = "model" if finished >= search.startup else "random"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            direction="minimize" if search.minimize else "maximize",
            sampler=_sampler(search, seed_for(search.seed, request.cell, request.generation, search.sampler)),
        )
        study.add_trials(
            _frozen(_coordinates(search.space, params), distributions, each)
            for params, each in zip(request.history, told, strict=True)
        )
        return tuple(Suggestion(number, _ask(study, search.space), proposed_by) for number in request.numbers)


def _told(observations: Sequence[Observation], minimize: bool) -> list[Observation]:
    """What Optuna is told of each configuration: divergence counts as the worst value seen, not as a failure.

    Told FAIL, a sampler would forget the point and go back there.
    """
    finite = [each.value for each in observations if each.value is not None and math.isfinite(each.value)]
    worst = (max if minimize else min)(finite, default=None)
    told: list[Observation] = []
    for each in observations:
        if each.value is not None and math.isfinite(each.value):
            told.append(each)
        elif each.cause is Cause.DIVERGED and worst is not None:
            told.append(Observation(State.COMPLETE, None, worst))
        else:
            told.append(Observation(State.RUNNING if each.state is State.RUNNING else State.FAIL, None, None))
    return told


def _sampler(search: Search, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    if search.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=search.startup)
    conditional = any(parameter.when for parameter in search.space.values())
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=search.startup, multivariate=True, group=conditional, constant_liar=True
    )


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match parameter:
        case Float(low=low, high=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step)
        case Int(low=low, high=high, log=log, step=step):
            return IntDistribution(low, high, log=log, step=step)
        case Choice(choices=choices):
            # By index, because Optuna takes 1, 1.0 and true for one choice.
            return CategoricalDistribution(range(len(choices)))
        case Lattice(num=num):
            # By index, so that neighbours on the lattice are neighbours for the model.
            return IntDistribution(0, num - 1)


def _coordinates(space: Space, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """`params` as Optuna knows them: a choice or a lattice point by its index."""
    return {name: _coordinate(space[name], value) for name, value in params.items()}


def _coordinate(parameter: Parameter, value: Scalar) -> Scalar:
    if not isinstance(parameter, Choice | Lattice):
        return value
    return next(index for index, each in enumerate(_values(parameter)) if same(each, value))


def _frozen(
    params: Mapping[str, Scalar],
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
    told: Observation,
) -> optuna.trial.FrozenTrial:
    import optuna

    # A sampler ranks pruned trials by how far they came, then by their value there.
    reached = {told.steps or 0: told.value} if told.state is State.PRUNED and told.value is not None else {}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[told.state.value],
        value=told.value,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        intermediate_values=reached,
    )


def _ask(study: optuna.Study, space: Space) -> dict[str, Scalar]:
    trial = study.ask()
    point: dict[str, Scalar] = {}
    for name, parameter in space.items():
        if _active(parameter, point):
            point[name] = _suggest(trial, name, parameter)
    return point


def _suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Scalar:
    match parameter:
        case Float(low=low, high=high, log=log, step=step):
            return trial.suggest_float(name, low, high, log=log, step=step)
        case Int(low=low, high=high, log=log, step=step):
            return trial.suggest_int(name, low, high, log=log, step=step)
        case Choice(choices=choices):
            return choices[trial.suggest_categorical(name, range(len(choices)))]
        case Lattice(num=num):
            return parameter.values()[trial.suggest_int(name, 0, num - 1)]
