"""What the grammar of a spec knows and this version cannot do yet: one line each, removed when it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .faults import Path, Refusal, dotted, show


class Later(NamedTuple):
    """A later version's feature: where a spec asks for it, by which values, what it would do, what to write today."""

    path: Path
    asked_by: Callable[[Any], bool]
    feature: str
    remedy: str


SAMPLERS = ("nsga2", "cmaes", "hyperband")
PRUNERS = ("hyperband",)


LATER = (
    Later(("sampler", "name"), SAMPLERS.__contains__, "sample with it (it is postponed)", "use `sampler: tpe`"),
    Later(("pruner", "name"), PRUNERS.__contains__, "prune by it", "use `halving` or `top`"),
)


def refuse(path: Path, value: Any) -> None:
    """Raise `Refusal` when `value` at `path` asks for something of a later version."""
    for later in LATER:
        if later.path == path and later.asked_by(value):
            message = f"{dotted(path)} is {show(value)}, but this version cannot {later.feature} yet; {later.remedy}"
            raise Refusal(message, path)


def refuse_all(sweep: object) -> None:
    """`refuse` for every value of a sweep whose form and rules have been checked."""
    for later in LATER:
        value: Any = sweep
        for name in later.path:
            value = None if value is None else getattr(value, str(name))
        refuse(later.path, value)
