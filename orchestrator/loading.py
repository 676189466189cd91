"""Finds the training code that a spec names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .commands import command_task
from .errors import SwatheError, TaskError
from .spec import Sweep
from .task import Task, Trial


def task_of(sweep: Sweep) -> Task:
    """What `sweep` trains with: its task (see `load_task`) or its command."""
    if sweep.command is not None:
        return command_task(sweep)
    assert sweep.task is not None, "a spec has a task or a command"
    return load_task(sweep.task, sweep.root)


def load_task(name: str, root: Path) -> Task:
    """The task `name`: `file.py:function` relative to `root`, `module:function`, or the slug of a bundled paper.

    The file's folder goes first on `sys.path`, as when Python runs a script, so its own imports work. Raises
    `TaskError` with the traceback of a module that fails to import.
    """
    if ":" not in name:
        return _bundled(name)
    place, _, attribute = name.rpartition(":")
    module = _load_file(place, root) if place.endswith(".py") else _load_module(place, root, name)
    return _as_task(_attribute(module, attribute, name), name)


def _bundled(slug: str) -> Task:
    # The orchestrator knows no task; the registry of bundled ones is found by name only when a spec asks for it.
    return importlib.import_module("swathe.tasks").find(slug)


def _load_file(place: str, root: Path) -> ModuleType:
    path = (root / place).resolve()
    if not path.is_file():
        raise TaskError(f"task file {path} does not exist; paths in `task:` start from the spec's folder, {root}")
    # A name of its own: a researcher's train.py must not meet another module of that name, nor be pickled by it.
    module_name = f"swathe_task_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _put_first_on_path(path.parent)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _import_failed(str(path), error) from error
    return module


def _load_module(place: str, root: Path, name: str) -> ModuleType:
    _put_first_on_path(root)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(error.name + ".")):
            raise TaskError(
                f"task {name!r}: there is no module {place!r}; a file is written with its ending, as in train.py:train"
            ) from None
        raise _import_failed(place, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(place, error) from error


def _put_first_on_path(folder: Path) -> None:
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _import_failed(place: str, error: BaseException) -> SwatheError:
    if isinstance(error, SwatheError):
        return error
    if isinstance(error, SyntaxError):
        return TaskError(f"{place} cannot be imported: {error.msg} at {error.filename}:{error.lineno}; mend it")
    where = ""
    trace = error.__traceback__
    while trace is not None:
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return TaskError(f"{place} cannot be imported: {type(error).__name__}: {error} at {where}; mend it or install it")


def _attribute(module: ModuleType, attribute: str, name: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [each for each in vars(module) if not each.startswith("_") and callable(getattr(module, each))]
            near = get_close_matches(part, public, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(public) or 'no function'}"
            raise TaskError(f"task {name!r}: {module.__name__} has no {part!r}{hint}")
        found = getattr(found, part)
    return found


def _as_task(found: Any, name: str) -> Task:
    if isinstance(found, Task):
        return found
    # A program's own module has imported the fusion package, and with it torch; for other tasks nothing is loaded.
    fusion = sys.modules.get(f"{__package__}.fusion")
    if fusion is not None and isinstance(found, fusion.Program):
        return fusion.as_task(found, name=name, summary="trials of equal shape can run as lanes of one program")
    if not callable(found):
        raise TaskError(f"task {name!r} is a {type(found).__name__}; it must be a function of one trial, or a Task")
    summary = (found.__doc__ or "").strip().partition("\n")[0]
    return Task(name=name, summary=summary, train=cast(Callable[[Trial], Any], found))
