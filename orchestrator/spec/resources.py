"""What trials occupy: one mapping for all of them, or rules that choose by the cell; the first that fits counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic import ValidationError as Invalid

from ..task import Scalar
from . import fragments
from .faults import Fault, Path, as_list, broken, from_validation, nearest, require_text_keys, show
from .parameters import same, scalar
from .sections import Section
from .values import Size

ABOVE = ("resources",)
DEFAULT = "end the list with a rule without `when`, such as {cpus: 1}"

Values = Mapping[str, tuple[Scalar, ...]]


def _whole_or_share(gpus: float) -> float:
    """A share of one GPU or a number of GPUs; Ray grants nothing between. Raises `ValueError`."""
    if gpus > 1 and not gpus.is_integer():
        raise ValueError("above 1 it must be a whole number of GPUs")
    return gpus


def _values(raw: Any, path: Path) -> Values | None:
    """The values of axes at which a rule holds: `{width: 64}` or `{width: [64, 128]}`. Raises `Fault`."""
    if raw is None:
        return None
    entries = require_text_keys(raw, path)
    if not entries:
        raise broken(path, {}, "a condition needs an axis", "write for example {width: 64}, or leave it out")
    return {axis: _listed(value, (*path, axis)) for axis, value in entries.items()}


def _listed(value: Any, path: Path) -> tuple[Scalar, ...]:
    values = as_list(value)
    if values is not None and not values:
        raise broken(path, [], "a condition needs a value", "write one, or a list of them")
    return tuple(scalar(each, path) for each in (values if values is not None else [value]))


def _plain(when: Values | None) -> dict[str, list[Scalar]] | None:
    return None if when is None else {axis: list(values) for axis, values in when.items()}


class Resources(Section):
    """What one trial occupies while it runs."""

    cpus: float = Field(default=1.0, gt=0, description="CPU cores; training threads are pinned to it.", examples=[1])
    gpus: Annotated[float, AfterValidator(_whole_or_share)] = Field(
        default=0.0, ge=0, description="GPUs, or a share of one.", examples=[0.5]
    )
    memory: Size | None = Field(default=None, description="Bytes, or an amount such as 4GiB.", examples=["4GiB"])

    @property
    def threads(self) -> int:
        """How many threads its training is pinned to."""
        return max(1, int(self.cpus))

    @property
    def asked(self) -> dict[str, float]:
        """The amounts that are not zero, in Ray's words; memory in bytes."""
        share = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory or 0)}
        return {name: much for name, much in share.items() if much}

    def __str__(self) -> str:
        memory = "" if self.memory is None else f" memory={self.memory / 2**30:.3g}GiB"
        gpus = f" gpus={self.gpus:g}" if self.gpus else ""
        return f"cpus={self.cpus:g}{gpus}{memory}"


class Rule(Resources):
    """What the trials of some cells occupy."""

    when: Annotated[Values | None, PlainSerializer(_plain), WithJsonSchema(fragments.WHEN_GRID)] = Field(
        default=None, description="Values of grid axes; the last rule has none.", examples=[{"width": 64}]
    )

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether it is for the cell with these values."""
        return all(any(_equal(values[axis], each) for each in wanted) for axis, wanted in (self.when or {}).items())

    @property
    def plain(self) -> Resources:
        """The resources alone, equal for rules that grant the same."""
        return Resources(cpus=self.cpus, gpus=self.gpus, memory=self.memory)


def _shares(raw: Any) -> Any:
    """One mapping or a list of rules, each checked for itself, so that errors name its place. Raises `Fault`."""
    entries = as_list(raw)
    if entries is None and not isinstance(raw, Mapping | Resources):
        raise broken(ABOVE, raw, "must be a mapping, or a list of rules", "write for example `resources: {cpus: 1}`")
    if entries is None:
        return _checked(Resources, raw, ABOVE)
    if not entries:
        raise broken(ABOVE, [], "a list of rules needs one", "write {cpus: 1, gpus: 0}")
    return tuple(_checked(Rule, entry, (*ABOVE, position)) for position, entry in enumerate(entries))


def _checked(kind: type[Resources], raw: Any, path: Path) -> Resources:
    if isinstance(raw, kind):
        return raw
    entries = require_text_keys(raw, path)
    if kind is Rule and "when" in entries:
        entries = {**entries, "when": _values(entries["when"], (*path, "when"))}
    try:
        return kind.model_validate(entries)
    except Invalid as error:
        raise from_validation(error, kind, path) from None


Shares = Annotated[Resources | Annotated[tuple[Rule, ...], Field(min_length=1)], BeforeValidator(_shares)]


def check_rules(
    rules: Sequence[Rule],
    grid: Mapping[str, Sequence[Scalar]],
    search: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> None:
    """Conditions name axes and their values, and the last rule alone has none. Raises `Fault`."""
    for position, rule in enumerate(rules):
        last = position == len(rules) - 1
        if rule.when is None and not last:
            message = f"resources[{position}] has no `when`, so that the rules after it are never used"
            raise Fault(f"{message}; move it to the end, or remove them", (*ABOVE, position))
        if rule.when is not None and last:
            raise Fault(f"resources has no rule for cells that fit none; {DEFAULT}", (*ABOVE, position))
        for axis, values in (rule.when or {}).items():
            path = (*ABOVE, position, "when", axis)
            _check_axis(axis, path, grid, {"search": search, "fixed": fixed})
            for value in values:
                if not any(_equal(value, each) for each in grid[axis]):
                    listed = ", ".join(map(show, grid[axis]))
                    raise broken(path, value, f"the axis {axis} never takes that value", f"use one of {listed}")


def _check_axis(axis: str, path: Path, grid: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    if axis in grid:
        return
    rule = f"resources[{path[1]}] depends on {show(axis)}, which is no axis of grid"
    for section, names in others.items():
        if axis in names:
            why = "the trials of a cell occupy the same, whatever is searched in it" if section == "search" else ""
            raise Fault(f"{rule} but stands under {section}{why and f': {why}'}; name an axis of grid", path)
    remedy = nearest(axis, grid) if grid else "write one mapping for all trials"
    raise Fault(f"{rule}; {remedy}", path)


def chosen(resources: Resources | Sequence[Rule], values: Mapping[str, Any]) -> tuple[str, Resources]:
    """The name and the resources of the cell with these values; without rules the name is empty."""
    if isinstance(resources, Resources):
        return "", resources
    found = next(rule for rule in resources if rule.fits(values)).plain
    return str(found), found


def unused(resources: Resources | Sequence[Rule], cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each rule that counts for no cell."""
    if isinstance(resources, Resources):
        return
    used = {next(place for place, rule in enumerate(resources) if rule.fits(values)) for values in cells}
    for place in set(range(len(resources) - 1)) - used:
        yield f"resources[{place}] counts for no cell, because earlier rules fit them; remove it or move it up"


def _equal(one: Any, other: Any) -> bool:
    """1 and 1.0 are one value here, for an axis may be written as powers of two; true and "1" are others."""
    return same(one, other) or ({type(one), type(other)} == {int, float} and one == other)
