"""Where the durable things of a sweep are: all that a process on another node needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Where:
    """A sweep's ledger (a database URL), the folder that holds its results, and its name. Small: actors carry it."""

    ledger: str
    results: str
    name: str

    @property
    def folder(self) -> Path:
        """The sweep's own folder."""
        return Path(self.results) / self.name
