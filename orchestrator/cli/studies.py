"""The sweeps that a task's claims ask for, each in a folder of its own that goes by what it would compute."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ... import tasks
from ..claims import Claim
from ..errors import TaskError
from ..loading import load_task
from ..spec import Sweep, parse
from ..spec.document import dump
from ..task import Task

AFTERWARDS = ("estimators", "figures")  # blocks that look at results
SPEAKING = {"CLAIMS", "PAPER", "figure"}  # what a task's file says about results under these names decides none of them


class Study(NamedTuple):
    """One sweep and the claims that it decides, in the task's order."""

    sweep: Sweep
    claims: tuple[Claim, ...]


class Subject(NamedTuple):
    """A task whose claims are to be verified: as it is named, short enough for a folder, and what it asks for."""

    name: str
    slug: str
    task: Task
    studies: tuple[Study, ...]


def subject(name: str) -> Subject:
    """The task `name` (a slug, file.py:TASK or module:TASK) and its studies. Raises `SwatheError`."""
    bundled = ":" not in name
    task = load_task(name, Path.cwd())
    if not task.claims:
        raise TaskError(f"task {name!r} has no claims, so there is nothing to verify; give its Task(claims=...)")
    slug = name if bundled else "".join(c if c.isalnum() else "-" for c in task.name.rpartition("/")[2]).strip("-")
    root = tasks.FOLDER if bundled else Path.cwd()
    return Subject(name, slug, task, studies(task, name, slug, root))


def studies(task: Task, name: str, slug: str, root: Path) -> tuple[Study, ...]:
    """The different sweeps of a task's claims. Raises `SpecError` for one that is not valid."""
    groups: dict[str, list[Claim]] = {}
    for claim in task.claims:
        groups.setdefault(json.dumps(claim.sweep, sort_keys=True), []).append(claim)
    code = _digest(_meaning(path) for path in sorted(_code(name, root)))
    return tuple(Study(_sweep(claims[0], name, slug, root, code), tuple(claims)) for claims in groups.values())


def paper_scale(task: Task, name: str, root: Path) -> Sweep:
    """The sweep of the first claim at the size of the paper. Raises `SpecError` for overrides that do not fit it."""
    overrides = [f"{path}={json.dumps(value)}" for path, value in task.paper_scale.items()]
    document = {"name": "paper-scale", "task": name, **_plain(task.claims[0].sweep)}
    return parse(dump(document), f"paper scale of {name}", overrides, root)


def _sweep(claim: Claim, name: str, slug: str, root: Path, code: str) -> Sweep:
    spec = _plain(claim.sweep)
    source = f"the sweep of the claim {claim.statement!r} of {name}"
    if taken := sorted({"name", "task", "command"} & spec.keys()):
        raise TaskError(f"{source} sets {taken[0]!r}, which `swathe verify` fills in; leave it out")
    # A claim is verified for the training code as it is: other code, another folder.
    place = f"{slug}-{_digest([json.dumps(spec, sort_keys=True).encode(), code.encode()])}"
    return parse(dump({"name": place, "task": name, **spec}), source, root=root)


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(spec))


def _code(name: str, root: Path) -> set[Path]:
    """The files that hold a task: a paper's own and the blocks it uses, or the one that is named."""
    place = name.rpartition(":")[0]
    if not place:
        file = next(entry.file for entry in tasks.entries() if entry.slug == name)
        return {file, *_blocks(file)}
    if place.endswith(".py"):
        return {root / place}
    found = getattr(sys.modules.get(place), "__file__", None)
    return {Path(found)} if found else set()


def _blocks(file: Path) -> set[Path]:
    """The blocks that a paper or a block imports and trains with, and those that they import."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level in (1, 2) and node.module:
            block = tasks.FOLDER / tasks.BLOCKS / f"{node.module.rpartition('.')[2]}.py"
            if block.is_file() and block.stem not in AFTERWARDS and block != file:
                found |= {block, *_blocks(block)}
    return found


def _meaning(file: Path) -> bytes:
    """What of a file decides results: its code without comments, docstrings and what only speaks about them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _speaks(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


def _speaks(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    names = [node.name] if isinstance(node, ast.FunctionDef) else [t.id for t in targets if isinstance(t, ast.Name)]
    return bool(names) and set(names) <= SPEAKING


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()[:8]
