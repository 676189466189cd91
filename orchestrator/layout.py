"""Where the files of a trial lie in its sweep's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from .messages import TrialKey
from .storage import Place, Remote

Root = TypeVar("Root", Path, Remote, Place)


def log_path(folder: Root, trial: TrialKey) -> Root:
    """Where a trial's output goes; the file exists only when it printed something."""
    return folder / f"logs/{trial.cell}/{trial.configuration}.{trial.replicate}.log"


def artifacts_path(folder: Root, trial: TrialKey) -> Root:
    """The folder of the files that a trial keeps."""
    return folder / f"artifacts/{trial.cell}/{trial.configuration}.{trial.replicate}"


def work_path(folder: Root, trial: TrialKey) -> Root:
    """The folder of the files that a trial writes and nobody else reads; it exists once the trial has asked for it."""
    return folder / f"work/{trial.cell}/{trial.configuration}.{trial.replicate}"


def checkpoints_path(folder: Root, trial: TrialKey) -> Root:
    """Where a trial's states are kept, a folder for each step."""
    return folder / f"checkpoints/{trial.cell}/{trial.configuration}.{trial.replicate}"


def notes_path(folder: Path) -> Path:
    """Where workers note what they run; the folder exists only while the sweep runs."""
    return folder / ".workers"


def note_path(folder: Path, worker: str) -> Path:
    """The note of one worker."""
    return notes_path(folder) / worker
