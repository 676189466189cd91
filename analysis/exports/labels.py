"""Cells under names that people can read, in folders and lists of studies."""

from __future__ import annotations

import re
from collections import Counter

from ...orchestrator.spec import Sweep

LONGEST = 100


def cell_labels(sweep: Sweep) -> dict[str, str]:
    """A name for each cell by its key, such as `width=64,depth=3`; "" for a sweep without grid.

    Safe as the name of a folder, and unique: where two would be alike, or too long, the key is added.
    """
    texts = {cell.key: ",".join(f"{name}={value}" for name, value in cell.values.items()) for cell in sweep.cells}
    plain = {key: re.sub(r"[^\w.=,+-]", "_", text) for key, text in texts.items()}
    counts = Counter(plain.values())
    return {
        key: text if counts[text] == 1 and len(text) <= LONGEST else f"{text[:LONGEST]}-{key}"
        for key, text in plain.items()
    }
