"""Rules between the fields of a spec, as functions of those fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..task import Parameter, Scalar
from .conditions import count, points
from .faults import Fault, broken, dotted, show

MAX_CELLS = 100_000
MAX_TRIALS = 10_000_000
# Configurations that a model looks at; the cost of its suggestions grows with them, that of gp with their cube.
HISTORY = {"tpe": 2000, "gp": 250}

Axes = Mapping[str, Sequence[Scalar]]
Search = Mapping[str, Parameter]


def startup(generation: int) -> int:
    """How many finished configurations a model needs; until then a generation is drawn at random."""
    return min(10, 2 * generation)


def first_modelled(generation: int, lag: int) -> int:
    """The first configuration that a model proposes: generation g sees the values of (g - lag) * `generation`."""
    return (lag + math.ceil(startup(generation) / generation)) * generation


def check_code(task: str | None, command: str | None) -> None:
    """Exactly one of `task` and `command`. Raises `Fault`."""
    if task is None and command is None:
        raise Fault("the spec lacks the key `task`, the code to train; write for example `task: train.py:train`")
    if task is not None and command is not None:
        rule = "a spec names either a task or a command"
        raise broken(("command",), command, f"the task is {show(task)} already: {rule}", "remove one of them")


def check_folder(folder: str | None, command: str | None) -> None:
    """Only a command is given a folder. Raises `Fault`."""
    if folder is not None and command is None:
        rule = "only a command runs in a folder of its own; a task runs in the spec's folder"
        raise broken(("folder",), folder, rule, "remove it; trial.folder is a trial's own folder")


def check_directions(metrics: Sequence[str], direction: str | Sequence[str]) -> None:
    """A list of directions has one for each metric. Raises `Fault`."""
    if not isinstance(direction, str) and len(direction) != len(metrics):
        rule = f"there are {len(metrics)} metrics: {', '.join(metrics)}"
        raise broken(("direction",), direction, rule, "write one direction for each of them, in their order")


def check_names(grid: Axes, search: Search, fixed: Mapping[str, Scalar]) -> None:
    """No parameter is set in two places. Raises `Fault`."""
    owner: dict[str, str] = {}
    for section, names in (("grid", grid), ("search", search), ("fixed", fixed)):
        for name in names:
            if name in owner:
                rule = f"{show(name)} stands under {owner[name]} and under {section}, but a parameter has one place"
                raise Fault(f"{rule}; remove one of them", (section, name))
            owner[name] = section


def check_configurations(search: Search, sampler: str, configurations: int | None) -> None:
    """The number of configurations fits the space and the sampler. Raises `Fault`."""
    path = ("configurations",)
    if not search:
        if configurations not in (None, 1):
            rule = "without search each cell has one configuration"
            raise broken(path, configurations, rule, "remove it, or ask for replicates with `seeds`")
        return
    if sampler == "grid":
        check_lattice(search, configurations)
    elif configurations is None:
        rule = f"the spec searches {', '.join(search)} but lacks the key `configurations`"
        raise Fault(f"{rule}, how many to try in each cell; write for example `configurations: 24`", ("search",))
    if sampler == "gp":
        check_unconditional(search)


def check_lattice(search: Search, configurations: int | None) -> None:
    """The grid sampler can walk through `search` and has enough points. Raises `Fault`."""
    for name, parameter in search.items():
        if points(parameter) is None:
            rule = f"search.{name} is continuous, and the grid sampler walks through points"
            remedy = "add `step`, write {log2: [-14, -3], num: 12}, or use `sampler: random`"
            raise Fault(f"{rule}; {remedy}", ("search", name))
    total = count(search)
    if configurations is not None and configurations > total:
        rule = f"search has {total} combinations for the grid sampler"
        raise broken(("configurations",), configurations, rule, f"write {total} or less, or leave it out for all")


def check_unconditional(search: Search) -> None:
    """The gp sampler meets no condition. Raises `Fault`."""
    for name, parameter in search.items():
        if parameter.when is not None:
            path = ("search", name, "when")
            raise broken(path, parameter.when, "sampler gp knows no conditions", "use `sampler: tpe` or remove `when`")


def check_model(configurations: int, generation: int, lag: int) -> None:
    """Some configuration is proposed by the model. Raises `Fault`."""
    first = first_modelled(generation, lag)
    if configurations <= first:
        rule = (
            f"no configuration would see a model, which with generation {generation} and lag {lag} starts after {first}"
        )
        remedy = f"write `configurations: {2 * first}`, lower generation or lag, or use `sampler: random`"
        raise broken(("configurations",), configurations, rule, remedy)


def check_extent(grid: Axes, per_cell: int, seeds: int) -> None:
    """The sweep is of a size that can be run. Raises `Fault`."""
    cells = math.prod(len(values) for values in grid.values())
    if cells > MAX_CELLS:
        rule = f"the grid has {_short(cells)} cells, but may have {MAX_CELLS}"
        raise Fault(f"{rule}; remove values, or move an axis to search", ("grid",))
    if cells * per_cell * seeds > MAX_TRIALS:
        path = ("seeds",) if cells * per_cell <= MAX_TRIALS else ("configurations",)
        rule = f"{cells} cells x {_short(per_cell)} configurations x {_short(seeds)} seeds are too many trials"
        raise Fault(f"{rule}: there may be {MAX_TRIALS}; lower {dotted(path)}", path)


def _short(number: int) -> str:
    """`number` in decimal; Python refuses to print thousands of digits."""
    return str(number) if number < 10**30 else "more than 10**30"
