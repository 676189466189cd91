"""The bundled papers, one file each, in folders by theme. A paper's slug is its file's name with hyphens."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.resources import files
from types import MappingProxyType

from ..orchestrator.errors import TaskError
from ..orchestrator.task import Task

__all__ = ["find", "slugs"]


def slugs() -> tuple[str, ...]:
    """The slugs of all papers, in alphabetical order. Reads file names only: no paper is imported."""
    return tuple(sorted(_modules()))


def find(slug: str) -> Task:
    """The task of the paper `slug`. Raises `TaskError` when there is none, or when what it imports is missing."""
    modules = _modules()
    if slug not in modules:
        near = get_close_matches(slug, modules, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(slugs())}."
        raise TaskError(f"no bundled task is called {slug!r}; {hint} For a task of your own write train.py:train")
    try:
        return import_module(modules[slug]).TASK
    except ModuleNotFoundError as error:
        remedy = "install what the bundled tasks need with: pip install 'swathe[tasks]'"
        raise TaskError(f"task {slug!r} needs {error.name}, which is not installed; {remedy}") from error


@cache
def _modules() -> MappingProxyType[str, str]:
    """Slug -> module, for every file of a theme; `blocks`, which papers share, is no theme."""
    found: dict[str, str] = {}
    for theme in files(__name__).iterdir():
        if theme.is_dir() and not theme.name.startswith((".", "_")) and theme.name != "blocks":
            for file in theme.iterdir():
                stem, dot, ending = file.name.partition(".")
                if (dot, ending) == (".", "py") and not stem.startswith("_"):
                    found[stem.replace("_", "-")] = f"{__name__}.{theme.name}.{stem}"
    return MappingProxyType(found)
