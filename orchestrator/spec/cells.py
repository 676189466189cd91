"""The cells of a sweep's grid, and how they are named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ..task import Scalar


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of grid values. `key` names it by content, whatever else the grid holds."""

    index: int
    key: str
    values: Mapping[str, Scalar]


def cell_key(values: Mapping[str, Scalar]) -> str:
    """Ten hexadecimal digits from the grid values of a cell, whatever the order of axes; 1, 1.0, true, "1" differ."""
    canonical = json.dumps(dict(values), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
