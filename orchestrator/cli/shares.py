"""What the trials of a spec occupy, for `swathe plan`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..spec import Resources, Sweep
from .printing import word


def shares_json(sweep: Sweep) -> list[dict[str, Any]]:
    """Each share with the number of its trials."""
    counts = _trials(sweep)
    return [{**share.model_dump(), "trials": counts[name]} for name, share in sweep.shares.items()]


def share_lines(sweep: Sweep) -> list[tuple[str, str, str]]:
    """A line for each share, where there are several: how many trials occupy it, and those of which cells."""
    if isinstance(sweep.resources, Resources):
        return []
    counts = _trials(sweep)
    lines: list[tuple[str, str, str]] = []
    for name, count in counts.items():
        rules = [rule for rule in sweep.resources if str(rule) == name]
        told = "; ".join(_condition(rule.when) for rule in rules)
        lines.append(("" if lines else "occupy", str(count), f"{name}: {told}"))
    return lines


def _condition(when: Any) -> str:
    if when is None:
        return "all others"
    return " and ".join(f"{axis} {', '.join(map(word, values))}" for axis, values in when.items())


def _trials(sweep: Sweep) -> Counter[str]:
    each = sweep.per_cell * sweep.seeds
    counts = Counter[str]()
    for cell in sweep.cells:
        counts[sweep.share(cell.values)] += each
    return counts
