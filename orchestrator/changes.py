"""The code and packages that a sweep runs with, and what has changed in them since its results were computed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_string
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

MOST_FILES = 5_000
MOST_FOLDERS = 5_000
MOST_NAMED = 5

_NOT_OURS = {"site-packages", "node_modules", "__pycache__"}


class Change(NamedTuple):
    """One thing that has changed: a file that was added, changed or removed, or a package from `old` to `new`."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the code and packages of earlier results; false when nothing does."""

    files: tuple[Change, ...] = ()
    packages: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.packages)

    def __str__(self) -> str:
        """What has changed, in one line."""
        named = [f"{_verb(each)} {each.name}" for each in self.files]
        named += [f"{each.name} {each.old or 'absent'} -> {each.new or 'absent'}" for each in self.packages]
        more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
        return ", ".join(named[:MOST_NAMED] + more)


def _verb(change: Change) -> str:
    return "added" if change.old is None else "removed" if change.new is None else "changed"


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """What differs between two records with `files` and `packages`; what one of them lacks is taken as the same."""
    return Changes(*(_differences(before.get(key), now.get(key)) for key in ("files", "packages")))


def _differences(before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> tuple[Change, ...]:
    if before is None or now is None:
        return ()
    names = sorted({*before, *now})
    return tuple(Change(n, before.get(n), now.get(n)) for n in names if before.get(n) != now.get(n))


def packages() -> dict[str, str]:
    """The installed packages with their versions; what a program has put on `sys.path` does not count."""
    places = [each for each in (*site.getsitepackages(), site.getusersitepackages()) if each in sys.path]
    return dict(sorted(_named(each) for each in metadata.distributions(path=places)))


def _named(distribution: metadata.Distribution) -> tuple[str, str]:
    """Its name and version; without its description, which takes most of the time where hundreds are installed."""
    # The last is an .egg-info that is a file, as distutils left it.
    found = (distribution.read_text(name) for name in ("METADATA", "PKG-INFO", ""))
    headers = message_from_string(next(filter(None, found), "").partition("\n\n")[0])
    return headers["Name"], headers["Version"]


def code_root(task: str | None, root: Path) -> Path:
    """The folder that holds the code of a task: the spec's, or our own for a bundled paper."""
    if task is None or ":" in task:
        return root
    spec = importlib.util.find_spec("swathe.tasks")
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else root


def files(root: Path, sweeps: Path) -> dict[str, str]:
    """The Python files under `root` that git does not ignore, with the first digits of their SHA-256.

    Outside a checkout hidden folders, virtual environments and installed packages are left out; everywhere the folder
    `sweeps` is. At most `MOST_FILES` are looked at.
    """
    found: dict[str, str] = {}
    # A folder that git ignores as a whole has its files all the same.
    for path in sorted(_listed_by_git(root) or _walked(root)):
        if len(found) == MOST_FILES:
            break
        if not (root in sweeps.parents and path.is_relative_to(sweeps)) and path.is_file():
            found[path.relative_to(root).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return found


def _listed_by_git(root: Path) -> list[Path] | None:
    command = ["git", "-C", str(root), "ls-files", "-coz", "--exclude-standard", "--", "*.py"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return [root / name for name in done.stdout.split("\0") if name]


def _walked(root: Path) -> Iterator[Path]:
    for visited, (folder, folders, names) in enumerate(os.walk(root)):
        if visited == MOST_FOLDERS:
            return
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in _NOT_OURS)
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def fingerprint(record: Mapping[str, Any]) -> str:
    """Sixteen digits that stand for the code and packages of a record."""
    text = json.dumps([record.get("files"), record.get("packages")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
