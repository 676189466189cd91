"""Finding a sweep by name."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from ..errors import SwatheError
from ..ledger import HEARTBEAT_LIMIT, Reader, SweepRecord
from ..ledger.tables import url_of
from ..spec import Sweep, parse
from .options import DIRECTORY
from .printing import near

LEDGER = "ledger.db"


class UnknownSweep(SwatheError):
    """No sweep has this name."""


class NotRunning(SwatheError):
    """No driver is at work on the sweep."""


@dataclass(frozen=True)
class Opened:
    """A sweep on disk: where it is, what its ledger says of it, and how to read on."""

    folder: Path
    reader: Reader
    record: SweepRecord

    @cached_property
    def sweep(self) -> Sweep:
        """The spec it was started from."""
        return parse(self.record.spec, source=str(self.folder / "spec.yaml"), root=Path(self.record.root))

    @property
    def handle(self) -> str:
        """What to type for this sweep where the working directory is this one: its name, or the path of its folder."""
        bare = self.folder.parent == DIRECTORY.resolve()
        return shlex.quote(self.folder.name if bare else near(self.folder))

    @property
    def condition(self) -> str:
        """running, finished, drained, or interrupted: begun, and nobody is at work on it."""
        begins = self.record.status == "new" and time.time() - self.record.created <= HEARTBEAT_LIMIT
        if begins or self.record.live():
            return "running"
        return "interrupted" if self.record.status in ("new", "running") else self.record.status


@contextmanager
def opened(name: str, directory: Path) -> Iterator[Opened]:
    """The sweep `name` of `directory`, or the one whose folder is the path `name`. Raises `UnknownSweep`."""
    with opened_folder(find(name, directory)) as sweep:
        yield sweep


@contextmanager
def opened_folder(folder: Path) -> Iterator[Opened]:
    """The sweep in `folder`. Raises `LedgerError` when its ledger cannot be read."""
    folder = folder.resolve()
    reader = Reader(url_of(folder))
    try:
        yield Opened(folder, reader, reader.sweep())
    finally:
        reader.close()


def refuse_idle(sweep: Opened) -> None:
    """Raise `NotRunning` when nobody is at work on the sweep."""
    if not sweep.record.live():
        raise NotRunning(
            f"{sweep.record.name} is {sweep.condition}, and nobody is at work on it; `swathe list` shows what runs"
        )


def find(name: str, directory: Path) -> Path:
    """The folder of a sweep, absolute. Raises `UnknownSweep`, naming the nearest one there is."""
    for folder in (directory / name, Path(name)):
        if (folder / LEDGER).is_file():
            return folder.resolve()
    names = [folder.name for folder in folders(directory)]
    if not names:
        raise UnknownSweep(
            f"there is no sweep {name!r}, and none at all in {directory}; start one with `swathe run SPEC`, "
            "or name the folder that holds sweeps with --dir"
        )
    nearest = get_close_matches(name, names, n=1, cutoff=0.0)[0]
    known = f"`swathe list --dir {directory}` shows all"
    raise UnknownSweep(f"there is no sweep {name!r} in {directory}; did you mean `{nearest}`? {known}")


def folders(directory: Path) -> list[Path]:
    """The folders of all sweeps in `directory`, by name; none when it does not exist."""
    if not directory.is_dir():
        return []
    return sorted(each.resolve() for each in directory.iterdir() if (each / LEDGER).is_file())
