"""What a scheduler does to the results: at once on a disk; beside decisions in a store, which may be slow or away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import storage
from .beside import Beside
from .errors import StorageError
from .layout import checkpoints_path
from .messages import TrialKey
from .storage import Place, Remote


class Results:
    """The results of a sweep at `place`; `folder` is the sweep's on this machine."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.place = place
        self._folder = folder
        self._beside = Beside(str(place)) if isinstance(place, Remote) else None

    @property
    def behind(self) -> bool:
        """Whether something waits for the store. Raises what went wrong there, if it was not the store's fault."""
        return self._beside is not None and self._beside.busy()

    def write(self, parts: Callable[[], int], everything: bool) -> int:
        """Have the parts written; the number of those that have been. `everything` waits until all is there.

        Raises `StorageError` when a store has failed for long.
        """
        if self._beside is None or not isinstance(self.place, Remote):
            return parts()
        self._beside.do(parts)
        if everything:
            for kind in ("logs", "artifacts"):
                # Of workers of this machine that have died.
                source, place = self._folder / kind, self.place / kind
                self._beside.do(lambda source=source, place=place: storage.upload_what_is_new(source, place))
            self._beside.finish()
        return 0

    def remove_states(self, trial: TrialKey, before: int | None = None) -> None:
        """Delete the states of a trial, all or those of earlier steps."""
        place = checkpoints_path(self.place, trial)

        def remove() -> None:
            storage.remove_tree(place) if before is None else storage.remove_earlier(place, before)

        remove() if self._beside is None else self._beside.do(remove)

    def close(self, *, finished: bool) -> None:
        """Let go; nothing of a finished sweep is to be started again."""
        if finished:
            with suppress(StorageError):
                storage.remove_tree(self.place / "checkpoints")
        if self._beside is not None:
            self._beside.close()
