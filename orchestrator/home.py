"""Where a sweep lives: its name, its folder on this machine, its ledger, and its results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import LedgerEmpty
from .ledger import Reader, SweepRecord, names_in, url_of


@dataclass(frozen=True, slots=True)
class Home:
    """All that it takes to open a sweep, on any machine that reaches the ledger.

    `ledger` is the URL of its database, a SQLite file in `folder` or a PostgreSQL database that sweeps share. `results`
    is asked for when the sweep begins, as the URI of a folder in an object store, and kept in the ledger from then on.
    The files of a sweep lie in `folder` where `results` is None; otherwise it only holds what is under way.
    """

    name: str
    folder: Path
    ledger: str
    results: str | None = None

    @classmethod
    def of(cls, folder: Path) -> Home:
        """A sweep that lies wholly in its folder, which has its name."""
        return cls(folder.name, folder, url_of(folder))

    @classmethod
    def at(cls, directory: Path, name: str, ledger: str | None = None, results: str | None = None) -> Home:
        """The sweep `name` among others: in `directory`, a shared `ledger` and below the URI `results`."""
        folder = directory.absolute() / name
        base, question, options = (results or "").partition("?")
        return cls(
            name,
            folder,
            ledger or url_of(folder),
            f"{base.rstrip('/')}/{name}{question}{options}" if results else None,
        )

    def sibling(self, name: str) -> Home:
        """Another sweep that lives beside this one."""
        shared = None if self.in_folder else self.ledger
        return Home.at(self.folder.parent, name, shared)

    @property
    def in_folder(self) -> bool:
        """Whether the ledger is the file in its folder."""
        return self.ledger == url_of(self.folder)

    def record(self) -> SweepRecord:
        """What the ledger says of the sweep now. Raises `LedgerEmpty` when it has not begun, and `LedgerError`."""
        reader = Reader(self.ledger, self.name)
        try:
            return reader.sweep()
        finally:
            reader.close()

    def exists(self) -> bool:
        """Whether there is such a sweep. Raises `LedgerError` when its database cannot be asked."""
        if self.in_folder:
            return (self.folder / "ledger.db").is_file()
        try:
            return self.name in names_in(self.ledger)
        except LedgerEmpty:
            return False
