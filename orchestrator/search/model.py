"""Samplers that read values, through Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..messages import Cause, Scalar, State, Suggestion
from ..schedule import Observation
from ..spec.parameters import same
from ..task import Choice, Float, Int, Lattice, Parameter
from .points import active, seed_for, values_of
from .records import Request, Settings, Space

if TYPE_CHECKING:
    import optuna


def propose(search: Settings, request: Request) -> tuple[Suggestion, ...]:
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
