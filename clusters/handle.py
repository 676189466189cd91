"""A sweep from Python and notebooks: `submit(Sweep(...), "lab")` returns a handle, `attach` finds a sweep again."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..orchestrator import driver
from ..orchestrator.driver import Finished, Launch
from ..orchestrator.errors import LedgerEmpty, SwatheError
from ..orchestrator.home import Home
from ..orchestrator.ledger import Progress, Reader, SweepRecord
from ..orchestrator.messages import State
from ..orchestrator.spec import Sweep, parse
from . import finding, submission
from .submission import Asked

if TYPE_CHECKING:
    import pandas as pd

POLL_SECONDS = 1.0
# A scheduler on a cluster that dies is started again there; until then its sweep looks interrupted.
PATIENCE_SECONDS = 90.0


class StillRunning(SwatheError):
    """A sweep has not ended in the time that it was waited for."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a sweep stands: its trials by state, the best value of a complete one, and what workers have to say."""

    name: str
    condition: str
    trials: int
    complete: int
    pruned: int
    failed: int
    best: float | None
    workers: int
    said: tuple[str, ...]

    @property
    def decided(self) -> int:
        """Trials with a final word."""
        return self.complete + self.pruned + self.failed

    def __str__(self) -> str:
        parts = [f"{self.complete} complete", f"{self.pruned} pruned", f"{self.failed} failed"]
        best = "" if self.best is None else f"; best {self.best:.6g}"
        workers = f"; {self.workers} worker{'s' * (self.workers != 1)}" if self.workers else ""
        told = f"{self.name}: {self.condition}, {self.decided}/{self.trials} trials ({', '.join(parts)})"
        return "\n".join([f"{told}{best}{workers}", *self.said])


class Handle:
    """A sweep that runs or has run somewhere. Reads its ledger alone, so that looking costs the sweep nothing."""

    def __init__(self, home: Home, cluster: str) -> None:
        self.home = home
        self.cluster = cluster

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.home.name

    def status(self) -> Status:
        """How it stands now. Raises `LedgerError` when its ledger cannot be read."""
        reader = Reader(self.home.ledger, self.name)
        try:
            record, progress = reader.sweep(), reader.progress()
        finally:
            reader.close()
        sweep = _sweep(record)
        crew = record.crew or {}
        return Status(
            self.name,
            record.condition,
            len(sweep.cells) * sweep.per_cell * sweep.seeds,
            progress.count(State.COMPLETE),
            progress.count(State.PRUNED),
            progress.count(State.FAIL),
            _best(sweep, progress),
            len(crew.get("workers", ())),
            tuple(crew.get("said", ())),
        )

    def trials(self) -> pd.DataFrame:
        """The ended trials, one row each."""
        # Pandas takes a second to import.
        from ..analysis import load

        return load.trials(self.home)

    def metrics(self) -> pd.DataFrame:
        """All that trials have reported, in long format."""
        from ..analysis import load

        return load.metrics(self.home)

    def wait(self, timeout: float | None = None) -> Finished:
        """How it ended, once it has. Raises `StillRunning` when that takes more than `timeout` seconds."""
        began = alive = time.monotonic()
        while True:
            record = self.home.record()
            condition, now = record.condition, time.monotonic()
            waits = condition == "interrupted" and (record.crew is not None or record.status == "new")
            alive = alive if waits else now
            if condition != "running" and not (waits and now - alive < PATIENCE_SECONDS):
                return driver.finish(_sweep(record), self.home, _REASONS.get(condition, condition))
            if timeout is not None and now - began > timeout:
                raise StillRunning(f"{self.name} has not ended within {timeout:g} s; it goes on, wait again")
            time.sleep(POLL_SECONDS)

    def __repr__(self) -> str:
        try:
            return f"<Handle {self.status()}>"
        except SwatheError as error:
            return f"<Handle {self.name} on {self.cluster}: {error}>"

    def _repr_html_(self) -> str:
        """For notebooks: a bar, the counts, and what the workers say."""
        try:
            now = self.status()
        except SwatheError as error:
            return f"<b>{html.escape(self.name)}</b>: {html.escape(str(error))}"
        first, *said = str(now).splitlines()
        bar = f'<progress value="{now.decided}" max="{max(1, now.trials)}"></progress>'
        lines = "".join(f"<br>{html.escape(line)}" for line in said)
        return f"{bar} {html.escape(first)}{lines}"


_REASONS = {"interrupted": "drained", "stopped": "drained"}


def submit(
    sweep: Sweep,
    cluster: str = "embedded",
    *,
    workers: int | None = None,
    directory: str | Path = "sweeps",
    accept_changes: bool = False,
) -> Handle:
    """Send `sweep` to the Ray cluster of the profile `cluster`, and return when it runs there.

    On `embedded` and `inline`, which end with this process, it runs to its end in `directory` first. Submitting again
    goes on. Raises a `SwatheError` when the spec, the task or the cluster cannot be used.
    """
    profile = finding.profile(cluster)
    if profile.kind == "existing":
        submission.submit(profile, sweep, Asked(workers, accept=accept_changes))
        return Handle(profile.home(sweep.name), cluster)
    launch = Launch(Path(directory), profile.kind, workers, accept=lambda changed: accept_changes)
    driver.run(sweep, launch)
    return Handle(launch.home(sweep.name), cluster)


def attach(name: str, cluster: str = "embedded", *, directory: str | Path = "sweeps") -> Handle:
    """A handle on a sweep that there is. Raises `SwatheError` when there is none of this name."""
    profile = finding.profile(cluster)
    home = profile.home(name) if profile.kind == "existing" else Launch(Path(directory)).home(name)
    try:
        found = home.exists() and home.record() is not None
    except LedgerEmpty:
        found = False
    if not found:
        raise SwatheError(f"there is no sweep {name!r} on {cluster}; `swathe list --cluster {cluster}` shows all")
    return Handle(home, cluster)


def _sweep(record: SweepRecord) -> Sweep:
    return parse(record.spec, source="the ledger", root=Path(record.root))


def _best(sweep: Sweep, progress: Progress) -> float | None:
    low = sweep.directions[sweep.objective] == "minimize"
    values = [each.lowest if low else each.highest for each in progress.cells.values()]
    known = [value for value in values if value is not None]
    return (min if low else max)(known) if known else None
