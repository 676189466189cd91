"""Finding a sweep by name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SwatheError
from ..home import Home
from ..ledger import Reader, SweepRecord, names_in, shown
from ..spec import Sweep, parse
from .crew import Crew
from .options import DIRECTORY, chosen_ledger
from .printing import near

if TYPE_CHECKING:
    from ..storage import Place

LEDGER = "ledger.db"


class UnknownSweep(SwatheError):
    """No sweep has this name."""


class NotRunning(SwatheError):
    """No driver is at work on the sweep."""


@dataclass(frozen=True)
class Opened:
    """A sweep on disk: where it is, what its ledger says of it, and how to read on."""

    home: Home
    reader: Reader
    record: SweepRecord

    @property
    def folder(self) -> Path:
        """Its folder on this machine; that of a sweep with a shared ledger need not be there."""
        return self.home.folder

    @property
    def place(self) -> Place:
        """Where its results are."""
        # Costs an import of Arrow.
        from ..storage import place_of

        return place_of(self.record.results) if self.record.results else self.folder

    @cached_property
    def sweep(self) -> Sweep:
        """The spec it was started from."""
        return parse(self.record.spec, source=str(self.folder / "spec.yaml"), root=Path(self.record.root))

    @property
    def handle(self) -> str:
        """What to type for this sweep where the working directory is this one: its name, or the path of its folder."""
        if not self.home.in_folder:
            # How the ledger was named goes for the next command, too; its URL may hold a password.
            return (
                f"{shlex.quote(self.home.name)} --ledger ..." if "SWATHE_LEDGER" not in os.environ else self.home.name
            )
        bare = self.folder.parent == DIRECTORY.resolve()
        return shlex.quote(self.folder.name if bare else near(self.folder))

    @property
    def condition(self) -> str:
        """running, finished, drained, or interrupted: begun, and nobody is at work on it."""
        return self.record.condition

    @property
    def crew(self) -> Crew | None:
        """Its workers, and what there is to say of them; None for a sweep that is on no cluster."""
        silent = self.record.asked - self.record.heartbeat if self.condition == "interrupted" else None
        return Crew.of(self.record.crew, silent)


@contextmanager
def opened(name: str, directory: Path) -> Iterator[Opened]:
    """The sweep `name` of `directory`, or the one whose folder is the path `name`. Raises `UnknownSweep`."""
    with opened_home(home_of(name, directory)) as sweep:
        yield sweep


@contextmanager
def opened_home(home: Home) -> Iterator[Opened]:
    """The sweep at `home`. Raises `LedgerError` when its ledger cannot be read."""
    reader = Reader(home.ledger, None if home.in_folder else home.name)
    try:
        yield Opened(home, reader, reader.sweep())
    finally:
        reader.close()


def home_of(name: str, directory: Path) -> Home:
    """Where the sweep `name` is, in the chosen ledger or in a folder. Raises `UnknownSweep`."""
    url = chosen_ledger()
    if url is None:
        return Home.of(find(name, directory))
    known = names_in(url)
    if name not in known:
        nearest = get_close_matches(name, known, n=1, cutoff=0.0)
        remedy = f"did you mean `{nearest[0]}`?" if nearest else "it holds none"
        raise UnknownSweep(f"there is no sweep {name!r} in ledger {shown(url)}; {remedy}")
    return Home.at(directory, name, url)


def homes(directory: Path) -> list[Home]:
    """Where all sweeps are, in the chosen ledger or in a folder, by name."""
    url = chosen_ledger()
    if url is None:
        return [Home.of(folder) for folder in folders(directory)]
    return [Home.at(directory, name, url) for name in names_in(url)]


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
    return sorted(each.resolve() for each in directory.iterdir() if _may_be_sweep(each))


def _may_be_sweep(folder: Path) -> bool:
    try:
        return (folder / LEDGER).is_file()
    except PermissionError:
        # It cannot be told, so it is not hidden.
        return True
