"""Trying a ledger and a place for results: what is written is taken away again. Runs here and on nodes alike."""

from __future__ import annotations

import secrets
import shutil
import socket
import tempfile
from pathlib import Path

from ...orchestrator.errors import SwatheError
from ...orchestrator.ledger import try_ledger, url_of
from ...orchestrator.storage import place_of, read_bytes, remove_file, write_text
from .findings import Finding, broken, well

LEDGER_REMEDY = "check `ledger` in the profile, that the server runs and takes this user, and PGPASSWORD or ~/.pgpass"
STORAGE_REMEDY = "check `results` in the profile, that it exists, and the rights of this user or of the credentials"


def here() -> str:
    """What this machine is called."""
    return socket.gethostname()


def ledger(url: str | None, results: str, place: str) -> Finding:
    """Whether the ledger takes a sweep: the database at `url`, or a file below the folder `results`."""
    try:
        if url is None:
            return _file_ledger(results, place)
        return well("ledger", place, f"{try_ledger(url)} can be written")
    except SwatheError as error:
        fault, _, remedy = str(error).partition("; ")
        # A client without any password does not get as far as the server's word on it.
        return broken("ledger", place, fault, LEDGER_REMEDY if "password" in fault else remedy or LEDGER_REMEDY)
    except Exception as error:
        # Databases have errors of their own for each way of saying no; a doctor tells, whatever it is.
        return broken("ledger", place, _first(error), LEDGER_REMEDY)


def _file_ledger(uri: str, place: str) -> Finding:
    if "://" in uri:
        return broken(
            "ledger",
            place,
            "the profile names no ledger, and a SQLite file cannot lie in an object store",
            "write `ledger: postgresql://USER@HOST:5432/DATABASE` in the profile",
        )
    results = Path(uri)
    try:
        results.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=results))
    except OSError as error:
        return broken("ledger", place, f"{results} cannot be written: {error.strerror or error}", STORAGE_REMEDY)
    try:
        try_ledger(url_of(folder))
        return well("ledger", place, f"a SQLite file in {results} can be written")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def storage(results: str, place: str) -> Finding:
    """Whether a file can be written, read and removed where the results go."""
    text = secrets.token_hex(8)
    try:
        folder = place_of(results)
        file = folder / f".doctor-{text}"
        write_text(file, text)
        back = read_bytes(file)
        remove_file(file)
    except (SwatheError, OSError) as error:
        fault = str(error).partition("; ")[0] if isinstance(error, SwatheError) else f"{results}: {_first(error)}"
        return broken("storage", place, fault, STORAGE_REMEDY)
    if back != text.encode():
        return broken("storage", place, f"{folder} gives back something else than was written", STORAGE_REMEDY)
    return well("storage", place, f"{folder} can be written")


def shared(results: str, token: str, place: str) -> Finding | None:
    """Whether a node sees the file that the first one has written; a store is the same for all, without `token`."""
    if not token:
        return None
    if (Path(results) / f".doctor-{token}").exists():
        return well("shared", place, "sees the same folder")
    return broken(
        "shared",
        place,
        f"{results} on this node is not the folder of the other nodes",
        "mount the same file system there, or name an object store as `results` in the profile",
    )


def _first(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
