"""Conditions between searched parameters: whether they can hold, in which order to draw, how many combinations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ..task import Choice, Float, Int, Lattice, Parameter, Scalar
from .faults import Fault, Path, broken, nearest, show
from .parameters import same

Search = Mapping[str, Parameter]


def in_order(search: Search, elsewhere: Collection[str] = ()) -> dict[str, Parameter]:
    """`search` in the order of drawing: after what their conditions name, then by name.

    So neither the order in a file nor that of a mapping can change what is proposed. Values of conditions take the
    type of the parameter they name. `elsewhere` are the names under `grid` and `fixed`. Raises `Fault` for
    conditions that can never hold.
    """
    waiting = {name: _checked(search, name, elsewhere) for name in sorted(search)}
    ordered: dict[str, Parameter] = {}
    while waiting:
        ready = [name for name, each in waiting.items() if ordered.keys() >= (each.when or {}).keys()]
        if not ready:
            raise _circular(waiting)
        ordered.update({name: waiting.pop(name) for name in ready})
    return ordered


def count(search: Search) -> int:
    """The number of distinct combinations of active values; every parameter has finitely many (see `points`).

    Parameters that no condition ties together multiply, so only tied ones are walked through.
    """
    total = 1
    for names in _components(search):
        total *= _combinations(names, {name: search[name] for name in names}, {})
    return total


def points(parameter: Parameter) -> int | None:
    """How many values `parameter` can take; None when it is continuous."""
    match parameter:
        case Choice(choices=choices):
            return len(choices)
        case Lattice(num=num):
            return num
        case Int(low=low, high=high, step=step):
            return (high - low) // step + 1
        case Float(low=low, high=high, step=step):
            return None if step is None else round((high - low) / step) + 1


def _checked(search: Search, name: str, elsewhere: Collection[str]) -> Parameter:
    parameter = search[name]
    if parameter.when is None:
        return parameter
    path: Path = ("search", name, "when")
    for other in parameter.when:
        _check_target(other, name, search, elsewhere)
    return replace(
        parameter,
        when={other: _value_of(search[other], value, (*path, other)) for other, value in parameter.when.items()},
    )


def _check_target(other: str, name: str, search: Search, elsewhere: Collection[str]) -> None:
    path: Path = ("search", name, "when", other)
    if other == name:
        raise Fault(f"search.{name} depends on itself; let `when` name another parameter or remove it", path)
    if other in elsewhere:
        rule = f"search.{name} depends on {show(other)}, which is not searched: all cells search one space"
        raise Fault(f"{rule}; move {other} to search as choices, or write one sweep for each of its values", path)
    if other not in search:
        known = [each for each in search if each != name]
        remedy = nearest(other, known) if known else "remove the condition"
        raise Fault(f"search.{name} depends on {show(other)}, which is no parameter of search; {remedy}", path)


def _value_of(parameter: Parameter, value: Scalar, path: Path) -> Scalar:
    """`value` in the type of `parameter`, which can take it."""
    match parameter:
        case Float():
            rule = f"{path[-1]} is a real number, which hardly ever equals one value"
            raise broken(path, value, rule, "let `when` name choices, a whole number or a lattice")
        case Int(low=low, high=high, step=step):
            ok = type(value) is int and low <= value <= high and (value - low) % step == 0
            rule, remedy = f"{path[-1]} never takes that value", f"use a whole number in {low}..{high} by {step}"
        case Lattice(low=low, high=high, num=num):
            value = float(value) if type(value) is int else value
            ok = value in parameter.values()
            rule, remedy = f"{path[-1]} never takes that value", f"use one of {num} values from 2**{low} to 2**{high}"
        case Choice(choices=choices):
            ok = any(same(value, choice) for choice in choices)
            rule, remedy = f"{path[-1]} never takes that value", f"use one of {', '.join(map(show, choices))}"
    if not ok:
        raise broken(path, value, rule, remedy)
    return value


def _circular(waiting: Search) -> Fault:
    """The error that names one circle among the parameters whose conditions wait for each other."""
    walk = [next(iter(waiting))]
    while walk[-1] not in walk[:-1]:
        walk.append(next(other for other in waiting[walk[-1]].when or {} if other in waiting))
    circle = walk[walk.index(walk[-1]) :]
    rule = f"the conditions {' -> '.join(circle)} form a circle"
    return Fault(f"{rule}; remove the `when` of one of them", ("search", circle[0], "when"))


def _components(search: Search) -> list[list[str]]:
    """The names of `search`, in order, grouped by what conditions tie together."""
    groups: list[set[str]] = []
    for name, parameter in search.items():
        tied = {name, *(parameter.when or ())}
        groups, touched = [g for g in groups if not g & tied], [g for g in groups if g & tied]
        groups.append(tied.union(*touched))
    return [[name for name in search if name in group] for group in groups]


def _combinations(names: list[str], search: Search, taken: Mapping[str, Scalar]) -> int:
    """Combinations of `names` given the values `taken` by those before; a name not in it took an unnamed value."""
    if not names:
        return 1
    name, rest = names[0], names[1:]
    when = search[name].when or {}
    if not all(other in taken and same(taken[other], value) for other, value in when.items()):
        return _combinations(rest, search, taken)
    number = points(search[name])
    assert number is not None, "count wants finite parameters"
    named = _unique(each.when[name] for each in search.values() if each.when is not None and name in each.when)
    told = sum(_combinations(rest, search, {**taken, name: value}) for value in named)
    others = number - len(named)
    return told + (others * _combinations(rest, search, taken) if others else 0)


def _unique(values: Iterable[Scalar]) -> list[Scalar]:
    return list({(type(value), value): value for value in values}.values())
