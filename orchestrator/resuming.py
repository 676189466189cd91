"""The folder of a sweep: begun, gone on with (by the same spec, a grown one, or with changed code), or branched off."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import amending, changes, provenance, storage, warming
from .changes import Changes
from .compaction import place_of, rename_parts
from .errors import SpecError, SwatheError
from .home import Home
from .ledger import Ledger, Reader, Revision, SweepRecord, copy_as, editing
from .ledger.tables import url_of, url_of_file
from .planning import search_of
from .spec import Sweep, parse
from .storage import Place

PROVENANCE = "provenance.json"


class CodeChanged(SwatheError):
    """The code or the packages are not those that computed the results there are."""


@dataclass(frozen=True, slots=True)
class Present:
    """A sweep as it is asked for now: its folder, and the files and packages it would run with.

    `home` is where it lives. `accept` decides whether to go on with changed ones; `takeover` replaces a driver that may
    be alive. `shapes` are the parameters that decide the shapes of its task's tensors, None where the task is no
    program.
    """

    sweep: Sweep
    home: Home
    takeover: bool = False
    accept: Callable[[Changes], bool] = lambda changed: False
    shapes: Mapping[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """Its folder on this machine."""
        return self.home.folder

    def code(self) -> dict[str, Any]:
        """The hashes of its files and the versions of its packages."""
        root = changes.code_root(self.sweep.task, self.sweep.root)
        return {"files": changes.files(root.resolve(), self.folder.parent.resolve()), "packages": changes.packages()}


def begin(present: Present, metrics: list[str] | tuple[str, ...], origin: str | None = None) -> None:
    """Make the folder of a new sweep, whose task declares `metrics`; `origin` is the sweep that it branches off."""
    sweep, folder = present.sweep, present.folder
    warm = warming.copy(sweep, present.home)
    record = provenance.collect(sweep.root, present.code())
    folder.mkdir(parents=True, exist_ok=True)
    place = storage.place_of(present.home.results) if present.home.results else folder
    _write(place, sweep, {**({"branched_from": origin} if origin else {}), **record})
    known = {"spec": sweep.to_yaml(), "root": str(sweep.root), "metrics": metrics}
    more = {"warm": warm, "shapes": present.shapes, "results": present.home.results}
    Ledger.create(present.home.ledger, sweep.name, {**known, **more})


def go_on(present: Present, record: SweepRecord) -> None:
    """Make the sweep that is there the one that is asked for.

    The ledger changes first and in one transaction; spec.yaml and provenance.json follow, again at the next start when
    this one dies in between. Raises `SpecError`, `CodeChanged` or `SweepLive`.
    """
    sweep, folder = present.sweep, present.folder
    if not present.takeover:
        record.refuse_live()
    recorded = parse(record.spec, source=str(folder / "spec.yaml"), root=Path(record.root))
    amending.check_identity(sweep, recorded, folder)
    grown = amending.amendment(sweep, recorded, folder)
    place = place_of(record, folder)
    told = _read(place)
    known = _latest(told)
    code = known if record.status == "finished" and grown is None else present.code()
    changed = _accepted(present, record, changes.compare(known, code), changes.fingerprint(code))
    new = [json.dumps({"code": [changes.fingerprint(known), changes.fingerprint(code)]})] if changed else []
    new += [grown] if grown else []
    if new or sweep.to_yaml() != record.spec or str(sweep.root) != record.root:
        _revise(present, [*record.amendments, *new], reopened=grown is not None)
    if changes.compare(known, code):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        note = {"changes": str(changes.compare(known, code)), **code}
        told = {**told, "history": {**told.get("history", {}), at: note}}
    _write(place, sweep, told)


def branch(present: Present, origin: Path, metrics: list[str] | tuple[str, ...]) -> None:
    """Begin a sweep with the results of the one in `origin`, as far as they are valid for it: all of them or none.

    They are when code and packages are the same and the spec asks for the same or for more. Raises `SwatheError`.
    """
    if not present.home.in_folder or present.home.results:
        raise SwatheError(
            f"--branch copies the folder of a sweep, and {origin.name} lies in a shared ledger or a store; run the "
            "spec under a new name with `warm_start`, or branch off a sweep in a folder"
        )
    if not (origin / "ledger.db").is_file():
        raise SwatheError(f"there is no sweep in {origin} to branch off; check the name in the spec, or --dir")
    reader = Reader(url_of(origin))
    try:
        record = reader.sweep()
    finally:
        reader.close()
    record.refuse_live()
    told = _read(origin)
    if changes.compare(_latest(told), present.code()) or not _same_but_larger(present, record):
        begin(present, metrics, record.name)
        return
    folder = present.folder
    for each in ("trials", "metrics", "checkpoints", "artifacts", "logs"):
        if (origin / each).is_dir():
            shutil.copytree(origin / each, folder / each, dirs_exist_ok=True)
    _write(folder, present.sweep, {"branched_from": record.name, **told})
    # The ledger makes it a sweep, so it comes last and whole.
    temporary = folder / ".ledger.tmp"
    temporary.unlink(missing_ok=True)
    copy_as(url_of(origin), temporary, present.sweep.name)
    reader = Reader(url_of_file(temporary))
    try:
        rename_parts(folder, reader)
    finally:
        reader.close()
    temporary.rename(folder / "ledger.db")


def _same_but_larger(present: Present, record: SweepRecord) -> bool:
    recorded = parse(record.spec, source="ledger", root=Path(record.root))
    try:
        amending.check_identity(present.sweep, recorded, present.folder)
        amending.amendment(present.sweep, recorded, present.folder)
    except SpecError:
        return False
    return True


def _accepted(present: Present, record: SweepRecord, changed: Changes, now: str) -> bool:
    """Whether changed code is to be noted; False when there is no change, no result yet, or it has been noted."""
    noted = [json.loads(each)["code"][1] for each in record.amendments if "code" in json.loads(each)]
    if not changed or noted[-1:] == [now] or not _has_results(present.home):
        return False
    if not present.accept(changed):
        raise CodeChanged(
            f"what sweep {present.sweep.name} was computed with has changed: {changed}; go on with --accept-changes, "
            "which marks the results from now on, or begin a sweep beside it with --branch NEW"
        )
    return True


def _has_results(home: Home) -> bool:
    reader = Reader(home.ledger, home.name)
    try:
        return reader.progress().count() > 0
    finally:
        reader.close()


def _revise(present: Present, amendments: list[str], *, reopened: bool) -> None:
    sweep = present.sweep
    search = search_of(sweep)
    with editing(present.home.ledger, sweep.name, force=present.takeover) as editor:
        generations = [] if search.sequential else amending.grown(sweep, search, editor.snapshot().proposals)
        editor.revise(Revision(sweep.to_yaml(), str(sweep.root), amendments, reopened, generations))


def _latest(told: Mapping[str, Any]) -> dict[str, Any]:
    """The code and packages of the latest results; empty where an earlier version has not noted them."""
    notes = [told, *told.get("history", {}).values()]
    return {key: notes[-1][key] for key in ("files", "packages") if key in notes[-1]}


def _read(folder: Place) -> dict[str, Any]:
    try:
        return json.loads(storage.read_bytes(folder / PROVENANCE) or b"{}")
    except json.JSONDecodeError:
        return {}


def _write(folder: Place, sweep: Sweep, told: Mapping[str, Any]) -> None:
    """Bring the two files beside the ledger up to date, where they are not."""
    for name, text in (("spec.yaml", sweep.to_yaml()), (PROVENANCE, provenance.as_json(dict(told)))):
        path = folder / name
        if storage.read_bytes(path) != text.encode():
            storage.write_text(path, text)
