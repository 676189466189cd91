"""A command's own working folder: the spec's folder as it looks, and a place for what the command writes.

A script that saves `model.pt` and loads it again must find its own, whatever trials run beside it. So each execution
starts in an empty folder with a link for every entry of the spec's folder, and one level up a link for every entry
beside the spec's folder, so that `data/` and `../data/` are found. What the script makes lands in its own folder; what
it writes through a link lands in the spec's folder, where all trials meet it, and is named.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

SHARED_WRITES = "shared-writes.txt"
MOST_WATCHED = 5_000  # files of the spec's folder that are looked at before and after a trial
_LEFT_OUT = frozenset({".git", "__pycache__"})


def make_trial_folder(place: Path, root: Path, sweep: Path) -> Path:
    """An empty folder below `place` in which the entries of `root` are seen, but for the one that holds sweeps.

    `sweep` is the sweep's folder. What an earlier execution of the same trial has left at `place` is removed.
    """
    shutil.rmtree(place, ignore_errors=True)
    own = place / (root.name or "root")
    own.mkdir(parents=True)
    _link_entries(root, own, sweep)
    if root.parent != root:
        _link_entries(root.parent, place, sweep, but=own.name)
    return own


def _link_entries(source: Path, target: Path, sweep: Path, but: str = "") -> None:
    try:
        names = os.listdir(source)
    except OSError:
        # A parent that may not be listed.
        return
    skipped = _sweeps(sweep)
    for name in names:
        if name not in _LEFT_OUT and name != but and source / name not in skipped:
            os.symlink(source / name, target / name)


def _sweeps(sweep: Path) -> tuple[Path, ...]:
    """The folders that no script reads and that hold the new folder, so that walking through their links has no end."""
    try:
        only_sweeps = all((entry / "spec.yaml").exists() for entry in sweep.parent.iterdir())
    except OSError:
        only_sweeps = False
    return (sweep, sweep.parent) if only_sweeps else (sweep,)


def remove_links(own: Path) -> None:
    """Remove the links from a trial's folder, and the folder itself when nothing else is in it."""
    for folder in (own, own.parent):
        for entry in list(os.scandir(folder)):
            if entry.is_symlink():
                os.unlink(entry.path)
        # Left where the script has made files.
        with suppress(OSError):
            folder.rmdir()


def watched_files(root: Path, sweep: Path) -> Mapping[str, tuple[int, int]] | None:
    """Size and time of change of each file of the spec's folder, by its path from there; None when there are too many.

    Hidden folders, caches of byte code and the folder of sweeps are left out.
    """
    found: dict[str, tuple[int, int]] = {}
    for path in _files(root, sweep):
        try:
            status = path.stat()
        except OSError:
            # It went away meanwhile.
            continue
        found[path.relative_to(root).as_posix()] = (status.st_size, status.st_mtime_ns)
        if len(found) > MOST_WATCHED:
            return None
    return found


def _files(root: Path, sweep: Path) -> Iterator[Path]:
    skipped = _sweeps(sweep)
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in _LEFT_OUT and here / name not in skipped
        ]
        yield from (here / name for name in files if not name.startswith("."))


def note_shared_writes(before: Mapping[str, tuple[int, int]] | None, root: Path, sweep: Path) -> list[str]:
    """The files of the spec's folder that are new or other than `before`; they are also noted in the sweep's folder."""
    after = None if before is None else watched_files(root, sweep)
    if before is None or after is None:
        return []
    written = sorted(name for name, status in after.items() if before.get(name) != status)
    if new := set(written) - set(shared_writes(sweep)):
        with (sweep / SHARED_WRITES).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(f"{name}\n" for name in sorted(new))
    return written


def shared_writes(sweep: Path) -> list[str]:
    """The files of the spec's folder that changed while trials of the sweep ran, in the order of their names."""
    try:
        return sorted(set((sweep / SHARED_WRITES).read_text(encoding="utf-8").splitlines()))
    except OSError:
        return []
