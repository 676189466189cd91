"""What a spec may say but hardly means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import rules
from .resources import unused
from .studies import few_seeds


def remarks(sweep: Any) -> Iterator[str]:
    """A sentence for each of a `Sweep`, with its remedy."""
    yield from _of_models(sweep)
    if not sweep.search and (sweep.sampler.name, sweep.sampler.generation, sweep.sampler.lag) != ("random", None, None):
        yield f"sampler {sweep.sampler.name} has no effect without search; remove it"
    if sweep.warm_start and not sweep.has_model:
        yield f"warm_start has no effect with sampler {sweep.sampler.name}, which has no model; remove it"
    yield from few_seeds(sweep.study, sweep.most_seeds)
    if sweep.search and not sweep.lag and sweep.sampler.lag:
        yield f"lag {sweep.sampler.lag} has no effect with sampler {sweep.sampler.name}; remove it"
    yield from unused(sweep.resources, [cell.values for cell in sweep.cells])


def _of_models(sweep: Any) -> Iterator[str]:
    if not sweep.has_model:
        return
    if not sweep.warm_start and sweep.model_share < 0.5:
        half = 2 * rules.first_modelled(sweep.generation_size, sweep.lag)
        yield (
            f"only {sweep.model_share:.0%} of {sweep.per_cell} configurations see a model; "
            f"write `configurations: {half}` or more, or lower generation or lag"
        )
    most = rules.HISTORY.get(sweep.sampler.name) or sweep.per_cell
    if sweep.per_cell > most:
        yield (
            f"{sweep.sampler.name} would slow down with {sweep.per_cell} configurations, so its model looks at the "
            f"best {most // 2} of a cell and the latest {most - most // 2}"
        )
