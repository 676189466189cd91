"""What a study can be expected to find out, for `swathe plan`."""

from __future__ import annotations

from dataclasses import asdict
from math import log2
from typing import TYPE_CHECKING, Any

from ..spec import Sweep
from ..task import Lattice, Parameter

if TYPE_CHECKING:
    from ...analysis.power import Power
    from ...analysis.simulated import Design

Line = tuple[str, str, str]


def study_lines(sweep: Sweep) -> list[Line]:
    """The lines of a plan about its study; none without one."""
    asked = sweep.question
    if asked is None:
        return []
    if asked.name == "robustness":
        return [("study", asked.name, f"how far {asked.hyperparameter} may be off")]
    lines: list[Line] = [("study", asked.name, f"does the best {asked.hyperparameter} stay put along {asked.axis}?")]
    designed = _design(sweep)
    if designed is None:
        return [*lines, ("", "", "its power is not known: the values tried are no even grid of octaves")]
    # Costs an import of scipy and two seconds of simulation, which a plan without a study does without.
    from ...analysis.deciding import rule_of
    from ...analysis.power import POWER, power

    told = power(designed, rule_of(sweep))
    unit = "octaves per doubling"
    seen = "no drift up to 1" if told.detectable is None else f"a drift of \N{PLUS-MINUS SIGN}{told.detectable:g}"
    return [
        *lines,
        ("", f"\N{PLUS-MINUS SIGN}{told.half_width:.2f}", f"to expect around the drift, {unit}"),
        ("", f"{told.transfers:.0%}", "chance to say that it transfers when it stays put"),
        ("", f"{POWER:.0%}", f"chance to see {seen} {unit}"),
        *_room(sweep, designed, told),
    ]


def study_json(sweep: Sweep) -> dict[str, Any]:
    """The same for machines."""
    asked, designed = sweep.question, _design(sweep)
    if asked is None:
        return {}
    told: dict[str, Any] = {"study": asked.model_dump(exclude_none=True)}
    if designed is not None:
        from ...analysis.deciding import rule_of
        from ...analysis.power import power

        told["power"] = asdict(power(designed, rule_of(sweep)))
    return told


def _design(sweep: Sweep) -> Design | None:
    """The size of a transfer study; None where its grid has no spacing, or there are too few seeds or points."""
    asked = sweep.question
    if asked is None or asked.name != "transfer" or asked.axis is None or asked.hyperparameter is None:
        return None
    points = _octaves(sweep.search[asked.hyperparameter], sweep.per_cell)
    if points is None or len(points) < 3 or sweep.most_seeds < 3 or len(sweep.search) > 1:
        return None
    from ...analysis.simulated import Design

    levels = sorted({log2(float(value)) for value in sweep.grid[asked.axis]})  # type: ignore[arg-type]
    step, spacing = ((ends[-1] - ends[0]) / (len(ends) - 1) for ends in (points, levels))
    return Design(len(levels), len(points), step, sweep.most_seeds, spacing)


def _octaves(parameter: Parameter, configurations: int) -> list[float] | None:
    """The values tried as octaves, ascending, where they are known beforehand."""
    if isinstance(parameter, Lattice) and configurations >= len(parameter.values()):
        return sorted(log2(float(value)) for value in parameter.values())
    return None


def _room(sweep: Sweep, design: Design, told: Power) -> list[Line]:
    """The drift that the grid has room for, and how to give it more."""
    from ...analysis.power import SEEN, wanted

    if told.room >= SEEN:
        return [("", f"\N{PLUS-MINUS SIGN}{told.room:.2g}", "drift that the grid has room for, two octaves to spare")]
    assert sweep.question is not None and sweep.question.hyperparameter is not None
    name, points = sweep.question.hyperparameter, wanted(design)
    values = _octaves(sweep.search[name], sweep.per_cell)
    assert values is not None, "a design has its points"
    middle, half = (values[0] + values[-1]) / 2, (points - 1) * design.step / 2
    room = f"\N{PLUS-MINUS SIGN}{told.room:.2g}" if told.room > 0 else "none"
    ends = f"log2: [{middle - half:g}, {middle + half:g}], num: {points}"
    return [("", room, f"drift that the grid has room for; for {SEEN:g} write {name}: {{{ends}}}")]
