"""When a sweep that may stop early is looked at: after complete waves of replicates, a few times and no more."""

from __future__ import annotations

from math import ceil

FIRST = 3  # with fewer replicates there is no interval
MOST = 4  # looks; each one costs confidence


def looks(seeds: int) -> tuple[int, ...]:
    """The numbers of replicates, ascending, after which a sweep of at most `seeds` is looked at; the last is `seeds`.

    Every wave holds the same number of replicates, but for the last. Raises `ValueError` below three.
    """
    if seeds < FIRST:
        raise ValueError(f"{seeds} seeds leave nothing to look at; it takes {FIRST}")
    step = max(1, ceil((seeds - FIRST) / (MOST - 1)))
    return (*range(FIRST, seeds, step), seeds)
