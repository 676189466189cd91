"""Which profiles there are: those of the package, and the user's own in `~/.config/swathe/clusters`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..orchestrator.spec.document import read_text
from ..orchestrator.spec.faults import nearest
from .profile import GENRE, Profile, ProfileError, parse

SHIPPED = Path(__file__).parent / "profiles"


def own_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the user's profiles lie; `XDG_CONFIG_HOME` is honoured."""
    # By the XDG specification a relative path is as good as none.
    home = Path(environment.get("XDG_CONFIG_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".config") / "swathe" / "clusters"


def profiles() -> dict[str, Path]:
    """The file of every profile by its name; the user's come before those of the package."""
    files = [path for folder in (SHIPPED, own_folder()) for path in sorted(folder.glob("*.yaml"))]
    return {path.stem: path for path in files}


def profile(name: str) -> Profile:
    """The profile called `name`. Raises `ProfileError`, naming the nearest one where there is none."""
    found = profiles()
    if name not in found:
        rule = f"there is no cluster {name!r}; {nearest(name, found)}"
        raise ProfileError(f"{rule}, or describe it in {own_folder() / (name + '.yaml')} (clusters/README.md)")
    path = found[name]
    return parse(read_text(path, GENRE.what), str(path))
