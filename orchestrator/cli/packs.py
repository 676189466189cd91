"""Which trials of a spec could run as lanes of one program, for `swathe plan`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SwatheError
from ..packing import Fusing, span
from ..spec import Sweep


@dataclass(frozen=True, slots=True)
class Group:
    """Trials of equal shape: `shape` are the parameters that they share, as far as the spec fixes them.

    Of its `trials`, `available` are known at the same time and may be packed together. `lanes` is how many a pack has,
    0 where the trials run plainly, None where that is measured at the start.
    """

    shape: Mapping[str, Any]
    trials: int
    available: int
    lanes: int | None


def groups(sweep: Sweep, directory: Path) -> list[Group]:
    """The shape groups of a sweep whose task is a program, in the order of its cells; none for other tasks.

    Where the sweep has begun in `directory`, its recorded lanes hold.
    """
    if sweep.command is not None or sweep.isolate is not None or sweep.fuse == "off":
        return []
    # Costs the imports of the task, torch among them.
    from ..loading import task_of

    try:
        fusible = task_of(sweep).fusible
    except SwatheError:
        return []  # `run` will say it
    if fusible is None:
        return []
    fusing = Fusing(fusible.shapes, sweep.fuse if isinstance(sweep.fuse, int) else None)
    recorded = _recorded(directory / sweep.name)
    families: dict[str, int] = {}
    for cell in sweep.cells:
        shape = fusing.shape({**cell.values, **sweep.fixed})
        families[shape] = families.get(shape, 0) + 1
    return [_group(sweep, fusing, recorded, shape, cells) for shape, cells in families.items()]


def _group(sweep: Sweep, fusing: Fusing, recorded: Mapping[str, int], shape: str, cells: int) -> Group:
    generation = cells * min(sweep.generation_size, sweep.per_cell) * sweep.seeds
    trials = cells * sweep.per_cell * sweep.seeds
    whole = not sweep.model_share and sweep.pruner is None
    available = generation * span(generation, fusing.lanes) if whole else generation
    told = {name: value for name, value in json.loads(shape).items() if name not in sweep.search}
    return Group(told, trials, min(trials, available), recorded.get(shape, fusing.lanes))


def _recorded(folder: Path) -> dict[str, int]:
    if not (folder / "ledger.db").is_file():
        return {}
    from ..ledger import Reader
    from ..ledger.tables import url_of

    reader = Reader(url_of(folder), folder.name)
    try:
        return {shape: capacity.lanes for shape, capacity in reader.capacities().items()}
    finally:
        reader.close()
