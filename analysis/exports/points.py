"""Searched parameters as Optuna shows them to people: by value, not by index as the sampler sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...orchestrator.messages import Scalar
from ...orchestrator.task import Choice, Float, Int, Lattice, Parameter

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distributions(search: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """What Optuna knows of each parameter. A lattice is a range on a logarithmic axis."""
    return {name: _distribution(parameter) for name, parameter in search.items()}


def coordinates(search: Mapping[str, Parameter], params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Searched parameters as values of `distributions`."""
    return {name: _coordinate(search[name], value) for name, value in params.items()}


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match parameter:
        case Float(low=low, high=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step)
        case Int(low=low, high=high, log=log, step=step):
            return IntDistribution(low, high, log=log, step=step)
        case Choice(choices=choices):
            return CategoricalDistribution([_label(parameter, each) for each in choices])
        case Lattice():
            points = parameter.values()
            return FloatDistribution(points[0], points[-1], log=True)


def _coordinate(parameter: Parameter, value: Scalar) -> Scalar:
    return _label(parameter, value) if isinstance(parameter, Choice) else value


def _label(parameter: Choice, value: Scalar) -> Scalar:
    """A choice as it is, or where Optuna would take two for one (1, 1.0 and true) as text."""
    return value if len(set(parameter.choices)) == len(parameter.choices) else repr(value)
