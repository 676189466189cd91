"""Where the states of trials are kept: in the sweep's folder, or by way of it in an object store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import checkpoint, storage
from .beside import persist
from .errors import StorageError
from .layout import checkpoints_path
from .messages import TrialKey
from .storage import Remote

# A worker waits so long for a store that fails. Decisions go on meanwhile.
KEEPING_SECONDS, LOADING_SECONDS = 120.0, 600.0


@dataclass(frozen=True, slots=True)
class States:
    """The states of a sweep's trials, below its `folder` or below the URI `results`, a folder for each step."""

    folder: Path
    results: str | None = None

    def keep(self, state: checkpoint.State | Callable[[], checkpoint.State], trial: TrialKey, step: int) -> bool:
        """Keep a state for good; False when the store does not take it."""
        local = checkpoints_path(self.folder, trial) / str(step)
        checkpoint.save(state, local)
        place = self._place(trial, step)
        if place is None:
            return True
        try:
            return persist(lambda: storage.upload(local, place), KEEPING_SECONDS)
        finally:
            shutil.rmtree(local, ignore_errors=True)

    def load(self, trial: TrialKey, step: int) -> checkpoint.State:
        """What was kept. Raises `StorageError` when the store does not give it back."""
        local = checkpoints_path(self.folder, trial) / str(step)
        place = self._place(trial, step)
        if place is not None:
            shutil.rmtree(local, ignore_errors=True)
            if not persist(lambda: storage.download(place, local), LOADING_SECONDS):
                raise StorageError(f"the state of trial {trial} at {place} cannot be read; the same command goes on")
        return checkpoint.load(local)

    def _place(self, trial: TrialKey, step: int) -> Remote | None:
        place = storage.place_of(self.results) if self.results else None
        return checkpoints_path(place, trial) / str(step) if isinstance(place, Remote) else None
