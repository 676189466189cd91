"""The bundled papers, one file each, in folders by theme. A paper's slug is its file's name with hyphens."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from ..orchestrator.errors import TaskError
from ..orchestrator.task import Task

__all__ = ["BLOCKS", "FOLDER", "Entry", "entries", "find", "slugs"]

FOLDER = Path(__file__).parent
BLOCKS = "blocks"  # what papers share; no theme


@dataclass(frozen=True, slots=True)
class Entry:
    """One paper as its file's name and first line tell it."""

    slug: str
    theme: str
    file: Path
    title: str


def slugs() -> tuple[str, ...]:
    """The slugs of all papers, in alphabetical order."""
    return tuple(sorted(_modules()))


def entries() -> tuple[Entry, ...]:
    """All papers by theme and slug. Reads the first lines of files: no paper is imported."""
    found = [(file.parent.name, slug, file) for slug, file in _modules().items()]
    return tuple(Entry(slug, theme, file, _first_line(file)) for theme, slug, file in sorted(found))


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def find(slug: str) -> Task:
    """The task of the paper `slug`. Raises `TaskError` when there is none, or when what it imports is missing."""
    modules = _modules()
    if slug not in modules:
        near = get_close_matches(slug, modules, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(slugs())}."
        raise TaskError(f"no bundled task is called {slug!r}; {hint} For a task of your own write train.py:train")
    file = modules[slug]
    try:
        return import_module(f"{__name__}.{file.parent.name}.{file.stem}").TASK
    except ModuleNotFoundError as error:
        remedy = "install what the bundled tasks need with: pip install 'swathe[tasks]'"
        raise TaskError(f"task {slug!r} needs {error.name}, which is not installed; {remedy}") from error


@cache
def _modules() -> MappingProxyType[str, Path]:
    """Slug -> file, for every file of a theme."""
    files = (file for file in FOLDER.glob("*/*.py") if not file.parent.name.startswith((".", "_")))
    papers = (file for file in files if file.parent.name != BLOCKS and not file.stem.startswith("_"))
    return MappingProxyType({file.stem.replace("_", "-"): file for file in papers})
