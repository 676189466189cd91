"""Where exports go: opening each target, with an error that says what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from ...orchestrator.errors import SwatheError
from .following import Follower

FOLLOWING = ("mlflow", "tensorboard", "optuna")
PACKAGES = {"mlflow": ("mlflow", "mlflow-skinny"), "tensorboard": ("tensorboardX", "tensorboardX")}
POLL_SECONDS = 2.0


class Target(Protocol):
    """What a sweep is projected onto."""

    def refresh(self) -> int: ...

    def close(self) -> None: ...


class MissingPackage(SwatheError):
    """An optional package is not installed."""


def require(purpose: str, module: str, package: str, extra: str) -> None:
    """Raise `MissingPackage` when `module`, which `package` holds, is not installed."""
    try:
        found = find_spec(module) is not None
    except ValueError:  # it has been put out of the way
        found = False
    if not found:
        raise MissingPackage(
            f"{purpose} needs the package {package}, which is not installed; `pip install {package}` "
            f"(or `pip install 'swathe[{extra}]'`)"
        )


def place_of(kind: str, output: str | None, folder: Path) -> str | None:
    """Where an export goes when nothing is said: below the sweep's folder, and for MLflow where it says itself."""
    if kind == "mlflow":
        return output
    below = folder / "exports"
    defaults = {"tensorboard": below / "tensorboard", "optuna": below / "optuna.db"}
    return output or str(defaults.get(kind, below))


@contextmanager
def opened_target(kind: str, output: str | None, follower: Follower) -> Iterator[Target]:
    """The target `kind` at `output`. Raises `SwatheError` when it cannot be used."""
    if kind in PACKAGES:
        module, package = PACKAGES[kind]
        require(f"export to {kind}", module, package, "export")
    target = _open(kind, output, follower)
    try:
        yield target
    finally:
        target.close()


def _open(kind: str, output: str | None, follower: Follower) -> Target:
    try:
        if kind == "tensorboard":
            from .events import EventFiles

            return EventFiles(Path(output or "."), follower)
        if kind == "mlflow":
            from .tracking import Tracking

            return Tracking(output, follower)
        from .studies import Studies

        return Studies(_storage(output or ""), follower)
    except SwatheError:
        raise
    except Exception as error:
        # Each of them has its own errors, down to those of databases and of HTTP.
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SwatheError(
            f"{kind} cannot use {output or 'its default store'}: {first}; mend that, or name another "
            "place with --output"
        ) from error


def _storage(output: str):  # noqa: ANN202
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if "://" not in output:
        path = Path(output).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        output = f"sqlite:///{path}"
    return optuna.storages.RDBStorage(output)


def follow(target: Target, follower: Follower, told: Callable[[int], None]) -> None:
    """Keep `target` up to date until nobody is at work on the sweep any more; `told` hears of each change."""
    live = True
    while live:
        live = follower.record.live() or follower.record.status == "new"
        if live:
            time.sleep(POLL_SECONDS)
        if (changed := target.refresh()) and changed > 0:
            told(changed)
