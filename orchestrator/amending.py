"""What may change in a sweep that has begun: it may grow by appending, and some of its settings are free.

Results stay a pure function of spec, seed and the ordered amendments, whenever an amendment was made: a generation is
proposed from the replicates that the sweep had when that generation became part of it, so added seeds never reopen
suggestions, and generations are whole before they are added to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import SpecError
from .messages import Suggestion
from .search import Request, Search
from .spec import Sweep

AXIS = "grid."


def check_identity(sweep: Sweep, recorded: Sweep, folder: Path) -> None:
    """Raise `SpecError` when the spec asks for another sweep than the one `recorded` in `folder`."""
    new, old = sweep.identity(), recorded.identity()
    for field in new:
        if json.dumps(new[field], sort_keys=True) != json.dumps(old[field], sort_keys=True):
            raise SpecError(
                f"{folder} holds a sweep whose {field} is {old[field]!r}, and this spec says {new[field]!r}; "
                f"that makes it another sweep: give it another name, or start one beside it with --branch NEW"
            )


def amendment(sweep: Sweep, recorded: Sweep, folder: Path) -> str | None:
    """How `sweep` extends the `recorded` one, as JSON such as {"seeds": [3, 5]}; None when it is of the same extent.

    Raises `SpecError` for what is no extension.
    """
    changes: dict[str, list[Any]] = {}
    for name, old in recorded.grid.items():
        if _typed(old) != _typed(new := sweep.grid[name]):
            _check_axis(name, list(old), list(new), folder)
            changes[AXIS + name] = [list(old), list(new)]
    if changes and sweep.parameter_kinds() != recorded.parameter_kinds():
        raise SpecError(
            f"{folder} has columns of certain types, and the values appended to {', '.join(changes)} are of another "
            "type; append values of the same type, or give the sweep another name"
        )
    for field, old, new in (
        ("configurations", recorded.per_cell, sweep.per_cell),
        ("seeds", recorded.seeds, sweep.seeds),
    ):
        if new < old:
            raise SpecError(
                f"{folder} holds a sweep with {field} {old}, and this spec says {new}; a sweep can grow and not "
                f"shrink: write {field}: {old} or more, or give it another name"
            )
        if new > old:
            changes[field] = [old, new]
    _check_generations(sweep, changes, folder)
    if "seeds" in changes and sweep.pruner is not None:
        raise SpecError(
            f"{folder} holds a sweep with seeds {recorded.seeds} and a pruner, whose verdicts compare the replicates "
            f"there were; seeds cannot be added to it: write seeds: {recorded.seeds}, or give it another name"
        )
    return json.dumps(changes, sort_keys=True) if changes else None


def _typed(values: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(type(value).__name__, value) for value in values]


def _check_axis(name: str, old: list[Any], new: list[Any], folder: Path) -> None:
    if _typed(new[: len(old)]) != _typed(old):
        raise SpecError(
            f"{folder} holds a sweep whose grid.{name} is {old}, and this spec says {new}; values may only be "
            f"appended: write [{', '.join(map(str, old))}, ...], or give it another name"
        )


def _check_generations(sweep: Sweep, changes: dict[str, list[Any]], folder: Path) -> None:
    """A model and a race look at whole generations, so none may have been cut short. Raises `SpecError`."""
    if "configurations" not in changes or not (sweep.model_share or sweep.pruner):
        return
    (old, new), size = changes["configurations"], sweep.generation_size
    if old % size:
        raise SpecError(
            f"{folder} holds a sweep with {old} configurations in generations of {size}, whose last one is cut short; "
            f"it cannot be extended: give the sweep another name, and write `configurations: {-(-new // size) * size}`"
        )
    if new % size:
        raise SpecError(
            f"configurations is {new}, but {folder} is extended by whole generations of {size}; "
            f"write `configurations: {-(-new // size) * size}`"
        )


def views(sweep: Sweep, amendments: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """From which generation on (first) a view shows how many replicates (second), in the order of generations."""
    told = [json.loads(each) for each in amendments]
    seeds = next((each["seeds"][0] for each in told if "seeds" in each), sweep.seeds)
    found = [(0, seeds)]
    for each in told:
        seeds = each.get("seeds", (0, seeds))[1]
        if "configurations" in each:
            found.append((-(-each["configurations"][0] // sweep.generation_size), seeds))
    return tuple(found)


def grown(
    sweep: Sweep, search: Search, proposals: Iterable[tuple[str, int, tuple[Suggestion, ...]]]
) -> list[tuple[str, int, tuple[Suggestion, ...]]]:
    """The proposed generations that have become longer by an amendment, with the suggestions they lacked.

    Only samplers indexed by configuration number have such: what they propose does not depend on the length.
    """
    size, found = sweep.generation_size, []
    for cell, generation, suggestions in proposals:
        numbers = range(generation * size, min((generation + 1) * size, sweep.per_cell))
        if len(suggestions) < len(numbers):
            more = search.propose(Request(cell, generation, numbers[len(suggestions) :]))
            found.append((cell, generation, (*suggestions, *more)))
    return found
