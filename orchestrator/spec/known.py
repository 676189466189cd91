"""Known configurations under `enqueue`: whether they lie in the space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..task import Choice, Float, Int, Lattice, Parameter, Scalar
from .faults import Fault, broken, nearest, show
from .parameters import same

Entries = Sequence[Mapping[str, Scalar]]


def check_enqueue(entries: Entries, search: Mapping[str, Parameter], sampler: str, configurations: int) -> None:
    """Every entry is a point of `search`, or a part of one; there are no more than configurations. Raises `Fault`."""
    if sampler == "grid":
        rule = "sampler grid walks through all points of search, in its own order"
        raise Fault(f"enqueue names configurations to try first, but {rule}; remove it", ("enqueue",))
    if len(entries) > configurations:
        rule = f"a cell has {configurations} configurations, but enqueue names {len(entries)}"
        raise Fault(f"{rule}; raise `configurations` or remove some", ("enqueue", configurations))
    for position, entry in enumerate(entries):
        for name, value in entry.items():
            path = ("enqueue", position, name)
            if name not in search:
                raise Fault(f"{show(name)} is no parameter of search; {nearest(name, list(search))}", path)
            if (rule := misfit(search[name], value)) is not None:
                raise broken(path, value, rule, "correct or remove it; what is left out is drawn")
        for name in entry:
            _check_condition(name, entry, search, position)


def misfit(parameter: Parameter, value: Scalar) -> str | None:
    """Why `value` is none of the parameter's, or None when it is."""
    match parameter:
        case Choice(choices=choices):
            return None if any(same(value, each) for each in choices) else f"must be one of {show(list(choices))}"
        case Lattice():
            points = parameter.values()
            return None if _is_number(value) and value in points else f"must be one of {show(list(points))}"
        case Int(low=low, high=high, step=step):
            if (
                isinstance(value, int)
                and not isinstance(value, bool)
                and low <= value <= high
                and (value - low) % step == 0
            ):
                return None
            return f"must be a whole number from {low} to {high}" + (f" in steps of {step}" if step != 1 else "")
        case Float(low=low, high=high, step=step):
            if not (_is_number(value) and low <= float(value) <= high):
                return f"must be a number from {low} to {high}"
            if step is not None and not math.isclose(round((float(value) - low) / step) * step + low, float(value)):
                return f"must be {low} plus a multiple of {step}"
            return None


def _check_condition(name: str, entry: Mapping[str, Scalar], search: Mapping[str, Parameter], position: int) -> None:
    for other, wanted in (search[name].when or {}).items():
        if other not in entry or not same(entry[other], wanted):
            rule = f"search.{name} exists only when {other} is {show(wanted)}"
            raise broken(("enqueue", position, name), entry[name], rule, f"add `{other}: {show(wanted)}` or remove it")


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
