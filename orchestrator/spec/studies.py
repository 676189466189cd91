"""The sections `study` and `stop` of a spec: what a sweep is to find out, and when it may end before its last seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ..task import Choice, Float, Int, Lattice, Parameter
from ..waves import FIRST
from .faults import Fault, broken, nearest, show
from .sections import Section, named

AXES = ("width", "depth", "batch_size", "heads", "layers", "steps", "tokens", "epochs")
HYPERPARAMETERS = ("lr", "learning_rate", "eta", "step_size")
LEVELS = 3  # fewer values of an axis do not make a study of it


class Study(Section):
    """The question that a sweep answers. What is left out is read off the spec, where that is clear."""

    name: Literal["transfer", "robustness"] = Field(
        description="transfer: does the best value stay put along an axis? robustness: how far may it be off?",
        examples=["transfer"],
    )
    axis: str | None = Field(
        default=None, description="Of transfer: an axis of grid with ordered numbers.", examples=["width"]
    )
    hyperparameter: str | None = Field(
        default=None, description="A searched parameter with positive numbers.", examples=["lr"]
    )


class Stop(Section):
    """When a sweep may end early."""

    name: Literal["decided"] = Field(
        description="decided: when a look after complete waves of seeds has a verdict for every group.",
        examples=["decided"],
    )
    seeds: int | None = Field(default=None, ge=FIRST, description="The most seeds; `seeds` by default.", examples=[5])


Studied = Annotated[Study | None, BeforeValidator(named)]
Stopping = Annotated[Stop | None, BeforeValidator(named)]


def settled(study: Study, grid: Mapping[str, Sequence[Any]], search: Mapping[str, Parameter]) -> Study:
    """The study with what it leaves out; raises `Fault` for what the spec does not have, or does not make clear."""
    axis, parameter = study.axis, study.hyperparameter
    if study.name == "transfer":
        axis = _named("axis", axis, {name: ordered(values) for name, values in grid.items()}, "grid", AXES)
    elif axis is not None:
        raise Fault(f"study.axis is {show(axis)}, but a study of robustness has no axis; remove it", ("study", "axis"))
    numbers = {name: logarithmic(each) for name, each in search.items()}
    parameter = _named("hyperparameter", parameter, numbers, "search", HYPERPARAMETERS)
    return study.model_copy(update={"axis": axis, "hyperparameter": parameter})


def _named(key: str, given: str | None, fits: Mapping[str, bool], place: str, usual: Iterable[str]) -> str:
    rule = {
        "axis": f"a study's axis has {LEVELS} or more different positive numbers",
        "hyperparameter": "a study's hyperparameter has positive numbers on a logarithmic scale",
    }[key]
    if given is None:
        found = choose([name for name, good in fits.items() if good], usual)
        if found is None:
            raise Fault(f"study lacks {key}, and {place} does not make clear which; write `{key}: NAME`", ("study",))
        return found
    if given not in fits:
        raise Fault(
            f"study.{key} is {show(given)}, which is none of {place}; {nearest(given, fits)}"
            if fits
            else f"study.{key} is {show(given)}, but {place} is empty; add it there",
            ("study", key),
        )
    if not fits[given]:
        raise broken(("study", key), given, rule, f"write such values in {place}.{given}, or name another")
    return given


def choose(names: Sequence[str], usual: Iterable[str]) -> str | None:
    """The first of the `usual` names, else the only one, else None."""
    preferred = [name for name in usual if name in names]
    return preferred[0] if preferred else names[0] if len(names) == 1 else None


def ordered(values: Iterable[Any]) -> bool:
    """Whether these are enough different positive numbers to be an axis."""
    found = list(values)
    numeric = all(isinstance(each, int | float) and not isinstance(each, bool) and each > 0 for each in found)
    return numeric and len(set(found)) >= LEVELS


def logarithmic(shape: Parameter | object) -> bool:
    """Whether a searched parameter is a positive number on a logarithmic scale."""
    if isinstance(shape, Choice):
        return ordered(shape.choices)
    return isinstance(shape, Lattice) or (isinstance(shape, Float | Int) and shape.log)


def few_seeds(study: Study | None, seeds: int) -> tuple[str, ...]:
    """The warning that a study with so few seeds gets no verdict, if it is due."""
    if study is None or seeds >= FIRST:
        return ()
    return (f"{seeds} seed(s) decide no study; write `seeds: {FIRST}` or more",)


def check_study(sweep: Any) -> None:
    """The study of a sweep fits its axes and parameters, and `stop` has something to decide. Raises `Fault`."""
    study: Study | None = sweep.study
    if study is not None:
        settled(study, sweep.grid, sweep.search)
    if sweep.stop is not None:
        _check_stop(sweep, sweep.stop, study)


def _check_stop(sweep: Any, stop: Stop, study: Study | None) -> None:
    """A sweep that may end early has a transfer study, seeds to save, and nothing that compares seeds."""
    if study is None or study.name != "transfer":
        rule = "stop is decided, which takes a transfer study to decide"
        raise Fault(f"{rule}; write `study: transfer`, or remove stop", ("stop",))
    if sweep.most_seeds <= FIRST:
        rule = f"stop looks first after {FIRST} seeds, so it takes more than {FIRST} for one to be saved"
        raise broken(("seeds",), sweep.most_seeds, rule, "write `seeds: 5`, or remove stop")
    if sweep.pruner is not None:
        rule = "stop is decided, which adds seeds in waves, and a pruner compares the seeds there are"
        raise Fault(f"{rule}; remove one of them", ("stop",))
    if len(sweep.objectives) > 1:
        raise Fault("stop is decided, but a sweep of several metrics has no one verdict; remove stop", ("stop",))
