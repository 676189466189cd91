"""Samplers that read values, through Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..messages import Cause, Scalar, State, Suggestion
from ..schedule import Observation
from ..spec.parameters import same
from ..spec.rules import HISTORY
from ..task import Choice, Float, Int, Lattice, Parameter
from .points import active, seed_for, values_of
from .records import Request, Settings, Space, Told

if TYPE_CHECKING:
    import optuna


def propose(search: Settings, request: Request) -> tuple[Suggestion, ...]:
    import optuna

    from .history import as_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution(parameter) for name, parameter in search.space.items()}
    history = [
        (request.history[place], each)
        for place, each in zip(*recalled(search, _told(request.observations, search.minimize)), strict=True)
    ]
    finished = sum(each.state in (State.COMPLETE, State.PRUNED) for _, each in history)
    proposed_by = "model" if finished >= search.startup else "random"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            directions=["minimize" if each else "maximize" for each in search.minimize],
            sampler=_sampler(search, seed_for(search.seed, request.cell, request.generation, search.sampler)),
        )
        study.add_trials(as_trial(_coordinates(search.space, params), distributions, each) for params, each in history)
        return tuple(Suggestion(number, _ask(study, search.space), proposed_by) for number in request.numbers)


def _told(observations: Sequence[Observation], minimize: Sequence[bool]) -> list[Told]:
    """What Optuna is told of each configuration: divergence counts as the worst value seen, not as a failure.

    Told FAIL, a sampler would forget the point and go back there. Where Optuna cannot compare pruned configurations
    (several objectives, or one that was never reported) they count as the worst, too.
    """
    vectors = [_vector(each, len(minimize)) for each in observations]
    finite = [vector for vector in vectors if vector]
    columns = zip(*finite, strict=True)
    worst = tuple((max if low else min)(column) for low, column in zip(minimize, columns, strict=False))
    told: list[Told] = []
    for each, vector in zip(observations, vectors, strict=True):
        if vector and (each.state is State.COMPLETE or len(minimize) == 1):
            told.append(Told(each.state, vector, each.steps or 0))
        elif worst and (each.cause is Cause.DIVERGED or each.state in (State.COMPLETE, State.PRUNED)):
            told.append(Told(State.COMPLETE, worst))
        else:
            told.append(Told(State.RUNNING if each.state is State.RUNNING else State.FAIL))
    return told


def _vector(each: Observation, count: int) -> tuple[float, ...]:
    """The values of a configuration; empty unless all are there and finite."""
    values = (each.value, *each.others)[:count]
    known = tuple(value for value in values if value is not None and math.isfinite(value))
    return known if len(known) == count else ()


def recalled(search: Settings, told: Sequence[Told]) -> tuple[list[int], list[Told]]:
    """What a model looks at: everything, or of a long history the best half of what it can bear, and the latest.

    The places in `told`, in order, and what is there. "Best" is by the first objective.
    """
    limit = HISTORY[search.sampler]
    if len(told) <= limit:
        return list(range(len(told))), list(told)
    sign = 1.0 if search.minimize[0] else -1.0
    ranked = sorted((sign * each.values[0], place) for place, each in enumerate(told) if each.values)
    best = {place for _, place in ranked[: limit // 2]}
    latest = [place for place in range(len(told)) if place not in best][len(best) - limit :]
    places = sorted(best.union(latest))
    return places, [told[place] for place in places]


def _sampler(search: Settings, seed: int) -> optuna.samplers.BaseSampler:
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
    return next(index for index, each in enumerate(values_of(parameter)) if same(each, value))


def _ask(study: optuna.Study, space: Space) -> dict[str, Scalar]:
    trial = study.ask()
    point: dict[str, Scalar] = {}
    for name, parameter in space.items():
        if active(parameter, point):
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
